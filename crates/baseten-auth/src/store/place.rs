//! The places outside of `auth.json` that keep secrets.

use std::sync::Arc;

use super::budget::Budget;
use super::entry::Entry;
use super::error::PlaceError;
use super::helper::Helper;
use super::keyring::Keyring;
use super::openbao::Engine;
use crate::profile::ProfileName;
use crate::secret::Secret;

/// A place outside of `auth.json` that keeps secrets by profile name, for the duration of one
/// operation.
#[derive(Debug, Clone)]
pub struct Place {
    kind: Kind,
    budget: Budget,
}

#[derive(Debug, Clone)]
enum Kind {
    Keyring(Arc<Keyring>),
    Helper(Helper),
    Engine(Arc<Engine>),
}

impl Place {
    /// The operating system's keyring.
    pub fn keyring(keyring: Arc<Keyring>, budget: Budget) -> Self {
        Self { kind: Kind::Keyring(keyring), budget }
    }

    /// A credential helper.
    pub fn helper(helper: Helper, budget: Budget) -> Self {
        Self { kind: Kind::Helper(helper), budget }
    }

    /// An engine of OpenBao or Vault, which has its own limits.
    pub(crate) fn engine(engine: Arc<Engine>, budget: Budget) -> Self {
        Self { kind: Kind::Engine(engine), budget }
    }

    /// The name for messages: `system keyring`, the helper's program, or the engine's place.
    pub fn label(&self) -> &str {
        match &self.kind {
            Kind::Keyring(_) => Keyring::LABEL,
            Kind::Helper(helper) => helper.program(),
            Kind::Engine(engine) => engine.label(),
        }
    }

    /// Whether the place is available, as far as that is known without asking it.
    pub(crate) fn check(&self) -> Result<(), PlaceError> {
        match &self.kind {
            Kind::Keyring(keyring) => keyring.check(&self.budget),
            Kind::Helper(helper) => helper.check(),
            Kind::Engine(_) => Ok(()),
        }
    }

    /// Whether it can keep a secret under every name; with other places, we have to check what they
    /// stored.
    pub(crate) fn takes_every_name(&self) -> bool {
        matches!(self.kind, Kind::Keyring(_) | Kind::Engine(_))
    }

    /// Whether it keeps secrets of the same profile name at two remotes apart.
    pub(crate) fn tells_remotes_apart(&self) -> bool {
        matches!(self.kind, Kind::Helper(_) | Kind::Engine(_))
    }

    /// What is stored for a profile of the app at `remote`; `None` if the place answered that it
    /// has nothing.
    pub fn get(&self, profile: &ProfileName, remote: &str) -> Result<Option<Entry>, PlaceError> {
        match &self.kind {
            Kind::Keyring(keyring) => keyring.get(profile, &self.budget),
            Kind::Helper(helper) => helper.get(profile, remote, &self.budget),
            Kind::Engine(engine) => Ok(engine.get(profile, remote)?.map(Entry::Text)),
        }
    }

    /// Stores something for a profile, replacing anything older.
    /// After [`PlaceError::TimedOut`] and [`PlaceError::Failed`] it may have been stored anyway.
    pub fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        entry: &Entry,
    ) -> Result<(), PlaceError> {
        match (&self.kind, entry) {
            (Kind::Keyring(keyring), entry) => keyring.set(profile, entry, &self.budget),
            (Kind::Helper(helper), Entry::Text(secret)) => {
                helper.set(profile, remote, secret, &self.budget)
            }
            (Kind::Engine(engine), Entry::Text(secret)) => Ok(engine.set(profile, remote, secret)?),
            // These only store text, and have never returned this.
            (Kind::Helper(_) | Kind::Engine(_), Entry::Other(_)) => Ok(()),
        }
    }

    /// Removes the secret of a profile, if there is one.
    pub fn remove(&self, profile: &ProfileName, remote: &str) -> Result<(), PlaceError> {
        match &self.kind {
            Kind::Keyring(keyring) => keyring.remove(profile, &self.budget),
            Kind::Helper(helper) => helper.remove(profile, remote, &self.budget),
            Kind::Engine(engine) => Ok(engine.remove(profile, remote)?),
        }
    }

    /// Puts back what a failed change has replaced. Unlike the other calls, it runs despite a
    /// cancellation and after the deadline: either may be the reason for calling it.
    pub fn restore(
        &self,
        profile: &ProfileName,
        remote: &str,
        set: &Secret,
        before: Option<&Entry>,
    ) -> Result<(), PlaceError> {
        let undoing = Self { budget: self.budget.undoing(), ..self.clone() };
        match (&self.kind, before) {
            // Other hosts store there too, and our lock is only on this host.
            (Kind::Engine(engine), before) => {
                let before = before.and_then(Entry::text);
                Ok(engine.undo(profile, remote, set, before)?)
            }
            (_, Some(entry)) => undoing.set(profile, remote, entry),
            (_, None) => undoing.remove(profile, remote),
        }
    }
}
