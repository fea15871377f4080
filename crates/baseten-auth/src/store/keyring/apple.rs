//! The macOS keychain: a generic password with our service and the profile as its account.

use std::collections::HashMap;

use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};
use security_framework::os::macos::keychain::SecKeychain;
use zeroize::Zeroizing;

use super::{SERVICE, encoding, entry_from};
use crate::env::Env;
use crate::store::budget::Call;
use crate::store::entry::Entry as Kept;
use crate::store::error::PlaceError;

pub(super) struct Backend;

#[expect(clippy::unused_self, reason = "the Secret Service keeps a connection here")]
impl Backend {
    pub(super) fn new(_env: &Env) -> Self {
        Self
    }

    #[expect(clippy::unnecessary_wraps, reason = "the Secret Service may have no bus")]
    pub(super) fn check(&self) -> Result<(), PlaceError> {
        Ok(())
    }

    pub(super) fn get(&mut self, profile: &str, call: &Call) -> Result<Option<Kept>, PlaceError> {
        let stored = match with_entry(profile, call, Entry::get_secret) {
            Ok(stored) => Zeroizing::new(stored),
            Err(Error::NoEntry) => return Ok(None),
            Err(error) => return Err(explain(error)),
        };
        // If it is not text, it is kept as it is, so that it can be put back.
        let text = encoding::decode(&stored).map(entry_from);
        Ok(Some(text.filter(|kept| matches!(kept, Kept::Text(_))).unwrap_or(Kept::Other(stored))))
    }

    pub(super) fn set(
        &mut self,
        profile: &str,
        kept: &Kept,
        call: &Call,
    ) -> Result<(), PlaceError> {
        let stored = match kept {
            Kept::Text(secret) => encoding::encode(secret.expose()),
            Kept::Other(stored) => stored.clone(),
        };
        call.begin_change()?;
        with_entry(profile, call, |entry| entry.set_secret(&stored)).map_err(explain)
    }

    pub(super) fn remove(&mut self, profile: &str, call: &Call) -> Result<(), PlaceError> {
        call.begin_change()?;
        match with_entry(profile, call, Entry::delete_credential) {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(explain(error)),
        }
    }
}

/// Without prompts, whatever would need one fails at once.
fn with_entry<T>(
    profile: &str,
    call: &Call,
    work: impl FnOnce(&Entry) -> Result<T, Error>,
) -> Result<T, Error> {
    let platform = |error| Error::PlatformFailure(Box::new(error));
    let _silence = if call.may_prompt() {
        None
    } else {
        Some(SecKeychain::disable_user_interaction().map_err(platform)?)
    };
    work(&Store::new()?.build(SERVICE, profile, Some(&HashMap::new()))?)
}

/// Codes of `SecBase.h`.
fn explain(error: Error) -> PlaceError {
    const USER_CANCELED: i32 = -128;
    const AUTH_FAILED: i32 = -25293;
    const NO_DEFAULT_KEYCHAIN: i32 = -25307;
    const INTERACTION_NOT_ALLOWED: i32 = -25308;
    const IN_DARK_WAKE: i32 = -25320;
    let source = match error {
        Error::NoStorageAccess(source) => return PlaceError::NotAvailable { source },
        Error::PlatformFailure(source) => source,
        // Other errors may contain what is stored.
        _ => return PlaceError::failed("the keychain's answer was not understood"),
    };
    match source.downcast_ref().map(|error: &security_framework::base::Error| error.code()) {
        Some(INTERACTION_NOT_ALLOWED | IN_DARK_WAKE) => PlaceError::Locked,
        Some(USER_CANCELED | AUTH_FAILED) => PlaceError::Dismissed,
        Some(NO_DEFAULT_KEYCHAIN) => PlaceError::NotAvailable { source },
        _ => PlaceError::Failed { source },
    }
}
