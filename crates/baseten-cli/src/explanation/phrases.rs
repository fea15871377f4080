//! Phrases that many explanations have in common.

use std::error::Error as StdError;
use std::fmt::Display;

use baseten_auth::internal::{ProfileName, display_text, plain_text};
use baseten_auth::{AuthType, Error};

/// A sentence and a hint.
pub(crate) type Words = (String, String);

pub(super) fn words(message: impl Into<String>, hint: impl Into<String>) -> Words {
    (message.into(), hint.into())
}

/// The command for a user who has no profile yet.
pub(crate) const LOG_IN: &str = "log in with: baseten auth login";
pub(super) const ANOTHER_FILE_SYSTEM: &str =
    "set BASETEN_CONFIG_DIR to a directory of another file system";
pub(super) const OTHERS_HANG: &str = "try again; if other baseten processes hang, stop them";

/// An error and its causes as one sentence that is safe to print.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause.
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    display_text(&sentence)
}

pub(super) fn shown(name: impl Display) -> String {
    format!("'{}'", plain_text(&name.to_string()))
}

/// A word, quoted for a shell if needed.
pub(super) fn quoted(word: &str) -> String {
    let word = plain_text(word);
    let plain = |c: char| c.is_alphanumeric() || "@._-:+/[]".contains(c);
    if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The option that names a profile, even one whose name looks like an option.
pub(super) fn profile_option(name: &str) -> String {
    let separator = if name.starts_with('-') { '=' } else { ' ' };
    format!("--profile{separator}{}", quoted(name))
}

/// The options of a login to this profile at this remote.
pub(crate) fn login_options(name: Option<&str>, remote_url: Option<&str>) -> String {
    let profile = name.map(|name| format!(" {}", profile_option(name)));
    let remote = remote_url.map(|url| format!(" --remote-url {}", quoted(url)));
    profile.unwrap_or_default() + &remote.unwrap_or_default()
}

/// The options for logging in again to a stored profile. They always name the remote: at another
/// remote, for example the one in `BASETEN_REMOTE_URL`, the login would replace the profile with
/// something else.
pub(super) fn options_to_replace(name: &str, remote_url: Option<&str>) -> String {
    let unknown = if remote_url.is_none() { " --remote-url <url>" } else { "" };
    login_options(Some(name), remote_url) + unknown
}

/// The command that gives a profile a new credential of the same kind.
pub(crate) fn log_in_again(
    name: &str,
    remote_url: Option<&str>,
    auth_type: Option<AuthType>,
) -> String {
    let with_key = match auth_type {
        Some(AuthType::ApiKey) => " --with-api-key",
        _ => "",
    };
    let options = options_to_replace(name, remote_url);
    format!("log in again with: baseten auth login{with_key}{options}")
}

/// The same command for the profile of an error.
pub(super) fn login_for(profile: &ProfileName, error: &Error) -> String {
    log_in_again(profile.as_str(), error.remote_url(), error.auth_type())
}
