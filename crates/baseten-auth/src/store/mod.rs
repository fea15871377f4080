//! The store: profiles in `auth.json`, their secrets there or in a vault outside it.

mod document;
mod expiry;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod helper;
mod keyring;
mod lock;
mod policy;
mod pretty;
mod secret_text;
mod vault;

pub use document::{BadProfile, Profiles, Summary};
pub(crate) use file::{Refusal, read_private};
pub use file::{Store, StoreError};
pub use helper::{Helper, HelperNameError};
pub use keyring::Keyring;
pub use lock::LockError;
pub(crate) use lock::{Lock, lock_directory, profile_lock};
pub use policy::{StoragePolicy, StoragePolicyError};
pub(crate) use secret_text::{decode_secret, encode_secret};
pub use vault::{TimeoutError, Vault, VaultError, VaultOptions};
