//! `cargo xtask demo`: a login and everything after it, with the real program and a sandbox. The
//! approval is sent as the page's own form would send it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::build::build;
use crate::process::{Outcome, cargo, command, output, spawn, succeeded, wait};

/// Show a login, and everything after it, against a sandbox on this machine
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Open the approval page in a browser, and wait for you to answer it
    #[arg(long)]
    browser: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let build_both = ["build", "--locked", "--bin", "baseten", "--bin", "baseten-sandbox"];
    let programs = build(&mut cargo(build_both))?;
    let sandbox = Sandbox::start(&programs.path("baseten-sandbox")?, &[])?;
    let demo = Demo { program: programs.path("baseten")?, sandbox, home: tempfile::tempdir()? };
    println!("\nA sandbox plays Baseten at {}. Nothing of yours is touched.", demo.sandbox.remote);

    demo.browser_login(args.browser)?;
    demo.baseten(&["auth", "status"], None)?;
    let key = demo.sandbox.api_key.clone();
    demo.baseten(&["auth", "login", "--with-api-key", "--profile", "bot"], Some(&key))?;
    demo.baseten(&["auth", "list"], None)?;
    let profile = demo.only_browser_profile()?;
    demo.baseten(&["auth", "switch", "--profile", &profile], None)?;
    demo.baseten(&["auth", "status", "--output", "json"], None)?;
    demo.baseten(&["auth", "status", "--jq", ".auth_type"], None)?;
    demo.baseten(&["whoami"], None)?;
    demo.baseten(&["auth", "logout"], None)?;
    demo.baseten(&["auth", "logout", "--profile", "bot"], None)?;
    println!("\nThat was the whole story: two profiles came, were used, and are gone.");
    Ok(())
}

/// A running sandbox, which ends with this value.
pub(crate) struct Sandbox {
    child: Child,
    pub(crate) remote: String,
    pub(crate) api_key: String,
}

impl Sandbox {
    /// Starts the program with further options.
    pub(crate) fn start(program: &Path, options: &[&str]) -> Outcome<Self> {
        let arguments = ["--port", "0", "--json", "--device-interval", "1"];
        let mut sandbox = command(program, arguments);
        let mut child = spawn(sandbox.args(options).stdout(Stdio::piped()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the sandbox has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let facts: serde_json::Value = serde_json::from_str(&line)?;
        let text = |pointer: &str| {
            let value = facts.pointer(pointer).and_then(serde_json::Value::as_str);
            value.map(str::to_owned).ok_or(format!("the sandbox does not tell its {pointer}"))
        };
        Ok(Self { remote: text("/remote_url")?, api_key: text("/api_keys/grace")?, child })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Demo {
    program: PathBuf,
    sandbox: Sandbox,
    home: tempfile::TempDir,
}

impl Demo {
    /// The program, in an environment that leads to nothing of the user's own.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.program, arguments);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("BASETEN_CONFIG_DIR", self.home.path())
            .env("BASETEN_CREDENTIAL_STORE", "file")
            .env("BASETEN_REMOTE_URL", &self.sandbox.remote);
        command
    }

    /// Shows a command, runs it with our output, and expects success.
    fn baseten(&self, arguments: &[&str], input: Option<&str>) -> Outcome {
        let echo = if input.is_some() { "echo $API_KEY | " } else { "" };
        println!("\n$ {echo}baseten {}", arguments.join(" "));
        let mut command = self.command(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = spawn(&mut command)?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        succeeded(&command, child.wait()?)
    }

    /// Logs in through the browser: the user's own, or by sending the page's form.
    fn browser_login(&self, with_browser: bool) -> Outcome {
        let arguments = ["auth", "login", "--web"];
        println!("\n$ baseten {}", arguments.join(" "));
        let mut command = self.command(&arguments);
        if with_browser {
            let status = spawn(command.envs(screen()))?.wait()?;
            return succeeded(&command, status);
        }
        let mut child = spawn(command.stderr(Stdio::piped()))?;
        let stderr = child.stderr.take().ok_or("the login has no output")?;
        let mut url = None;
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            println!("{line}");
            if line.trim().starts_with("http://") {
                url = Some(line.trim().to_owned());
            } else if line.starts_with("Waiting")
                && let Some(url) = url.take()
            {
                approve(&url)?;
            }
        }
        succeeded(&command, wait(&mut child, Duration::from_mins(1))?)
    }

    fn only_browser_profile(&self) -> Outcome<String> {
        let arguments = ["auth", "list", "--jq", "select(.auth_type == \"oauth\").profile", "-r"];
        Ok(output(&mut self.command(&arguments))?.trim().to_owned())
    }
}

/// The variables that a browser needs to find the user's screen.
fn screen() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    let names = ["PATH", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"];
    names.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
}

/// Allows a login as a person would: opens the page, leaves the first user chosen, presses Allow.
pub(crate) fn approve(url: &str) -> Outcome {
    let page = ureq::get(url).call()?.into_body().read_to_string()?;
    let field = |name: &str| {
        let (_, after) = page.split_once(&format!("name=\"{name}\" value=\""))?;
        Some(after.split_once('"')?.0.to_owned())
    };
    let missing = |name| format!("the approval page has no field {name}");
    let user_code = field("user_code").ok_or_else(|| missing("user_code"))?;
    let form_token = field("form_token").ok_or_else(|| missing("form_token"))?;
    let user = field("user").ok_or_else(|| missing("user"))?;
    let (action, _) = url.split_once('?').ok_or("the URL has no code in it")?;
    let form = [
        ("user_code", user_code.as_str()),
        ("form_token", &form_token),
        ("user", &user),
        ("decision", "allow"),
    ];
    println!("(The page's form is sent: user {user}, button Allow.)");
    ureq::post(action).send_form(form)?;
    Ok(())
}
