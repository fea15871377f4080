//! The result of a refresh, on one host or on many.

use std::error::Error as StdError;
use std::time::Duration;

use super::demand::Demand;
use crate::context::Context;
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::profile::{OAuthCredential, Profile, ProfileName};

/// How long a refresh may take at the server. Others wait longer than that for it.
pub(super) const REFRESH_LIMIT: Duration = Duration::from_secs(25);

/// Tokens that can be used now.
pub(crate) struct Usable {
    pub(crate) tokens: OAuthCredential,
    /// Whether the server has just issued them. If it refuses them, it would refuse new ones too.
    pub(crate) just_refreshed: bool,
}

impl Usable {
    /// Tokens that others have stored.
    pub(super) fn found(tokens: OAuthCredential) -> Self {
        Self { tokens, just_refreshed: false }
    }

    /// Tokens that others have stored meanwhile, after the server refused our refresh token. They
    /// are used even if they end soon: there are no better ones.
    pub(super) fn newer(
        context: &Context,
        tokens: OAuthCredential,
        demand: &Demand,
    ) -> Option<Self> {
        let is_good = !tokens.has_ended(context.wait().now()) && !demand.refuses(&tokens);
        is_good.then(|| Self::found(tokens))
    }
}

pub(super) fn logged_out(name: &ProfileName) -> Error {
    Failure::LoggedOutMeanwhile { profile: name.clone() }.into()
}

pub(super) fn session_ended(name: &ProfileName) -> Error {
    Failure::SessionEnded { profile: name.clone() }.into()
}

/// Reports that refreshed tokens could not be stored. That is a warning, not an error: the old refresh
/// token is used up, so these tokens are all there is, and they are good for this run.
pub(super) fn report_not_stored(
    context: &Context,
    profile: &Profile,
    reason: &(dyn StdError + 'static),
) {
    let Profile { name, remote_url, .. } = profile;
    context.observer().notify(&Event::TokenNotStored { profile: name, remote_url, reason });
}
