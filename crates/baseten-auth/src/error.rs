//! What can go wrong, by what a caller does about it. The cause is in `source`.

use crate::{
    ApiError, ApiKeyError, Context, HelperNameError, LockError, ManagementUrlError, NotText,
    Profile, ProfileName, ProfileNameError, RemoteError, SessionSource, Storage, StoragePolicy,
    StoragePolicyError, StoreError, TimeoutError, VaultError,
};

/// The library's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store can't be found, read, locked or written.
    #[error(transparent)]
    Store(StoreError),
    /// `BASETEN_CREDENTIAL_STORE` has a value that means nothing.
    #[error(transparent)]
    StoragePolicy(#[from] StoragePolicyError),
    /// A helper's name could name a program somewhere else.
    #[error(transparent)]
    HelperName(#[from] HelperNameError),
    /// `BASETEN_KEYRING_TIMEOUT` is no time.
    #[error(transparent)]
    KeyringTimeout(#[from] TimeoutError),
    /// A variable is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// `BASETEN_API_KEY` is no API key.
    #[error("BASETEN_API_KEY is not usable")]
    ApiKeyEnv(#[source] ApiKeyError),
    /// `BASETEN_PROFILE` is no profile name.
    #[error("BASETEN_PROFILE is not usable")]
    ProfileEnv(#[source] ProfileNameError),
    /// `BASETEN_REMOTE_URL` is no remote.
    #[error("BASETEN_REMOTE_URL is not usable")]
    RemoteEnv(#[source] RemoteError),
    /// `BASETEN_MANAGEMENT_API_URL_OVERRIDE` is no management URL.
    #[error(transparent)]
    ManagementUrl(#[from] ManagementUrlError),
    /// A stored profile has a remote that no credential may be sent to.
    #[error("the profile '{profile}' has a remote URL that is not usable")]
    StoredRemote {
        /// The profile.
        profile: ProfileName,
        /// What is wrong with it.
        source: RemoteError,
    },
    /// A user's email and id make no profile name.
    #[error("the user's name cannot name a profile")]
    UserName(#[source] ProfileNameError),
    /// No profile was named, and none is current.
    #[error("no profile is current")]
    NoCurrentProfile {
        /// Whether there are profiles to choose from.
        any_stored: bool,
    },
    /// The selected profile does not exist.
    #[error("there is no profile '{name}'")]
    NoSuchProfile {
        /// Its name.
        name: ProfileName,
        /// What selected it.
        selected_by: SessionSource,
    },
    /// The profile was logged out while it was being refreshed. It does not come back.
    #[error("profile '{profile}' was logged out meanwhile")]
    LoggedOutMeanwhile {
        /// The profile.
        profile: ProfileName,
    },
    /// The profile is there, and its secret is not.
    #[error("the credential of profile '{profile}' is missing")]
    CredentialMissing {
        /// The profile.
        profile: ProfileName,
        /// Where the secret was expected.
        storage: Storage,
    },
    /// The server no longer takes the profile's refresh token, or there is none (RFC 6749 §5.2,
    /// `invalid_grant`).
    #[error("the session of profile '{profile}' has ended")]
    SessionEnded {
        /// The profile.
        profile: ProfileName,
    },
    /// The keyring or a credential helper failed.
    #[error("{storage} failed")]
    Vault {
        /// The profile; `None` where it has no name yet.
        profile: Option<ProfileName>,
        /// The vault's name.
        storage: String,
        /// How it failed.
        source: VaultError,
    },
    /// There is no directory that locks could be made in.
    #[error("no lock directory can be used")]
    LockDirectory(#[source] std::io::Error),
    /// Another process is at work on the profile, or its lock can't be had.
    #[error("cannot lock profile '{profile}'")]
    ProfileLock {
        /// The profile.
        profile: ProfileName,
        /// Why.
        source: LockError,
    },
    /// The management API refused or failed.
    #[error("the request to the management API failed")]
    Api {
        /// The profile whose credential was used; `None` for the API key of the environment, and
        /// for the end of a session, where whoever asked for it names the profile.
        profile: Option<ProfileName>,
        /// How.
        source: ApiError,
    },
    /// The token endpoint refused or failed.
    #[error("the session of profile '{profile}' could not be refreshed")]
    Token {
        /// The profile.
        profile: ProfileName,
        /// How.
        source: ApiError,
    },
    /// Somebody raised the context's cancel flag.
    #[error("canceled")]
    Canceled,
}

/// A wait for a lock that was canceled is no fault of the store.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Lock { source: LockError::Canceled, .. } => Self::Canceled,
            error => Self::Store(error),
        }
    }
}

impl Error {
    pub(crate) fn vault(profile: Option<&ProfileName>, storage: &str, source: VaultError) -> Self {
        match source {
            VaultError::Canceled => Self::Canceled,
            source => {
                Self::Vault { profile: profile.cloned(), storage: storage.to_owned(), source }
            }
        }
    }

    /// What to tell of it where the profile, and what was tried, are named anyway.
    pub(crate) fn reason(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Vault { source, .. } => source,
            Self::Api { source, .. } | Self::Token { source, .. } => source,
            other => other,
        }
    }

    pub(crate) fn missing(context: &Context, profile: &Profile) -> Self {
        let policy = StoragePolicy::from_env(context.env()).unwrap_or_default();
        Self::CredentialMissing { profile: profile.name.clone(), storage: profile.storage(&policy) }
    }
}
