//! Programs by other people that run in the background.

use std::fs;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::outcome::Running;

/// A program in the background, whose stderr is shown if its test fails. Dropping it ends it.
pub struct Daemon {
    /// Its process.
    pub process: Running,
    name: String,
    log: NamedTempFile,
}

impl Daemon {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self::of(command, Running::start)
    }

    /// Starts it with this on stdin.
    pub fn with_input(command: &mut Command, input: &str) -> Self {
        Self::of(command, |command| Running::with_input(command, input))
    }

    fn of(command: &mut Command, start: impl FnOnce(&mut Command) -> Running) -> Self {
        let log = NamedTempFile::new().unwrap();
        let name = command.get_program().to_string_lossy().into_owned();
        let process = start(command.stderr(log.reopen().unwrap()));
        Self { process, name, log }
    }
}

impl Drop for Daemon {
    #[expect(clippy::print_stderr, reason = "shown with the failure that it may explain")]
    fn drop(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
        if std::thread::panicking() {
            let said = fs::read(&self.log).unwrap_or_default();
            eprintln!("stderr of {}: {}", self.name, String::from_utf8_lossy(&said));
        }
    }
}
