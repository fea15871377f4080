//! What the library tells while it works, as lines on stderr.

use baseten_auth::internal::{Env, ProfileName, plain_text};
use baseten_auth::{AuthType, Event};

use crate::explanation::{log_in_again, with_causes};
use crate::render::{talk, warning};
use crate::text::sanitize;
use crate::words::selected_by;

/// Prints warnings, and everything else too where `verbose`.
pub(crate) fn tell(event: &Event<'_>, verbose: bool) {
    match notice(event) {
        Some(Notice::Warning(message)) => warning(&message),
        Some(Notice::Talk(message)) => talk(&message),
        Some(Notice::Detail(message)) if verbose => talk(&sanitize(&format!("debug: {message}"))),
        Some(Notice::Detail(_)) | None => {}
    }
}

/// Says which variables will still win over the profile that a command has just chosen, or
/// removed (`None`).
pub(crate) fn still_wins(env: &Env, chosen: Option<&ProfileName>) {
    if env.has("BASETEN_API_KEY") {
        warning("BASETEN_API_KEY is set and still takes precedence over the stored profiles");
    }
    let Ok(Some(name)) = env.text("BASETEN_PROFILE") else { return };
    if chosen.map(ProfileName::as_str) != Some(name) {
        let name = plain_text(name);
        warning(&format!("BASETEN_PROFILE is set and still selects the profile '{name}'"));
    }
}

enum Notice {
    /// For those who asked with `-v`.
    Detail(String),
    Warning(String),
    Talk(String),
}

fn notice(event: &Event<'_>) -> Option<Notice> {
    let shown = |name: &ProfileName| plain_text(name.as_str());
    Some(match event {
        Event::KeyringPrompt => {
            Notice::Talk("waiting for the system keyring to be unlocked".to_owned())
        }
        Event::TokenNotStored { profile, remote_url, reason } => Notice::Warning(format!(
            "the refreshed token of profile '{}' could not be stored and is good for this run only: \
             {}; {}",
            shown(profile),
            with_causes(*reason),
            log_in_again(profile.as_str(), Some(remote_url), Some(AuthType::OAuth))
        )),
        Event::SessionNotEnded { profile, reason } => Notice::Warning(format!(
            "the session of profile '{}' could not be ended at the server: {}",
            shown(profile),
            with_causes(*reason)
        )),
        Event::KeyringUnavailable { reason, file } => Notice::Warning(format!(
            "{}, so the credential is stored in plain text in {}",
            with_causes(*reason),
            file.display()
        )),
        Event::OldCopyKept { profile, reason } => Notice::Warning(format!(
            "an old copy of the credential of profile '{}' may be left, since {}",
            shown(profile),
            with_causes(*reason)
        )),
        Event::Request { method, url, status, elapsed } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let (url, time) = (plain_text(url), elapsed.as_millis());
            Notice::Detail(format!("{method} {url} {status} ({time} ms)"))
        }
        Event::Retry { reason, pause } => {
            Notice::Talk(format!("{}; trying again in {} s", with_causes(*reason), pause.as_secs()))
        }
        Event::StorageRead { storage, outcome } => {
            let outcome = match outcome {
                Ok(found) => (*found).to_owned(),
                Err(reason) => format!("no answer: {}", with_causes(*reason)),
            };
            Notice::Detail(format!("{}: {outcome}", plain_text(storage)))
        }
        Event::Selected { source, profile: Some(profile) } => {
            Notice::Detail(format!("profile {} ({})", shown(profile), selected_by(*source)))
        }
        Event::Selected { source, profile: None } => {
            Notice::Detail(format!("using {}", selected_by(*source)))
        }
        // Whatever a newer library tells.
        _ => return None,
    })
}
