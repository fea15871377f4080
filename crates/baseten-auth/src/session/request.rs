//! What a session has to know of requests that others make.

use std::fmt;

use crate::error::Error;
use crate::oauth::answer::ApiError;

/// The error of an HTTP client, as far as [`Session::with_retry`](crate::Session::with_retry) has to know it.
pub trait Unauthorized {
    /// Whether the server answered 401 (RFC 9110 §15.5.2).
    fn is_unauthorized(&self) -> bool;
}

impl Unauthorized for ApiError {
    fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }
}

/// ureq 3, with its `http_status_as_error` as it is by default.
impl Unauthorized for ureq::Error {
    fn is_unauthorized(&self) -> bool {
        matches!(self, Self::StatusCode(401))
    }
}

/// Why [`Session::with_retry`](crate::Session::with_retry) has no result.
#[derive(Debug)]
pub enum RequestError<E> {
    /// There is no credential for the request.
    Session(Error),
    /// The request failed, with a credential that is as good as it gets.
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
