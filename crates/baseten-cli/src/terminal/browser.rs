//! Starts a browser, without giving it the terminal.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use baseten_auth::internal::{ENGINE_TOKENS, Env, SECRETS};

/// Whether the user at this terminal would see a browser that is started here.
/// If `$BROWSER` is set, it decides: remote editors set it to the user's own browser.
pub(crate) fn is_within_sight(env: &Env) -> bool {
    if env.has("BROWSER") {
        return true;
    }
    let remote = ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"].iter().any(|name| env.has(name));
    let display = env.has("DISPLAY") || env.has("WAYLAND_DISPLAY");
    let desktop = cfg!(any(windows, target_os = "macos"));
    !remote && (display || is_on_windows(env) || desktop)
}

/// Whether this is a Linux on Windows (WSL).
fn is_on_windows(env: &Env) -> bool {
    env.has("WSL_DISTRO_NAME") || env.has("WSL_INTEROP")
}

/// How long a browser is watched for a failure. A browser that works keeps running, or has passed
/// the page on.
const GRACE: Duration = Duration::from_secs(1);

/// Starts a browser; an error says why none started. It gets none of our streams, no API key in its
/// environment, and its own process group, so that Ctrl-C here does not end it.
pub(crate) fn open(url: &str, env: &Env) -> Result<(), String> {
    let mut problems = Vec::new();
    for command in commands(url, env)? {
        match start(&command) {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(problem),
        }
    }
    // Report the first failure: that is the usual command.
    Err(problems.into_iter().next().unwrap_or_default())
}

/// The commands that may open a page, the best first.
fn commands(url: &str, env: &Env) -> Result<Vec<Vec<OsString>>, String> {
    if let Some(browser) = env.os("BROWSER").filter(|_| env.has("BROWSER")) {
        return Ok(vec![chosen(browser, url)?]);
    }
    let with_url = |command: &&[&str]| command.iter().chain([&url]).map(OsString::from).collect();
    let windows: &[&str] = &["rundll32.exe", "url.dll,FileProtocolHandler"];
    let commands: &[&[&str]] = if cfg!(windows) {
        &[windows]
    } else if cfg!(target_os = "macos") {
        &[&["open"]]
    } else if is_on_windows(env) {
        &[&["wslview"], windows, &["xdg-open"]]
    } else {
        &[&["xdg-open"], &["gio", "open"], &["x-www-browser"]]
    };
    Ok(commands.iter().map(with_url).collect())
}

/// The command in `$BROWSER`: a file's name, else words as a shell splits them, with `%s` for the
/// URL. A word with more than `%s` may be a script for a shell, and the server chose the URL: there, it
/// must not have characters that a shell would run.
fn chosen(browser: &OsStr, url: &str) -> Result<Vec<OsString>, String> {
    let words = match browser.to_str() {
        Some(text) if !Path::new(text).is_file() && !cfg!(windows) => shlex::split(text),
        _ => None,
    };
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        return Ok(vec![browser.to_owned(), url.into()]);
    };
    let is_script = |word: &String| word.contains("%s") && word != "%s";
    if words.iter().any(is_script) && url.contains(|c| "$`\\\"'&|;()<>".contains(c)) {
        return Err("the address of the page has characters that a shell would run".to_owned());
    }
    let end = if words.iter().any(|word| word.contains("%s")) { None } else { Some(url.into()) };
    Ok(words.iter().map(|word| word.replace("%s", url).into()).chain(end).collect())
}

fn start(command: &[OsString]) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let name = program.display();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for variable in SECRETS.into_iter().chain(ENGINE_TOKENS) {
        command.env_remove(variable);
    }
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let (ended, pending) = mpsc::channel();
    let watch = move || drop(ended.send(child.wait()));
    let _ = std::thread::Builder::new().spawn(watch);
    match pending.recv_timeout(GRACE) {
        Ok(Ok(status)) if !status.success() => Err(format!("{name} failed ({status})")),
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_started_only_if_the_user_can_see_it() {
        let sees =
            |variables: &[(&str, &str)]| is_within_sight(&variables.iter().copied().collect());
        assert!(!sees(&[]));
        assert!(sees(&[("DISPLAY", ":0")]));
        assert!(sees(&[("WAYLAND_DISPLAY", "wayland-0")]));
        assert!(sees(&[("WSL_DISTRO_NAME", "Debian")]));
        assert!(!sees(&[("DISPLAY", "localhost:10.0"), ("SSH_CONNECTION", "a b")]));
        assert!(sees(&[("SSH_CONNECTION", "a b"), ("BROWSER", "remote-open")]));
        assert!(!sees(&[("DISPLAY", "")]));
    }

    #[test]
    fn the_browser_of_the_variable_is_a_file_or_words() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my browser");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        for (browser, command) in [
            (file, &[file, "URL"][..]),
            ("firefox", &["firefox", "URL"]),
            ("firefox --new-tab", &["firefox", "--new-tab", "URL"]),
            ("firefox '--name=a b' %s", &["firefox", "--name=a b", "URL"]),
            ("sh -c 'w3m %s'", &["sh", "-c", "w3m URL"]),
            ("'/opt/my browser'", &["/opt/my browser", "URL"]),
            ("don't", &["don't", "URL"]),
        ] {
            assert_eq!(chosen(OsStr::new(browser), "URL").unwrap(), command, "{browser}");
        }
    }

    #[test]
    fn no_page_becomes_a_part_of_a_script() {
        for page in ["https://h/$(id)", "https://h/`id`", "https://h/?a;id", "https://h/?a&id"] {
            assert!(chosen(OsStr::new("sh -c 'w3m %s'"), page).is_err(), "{page}");
            for harmless in ["w3m", "w3m %s", "w3m -T x"] {
                let words = chosen(OsStr::new(harmless), page).unwrap();
                assert!(words.contains(&page.into()), "{harmless} {page}");
            }
        }
        let page = "https://h/device?user_code=ABCD-EFGH";
        assert!(chosen(OsStr::new("sh -c 'w3m %s'"), page).is_ok());
    }
}
