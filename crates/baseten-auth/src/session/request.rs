//! What a session needs to know about requests that callers make.

use std::fmt;

use crate::error::Error;
use crate::oauth::answer::ApiError;

/// What [`Session::with_retry`](crate::Session::with_retry) needs to know about an HTTP client's
/// error.
pub trait Unauthorized {
    /// Whether the server answered 401 (RFC 9110 §15.5.2).
    fn is_unauthorized(&self) -> bool;
}

impl Unauthorized for ApiError {
    fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }
}

/// ureq 3, with the default for `http_status_as_error`.
impl Unauthorized for ureq::Error {
    fn is_unauthorized(&self) -> bool {
        matches!(self, Self::StatusCode(401))
    }
}

/// Why [`Session::with_retry`](crate::Session::with_retry) failed.
#[derive(Debug)]
pub enum RequestError<E> {
    /// There is no credential for the request.
    Session(Error),
    /// The request failed, even with the best credential there is.
    Request(E),
}

impl<E: fmt::Display> fmt::Display for RequestError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(formatter),
            Self::Request(error) => error.fmt(formatter),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RequestError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Session(error) => error.source(),
            Self::Request(error) => error.source(),
        }
    }
}
