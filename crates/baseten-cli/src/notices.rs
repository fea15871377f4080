//! Prints the library's events on stderr.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use baseten_auth::internal::{Env, PlaceError, ProfileName, plain_text, variable};
use baseten_auth::{AuthType, Event};

use crate::explanation::phrases::{log_in_again, with_causes};
use crate::render::{talk, warning};
use crate::text::sanitize;
use crate::words::selected_by;

/// Prints events.
#[derive(Debug)]
pub(crate) struct Notices {
    verbose: bool,
    /// Why the last request failed, and how often it was tried.
    failure: Mutex<(String, u32)>,
}

impl Notices {
    /// Prints warnings, and everything else too if `verbose`.
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, failure: Mutex::default() }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        match notice(event, |reason| self.attempt(reason)) {
            Some(Notice::Warning(message)) => warning(&message),
            Some(Notice::Talk(message)) => talk(&message),
            Some(Notice::Detail(message)) if self.verbose => {
                talk(&sanitize(&format!("debug: {message}")));
            }
            Some(Notice::Detail(_)) | None => {}
        }
    }

    /// The number of the next attempt after a failure for this reason.
    fn attempt(&self, reason: &str) -> u32 {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.0 != reason {
            *failure = (reason.to_owned(), 1);
        }
        failure.1 += 1;
        failure.1
    }
}

/// Warns about variables that take precedence over the profile that a command has just chosen or
/// (`None`) removed.
pub(crate) fn still_wins(env: &Env, chosen: Option<&ProfileName>) {
    for name in [variable::API_KEY, variable::TRUST_RULE] {
        if env.has(name) {
            let wins = "is set and still takes precedence over the stored profiles";
            warning(&format!("{name} {wins}"));
        }
    }
    let Ok(Some(name)) = env.text(variable::PROFILE) else { return };
    if chosen.map(ProfileName::as_str) != Some(name) {
        let name = plain_text(name);
        warning(&format!("BASETEN_PROFILE is set and still selects the profile '{name}'"));
    }
}

fn old_copy(profile: &str, reason: &(dyn Error + 'static)) -> String {
    let may_remain = format!("an old copy of the credential of profile '{profile}' may remain");
    match reason.downcast_ref() {
        Some(PlaceError::NotAvailable { .. }) => format!(
            "{may_remain}: no keyring was reachable to check. If this machine has none, set \
             BASETEN_CREDENTIAL_STORE=file"
        ),
        _ => format!("{may_remain}: {}", with_causes(reason)),
    }
}

enum Notice {
    /// Only printed with `-v`.
    Detail(String),
    Warning(String),
    Talk(String),
}

fn notice(event: &Event<'_>, attempt: impl Fn(&str) -> u32) -> Option<Notice> {
    let shown = |name: &ProfileName| plain_text(name.as_str());
    let token_of = |profile: Option<&ProfileName>| match profile {
        Some(profile) => format!("the token of profile '{}'", shown(profile)),
        None => "the access token".to_owned(),
    };
    Some(match event {
        Event::HelperPending { program } => {
            Notice::Talk(format!("waiting for {} to answer", plain_text(program)))
        }
        Event::KeyringPrompt => {
            Notice::Talk("waiting for the system keyring to be unlocked".to_owned())
        }
        Event::TokenNotStored { profile, remote_url, reason } => Notice::Warning(format!(
            "the refreshed token of profile '{}' could not be stored, so only this run can use it: \
             {}; {}",
            shown(profile),
            with_causes(*reason),
            log_in_again(profile.as_str(), Some(remote_url), Some(AuthType::OAuth))
        )),
        Event::RefreshFailed { profile, reason } => Notice::Warning(format!(
            "{} could not be refreshed: {}; it is still valid for a while",
            token_of(*profile),
            with_causes(*reason)
        )),
        Event::ShortLived { profile, left, wanted } => Notice::Warning(format!(
            "{} is valid for {} s, and --min-ttl asks for {} s: \
             the server's tokens do not live longer",
            token_of(*profile),
            left.as_secs(),
            wanted.as_secs()
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
        Event::StoreExposed { file } => Notice::Warning(format!(
            "other users can replace {}: its directory is not yours alone",
            file.display()
        )),
        Event::OldCopyKept { profile, reason } => {
            Notice::Warning(old_copy(&shown(profile), *reason))
        }
        Event::Request { method, url, status, elapsed } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let (url, time) = (plain_text(url), elapsed.as_millis());
            Notice::Detail(format!("{method} {url} {status} ({time} ms)"))
        }
        Event::Retry { reason, pause } => {
            let (reason, pause) = (with_causes(*reason), pause.as_secs());
            Notice::Talk(match attempt(&reason) {
                2 => format!("{reason}; trying again in {pause} s"),
                attempt => format!("trying again in {pause} s (attempt {attempt})"),
            })
        }
        Event::StorageRead { storage, outcome } => {
            let outcome = match outcome {
                Ok(found) => (*found).to_owned(),
                Err(reason) => format!("no answer: {}", with_causes(*reason)),
            };
            Notice::Detail(format!("{}: {outcome}", plain_text(storage)))
        }
        Event::IdentityToken { source, claims } => {
            Notice::Detail(format!("identity token from {}: {claims}", plain_text(source)))
        }
        Event::Selected { source, profile: Some(profile) } => {
            Notice::Detail(format!("profile {} ({})", shown(profile), selected_by(*source)))
        }
        Event::Selected { source, profile: None } => {
            Notice::Detail(format!("using {}", selected_by(*source)))
        }
        // Events of a newer library.
        _ => return None,
    })
}
