//! The exit statuses, which scripts rely on.

use std::process::ExitCode;

use baseten_auth::ErrorKind;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Files, keyring, a broken store, and anything without its own status.
    Failure = 1,
    /// The command line, a variable or an input is wrong.
    Usage = 2,
    /// Not logged in, or the credential is missing, refused or expired.
    NotLoggedIn = 3,
    /// There is no such profile, or the server answered 404.
    NotFound = 4,
    /// The server refused the request with another 4xx.
    Refused = 5,
    /// The server or the network failed.
    Server = 6,
    /// A program can't be executed.
    NotExecutable = 126,
    /// There is no such program.
    NoProgram = 127,
    /// The terminal went away (128 + SIGHUP).
    HungUp = 129,
    /// Interrupted by Ctrl-C (128 + SIGINT).
    Interrupted = 130,
    /// Ended by Ctrl-\ (128 + SIGQUIT).
    Quit = 131,
    /// Asked to end (128 + SIGTERM).
    Terminated = 143,
}

impl Exit {
    /// The statuses and their meanings, in order, for help and documentation.
    pub(crate) const MEANINGS: &[(Exit, &str)] = &[
        (Exit::Done, "done"),
        (Exit::Failure, "anything else: files, keyring, a broken profile store"),
        (Exit::Usage, "usage: unknown flag or value, bad URL or API key, missing flag"),
        (Exit::NotLoggedIn, "not logged in, or the credential is missing, refused or expired"),
        (Exit::NotFound, "no such profile, or not found at the server (404)"),
        (Exit::Refused, "the server refused the request (another 4xx)"),
        (Exit::Server, "the server or the network failed"),
        (Exit::NotExecutable, "auth exec: the program cannot be executed"),
        (Exit::NoProgram, "auth exec: there is no such program"),
        (Exit::HungUp, "the terminal went away (SIGHUP)"),
        (Exit::Interrupted, "interrupted (Ctrl-C)"),
        (Exit::Quit, "ended from the keyboard (SIGQUIT)"),
        (Exit::Terminated, "terminated (SIGTERM)"),
    ];
}

impl Exit {
    /// Whether it was ended from outside.
    pub(crate) fn is_a_signal(self) -> bool {
        self as u8 > 128
    }

    /// The status for an error of this kind.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NotLoggedIn => Self::NotLoggedIn,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Unavailable => Self::Server,
            ErrorKind::Canceled => Self::Interrupted,
            // `Local`, and kinds that a newer library adds.
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
