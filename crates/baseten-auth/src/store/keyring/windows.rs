//! The Windows Credential Manager: a generic credential. Its target is our service, a colon and the
//! profile; its user name is the profile.

use std::collections::HashMap;

use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};
use windows_native_keyring_store::Store;

use super::{SERVICE, entry_from};
use crate::env::Env;
use crate::store::budget::Call;
use crate::store::entry::Entry as Kept;
use crate::store::error::PlaceError;

/// The largest blob of a credential (`CRED_MAX_CREDENTIAL_BLOB_SIZE`), in bytes.
const LIMIT: usize = 5 * 512;

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

    pub(super) fn get(&mut self, profile: &str, _call: &Call) -> Result<Option<Kept>, PlaceError> {
        match entry(profile).and_then(|entry| entry.get_secret()) {
            Ok(bytes) => Ok(Some(entry_from(bytes))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(explain(error)),
        }
    }

    pub(super) fn set(
        &mut self,
        profile: &str,
        kept: &Kept,
        call: &Call,
    ) -> Result<(), PlaceError> {
        let bytes = match kept {
            Kept::Text(secret) => secret.expose().as_bytes(),
            Kept::Other(bytes) => bytes,
        };
        if bytes.len() > LIMIT {
            return Err(PlaceError::TooLarge { size: bytes.len(), limit: LIMIT });
        }
        let entry = entry(profile).map_err(explain)?;
        call.begin_change()?;
        entry.set_secret(bytes).map_err(explain)
    }

    pub(super) fn remove(&mut self, profile: &str, call: &Call) -> Result<(), PlaceError> {
        let entry = entry(profile).map_err(explain)?;
        call.begin_change()?;
        match entry.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(explain(error)),
        }
    }
}

/// The store builds the target from a prefix, the user, a divider and the service. With the service
/// in the prefix, we get our target, and the user name is only the profile.
fn entry(profile: &str) -> Result<Entry, Error> {
    let prefix = format!("{SERVICE}:");
    let target = HashMap::from([("prefix", prefix.as_str()), ("divider", ""), ("suffix", "")]);
    let store = Store::new_with_configuration(&target)?;
    store.build("", profile, Some(&HashMap::from([("persistence", "Local")])))
}

fn explain(error: Error) -> PlaceError {
    match error {
        Error::NoStorageAccess(source) => PlaceError::NotAvailable { source },
        Error::PlatformFailure(source) => PlaceError::Failed { source },
        // Other errors may contain what is stored.
        _ => PlaceError::failed("the Credential Manager's answer was not understood"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Observer;
    use crate::store::budget::Budget;
    use crate::wait::Wait;

    #[test]
    fn a_credential_has_our_target_user_name_and_bytes() {
        on_backend(|backend, call| {
            let profile = format!("test-{}@é", std::process::id());
            assert_eq!(backend.get(&profile, call).unwrap(), None);
            for secret in ["first é", "second"] {
                let kept = Kept::Text(secret.into());
                backend.set(&profile, &kept, call).unwrap();
                assert_eq!(backend.get(&profile, call).unwrap(), Some(kept));
                let others = Store::new().unwrap();
                let target = format!("baseten-profile:{profile}");
                let target = HashMap::from([("target", target.as_str())]);
                let entry = others.build("", "", Some(&target)).unwrap();
                assert_eq!(entry.get_secret().unwrap(), secret.as_bytes());
                let attributes = entry.get_attributes().unwrap();
                assert_eq!(attributes["username"], profile);
                assert_eq!(attributes["persistence"], "Local");
            }
            backend.remove(&profile, call).unwrap();
            assert_eq!(backend.get(&profile, call).unwrap(), None);
            backend.remove(&profile, call).unwrap();
        });
    }

    #[test]
    fn a_secret_that_is_too_large_is_refused_before_the_call() {
        on_backend(|backend, call| {
            let profile = format!("large-{}", std::process::id());
            let fits = Kept::Text("s".repeat(2560).into());
            backend.set(&profile, &fits, call).unwrap();
            assert_eq!(backend.get(&profile, call).unwrap(), Some(fits));
            let large = Kept::Text("s".repeat(2561).into());
            let error = backend.set(&profile, &large, call).unwrap_err();
            assert!(matches!(error, PlaceError::TooLarge { size: 2561, limit: 2560 }));
            backend.remove(&profile, call).unwrap();
        });
    }

    fn on_backend(test: impl FnOnce(&mut Backend, &Call)) {
        let env = Env::default();
        let budget = Budget::from_env(&env, false, Wait::default(), Observer::default()).unwrap();
        let tested = budget.undoing().call("test", |call| {
            test(&mut Backend::new(&env), call);
            Ok(())
        });
        tested.unwrap();
    }
}
