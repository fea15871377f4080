//! A home directory for every test, and the built program in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baseten_sandbox::Sandbox;

#[cfg(target_os = "linux")]
use crate::keyring::KeyringSession;
use crate::outcome::{Outcome, Running};
use crate::program::baseten;
#[cfg(unix)]
use crate::program::write_script;
use crate::sandbox::approve;
use crate::server::{Act, Server};

/// The arguments of a browser login that stores its tokens in the file.
pub const WEB_LOGIN: &[&str] = &["auth", "login", "--web", "--insecure-storage"];

/// A new home directory and an empty environment, which a test fills.
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
            // The same name as on Linux, so that snapshots show the same paths.
            home.set("APPDATA", format!("{path}\\.config"));
            home.set("USERPROFILE", path);
            home.set("COMPUTERNAME", "test");
            // Without it, Windows can't use sockets.
            home.set("SystemRoot", "C:\\windows");
        } else {
            home.set("PATH", format!("{path}/bin:/usr/local/bin:/usr/bin:/bin"));
            home.set("HOME", path);
        }
        if cfg!(any(windows, target_os = "macos")) {
            // These systems always have a display, and tests must not open a browser.
            home.set("SSH_CONNECTION", "test");
        }
        home
    }

    /// A home whose remote has this URL.
    pub fn at_remote(url: impl Into<String>) -> Self {
        Self::new().with("BASETEN_REMOTE_URL", url)
    }

    /// A home whose remote is this sandbox.
    pub fn at(sandbox: &Sandbox) -> Self {
        Self::at_remote(sandbox.remote_url())
    }

    /// A home whose every API request goes to this URL, whatever the remote.
    pub fn with_api(url: impl Into<String>) -> Self {
        Self::new().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)
    }

    /// A home whose every API request goes to this server.
    pub fn served_by(server: &Server) -> Self {
        Self::with_api(server.url("localhost", ""))
    }

    /// A home whose every API request goes to a server with this script.
    pub fn with_script(script: impl IntoIterator<Item = Act>) -> Self {
        Self::served_by(&Server::start(script))
    }

    /// A home with this text as its store.
    pub fn with_store(text: &str) -> Self {
        let home = Self::new();
        home.write_store(text);
        home
    }

    /// The same, with a variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.set(variable, value);
        self
    }

    /// The same, in the session of this keyring.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_keyring(mut self, session: &KeyringSession) -> Self {
        for (variable, value) in session.environment() {
            if matches!(variable, "DBUS_SESSION_BUS_ADDRESS" | "XDG_RUNTIME_DIR") {
                self.set(variable, value.to_str().unwrap());
            }
        }
        self
    }

    /// The same, with a keyring timeout that is long enough for a busy machine.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_patient_keyring(self, session: &KeyringSession) -> Self {
        self.with_keyring(session).with("BASETEN_KEYRING_TIMEOUT", "30")
    }

    /// The same, with this shell script as its browser.
    #[cfg(unix)]
    #[must_use]
    pub fn with_browser(self, script: &str) -> Self {
        let program = self.install("browser", script);
        self.with("BROWSER", program)
    }

    /// Sets a variable for later commands.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.unset(variable);
        self.variables.push((variable.to_owned(), value.into()));
    }

    /// Unsets a variable for later commands.
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

    /// The text of the store; empty if there is none.
    pub fn store(&self) -> String {
        std::fs::read_to_string(self.auth_json()).unwrap_or_default()
    }

    /// Writes the store as another program would.
    pub fn write_store(&self, text: &str) {
        std::fs::create_dir_all(self.auth_json().parent().unwrap()).unwrap();
        std::fs::write(self.auth_json(), text).unwrap();
    }

    /// The text of a file in the home.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Installs a shell script as a program in `PATH` and returns its path.
    #[cfg(unix)]
    pub fn install(&self, name: &str, script: &str) -> String {
        let directory = self.path().join("bin");
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join(name);
        write_script(&program, script);
        program.into_os_string().into_string().unwrap()
    }

    /// The program with these arguments in this home, with stdin empty and stdout and stderr piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(baseten(), arguments)
    }

    /// Another program in the same way.
    pub fn command_of(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = without_terminal(program.as_ref());
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
        Running::with_input(&mut self.command(arguments), input).end()
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// Logs in with this API key.
    pub fn log_in(&self, key: impl AsRef<[u8]>, profile: &str, more: &[&str]) -> Outcome {
        let arguments = [&["auth", "login", "--with-api-key", "--profile", profile], more].concat();
        self.run_with_input(&arguments, key)
    }

    /// Logs in with an API key of this user, stored in the file; it must succeed.
    pub fn log_in_with_key(&self, sandbox: &Sandbox, user: &str, profile: &str) {
        let key = sandbox.api_key(user).unwrap();
        self.log_in(key, profile, &["--insecure-storage"]).succeeded();
    }

    /// Logs in through the browser as this user; it must succeed.
    pub fn log_in_by_browser(&self, sandbox: &Sandbox, user: &str, more: &[&str]) -> Outcome {
        let running = self.start(&[WEB_LOGIN, more].concat());
        approve(sandbox, user);
        running.end().succeeded()
    }
}

/// A program without the terminal that the tests were started from, so that it can't ask anybody
/// there.
fn without_terminal(program: &Path) -> Command {
    if program == Path::new("setsid") || std::fs::File::open("/dev/tty").is_err() {
        return Command::new(program);
    }
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}
