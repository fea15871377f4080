//! Explains the library's errors to people: one sentence, and what to do next.

mod local;
mod network;
pub(crate) mod phrases;
mod workload;

use baseten_auth::internal::{Failure, ProfileName, Storage};
use baseten_auth::{Error, ErrorKind, SessionSource};

pub(crate) use self::local::pending;
use self::local::{lend, lock, place, store};
use self::network::api_url;
pub(crate) use self::network::{Whose, api, device};
use self::phrases::{
    LOG_IN, Words, log_in_again, login_for, profile_option, shown, with_causes, words,
};
use self::workload::workload;
use crate::exit::Exit;
use crate::words::place_name;

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

    /// A sentence and a hint for an error of this kind.
    pub(crate) fn of(kind: ErrorKind, (message, hint): Words) -> Self {
        match kind {
            ErrorKind::Canceled => Self::canceled(Exit::Interrupted),
            kind => Self::new(Exit::of(kind), message, hint),
        }
    }

    /// The command was canceled by a signal or at a prompt.
    pub(crate) fn canceled(exit: Exit) -> Self {
        Self { exit, message: "Canceled.".to_owned(), hint: None }
    }

    /// The library failed.
    pub(crate) fn of_error(error: &Error) -> Self {
        Self::of(error.kind(), library(error))
    }
}

fn library(error: &Error) -> Words {
    let hint = match error.failure() {
        Failure::Store(error) => return store(error),
        Failure::Workload(error) => return workload(error),
        Failure::Lend(error) => return lend(error),
        Failure::ApiUrl(error) => return api_url(error),
        Failure::Place { profile, storage: _, source } => return place(profile.as_ref(), source),
        Failure::ProfileLock { profile, source } => return lock(profile, source),
        Failure::Api { profile: Some(profile), source } => {
            return api(source, &Whose::Profile(profile, error));
        }
        Failure::Api { profile: None, source } => return api(source, &Whose::Environment),
        Failure::Token { profile, source } => {
            let (message, hint) = api(source, &Whose::Profile(profile, error));
            let profile = shown(profile);
            return (format!("cannot refresh the session of profile {profile}: {message}"), hint);
        }
        Failure::NoSuchProfile { name, selected_by } => {
            return no_such_profile(name, *selected_by, None);
        }
        Failure::StoredRemote { profile, source } => {
            let hint = log_in_again(profile.as_str(), None, error.auth_type());
            let profile = shown(profile);
            return (format!("the remote URL of profile {profile} cannot be used: {source}"), hint);
        }
        Failure::LoggedOutMeanwhile { profile } => {
            let message = format!("another process has logged out profile {}", shown(profile));
            return (message, login_for(profile, error));
        }
        Failure::CredentialMissing { profile, storage } => {
            let the = if matches!(storage, Storage::File | Storage::Keyring) { "the " } else { "" };
            let (name, place) = (shown(profile), place_name(storage));
            let message = format!("the credential of profile {name} is missing from {the}{place}");
            return (message, login_for(profile, error));
        }
        Failure::SessionEnded { profile } => {
            let name = shown(profile);
            let message = format!("the session of profile {name} has expired or was revoked");
            return (message, login_for(profile, error));
        }
        Failure::NewTokenRefused { profile } => {
            return words(
                format!(
                    "the server refused a token of profile {} that is less than a minute old",
                    shown(profile)
                ),
                "check that the request goes to the profile's remote, and what its user may do there",
            );
        }
        Failure::UserName(error) => {
            return words(
                format!("the profile cannot be named after this user: {error}"),
                "choose a name with --profile <profile>",
            );
        }
        Failure::NoCurrentProfile { any_stored: true } => {
            return words(
                "there is no current profile",
                "choose one with: baseten auth switch --profile <profile> (baseten auth list shows them)",
            );
        }
        Failure::NoCurrentProfile { any_stored: false } => {
            return words("not logged in: no profile is stored", LOG_IN);
        }
        Failure::StoragePolicy(_) => "correct BASETEN_CREDENTIAL_STORE, or unset it",
        Failure::KeyringTimeout(_) => "set it to a number such as 5, or unset it",
        Failure::NotText(_) => "set it to plain text, or unset it",
        Failure::ProfileName(_) | Failure::UserAgent => "give it another name",
        Failure::ApiKeyEnv(_) => "set BASETEN_API_KEY to the key alone, or unset it",
        Failure::ProfileEnv(_) => "set BASETEN_PROFILE to a stored name, or unset it",
        Failure::RemoteEnv(_) => {
            "set BASETEN_REMOTE_URL to a URL such as https://app.baseten.co, or unset it"
        }
        Failure::ReplacedMeanwhile { .. } => "look at it with: baseten auth status, and try again",
        Failure::ApiKeyRefused => "check the key, and that the request goes to its remote",
        Failure::Canceled => "try again",
    };
    words(with_causes(error), hint)
}

/// There is no such profile; perhaps a similar one was meant.
pub(crate) fn no_such_profile(
    name: &ProfileName,
    selected_by: SessionSource,
    meant: Option<&ProfileName>,
) -> Words {
    let name = shown(name);
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
        (Some(meant), _) => format!("did you mean {}?", shown(meant)),
        (None, _) => "see the profiles with: baseten auth list, or log in with: baseten auth login"
            .to_owned(),
    };
    words(message, hint)
}
