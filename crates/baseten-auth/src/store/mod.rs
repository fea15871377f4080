//! Where secrets are kept.

mod helper;
mod keyring;
mod vault;

pub use helper::{Helper, HelperNameError};
pub use keyring::Keyring;
pub use vault::{TimeoutError, Vault, VaultError, VaultOptions};
