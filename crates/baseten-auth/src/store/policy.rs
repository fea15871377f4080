//! `BASETEN_CREDENTIAL_STORE`: where a login puts its secret.

use super::helper::is_helper_name;
use crate::{Env, NotText};

/// The variable that chooses.
const VARIABLE: &str = "BASETEN_CREDENTIAL_STORE";

/// Where a login puts its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoragePolicy {
    /// The system keyring, and the file where the keyring can't be used.
    #[default]
    Auto,
    /// The system keyring, or fail.
    Keyring,
    /// The file. The keyring is left alone, but for old copies.
    File,
    /// The program `docker-credential-<name>`, or fail.
    Helper(String),
}

/// A value of `BASETEN_CREDENTIAL_STORE` that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoragePolicyError {
    /// It is something else.
    #[error("{VARIABLE} must be auto, keyring, file or helper:<name>")]
    Unknown,
    /// The helper's name could name a program somewhere else.
    #[error("{VARIABLE} names a helper with characters other than letters, digits, '-', '_', '.'")]
    HelperName,
    /// It is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
}

impl StoragePolicy {
    /// The credential helper's name, where one is chosen.
    pub fn helper(&self) -> Option<&str> {
        match self {
            Self::Helper(name) => Some(name),
            Self::Auto | Self::Keyring | Self::File => None,
        }
    }

    /// Reads `BASETEN_CREDENTIAL_STORE`.
    pub fn from_env(env: &Env) -> Result<Self, StoragePolicyError> {
        match env.text(VARIABLE)? {
            None | Some("auto") => Ok(Self::Auto),
            Some("keyring") => Ok(Self::Keyring),
            Some("file") => Ok(Self::File),
            Some(value) => {
                let name = value.strip_prefix("helper:").ok_or(StoragePolicyError::Unknown)?;
                if !is_helper_name(name) {
                    return Err(StoragePolicyError::HelperName);
                }
                Ok(Self::Helper(name.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_values() {
        let read =
            |value: &str| StoragePolicy::from_env(&[(VARIABLE, value)].into_iter().collect());
        assert_eq!(read(""), Ok(StoragePolicy::Auto));
        assert_eq!(read("auto"), Ok(StoragePolicy::Auto));
        assert_eq!(read("keyring"), Ok(StoragePolicy::Keyring));
        assert_eq!(read("file"), Ok(StoragePolicy::File));
        assert_eq!(read("helper:pass"), Ok(StoragePolicy::Helper("pass".into())));
        assert_eq!(read("helper:"), Err(StoragePolicyError::HelperName));
        assert_eq!(read("helper:../evil"), Err(StoragePolicyError::HelperName));
        assert_eq!(read("plaintext"), Err(StoragePolicyError::Unknown));
    }
}
