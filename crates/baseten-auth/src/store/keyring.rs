//! The operating system's keyring: the Secret Service on Linux and its like, the keychain on
//! macOS, the Credential Manager on Windows.
//!
//! Each call runs in a thread of its own, for none of these can be relied on to answer: a frozen
//! daemon, or a prompt that nobody sees, must not freeze us.

use std::fmt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::vault::{Call, Patience};
use super::{VaultError, VaultOptions};
use crate::{Env, ProfileName, Secret};

#[cfg(any(target_os = "macos", test))]
mod encoding;

#[cfg(target_os = "macos")]
#[path = "keyring/apple.rs"]
mod platform;
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "keyring/secret_service.rs"]
mod platform;
#[cfg(windows)]
#[path = "keyring/windows.rs"]
mod platform;

/// The service that every entry of ours, and of the programs we share them with, belongs to.
const SERVICE: &str = "baseten-profile";

/// The operating system's keyring, for the length of one command.
pub struct Keyring {
    pub(super) patience: Patience,
    /// Kept between calls: connecting costs more than asking.
    backend: Arc<Mutex<platform::Backend>>,
}

impl Keyring {
    /// The name for messages.
    pub(super) const LABEL: &str = "system keyring";

    /// Prepares for the keyring of the session that this environment belongs to. Nothing is asked
    /// before the first call.
    #[must_use]
    pub fn new(env: &Env, options: VaultOptions) -> Self {
        let backend = Arc::new(Mutex::new(platform::Backend::new(env)));
        Self { patience: Patience::new(options), backend }
    }

    pub(super) fn check(&self) -> Result<(), VaultError> {
        // A call that is under way knows better.
        self.backend.try_lock().map_or(Ok(()), |backend| backend.check())
    }

    pub(super) fn get(&self, profile: &ProfileName) -> Result<Option<Secret>, VaultError> {
        let profile = profile.clone();
        self.run(false, move |backend, call| backend.get(profile.as_str(), call))
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        secret: &Secret,
        undoes: bool,
    ) -> Result<(), VaultError> {
        let (profile, secret) = (profile.clone(), secret.clone());
        self.run(undoes, move |backend, call| backend.set(profile.as_str(), &secret, call))
    }

    pub(super) fn remove(&self, profile: &ProfileName, undoes: bool) -> Result<bool, VaultError> {
        let profile = profile.clone();
        self.run(undoes, move |backend, call| backend.remove(profile.as_str(), call))
    }

    /// Does the work in a thread, and leaves the thread to itself when time is up.
    fn run<T: Send + 'static>(
        &self,
        undoes: bool,
        work: impl FnOnce(&mut platform::Backend, &Call) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let call = self.patience.call("the system keyring", undoes)?;
        let (sender, answers) = mpsc::sync_channel(1);
        let (backend, working) = (Arc::clone(&self.backend), call.for_thread());
        let thread = move || {
            // The lock waits for an earlier call that was given up; a thread that panicked is
            // told by the channel that it left.
            let Ok(mut backend) = backend.lock() else { return };
            // Nobody listens any more when time was up.
            let _ = sender.send(work(&mut backend, &working));
        };
        std::thread::Builder::new()
            .name("keyring".to_owned())
            .spawn(thread)
            .map_err(VaultError::failed)?;
        call.receive(&answers)?
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keyring").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// What a keyring gave, as text. The bytes are wiped when they are none.
fn secret_from(bytes: Vec<u8>) -> Result<Secret, VaultError> {
    String::from_utf8(bytes).map(Secret::from).map_err(|error| {
        drop(zeroize::Zeroizing::new(error.into_bytes()));
        VaultError::failed("the entry is not text")
    })
}
