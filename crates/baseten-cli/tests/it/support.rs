//! A home of its own for every test, and the built program in it.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use baseten_sandbox::{Config, Sandbox};

/// No command of a test runs longer than this.
const PATIENCE: Duration = Duration::from_mins(1);

/// The built program; where `BASETEN_TEST_BINARY` was set at the build of these tests, that one.
pub(crate) const BASETEN: &str = match option_env!("BASETEN_TEST_BINARY") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_baseten"),
};

/// A fresh home directory and an environment with nothing in it but what a test puts there.
pub(crate) struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// A home without a profile, a keyring or a network.
    pub(crate) fn new() -> Self {
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
    pub(crate) fn at(sandbox: &Sandbox) -> Self {
        Self::new().with("BASETEN_REMOTE_URL", sandbox.remote_url())
    }

    /// The same, with a variable.
    pub(crate) fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.set(variable, value);
        self
    }

    /// Sets a variable for the commands to come.
    pub(crate) fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.unset(variable);
        self.variables.push((variable.to_owned(), value.into()));
    }

    /// Unsets a variable for the commands to come.
    pub(crate) fn unset(&mut self, variable: &str) {
        self.variables.retain(|(name, _)| name != variable);
    }

    /// The home directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the profiles are kept.
    pub(crate) fn auth_json(&self) -> PathBuf {
        self.path().join(".config").join("baseten").join("auth.json")
    }

    /// The text of the store; empty where there is none.
    pub(crate) fn store(&self) -> String {
        std::fs::read_to_string(self.auth_json()).unwrap_or_default()
    }

    /// Writes the store as another program would.
    pub(crate) fn write_store(&self, text: &str) {
        std::fs::create_dir_all(self.auth_json().parent().unwrap()).unwrap();
        std::fs::write(self.auth_json(), text).unwrap();
    }

    /// The program with these arguments in this home, its streams piped or closed.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(BASETEN, arguments)
    }

    /// Another program in the same way.
    pub(crate) fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
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
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).end()
    }

    /// Runs the program to its end, with this on stdin.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever does not read all of it has said why in its outcome.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Running(child).end()
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running(self.command(arguments).spawn().unwrap())
    }

    /// Logs in with an API key of this user and expects it to work.
    pub(crate) fn log_in_with_key(&self, sandbox: &Sandbox, user: &str, profile: &str) {
        let arguments =
            ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", profile];
        let outcome = self.run_with_input(&arguments, sandbox.api_key(user).unwrap());
        assert_eq!(outcome.status, 0, "{outcome}");
    }

    /// Logs in through the browser as this user and expects it to work.
    pub(crate) fn log_in_by_browser(
        &self,
        sandbox: &Sandbox,
        user: &str,
        more: &[&str],
    ) -> Outcome {
        let arguments = [&["auth", "login", "--web", "--insecure-storage"], more].concat();
        let running = self.start(&arguments);
        approve(sandbox, user);
        let outcome = running.end();
        assert_eq!(outcome.status, 0, "{outcome}");
        outcome
    }
}

/// Allows the login that waits in the sandbox.
pub(crate) fn approve(sandbox: &Sandbox, user: &str) {
    let code = sandbox.wait_for_user_code(PATIENCE).expect("no login waits");
    sandbox.approve(&code, user).unwrap();
}

/// A sandbox on a free port that is polled every second.
pub(crate) fn sandbox() -> Sandbox {
    sandbox_with(|_| ())
}

/// The same, with other settings.
pub(crate) fn sandbox_with(change: impl FnOnce(&mut Config)) -> Sandbox {
    let mut config = Config { device_interval: 1, ..Config::default() };
    change(&mut config);
    Sandbox::start(config).unwrap()
}

/// A program that was started. Dropping it ends it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Waits for its end, for at most a minute.
    pub(crate) fn end(mut self) -> Outcome {
        let collect = |stream: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut stream) = stream {
                    let _ = stream.read_to_end(&mut bytes);
                }
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = collect(self.0.stdout.take().map(|stream| Box::new(stream) as _));
        let stderr = collect(self.0.stderr.take().map(|stream| Box::new(stream) as _));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the command does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            status: code(status),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exit status as a shell shows it.
pub(crate) fn code(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}

/// Everything that a command showed. Its `Display` is made for snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// A success with this on stdout and nothing on stderr.
    pub(crate) fn done(stdout: &str) -> Self {
        Self { status: 0, stdout: stdout.to_owned(), stderr: String::new() }
    }

    /// stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "exit: {}\n----- stdout -----\n{}", self.status, self.stdout)?;
        write!(formatter, "----- stderr -----\n{}", self.stderr)
    }
}

/// Compares an [`Outcome`] with its snapshot file, in which ports, codes and the home are
/// placeholders. `INSTA_UPDATE=always` writes the file anew.
#[macro_export]
macro_rules! assert_outcome {
    ($home:expr, $outcome:expr) => {{
        let home = $home.path().to_str().unwrap().to_owned();
        let home = $crate::support::regex_quote(&$crate::support::with_slashes(home));
        insta::with_settings!({filters => vec![
            (home.as_str(), "[HOME]"),
            (r"localhost:\d{4,5}", "localhost:[PORT]"),
            (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:[PORT]"),
            (r"[B-Z]{4}-[B-Z]{4}", "[CODE]"),
            (r"\(\d+ ms\)", "([MS] ms)"),
        ]}, { insta::assert_snapshot!($crate::support::with_slashes($outcome.to_string())) });
    }};
}

/// The paths of Windows as they would be on Linux, so that both have the same snapshots.
pub(crate) fn with_slashes(text: String) -> String {
    if cfg!(windows) { text.replace(r"\\", "/").replace('\\', "/") } else { text }
}

/// A path as a regular expression.
pub(crate) fn regex_quote(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] })
        .collect()
}
