//! Explains the library's errors to people: one sentence, and what to do next.

mod local;
mod network;
pub(crate) mod phrases;
mod workload;

use baseten_auth::internal::{
    ApiError, ApiUrlError, DeviceError, Failure, PendingError, ProfileName,
};
use baseten_auth::{Error, ErrorKind, SessionSource};

use self::local::{lend, lock, pending, place, place_name, store};
use self::network::{Whose, api, device};
use self::phrases::{
    LOG_IN, Words, log_in_again, login_for, profile_option, shown, with_causes, words,
};
use self::workload::workload;
use crate::exit::Exit;

/// What is printed for an error.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Explanation {
    /// A sentence and a hint for an error with this exit status.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: Some(hint.into()) }
    }

    fn of(kind: ErrorKind, (message, hint): Words) -> Self {
        Self::new(Exit::of(kind), message, hint)
    }

    /// The command was canceled by a signal or at a prompt.
    pub(crate) fn canceled(exit: Exit) -> Self {
        Self { exit, message: "Canceled.".to_owned(), hint: None }
    }

    /// The library failed.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Canceled => Self::canceled(Exit::Interrupted),
            kind => Self::of(kind, library(error)),
        }
    }

    /// The browser login failed; `again` is the command that starts it again.
    pub(crate) fn of_device(error: &DeviceError, again: &str) -> Self {
        match error.kind() {
            ErrorKind::Canceled => Self::canceled(Exit::Interrupted),
            kind => Self::of(kind, device(error, again)),
        }
    }

    /// A two-step login can't be saved, or there is none to resume.
    pub(crate) fn of_pending(error: &PendingError) -> Self {
        Self::of(error.kind(), pending(error))
    }

    /// There is no such profile, but a similar one that was probably meant.
    pub(crate) fn of_missing_profile(
        name: &ProfileName,
        selected_by: SessionSource,
        meant: Option<&ProfileName>,
    ) -> Self {
        Self::of(ErrorKind::NotFound, no_such_profile(name, selected_by, meant))
    }

    /// The server rejected an API key that was given, or did not say whose it is.
    pub(crate) fn of_given_key(error: &ApiError) -> Self {
        Self::of(error.kind(), api(error, &Whose::Given))
    }
}

fn library(error: &Error) -> Words {
    let sentence = with_causes(error);
    match error.failure() {
        Failure::Store(error) => store(error),
        Failure::StoragePolicy(_) => {
            words(sentence, "correct BASETEN_CREDENTIAL_STORE, or unset it")
        }
        Failure::KeyringTimeout(_) => words(sentence, "set it to a number such as 5, or unset it"),
        Failure::NotText(_) => words(sentence, "set it to plain text, or unset it"),
        Failure::ProfileName(_) | Failure::UserAgent => words(sentence, "give it another name"),
        Failure::ApiKeyEnv(_) => {
            words(sentence, "set BASETEN_API_KEY to the key alone, or unset it")
        }
        Failure::Workload(error) => workload(error),
        Failure::Lend(error) => lend(error),
        Failure::ProfileEnv(_) => {
            words(sentence, "set BASETEN_PROFILE to a stored name, or unset it")
        }
        Failure::RemoteEnv(_) => words(
            sentence,
            "set BASETEN_REMOTE_URL to a URL such as https://app.baseten.co, or unset it",
        ),
        Failure::ApiUrl(ApiUrlError::NoName { api, .. }) => words(
            sentence,
            format!(
                "use a remote with a name, such as http://localhost:8000, or set {} to its {} URL",
                api.variable, api.name
            ),
        ),
        Failure::ApiUrl(ApiUrlError::Override { api, .. }) => {
            words(sentence, format!("correct {}, or unset it", api.variable))
        }
        Failure::ApiUrl(ApiUrlError::NotText(error)) => {
            words(sentence, format!("correct {}, or unset it", error.variable))
        }
        Failure::StoredRemote { profile, source } => words(
            format!(
                "the remote URL of profile {} cannot be used: {source}",
                shown(profile.as_str())
            ),
            log_in_again(profile.as_str(), None, error.auth_type()),
        ),
        Failure::UserName(error) => words(
            format!("the profile cannot be named after this user: {error}"),
            "choose a name with --profile <profile>",
        ),
        Failure::NoCurrentProfile { any_stored: true } => words(
            "there is no current profile",
            "choose one with: baseten auth switch --profile <profile> (baseten auth list shows them)",
        ),
        Failure::NoCurrentProfile { any_stored: false } => {
            words("not logged in: no profile is stored", LOG_IN)
        }
        Failure::NoSuchProfile { name, selected_by } => no_such_profile(name, *selected_by, None),
        Failure::LoggedOutMeanwhile { profile } => words(
            format!("another process has logged out profile {}", shown(profile.as_str())),
            login_for(profile, error),
        ),
        Failure::ReplacedMeanwhile { .. } => {
            words(sentence, "look at it with: baseten auth status, and try again")
        }
        Failure::CredentialMissing { profile, storage } => words(
            format!(
                "the credential of profile {} is missing from {}",
                shown(profile.as_str()),
                place_name(storage)
            ),
            login_for(profile, error),
        ),
        Failure::SessionEnded { profile } => words(
            format!(
                "the session of profile {} has expired or was revoked",
                shown(profile.as_str())
            ),
            login_for(profile, error),
        ),
        Failure::NewTokenRefused { profile } => words(
            format!(
                "the server refused a token of profile {} that is less than a minute old",
                shown(profile.as_str())
            ),
            "check that the request goes to the profile's remote, and what its user may do there",
        ),
        Failure::ApiKeyRefused => {
            words(sentence, "check the key, and that the request goes to its remote")
        }
        Failure::Place { profile, storage: _, source } => place(profile.as_ref(), source),
        Failure::ProfileLock { profile, source } => lock(profile, source),
        Failure::Api { profile: Some(profile), source } => {
            api(source, &Whose::Profile(profile, error))
        }
        Failure::Api { profile: None, source } => api(source, &Whose::Environment),
        Failure::Token { profile, source } => {
            let (message, hint) = api(source, &Whose::Profile(profile, error));
            let profile = shown(profile.as_str());
            (format!("cannot refresh the session of profile {profile}: {message}"), hint)
        }
        Failure::Canceled => words(sentence, "try again"),
    }
}

fn no_such_profile(
    name: &ProfileName,
    selected_by: SessionSource,
    meant: Option<&ProfileName>,
) -> Words {
    let name = shown(name.as_str());
    let message = match selected_by {
        SessionSource::ProfileEnv => {
            format!("no profile named {name}, which BASETEN_PROFILE selects")
        }
        SessionSource::Current => format!("the current profile {name} no longer exists"),
        _ => format!("no profile named {name}"),
    };
    let hint = match (meant, selected_by) {
        (Some(meant), SessionSource::Named) => {
            format!("did you mean {}?", profile_option(meant.as_str()))
        }
        (Some(meant), _) => format!("did you mean {}?", shown(meant.as_str())),
        (None, _) => "see the profiles with: baseten auth list, or log in with: baseten auth login"
            .to_owned(),
    };
    words(message, hint)
}
