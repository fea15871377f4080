//! What a caller wants of a token, and whether one meets that or has to be refreshed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::context::Context;
use crate::event::Event;
use crate::profile::{OAuthCredential, ProfileName};
use crate::secret::Secret;

/// A token with less time left than this is refreshed before it is used.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// A token that was issued less than this ago is not replaced because a server refuses it: a server
/// that refuses everything must not make us refresh in a loop.
const JUST_ISSUED: SignedDuration = SignedDuration::from_secs(60);

/// What a caller wants of a token.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// It has at least this long to live. Less than 60 s counts as 60 s.
    pub min_ttl: Duration,
    /// A server has answered 401 to these.
    pub refused: Vec<Secret>,
}

impl Demand {
    /// The minimum lifetime that was asked for, if one was.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        (!self.min_ttl.is_zero()).then(|| self.min_ttl.max(MARGIN.unsigned_abs()))
    }

    /// Whether a server has refused these tokens.
    pub(crate) fn refuses(&self, tokens: &OAuthCredential) -> bool {
        self.refused.contains(&tokens.access_token)
    }

    /// Whether these tokens can be used as they are. Tokens that never live as long as was asked are
    /// replaced when half of their lifetime is over, not at every call.
    pub(crate) fn is_met_by(&self, tokens: &OAuthCredential, now: Timestamp) -> bool {
        if self.refuses(tokens) {
            return false;
        }
        let Some(left) = tokens.time_left(now) else { return true };
        let margin = SignedDuration::try_from(self.min_ttl).unwrap_or(SignedDuration::MAX);
        let margin = margin.max(MARGIN);
        let is_all_there_is = |lifetime: SignedDuration| {
            lifetime <= margin.saturating_add(MARGIN) && left > lifetime / 2
        };
        left > margin || left > MARGIN && tokens.lifetime().is_some_and(is_all_there_is)
    }

    /// Whether these tokens will do if no others can be obtained: a server takes them, and they have
    /// more than 60 s left.
    pub(crate) fn settles_for(&self, tokens: &OAuthCredential, now: Timestamp) -> bool {
        !self.refuses(tokens) && Self::default().is_met_by(tokens, now)
    }

    /// Reports a token that does not live as long as was asked. The profile is `None` for a workload.
    pub(crate) fn report_if_short(
        &self,
        context: &Context,
        profile: Option<&ProfileName>,
        left: Option<SignedDuration>,
    ) {
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        if let Some(left) = left.filter(|left| *left < self.min_ttl) {
            let wanted = self.min_ttl;
            context.observer().notify(&Event::ShortLived { profile, left, wanted });
        }
    }
}

impl OAuthCredential {
    /// How long the access token can still be used; `None` if nobody knows its end. If the clock was
    /// set back to before it was issued, it ends now.
    pub(crate) fn time_left(&self, now: Timestamp) -> Option<SignedDuration> {
        let is_from_the_future = |issued_at: Timestamp| issued_at.duration_since(now) > MARGIN;
        let left = self.expiry?.duration_since(now);
        let is_odd = self.issued_at.is_some_and(is_from_the_future);
        Some(if is_odd { SignedDuration::ZERO } else { left })
    }

    /// How long the access token lives from its issue to its end.
    pub(crate) fn lifetime(&self) -> Option<SignedDuration> {
        Some(self.expiry?.duration_since(self.issued_at?))
    }

    /// Whether the access token has ended, by the current clock alone.
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Whether the access token was issued so recently that a new one would be refused as well.
    pub(crate) fn is_just_issued(&self, now: Timestamp) -> bool {
        let age = |issued_at| now.duration_since(issued_at).abs();
        self.issued_at.is_some_and(|issued_at| age(issued_at) < JUST_ISSUED)
    }
}
