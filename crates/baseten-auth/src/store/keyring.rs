//! The operating system's keyring: the Secret Service on Linux and similar systems, the keychain on
//! macOS, the Credential Manager on Windows.
//! Each call runs in its own thread, because none of these always answers: a hanging daemon, or a
//! prompt that nobody sees, must not block us.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::budget::{Budget, Call};
use super::entry::Entry;
use super::error::PlaceError;
use crate::env::Env;
use crate::profile::ProfileName;
use crate::wait::Task;

#[cfg(all(feature = "keyring", any(target_os = "macos", test)))]
mod encoding;

#[cfg(all(feature = "keyring", target_os = "macos"))]
#[path = "keyring/apple.rs"]
mod platform;
#[cfg(all(feature = "keyring", unix, not(target_os = "macos")))]
#[path = "keyring/secret_service.rs"]
mod platform;
#[cfg(all(feature = "keyring", windows))]
#[path = "keyring/windows.rs"]
mod platform;
#[cfg(not(feature = "keyring"))]
#[path = "keyring/none.rs"]
mod platform;

/// The service name of every entry, ours and those of the programs that share them.
#[cfg(feature = "keyring")]
const SERVICE: &str = "baseten-profile";

/// The operating system's keyring.
pub struct Keyring {
    /// Kept between calls: connecting costs more than asking.
    backend: Arc<Mutex<platform::Backend>>,
}

impl Keyring {
    /// The name for messages.
    pub(super) const LABEL: &str = "system keyring";

    /// Prepares to use the keyring of the session that this environment belongs to. The first call
    /// connects.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { backend: Arc::new(Mutex::new(platform::Backend::new(env))) }
    }

    pub(super) fn check(&self, budget: &Budget) -> Result<(), PlaceError> {
        self.run(budget, |backend, _| backend.check())
    }

    pub(super) fn get(
        &self,
        profile: &ProfileName,
        budget: &Budget,
    ) -> Result<Option<Entry>, PlaceError> {
        let profile = profile.clone();
        self.run(budget, move |backend, call| backend.get(profile.as_str(), call))
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        entry: &Entry,
        budget: &Budget,
    ) -> Result<(), PlaceError> {
        let (profile, entry) = (profile.clone(), entry.clone());
        self.run(budget, move |backend, call| backend.set(profile.as_str(), &entry, call))
    }

    pub(super) fn remove(&self, profile: &ProfileName, budget: &Budget) -> Result<(), PlaceError> {
        let profile = profile.clone();
        self.run(budget, move |backend, call| backend.remove(profile.as_str(), call))
    }

    /// Does the work on a detached thread, which is abandoned when time is up.
    fn run<T: Send + 'static>(
        &self,
        budget: &Budget,
        work: impl FnOnce(&mut platform::Backend, &Call) -> Result<T, PlaceError> + Send + 'static,
    ) -> Result<T, PlaceError> {
        budget.call("the system keyring", |call| {
            let (backend, theirs) = (Arc::clone(&self.backend), call.clone());
            let task = Task::start(move || {
                // Waits for an earlier call that was abandoned.
                let mut backend = backend.lock().map_err(|_| PlaceError::failed("it crashed"))?;
                work(&mut backend, &theirs)
            })
            .map_err(PlaceError::failed)?;
            call.result_of(&task)?
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring")
    }
}

/// What a keyring returned.
#[cfg(feature = "keyring")]
fn entry_from(bytes: Vec<u8>) -> Entry {
    match String::from_utf8(bytes) {
        Ok(text) => Entry::Text(text.into()),
        Err(error) => Entry::Other(error.into_bytes().into()),
    }
}
