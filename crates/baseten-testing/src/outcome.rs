//! Running programs, and everything that they printed.

use std::fmt;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use crate::wait;

/// `ERROR_INTERNAL_ERROR` of Windows.
const INTERNAL_ERROR: i32 = 1359;

/// A running program. Dropping it kills it.
pub struct Running(
    /// Its process.
    pub Child,
);

impl Running {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Self {
        let mut started = command.spawn();
        // Wine does not always manage to start two processes at once.
        for _ in 0..3 {
            let error = started.as_ref().err().and_then(std::io::Error::raw_os_error);
            if cfg!(windows) && error == Some(INTERNAL_ERROR) {
                std::thread::sleep(std::time::Duration::from_millis(200));
                started = command.spawn();
            }
        }
        Self(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Starts a program with this on stdin.
    pub fn with_input(command: &mut Command, input: impl AsRef<[u8]>) -> Self {
        let mut running = Self::start(command.stdin(Stdio::piped()));
        // If the program leaves some of it unread, its outcome says why.
        let _ = running.0.stdin.take().unwrap().write_all(input.as_ref());
        running
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end, for at most a minute.
    pub fn end(mut self) -> Outcome {
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
        wait::until("the command ends", || self.has_ended());
        Outcome {
            status: code(self.0.wait().unwrap()),
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
pub fn code(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            status: code(output.status),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Everything that a command printed. Its `Display` is for snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status as a shell shows it.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// A success with this on stdout and nothing on stderr.
    pub fn done(stdout: &str) -> Self {
        Self { status: 0, stdout: stdout.to_owned(), stderr: String::new() }
    }

    /// Fails the test if the command failed.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "the check may be all that is wanted")]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, 0, "{self}");
        self
    }

    /// stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
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
/// placeholders. `INSTA_UPDATE=always` writes the file again.
#[macro_export]
macro_rules! assert_outcome {
    ($home:expr, $outcome:expr) => {{
        let home = $home.path().to_str().unwrap().to_owned();
        let home = $crate::outcome::regex_quote(&$crate::outcome::with_slashes(home));
        $crate::insta::with_settings!({filters => vec![
            (home.as_str(), "[HOME]"),
            (r"localhost:\d{4,5}", "localhost:[PORT]"),
            (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:[PORT]"),
            (r"[B-Z]{4}-[B-Z]{4}", "[CODE]"),
            (r"\(\d+ ms\)", "([MS] ms)"),
            (r"started it: on \S+, for", "started it: on [MACHINE], for"),
        ]}, { $crate::insta::assert_snapshot!($crate::outcome::with_slashes($outcome.to_string())) });
    }};
}

/// Windows paths in the form that they have on Linux, so that both have the same snapshots.
pub fn with_slashes(text: String) -> String {
    if cfg!(windows) { text.replace(r"\\", "/").replace('\\', "/") } else { text }
}

/// A path as a regular expression.
pub fn regex_quote(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] })
        .collect()
}
