//! Every way in which a command fails: one sentence, a hint, and an exit status.

use std::io;

use baseten_auth::internal::{
    ApiError, ApiKeyError, DeviceError, PendingError, ProfileName, Remote, StoreError, plain_text,
};
use baseten_auth::{Error, ErrorKind, SessionSource};

use crate::exit::Exit;
use crate::explanation::phrases::{LOG_IN, with_causes};
use crate::explanation::{Explanation, Whose, api, device, no_such_profile, pending};
use crate::jq::language::FilterError;
use crate::settings::{SettingsError, SetupError};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line is wrong.
    Usage { message: String, hint: String },
    /// An API key that was given is not valid.
    ApiKey(ApiKeyError),
    /// stdin, which should have an API key, can't be read.
    Input(io::Error),
    /// The `--jq` filter does not compile, or failed on a record (`each`: of a list).
    Filter { error: FilterError, each: bool },
    /// There is no such profile, but a similar one that was probably meant.
    NoSuchProfile { name: ProfileName, selected_by: SessionSource, meant: Option<ProfileName> },
    /// The selected credential is for a remote other than the expected one.
    OtherRemote { remote_url: String, expected: Remote },
    /// The library failed.
    Library(Error),
    /// The browser login failed; `again` is the command that starts it again.
    Device { error: DeviceError, again: String },
    /// A two-step login can't be saved, or there is none to resume.
    Pending(PendingError),
    /// The server rejected an API key that was given, or did not say whose it is.
    Refused(ApiError),
    /// There are no profiles to choose from.
    NothingToChoose,
    /// A prompt failed, other than by being canceled.
    Prompt(io::Error),
    /// stdout can't be written.
    Output(io::Error),
    /// A program can't be started in place of this one.
    Start { program: String, error: io::Error },
    /// An agent is not set up.
    Setup(SetupError),
    /// Ctrl-C, Escape at a prompt, or SIGTERM.
    Canceled(Exit),
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// The only place that turns an error into a message and a status.
    pub(crate) fn explain(&self) -> Explanation {
        match self {
            Self::Usage { message, hint } => {
                Explanation::new(Exit::Usage, message.clone(), hint.clone())
            }
            Self::ApiKey(error) => Explanation::new(
                Exit::Usage,
                error.to_string(),
                "give the key alone, on one line: \
                 echo $API_KEY | baseten auth login --with-api-key --profile <profile>",
            ),
            Self::Input(error) => Explanation::new(
                Exit::Failure,
                format!("cannot read standard input: {error}"),
                "pipe it in: echo $API_KEY | baseten auth login --with-api-key --profile <profile>",
            ),
            Self::Filter { error, each } => filter(error, *each),
            Self::NoSuchProfile { name, selected_by, meant } => Explanation::of(
                ErrorKind::NotFound,
                no_such_profile(name, *selected_by, meant.as_ref()),
            ),
            Self::OtherRemote { remote_url, expected } => Explanation::new(
                Exit::NotLoggedIn,
                format!(
                    "the selected credential is for {}, not for {expected}",
                    plain_text(remote_url)
                ),
                "select a profile of that remote with --profile <profile>, or log in to it with: \
                 baseten auth login --remote-url <url>",
            ),
            Self::Library(error) => Explanation::of_error(error),
            Self::Device { error, again } => Explanation::of(error.kind(), device(error, again)),
            Self::Pending(error) => Explanation::of(error.kind(), pending(error)),
            Self::Refused(error) => Explanation::of(error.kind(), api(error, &Whose::Given)),
            Self::NothingToChoose => Explanation::new(
                Exit::NotLoggedIn,
                "there are no stored profiles to switch to",
                LOG_IN,
            ),
            Self::Prompt(error) => Explanation::new(
                Exit::Failure,
                format!("cannot prompt on this terminal: {error}"),
                "use the options instead of prompts; see --help",
            ),
            Self::Output(error) => Explanation::new(
                Exit::Failure,
                format!("cannot write to standard output: {error}"),
                "check the disk or pipe that standard output goes to",
            ),
            Self::Start { program, error } => not_started(program, error),
            Self::Setup(error) => not_set_up(error),
            Self::Canceled(exit) => Explanation::canceled(*exit),
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<FilterError> for CliError {
    fn from(error: FilterError) -> Self {
        Self::Filter { error, each: false }
    }
}

impl From<PendingError> for CliError {
    fn from(error: PendingError) -> Self {
        Self::Pending(error)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Library(error.into())
    }
}

impl From<SetupError> for CliError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

fn not_set_up(error: &SetupError) -> Explanation {
    let hint = match error {
        SetupError::NoHome { .. } => "set it to your home directory",
        SetupError::Program(_) => "install the program again",
        SetupError::Settings { source, .. } => match source {
            SettingsError::Io(_) => "check the file and its directory: owner, mode and space",
            SettingsError::Malformed { .. } => "fix the file (nothing was changed)",
            SettingsError::Form(_) => {
                "write it as a table or an object of its own (nothing was changed)"
            }
            SettingsError::Taken(_) => "replace it with --force (nothing was changed)",
            SettingsError::Excluded(_) => "remove it (nothing was changed)",
        },
    };
    Explanation::new(Exit::Failure, with_causes(error), hint)
}

/// Uses the same statuses as a shell.
fn not_started(program: &str, error: &io::Error) -> Explanation {
    let program = plain_text(program);
    if error.kind() == io::ErrorKind::NotFound {
        let hint = "check its name, and that its directory is in PATH";
        return Explanation::new(Exit::NoProgram, format!("there is no program {program}"), hint);
    }
    let hint = "check that it is a program, and that you may execute it";
    Explanation::new(Exit::NotExecutable, format!("cannot execute {program}: {error}"), hint)
}

fn filter(error: &FilterError, each: bool) -> Explanation {
    let (exit, hint) = match error {
        FilterError::Invalid { .. } | FilterError::TooComplex => {
            (Exit::Usage, "try the filter '.' to see the whole output")
        }
        FilterError::NotStarted(_) => (Exit::Failure, "try again, or leave out --jq"),
        FilterError::Failed(_) if each => (
            Exit::Failure,
            "the filter runs on each profile; with -o json, it runs on the whole list",
        ),
        FilterError::Failed(_) | FilterError::TookTooLong | FilterError::Crashed => {
            (Exit::Failure, "the command succeeded; only the --jq filter failed")
        }
    };
    Explanation::new(exit, with_causes(error), hint)
}
