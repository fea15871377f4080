//! Where a secret is kept: what a login chooses (`BASETEN_CREDENTIAL_STORE`), and what a profile
//! records.

use std::fmt;
use std::str::FromStr;

use crate::env::{Env, NotText};
use crate::text::is_hidden;

/// The variable that chooses.
const VARIABLE: &str = "BASETEN_CREDENTIAL_STORE";

/// The prefix of a place in an engine.
pub(crate) const ENGINE: &str = "openbao:";

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

/// The place of a fleet's secrets in a KV version 2 engine of OpenBao or Vault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnginePath(String);

/// A text that is not the place of secrets in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnginePathError {
    /// It does not name both.
    #[error("the place of secrets in an engine is <mount>/<path>")]
    Form,
    /// It has a character that an engine's paths cannot have.
    #[error("the place of secrets in an engine cannot contain {0:?}")]
    Character(char),
}

impl EnginePath {
    /// The mount of the engine, and the path in it.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

/// The path of the mount, a slash, and a path of one or more parts.
impl FromStr for EnginePath {
    type Err = EnginePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_odd = |c: &char| c.is_control() || is_hidden(*c) || "\\?#*+%".contains(*c);
        if let Some(odd) = text.chars().find(is_odd) {
            return Err(EnginePathError::Character(odd));
        }
        let parts = || text.split('/');
        if parts().count() < 2 || parts().any(|part| matches!(part, "" | "." | "..")) {
            return Err(EnginePathError::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

/// In the form that `BASETEN_CREDENTIAL_STORE` takes.
impl fmt::Display for EnginePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ENGINE}{}", self.0)
    }
}

/// A place for secrets that is neither the file nor the system keyring.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Keeper {
    /// A credential helper.
    Helper(HelperName),
    /// An engine of OpenBao or Vault, for many hosts.
    Engine(EnginePath),
}

impl Keeper {
    /// The name for messages: the helper's program, or the engine's place.
    pub fn label(&self) -> String {
        match self {
            Self::Helper(name) => name.program(),
            Self::Engine(path) => path.to_string(),
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
    /// With a credential helper or in an engine.
    Kept(Keeper),
}

impl Storage {
    /// The file if the secret is there; else what the login recorded or the environment chooses;
    /// else the keyring.
    pub(crate) fn of(in_file: bool, keeper: Option<&Keeper>, policy: &StoragePolicy) -> Self {
        match keeper.or(policy.keeper()) {
            _ if in_file => Self::File,
            Some(keeper) => Self::Kept(keeper.clone()),
            None => Self::Keyring,
        }
    }
}

/// In the form that JSON output shows and `BASETEN_CREDENTIAL_STORE` takes.
impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => formatter.write_str("file"),
            Self::Keyring => formatter.write_str("keyring"),
            Self::Kept(Keeper::Helper(name)) => write!(formatter, "helper:{}", name.as_str()),
            Self::Kept(Keeper::Engine(path)) => path.fmt(formatter),
        }
    }
}

/// Where a login puts its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoragePolicy {
    /// The system keyring, or the file if the keyring can't be used.
    #[default]
    Auto,
    /// The system keyring, or fail.
    Keyring,
    /// The file. The keyring is not used, except to remove old copies.
    File,
    /// The credential helper or the engine, or fail.
    Kept(Keeper),
}

/// A value of `BASETEN_CREDENTIAL_STORE` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoragePolicyError {
    /// It is not one of the five.
    #[error("{VARIABLE} must be auto, keyring, file, helper:<name> or openbao:<mount>/<path>")]
    Unknown,
    /// It names no helper.
    #[error("{VARIABLE} cannot be used")]
    HelperName(#[source] HelperNameError),
    /// It names no place in an engine.
    #[error("{VARIABLE} cannot be used")]
    EnginePath(#[source] EnginePathError),
    /// It is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
}

impl StoragePolicy {
    /// The credential helper or the engine, if one is chosen.
    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        let Self::Kept(keeper) = self else { return None };
        Some(keeper)
    }

    /// Reads `BASETEN_CREDENTIAL_STORE`.
    pub(crate) fn from_env(env: &Env) -> Result<Self, StoragePolicyError> {
        match env.text(VARIABLE)? {
            None | Some("auto") => Ok(Self::Auto),
            Some("keyring") => Ok(Self::Keyring),
            Some("file") => Ok(Self::File),
            Some(value) => Ok(Self::Kept(if let Some(path) = value.strip_prefix(ENGINE) {
                Keeper::Engine(path.parse().map_err(StoragePolicyError::EnginePath)?)
            } else {
                let name = value.strip_prefix("helper:").ok_or(StoragePolicyError::Unknown)?;
                Keeper::Helper(name.parse().map_err(StoragePolicyError::HelperName)?)
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_values() {
        let read =
            |value: &str| StoragePolicy::from_env(&[(VARIABLE, value)].into_iter().collect());
        assert_eq!(read(""), Ok(StoragePolicy::Auto));
        assert_eq!(read("auto"), Ok(StoragePolicy::Auto));
        assert_eq!(read("keyring"), Ok(StoragePolicy::Keyring));
        assert_eq!(read("file"), Ok(StoragePolicy::File));
        let kept = |keeper| Ok(StoragePolicy::Kept(keeper));
        assert_eq!(read("helper:pass"), kept(Keeper::Helper("pass".parse().unwrap())));
        let bad_name = |error| Err(StoragePolicyError::HelperName(error));
        assert_eq!(read("helper:"), bad_name(HelperNameError::Empty));
        assert_eq!(read("helper:../evil"), bad_name(HelperNameError::Character('/')));
        let engine = kept(Keeper::Engine("secret/a b/北京".parse().unwrap()));
        assert_eq!(read("openbao:secret/a b/北京"), engine);
        for bad in ["", "secret", "secret/", "/a", "secret//a", "secret/../sys", "secret/."] {
            let form = Err(StoragePolicyError::EnginePath(EnginePathError::Form));
            assert_eq!(read(&format!("openbao:{bad}")), form, "{bad}");
        }
        for (bad, odd) in
            [("secret/a%2f", '%'), ("secret/a?b", '?'), ("secret/\u{202e}", '\u{202e}')]
        {
            let odd = Err(StoragePolicyError::EnginePath(EnginePathError::Character(odd)));
            assert_eq!(read(&format!("openbao:{bad}")), odd, "{bad}");
        }
        assert_eq!(read("plaintext"), Err(StoragePolicyError::Unknown));
    }
}
