//! What can go wrong.

use std::io;

/// What went wrong with a sandbox, or with a request to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port can't be listened on, or the server's thread can't be started.
    #[error("the sandbox cannot start on port {port}")]
    Start {
        /// The requested port.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no user with this id.
    #[error("there is no user {0}")]
    NoSuchUser(String),
    /// A trust rule's issuer is not an `http` URL on this computer.
    #[error("the issuer {0} is not an http URL on this computer")]
    Issuer(String),
    /// This user code is unknown, expired or answered already.
    #[error("no device login waits for an answer under the code {0}")]
    NotPending(String),
}

/// Why the token endpoint issues no tokens (RFC 6749 §5.2, RFC 8628 §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OAuthError {
    AuthorizationPending,
    SlowDown,
    AccessDenied,
    ExpiredToken,
    InvalidGrant,
    /// An identity token is refused, for this reason. The client is not told.
    IdentityRefused(&'static str),
    InvalidClient,
    UnsupportedGrantType,
    /// What is wrong with the request.
    InvalidRequest(&'static str),
}

impl OAuthError {
    /// The `error` member of the answer.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::InvalidGrant | Self::IdentityRefused(_) => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidRequest(_) => "invalid_request",
        }
    }

    /// The `error_description` member of the answer.
    pub(crate) fn description(self) -> Option<&'static str> {
        Some(match self {
            Self::IdentityRefused(_) => return None,
            Self::AuthorizationPending => "The login has not been answered yet.",
            Self::SlowDown => "Polled too soon: wait 5 seconds longer from now on.",
            Self::AccessDenied => "The login was denied.",
            Self::ExpiredToken => "The device code has expired.",
            Self::InvalidGrant => "The code or token is unknown, used up or revoked.",
            Self::InvalidClient => "There is no such client.",
            Self::UnsupportedGrantType => "This endpoint does not have this grant type.",
            Self::InvalidRequest(reason) => reason,
        })
    }
}
