//! Profiles: a name, a remote, and the kind of credential behind it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::remote::{Remote, RemoteError};
use crate::secret::Secret;
use crate::storage::{Keeper, Storage, StoragePolicy};

/// The name of a profile: 1 to 255 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// Why a text is not a profile name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileNameError {
    /// It has no characters.
    #[error("a profile name cannot be empty")]
    Empty,
    /// It has more than 255 bytes.
    #[error("a profile name cannot be longer than {} bytes", ProfileName::MAX_BYTES)]
    TooLong,
    /// It has a control character.
    #[error("a profile name cannot contain control characters")]
    Control,
}

impl ProfileName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 255;

    /// Checks a text and makes it a name.
    pub fn new(text: impl Into<String>) -> Result<Self, ProfileNameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(ProfileNameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(ProfileNameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(ProfileNameError::Control);
        }
        Ok(Self(text))
    }

    /// A name that another program stored. We might not allow it ourselves.
    pub(crate) fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The name as text. Control characters must be removed before it is shown: another program may
    /// have stored some.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl std::str::FromStr for ProfileName {
    type Err = ProfileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// How a session proves its identity. A stored profile has one of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthType {
    /// Tokens of a browser login.
    #[serde(rename = "oauth")]
    OAuth,
    /// A long-lived key.
    ApiKey,
    /// A workload's identity token, exchanged for an access token. Nothing is stored.
    Workload,
}

impl AuthType {
    /// The name in `auth.json` and in JSON output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::ApiKey => "api_key",
            Self::Workload => "workload",
        }
    }
}

impl fmt::Display for AuthType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The tokens of a browser login (RFC 6749 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthCredential {
    /// Sent as `Authorization: Bearer …`.
    pub access_token: Secret,
    /// Can be exchanged for the next access token, once.
    pub refresh_token: Option<Secret>,
    /// When the access token expires; `None` if that is unknown.
    pub expiry: Option<Timestamp>,
    /// When the access token was issued, by this machine's clock; `None` if another program stored
    /// it.
    pub issued_at: Option<Timestamp>,
}

/// The secret of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Sent as `Authorization: Api-Key …`.
    ApiKey(Secret),
    /// Sent as `Authorization: Bearer …`.
    OAuth(OAuthCredential),
}

impl Credential {
    /// The kind of credential.
    #[must_use]
    pub fn auth_type(&self) -> AuthType {
        match self {
            Self::ApiKey(_) => AuthType::ApiKey,
            Self::OAuth(_) => AuthType::OAuth,
        }
    }
}

/// The user of a profile, as far as its login recorded it. Other programs drop this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The service's id of the user.
    pub user_id: Option<String>,
    /// The user's email address.
    pub email: Option<String>,
    /// The workspace that the credential belongs to.
    pub workspace_name: Option<String>,
}

/// A stored profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Its app URL, as it was stored.
    pub remote_url: String,
    /// The kind of credential it has.
    pub auth_type: AuthType,
    /// Who is behind it.
    pub identity: Identity,
    /// The credential helper or engine that keeps its secret, if its login chose one.
    pub keeper: Option<Keeper>,
    /// Whether its login found no keyring, so that no keyring has a copy of its secret.
    pub without_keyring: bool,
    /// Its secret, if that is kept in the file. It is always of the profile's own type.
    pub in_file: Option<Credential>,
}

impl Profile {
    /// Where its secret is, as far as that is known without looking.
    pub fn storage(&self, policy: &StoragePolicy) -> Storage {
        Storage::of(self.in_file.is_some(), self.keeper.as_ref(), policy)
    }

    /// Whether it is for the same remote, with the same kind of credential.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same_remote = || matches!((self.remote(), other.remote()), (Ok(a), Ok(b)) if a == b);
        self.auth_type == other.auth_type && (self.remote_url == other.remote_url || same_remote())
    }

    /// Where its requests go.
    /// [`RemoteError`] if no credential may be sent to the stored URL.
    pub fn remote(&self) -> Result<Remote, RemoteError> {
        Remote::parse(&self.remote_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_1_to_255_bytes_and_no_control_characters() {
        assert_eq!(ProfileName::new(""), Err(ProfileNameError::Empty));
        assert_eq!(ProfileName::new("é".repeat(128)), Err(ProfileNameError::TooLong));
        assert!(ProfileName::new("é".repeat(127)).is_ok());
        for bad in ["a\n", "a\u{7f}", "a\u{9b}m"] {
            assert_eq!(ProfileName::new(bad), Err(ProfileNameError::Control));
        }
        assert!(ProfileName::new("a b:c/d@é").is_ok());
    }
}
