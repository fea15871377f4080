//! Errors, grouped by what a caller does about them. The cause is in `source`.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::api_key::ApiKeyError;
use crate::env::NotText;
use crate::http::HttpError;
use crate::identity::WorkloadError;
use crate::lend::LendError;
use crate::oauth::answer::ApiError;
use crate::oauth::device::DeviceError;
use crate::profile::{AuthType, Profile, ProfileName, ProfileNameError};
use crate::remote::{ApiUrlError, RemoteError};
use crate::source::SessionSource;
use crate::storage::{Storage, StoragePolicyError};
use crate::store::budget::TimeoutError;
use crate::store::error::{PlaceError, StoreError};
use crate::store::lock::LockError;
use crate::store::openbao::EngineError;
use crate::store::place::Place;
use crate::store::profile_lock::LOCK_LIMIT;

/// Why the library did not do what it was asked.
/// [`Error::kind`] is for decisions in a program. The text names the profile, file or variable at
/// fault, and `source` has the cause.
#[derive(Clone)]
pub struct Error {
    failure: Arc<Failure>,
    whose: Option<Arc<Whose>>,
}

/// The stored profile that an error is about.
struct Whose {
    profile: ProfileName,
    remote_url: String,
    auth_type: AuthType,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A variable, a URL or a name that the caller gave cannot be used.
    Usage,
    /// Nobody is logged in, or the credential is missing, expired or refused.
    NotLoggedIn,
    /// There is no such profile, or the server answered 404.
    NotFound,
    /// The server refused the request.
    Refused,
    /// The server or the network failed.
    Unavailable,
    /// A file, the keyring or a credential helper of this machine failed.
    Local,
    /// The caller asked to stop.
    Canceled,
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The stored profile that it is about, if there is one.
    pub fn profile(&self) -> Option<&str> {
        self.whose.as_ref().map(|whose| whose.profile.as_str())
    }

    /// The app URL of that profile: a new login has to name it if it is not the default.
    pub fn remote_url(&self) -> Option<&str> {
        self.whose.as_ref().map(|whose| &*whose.remote_url)
    }

    /// That profile's kind of credential: a new login needs the same kind.
    pub fn auth_type(&self) -> Option<AuthType> {
        self.whose.as_ref().map(|whose| whose.auth_type)
    }

    /// What went wrong in detail.
    #[doc(hidden)]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The same error, for this profile.
    pub(crate) fn of(self, profile: &Profile) -> Self {
        let whose = Whose {
            profile: profile.name.clone(),
            remote_url: profile.remote_url.clone(),
            auth_type: profile.auth_type,
        };
        Self { whose: Some(whose.into()), ..self }
    }

    pub(crate) fn is_canceled(&self) -> bool {
        matches!(*self.failure, Failure::Canceled)
    }

    /// An error of the place that keeps a profile's secret.
    pub(crate) fn place(profile: Option<&ProfileName>, place: &Place, source: PlaceError) -> Self {
        let storage = place.label().to_owned();
        Failure::Place { profile: profile.cloned(), storage, source }.into()
    }

    /// The cause to show where the message already names the profile and what was tried.
    pub(crate) fn reason(&self) -> &(dyn std::error::Error + 'static) {
        match &*self.failure {
            Failure::Place { source, .. } => source,
            Failure::Api { source, .. } | Failure::Token { source, .. } => source,
            other => other,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(formatter)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, formatter)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failure.source()
    }
}

/// Every failure is an error. A canceled wait is the same error wherever it was noticed.
impl<F: Into<Failure>> From<F> for Error {
    fn from(failure: F) -> Self {
        let failure = match failure.into() {
            Failure::Store(StoreError::Canceled)
            | Failure::Place {
                source: PlaceError::Canceled | PlaceError::Engine(EngineError::Canceled),
                ..
            }
            | Failure::ProfileLock { source: LockError::Canceled, .. } => Failure::Canceled,
            failure => failure,
        };
        Self { failure: failure.into(), whose: None }
    }
}

/// What went wrong in detail.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum Failure {
    /// The store can't be found, read, locked or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `BASETEN_CREDENTIAL_STORE` cannot be used.
    #[error(transparent)]
    StoragePolicy(#[from] StoragePolicyError),
    /// `BASETEN_KEYRING_TIMEOUT` is not a time.
    #[error(transparent)]
    KeyringTimeout(#[from] TimeoutError),
    /// A variable is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// The caller's name for a profile cannot be one.
    #[error("the name of the profile is not usable")]
    ProfileName(#[source] ProfileNameError),
    /// The caller's user agent is not visible ASCII.
    #[error("the user agent has characters that an HTTP header cannot carry")]
    UserAgent,
    /// `BASETEN_API_KEY` is not an API key.
    #[error("BASETEN_API_KEY is not usable")]
    ApiKeyEnv(#[source] ApiKeyError),
    /// `BASETEN_PROFILE` is not a profile name.
    #[error("BASETEN_PROFILE is not usable")]
    ProfileEnv(#[source] ProfileNameError),
    /// `BASETEN_REMOTE_URL` is not a remote.
    #[error("BASETEN_REMOTE_URL is not usable")]
    RemoteEnv(#[source] RemoteError),
    /// The remote's API has no URL.
    #[error(transparent)]
    ApiUrl(#[from] ApiUrlError),
    /// A stored profile has a remote that no credential may be sent to.
    #[error("the profile '{profile}' has a remote URL that is not usable")]
    StoredRemote { profile: ProfileName, source: RemoteError },
    /// Neither the user's email nor their id can name a profile.
    #[error("the user's name cannot name a profile")]
    UserName(#[source] ProfileNameError),
    /// No profile was named, and there is no current profile.
    #[error("no profile is current")]
    NoCurrentProfile { any_stored: bool },
    /// The selected profile does not exist.
    #[error("there is no profile '{name}'")]
    NoSuchProfile { name: ProfileName, selected_by: SessionSource },
    /// The profile was logged out while it was being refreshed. It is not restored.
    #[error("profile '{profile}' was logged out meanwhile")]
    LoggedOutMeanwhile { profile: ProfileName },
    /// A login has put another remote, or another kind of credential, under the profile's name.
    #[error(
        "another login has put a different remote or kind of credential under profile '{profile}'"
    )]
    ReplacedMeanwhile { profile: ProfileName },
    /// The profile exists, but its secret does not.
    #[error("the credential of profile '{profile}' is missing")]
    CredentialMissing { profile: ProfileName, storage: Storage },
    /// The server no longer takes the profile's refresh token, or there is none (RFC 6749 §5.2,
    /// `invalid_grant`).
    #[error("the session of profile '{profile}' has ended")]
    SessionEnded { profile: ProfileName },
    /// The server refuses a token that it has only just issued.
    #[error("the server refused a new token of profile '{profile}'")]
    NewTokenRefused { profile: ProfileName },
    /// The server refuses an API key, and there is no other.
    #[error("the server refused the API key, and there is no other one")]
    ApiKeyRefused,
    /// The keyring or a credential helper failed.
    #[error("{storage} failed")]
    Place {
        /// The profile; `None` if it has no name yet.
        profile: Option<ProfileName>,
        storage: String,
        source: PlaceError,
    },
    /// Another process is at work on the profile, or its lock cannot be taken.
    #[error("cannot lock profile '{profile}'")]
    ProfileLock { profile: ProfileName, source: LockError },
    /// The management API refused or failed.
    #[error("the request to the management API failed")]
    Api {
        /// The profile whose credential was used; `None` for the API key of the environment, and
        /// when a session is ended: there, the caller names the profile.
        profile: Option<ProfileName>,
        source: ApiError,
    },
    /// The token endpoint refused or failed.
    #[error("the session of profile '{profile}' could not be refreshed")]
    Token { profile: ProfileName, source: ApiError },
    /// A workload has no access token, or it is not accepted.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// Nothing is lent, or the lender could not be used.
    #[error(transparent)]
    Lend(#[from] LendError),
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
}

impl Failure {
    /// The only place that decides what kind of error a failure is.
    fn kind(&self) -> ErrorKind {
        match self {
            // Many hosts may share this lock, so a long wait counts like a server that did not
            // answer.
            Self::ProfileLock { source: LockError::TimedOut(after), .. } if *after > LOCK_LIMIT => {
                ErrorKind::Unavailable
            }
            Self::Store(_) | Self::StoredRemote { .. } | Self::ProfileLock { .. } => {
                ErrorKind::Local
            }
            Self::StoragePolicy(_)
            | Self::KeyringTimeout(_)
            | Self::NotText(_)
            | Self::ProfileName(_)
            | Self::UserAgent
            | Self::ApiKeyEnv(_)
            | Self::ProfileEnv(_)
            | Self::RemoteEnv(_)
            | Self::ApiUrl(_) => ErrorKind::Usage,
            Self::NoCurrentProfile { .. }
            | Self::CredentialMissing { .. }
            | Self::NewTokenRefused { .. }
            | Self::ApiKeyRefused
            | Self::SessionEnded { .. } => ErrorKind::NotLoggedIn,
            Self::NoSuchProfile { .. }
            | Self::LoggedOutMeanwhile { .. }
            | Self::ReplacedMeanwhile { .. } => ErrorKind::NotFound,
            Self::UserName(_) => ErrorKind::Unavailable,
            Self::Place { source, .. } => source.kind(),
            Self::Workload(error) => error.kind(),
            Self::Lend(error) => error.kind(),
            Self::Api { source, .. } | Self::Token { source, .. } => source.kind(),
            Self::Canceled => ErrorKind::Canceled,
        }
    }
}

impl ApiError {
    /// What kind of error it is: decided by the code of an OAuth error, else by the HTTP status.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Http(error) => error.kind(),
            Self::OAuth { code, status, .. } => match (code.as_str(), *status) {
                ("access_denied" | "expired_token" | "invalid_grant" | "invalid_client", _) => {
                    ErrorKind::NotLoggedIn
                }
                // An error with a success status counts as the 500 that it should have been (RFC
                // 6749 §4.1.2.1), or the 400 (§5.2).
                ("server_error" | "temporarily_unavailable", 200..=299) => ErrorKind::Unavailable,
                (_, 200..=299) => ErrorKind::Refused,
                (_, status) => of_status(status),
            },
            Self::Status { status, .. } => of_status(*status),
            Self::NotProtocol { .. } => ErrorKind::Unavailable,
        }
    }
}

impl WorkloadError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        let is_missing = |error: &io::Error| {
            use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
            matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
        };
        match self {
            Self::TrustRule(_)
            | Self::Missing { .. }
            | Self::NoCommand
            | Self::GitHubUrl
            | Self::Empty { .. }
            | Self::NotJwt { .. } => ErrorKind::Usage,
            Self::File { source, .. } if is_missing(source) => ErrorKind::Usage,
            Self::File { .. } | Self::Command { .. } => ErrorKind::Local,
            Self::GitHub(source) | Self::Exchange { source, .. } | Self::Api { source, .. } => {
                source.kind()
            }
            Self::Expired { .. } | Self::NewTokenRefused { .. } => ErrorKind::NotLoggedIn,
        }
    }
}

impl PlaceError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        let Self::Engine(error) = self else { return ErrorKind::Local };
        match error {
            EngineError::NoAddress
            | EngineError::Address { .. }
            | EngineError::NotHeader { .. }
            | EngineError::NotText(_) => ErrorKind::Usage,
            EngineError::NoToken | EngineError::Denied { .. } => ErrorKind::NotLoggedIn,
            EngineError::TokenFile { .. } => ErrorKind::Local,
            EngineError::Refused { status, .. } => of_status(*status),
            EngineError::NotProtocol { .. }
            | EngineError::Away { .. }
            | EngineError::Busy { .. } => ErrorKind::Unavailable,
            EngineError::Http(error) => error.kind(),
            EngineError::Canceled => ErrorKind::Canceled,
        }
    }
}

impl LendError {
    /// What kind of error it is. If the lender refused, its exit status decides.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(_) | Self::NoSockets => ErrorKind::Usage,
            Self::NotLent { .. } => ErrorKind::NotFound,
            Self::NoneSelected { .. } | Self::Foreign { .. } => ErrorKind::NotLoggedIn,
            Self::Bind { .. } | Self::Taken { .. } | Self::NotSocket { .. } => ErrorKind::Local,
            Self::Late { .. }
            | Self::NoThread { .. }
            | Self::Gone { .. }
            | Self::Silent { .. }
            | Self::Remote { .. }
            | Self::Replaced { .. }
            | Self::NotProtocol { .. } => ErrorKind::Unavailable,
            Self::Refused { complaint } => match complaint.exit {
                2 => ErrorKind::Usage,
                3 => ErrorKind::NotLoggedIn,
                4 => ErrorKind::NotFound,
                5 => ErrorKind::Refused,
                6 => ErrorKind::Unavailable,
                _ => ErrorKind::Local,
            },
        }
    }
}

impl DeviceError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied | Self::Expired => ErrorKind::NotLoggedIn,
            Self::UnsafeVerificationUrl => ErrorKind::Unavailable,
            Self::Canceled => ErrorKind::Canceled,
            Self::Api(error) => error.kind(),
        }
    }
}

/// The kind of an HTTP status that is not a success. 407 comes from a proxy.
fn of_status(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::NotLoggedIn,
        404 => ErrorKind::NotFound,
        407 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Refused,
        _ => ErrorKind::Unavailable,
    }
}

impl HttpError {
    /// What kind of error it is.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Insecure { .. } | Self::Credential | Self::ProxyUrl { .. } => ErrorKind::Usage,
            Self::CertificateFile { .. } | Self::NoTrustedCertificates => ErrorKind::Local,
            Self::Proxy { .. }
            | Self::Connect { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::TooLate { .. }
            | Self::Lost { .. }
            | Self::NotHttp { .. }
            | Self::TooLarge { .. } => ErrorKind::Unavailable,
        }
    }
}
