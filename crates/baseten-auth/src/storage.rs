//! Where a secret is kept: as a login chooses it (`BASETEN_CREDENTIAL_STORE`), and as a profile
//! records it.

use std::fmt;
use std::str::FromStr;

use crate::env::{Env, NotText};

/// The variable that chooses.
const VARIABLE: &str = "BASETEN_CREDENTIAL_STORE";

/// The name of a credential helper: the program is `docker-credential-<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelperName(String);

/// A text that is not the name of a credential helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelperNameError {
    /// It has no characters.
    #[error("the name of a credential helper is empty")]
    Empty,
    /// It could name a program outside of `PATH`, or more than one word.
    #[error("the name of a credential helper cannot contain {0:?}")]
    Character(char),
}

impl HelperName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the program.
    pub fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }
}

/// Letters and digits of ASCII, `.`, `_` and `-`: the name of one program in `PATH`.
impl FromStr for HelperName {
    type Err = HelperNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
        match text.chars().find(|c| !allowed(c)) {
            Some(character) => Err(HelperNameError::Character(character)),
            None if text.is_empty() => Err(HelperNameError::Empty),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// Where a profile's secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Storage {
    /// In `auth.json`, as plain text.
    File,
    /// In the system keyring.
    Keyring,
    /// With a credential helper.
    Helper(HelperName),
}

impl Storage {
    /// The file if the secret is there; else the helper that the login recorded or the environment
    /// chooses; else the keyring.
    pub(crate) fn of(in_file: bool, helper: Option<&HelperName>, policy: &StoragePolicy) -> Self {
        match helper.or(policy.helper()) {
            _ if in_file => Self::File,
            Some(name) => Self::Helper(name.clone()),
            None => Self::Keyring,
        }
    }
}

/// As JSON output shows it, and `BASETEN_CREDENTIAL_STORE` takes it.
impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => formatter.write_str("file"),
            Self::Keyring => formatter.write_str("keyring"),
            Self::Helper(name) => write!(formatter, "helper:{}", name.as_str()),
        }
    }
}

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
    /// The credential helper, or fail.
    Helper(HelperName),
}

/// A value of `BASETEN_CREDENTIAL_STORE` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoragePolicyError {
    /// It is not one of the four.
    #[error("{VARIABLE} must be auto, keyring, file or helper:<name>")]
    Unknown,
    /// It names no helper.
    #[error("{VARIABLE} cannot be used")]
    HelperName(#[source] HelperNameError),
    /// It is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
}

impl StoragePolicy {
    /// The credential helper, where one is chosen.
    pub(crate) fn helper(&self) -> Option<&HelperName> {
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
                name.parse().map(Self::Helper).map_err(StoragePolicyError::HelperName)
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
        assert_eq!(read("helper:pass"), Ok(StoragePolicy::Helper("pass".parse().unwrap())));
        let bad_name = |error| Err(StoragePolicyError::HelperName(error));
        assert_eq!(read("helper:"), bad_name(HelperNameError::Empty));
        assert_eq!(read("helper:../evil"), bad_name(HelperNameError::Character('/')));
        assert_eq!(read("plaintext"), Err(StoragePolicyError::Unknown));
    }
}
