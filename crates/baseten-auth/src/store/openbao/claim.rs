//! How hosts that share a secret change it without locks: a pure decision for each answer of the
//! engine.
//!
//! A change is written by check-and-set, with its own nonce. If the answer does not say whether it
//! was made, the secret is looked up: the nonce says whether it was, and if not, it is written
//! again on the same version. The engine makes only one write on a version.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::secret::Secret;

/// How long a claim lasts: the time for the request at the server and for storing its answer, and
/// 15 s for clocks that differ.
pub(super) const CLAIM: SignedDuration = SignedDuration::from_secs(75);

/// What must be left of a claim when the server has answered: 30 s to store the answer, and 15 s
/// for clocks that differ.
pub(super) const TO_STORE: SignedDuration = SignedDuration::from_secs(45);

/// What must be left of a claim when a refresh begins: [`TO_STORE`], and 25 s at the server.
const NEEDED: SignedDuration = SignedDuration::from_secs(70);

/// How long a node of a cluster may be behind: until there is a new leader, it does not get the
/// last writes of the old one. That took 8 to 10 s when it was tried.
pub(super) const BEHIND: Duration = Duration::from_secs(15);

/// Who refreshes, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) by: String,
    pub(super) until: Timestamp,
}

/// A secret as the engine stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) credential: Secret,
    pub(super) nonce: String,
    pub(super) claim: Option<Claim>,
}

/// What a look has found: a version (0 if there never was one), and its secret unless it is
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: u64,
    pub(super) secret: Option<Shared>,
}

/// What the engine said.
pub(super) enum Heard {
    /// A look was answered.
    Found(Found),
    /// The write was made, as this version.
    Written(u64),
    /// The write was refused because of its version, or nobody knows whether it was made.
    Unclear,
}

/// What a change is for.
#[derive(Clone, Copy)]
pub(super) enum Goal<'a> {
    /// To be the only one that refreshes, if the credential needs it.
    Claim { needs: &'a dyn Fn(&Secret) -> bool },
    /// To replace only an outdated credential: a refresh replaces the tokens that it used, and not
    /// those of another login.
    ReplaceOnly { outdated: &'a dyn Fn(&Secret) -> bool },
    /// To store a new login, whatever is there.
    Replace,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Look again, after a short pause.
    Look,
    /// Look again, after a longer pause: another host refreshes.
    Wait,
    /// Write on this version. For a claim, `until` is its end.
    Write { on: u64, credential: Option<Secret>, until: Option<Timestamp> },
    /// The claim is ours until then. This is its version, and the credential to refresh.
    Held { version: u64, credential: Secret, until: Timestamp },
    /// The change is made, or there is nothing to change.
    Done,
    /// This credential needs no refresh.
    Fresh(Secret),
    /// The secret is gone.
    Lost,
}

/// A change in progress.
pub(super) struct Change<'a> {
    goal: Goal<'a>,
    nonce: &'a str,
    /// The newest version seen.
    seen: u64,
    /// Since when looks have shown an older version, or no secret.
    doubted: Option<Duration>,
    /// How long such looks are doubted.
    behind: Duration,
    /// The credential of the claim that was written last, and the end of that claim.
    written: Option<(Secret, Timestamp)>,
    /// Another host's claim, and since when it has been seen.
    watched: Option<(Claim, Duration)>,
}

impl<'a> Change<'a> {
    /// A change that marks its writes and its claims with this nonce. No other change may have it:
    /// an old answer may still show an earlier claim of the same process, and the token of that one
    /// is used up.
    pub(super) fn new(goal: Goal<'a>, nonce: &'a str) -> Self {
        Self { goal, nonce, seen: 0, behind: BEHIND, doubted: None, written: None, watched: None }
    }

    /// The nonce that marks its writes.
    pub(super) fn nonce(&self) -> &'a str {
        self.nonce
    }

    /// Whether a claim was written, and its answer never came.
    pub(super) fn may_have_claimed(&self) -> bool {
        self.written.is_some()
    }

    /// There is only one server: nothing that it shows is old.
    pub(super) fn doubt_nothing(&mut self) {
        self.behind = Duration::ZERO;
    }

    /// The next step. `clock` is the wall clock, and `steady` the time since the first step.
    pub(super) fn step(&mut self, heard: Heard, clock: Timestamp, steady: Duration) -> Action {
        match heard {
            Heard::Unclear => Action::Look,
            Heard::Found(found) if self.is_doubtful(&found, steady) => Action::Look,
            Heard::Found(found) => {
                self.doubted = None;
                self.seen = found.version;
                self.judge(found, clock, steady)
            }
            Heard::Written(version) => {
                self.seen = self.seen.max(version);
                match self.written.take() {
                    Some((credential, until)) if is_short(until, clock) => {
                        self.claim(version, credential, clock)
                    }
                    Some((credential, until)) => Action::Held { version, credential, until },
                    None => Action::Done,
                }
            }
        }
    }

    fn judge(&mut self, found: Found, clock: Timestamp, steady: Duration) -> Action {
        let Found { version, secret } = found;
        let Some(shared) = secret else {
            return match self.goal {
                Goal::Replace => write(version),
                Goal::Claim { .. } | Goal::ReplaceOnly { .. } => Action::Lost,
            };
        };
        match self.goal {
            Goal::Claim { needs } => {
                if !needs(&shared.credential) {
                    return Action::Fresh(shared.credential);
                }
                match shared.claim {
                    Some(claim) if claim.by == self.nonce && !is_short(claim.until, clock) => {
                        let (credential, until) = (shared.credential, claim.until);
                        return Action::Held { version, credential, until };
                    }
                    // Too little is left of our claim: make it again.
                    Some(claim) if claim.by == self.nonce => {}
                    Some(claim) if !self.has_run_out(&claim, clock, steady) => return Action::Wait,
                    _ => {}
                }
                self.claim(version, shared.credential, clock)
            }
            _ if shared.nonce == self.nonce => Action::Done,
            Goal::Replace => write(version),
            Goal::ReplaceOnly { outdated } if outdated(&shared.credential) => write(version),
            Goal::ReplaceOnly { .. } => Action::Done,
        }
    }

    /// Whether an answer may come from a node that is behind: it shows an older version, or no
    /// secret. If that goes on for longer, it is true: the secret was deleted, and after that the
    /// versions begin again.
    fn is_doubtful(&mut self, found: &Found, steady: Duration) -> bool {
        let is_replaced = matches!(self.goal, Goal::Replace) && found.version >= self.seen;
        let is_odd = found.version < self.seen || found.secret.is_none() && !is_replaced;
        is_odd && steady.saturating_sub(*self.doubted.get_or_insert(steady)) < self.behind
    }

    /// Whether a claim has run out: its end has come, or it has been seen for as long as any claim
    /// lasts. A clock that is far off must not lock everybody out.
    fn has_run_out(&mut self, claim: &Claim, clock: Timestamp, steady: Duration) -> bool {
        if claim.until <= clock {
            return true;
        }
        match &self.watched {
            Some((watched, since)) if watched == claim => {
                steady.saturating_sub(*since) >= CLAIM.unsigned_abs()
            }
            _ => {
                self.watched = Some((claim.clone(), steady));
                false
            }
        }
    }

    fn claim(&mut self, on: u64, credential: Secret, clock: Timestamp) -> Action {
        let until = clock.saturating_add(CLAIM).unwrap_or(Timestamp::MAX);
        self.written = Some((credential.clone(), until));
        Action::Write { on, credential: Some(credential), until: Some(until) }
    }
}

/// Whether a claim that ends then may run out before a refresh is stored.
fn is_short(until: Timestamp, clock: Timestamp) -> bool {
    until.duration_since(clock) < NEEDED
}

/// Writes the caller's new credential.
fn write(on: u64) -> Action {
    Action::Write { on, credential: None, until: None }
}

#[cfg(test)]
mod tests;
