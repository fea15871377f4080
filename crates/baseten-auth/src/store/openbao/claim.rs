//! How hosts that share a secret change it without locks: a pure decision for each thing that the
//! engine says.
//!
//! A change is written by check-and-set, with a nonce of its own. What cannot be told from the
//! answer is looked up: the nonce says whether the change was made, and by its version it is written
//! again, or not. Written twice on one version, it is made once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::secret::Secret;

/// How long a claim lasts: the request at the server, the time to store its answer, and clocks that
/// differ by 15 s.
pub(super) const CLAIM: SignedDuration = SignedDuration::from_secs(75);

/// What has to be left of a claim when the server has answered: 30 s to store the answer, and the
/// difference of the clocks.
pub(super) const TO_STORE: SignedDuration = SignedDuration::from_secs(45);

/// What has to be left of a claim when a refresh begins: that, and 25 s at the server.
const NEEDED: SignedDuration = SignedDuration::from_secs(70);

/// How long a node of a cluster may be behind: until there is a new leader, it does not learn what the
/// old one has taken last. Eight to ten seconds were seen.
pub(super) const BEHIND: Duration = Duration::from_secs(15);

/// Who refreshes, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) by: String,
    pub(super) until: Timestamp,
}

/// A secret as it stands in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) credential: Secret,
    pub(super) nonce: String,
    pub(super) claim: Option<Claim>,
}

/// What a look has found: a version, 0 where there never was one, and its secret, unless that is
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
    /// The write was refused because of its version, or nobody knows what became of it.
    Unclear,
}

/// What a change is for.
#[derive(Clone, Copy)]
pub(super) enum Goal<'a> {
    /// To be the one that refreshes, where the credential needs it.
    Claim { needs: &'a dyn Fn(&Secret) -> bool },
    /// To put a credential in place of certain ones: what a refresh has brought in place of what it
    /// was bought with. Another login stays.
    ReplaceOnly { outdated: &'a dyn Fn(&Secret) -> bool },
    /// To put a new login there, whatever there is.
    Replace,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Look, after a moment.
    Look,
    /// Look again after a longer one: another one refreshes.
    Wait,
    /// Write on this version; a claim with this end, where one is written.
    Write { on: u64, credential: Option<Secret>, until: Option<Timestamp> },
    /// The claim is ours until then, as this version, and this is what it is for.
    Held { version: u64, credential: Secret, until: Timestamp },
    /// The change is made, or there is nothing to change.
    Done,
    /// There is no need: somebody has refreshed.
    Fresh(Secret),
    /// The secret is gone.
    Lost,
}

/// A change on its way.
pub(super) struct Change<'a> {
    goal: Goal<'a>,
    nonce: &'a str,
    /// The newest version seen.
    seen: u64,
    /// Since when older ones are shown, or none.
    doubted: Option<Duration>,
    /// How long what is odd is doubted.
    behind: Duration,
    /// The end of the claim that was written last, and the credential it keeps.
    written: Option<(Secret, Timestamp)>,
    /// Somebody else's claim, and since when it has been looked at.
    watched: Option<(Claim, Duration)>,
}

impl<'a> Change<'a> {
    /// A change that marks its writes, and its claims, with this nonce. No other change has it: an
    /// old answer may still show an earlier claim of the same process, whose token is used up.
    pub(super) fn new(goal: Goal<'a>, nonce: &'a str) -> Self {
        Self { goal, nonce, seen: 0, behind: BEHIND, doubted: None, written: None, watched: None }
    }

    /// What its writes are marked with.
    pub(super) fn nonce(&self) -> &'a str {
        self.nonce
    }

    /// Whether a claim was written, and its answer never came.
    pub(super) fn may_have_claimed(&self) -> bool {
        self.written.is_some()
    }

    /// There is one server alone: nothing that it shows is old.
    pub(super) fn doubt_nothing(&mut self) {
        self.behind = Duration::ZERO;
    }

    /// The next step. `clock` is the wall clock, `steady` the time since the first
    /// step.
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
                    // It is made anew.
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

    /// A node that is behind shows an older version, or none. What it shows for longer is so: the
    /// secret was deleted, after which the versions begin anew.
    fn is_doubtful(&mut self, found: &Found, steady: Duration) -> bool {
        let is_replaced = matches!(self.goal, Goal::Replace) && found.version >= self.seen;
        let is_odd = found.version < self.seen || found.secret.is_none() && !is_replaced;
        is_odd && steady.saturating_sub(*self.doubted.get_or_insert(steady)) < self.behind
    }

    /// A claim has run out by its own word, or when it has been looked at for as long as any lasts:
    /// a clock that is far off must not lock everybody out.
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

/// Writes what the goal has brought along.
fn write(on: u64) -> Action {
    Action::Write { on, credential: None, until: None }
}

#[cfg(test)]
mod tests;
