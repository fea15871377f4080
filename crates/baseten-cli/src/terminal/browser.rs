//! Starts a browser where a person can see it, without lending it the terminal.

use std::process::{Command, Stdio};

use baseten_auth::internal::Env;

use crate::exit::Exit;

/// Whether a browser that is started here would show itself to the person at this terminal.
///
/// `$BROWSER` decides where it is set: remote editors point it at the person's own browser.
pub(crate) fn is_within_sight(env: &Env) -> bool {
    if env.has("BROWSER") {
        return true;
    }
    let remote = ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"].iter().any(|name| env.has(name));
    let display = env.has("DISPLAY") || env.has("WAYLAND_DISPLAY");
    let windows_subsystem = env.has("WSL_DISTRO_NAME") || env.has("WSL_INTEROP");
    let desktop = cfg!(any(windows, target_os = "macos"));
    !remote && (display || windows_subsystem || desktop)
}

/// Starts a browser and does not wait for it. It gets no stream of ours, no key from the
/// environment, and a process group of its own, so that Ctrl-C here does not end it.
///
/// Nobody waits for a browser that fails: the URL is on the screen.
pub(crate) fn open(url: &str) {
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    command
        .args(["__open-browser", url])
        .env_remove("BASETEN_API_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let _ = command.spawn();
}

/// What the process that [`open`] starts does.
pub(crate) fn open_here(url: &str, env: &Env) -> Exit {
    // On the other systems, `webbrowser` itself looks at `$BROWSER`.
    let chosen = env.os("BROWSER").filter(|_| cfg!(any(windows, target_os = "macos")));
    let opened = match chosen {
        Some(program) => Command::new(program).arg(url).status().map(drop),
        None => webbrowser::open(url),
    };
    match opened {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failure,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_started_only_where_it_can_be_seen() {
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
}
