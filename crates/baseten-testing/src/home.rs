//! A home of its own for every test, and the built program in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baseten_sandbox::Sandbox;

#[cfg(target_os = "linux")]
use crate::keyring::KeyringSession;
use crate::outcome::{Outcome, Running};
use crate::program::baseten;
use crate::sandbox::approve;
use crate::server::Server;

/// A fresh home directory and an environment with nothing in it but what a test puts there.
pub struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// A home without a profile, a keyring or a network.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut home = Self { directory, variables: Vec::new() };
        let path = home.path().to_str().unwrap().to_owned();
        if cfg!(windows) {
            // Under the name that it has on Linux, so that both show the same paths.
            home.set("APPDATA", format!("{path}\\.config"));
            home.set("USERPROFILE", path);
            // Without it, Windows finds no sockets.
            home.set("SystemRoot", "C:\\windows");
        } else {
            home.set("HOME", path);
            home.set("PATH", "/usr/local/bin:/usr/bin:/bin");
        }
        if cfg!(any(windows, target_os = "macos")) {
            // These always have a display, and nobody wants a browser for every test.
            home.set("SSH_CONNECTION", "test");
        }
        home
    }

    /// A home whose remote is this sandbox.
    pub fn at(sandbox: &Sandbox) -> Self {
        Self::new().with("BASETEN_REMOTE_URL", sandbox.remote_url())
    }

    /// The same, with a variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.set(variable, value);
        self
    }

    /// Sets a variable for the commands to come.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.unset(variable);
        self.variables.push((variable.to_owned(), value.into()));
    }

    /// Unsets a variable for the commands to come.
    pub fn unset(&mut self, variable: &str) {
        self.variables.retain(|(name, _)| name != variable);
    }

    /// The home directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the profiles are kept.
    pub fn auth_json(&self) -> PathBuf {
        self.path().join(".config").join("baseten").join("auth.json")
    }

    /// The text of the store; empty where there is none.
    pub fn store(&self) -> String {
        std::fs::read_to_string(self.auth_json()).unwrap_or_default()
    }

    /// Writes the store as another program would.
    pub fn write_store(&self, text: &str) {
        std::fs::create_dir_all(self.auth_json().parent().unwrap()).unwrap();
        std::fs::write(self.auth_json(), text).unwrap();
    }

    /// The program with these arguments in this home, its streams piped or closed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(baseten(), arguments)
    }

    /// Another program in the same way.
    pub fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end, with nothing on stdin.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).end()
    }

    /// Runs the program to its end, with this on stdin.
    pub fn run_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever does not read all of it has said why in its outcome.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Running(child).end()
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running(self.command(arguments).spawn().unwrap())
    }

    /// Logs in with an API key of this user and expects it to work.
    pub fn log_in_with_key(&self, sandbox: &Sandbox, user: &str, profile: &str) {
        let arguments =
            ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", profile];
        let outcome = self.run_with_input(&arguments, sandbox.api_key(user).unwrap());
        assert_eq!(outcome.status, 0, "{outcome}");
    }

    /// Logs in through the browser as this user and expects it to work.
    pub fn log_in_by_browser(&self, sandbox: &Sandbox, user: &str, more: &[&str]) -> Outcome {
        let arguments = [&["auth", "login", "--web", "--insecure-storage"], more].concat();
        let running = self.start(&arguments);
        approve(sandbox, user);
        let outcome = running.end();
        assert_eq!(outcome.status, 0, "{outcome}");
        outcome
    }
}

/// A home in this keyring's session, whose remote is this sandbox.
#[cfg(target_os = "linux")]
pub fn home_in(session: &KeyringSession, sandbox: &Sandbox) -> Home {
    with_keyring(Home::at(sandbox), session).with("BASETEN_KEYRING_TIMEOUT", "30")
}

/// The same home, in this keyring's session.
#[cfg(target_os = "linux")]
pub fn with_keyring(mut home: Home, session: &KeyringSession) -> Home {
    for (variable, value) in session.environment() {
        if matches!(variable, "DBUS_SESSION_BUS_ADDRESS" | "XDG_RUNTIME_DIR") {
            home.set(variable, value.to_str().unwrap());
        }
    }
    home
}

/// Where a scripted server's profiles belong. No request goes there, see [`home_at`].
pub const REMOTE: &str = "https://app.example.com";

/// A home whose every request goes to a scripted server.
pub fn home_at(server: &Server) -> Home {
    let url = format!("http://127.0.0.1:{}", server.address.port());
    Home::new().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)
}
