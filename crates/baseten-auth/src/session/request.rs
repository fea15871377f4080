//! Requests with a session's credential, by any HTTP client, made again after a 401.

use std::fmt;

use super::credential::Demand;
use super::{Kind, Session};
use crate::error::{Error, Failure};
use crate::oauth::answer::ApiError;

/// The error of an HTTP client, as far as [`Session::with_retry`] has to know it.
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

/// Why [`Session::with_retry`] has no result.
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

impl Session {
    /// Makes a request with this session's credential, by whatever client the function uses.
    ///
    /// Where the server answers 401 to tokens that were not refreshed just now, the function is
    /// called again with others: those that another program has stored meanwhile, or else
    /// refreshed ones. So it is called up to three times, and a 401 that stays is the result.
    pub fn with_retry<T, E: Unauthorized>(
        &self,
        mut send: impl FnMut(&super::Authorization) -> Result<T, E>,
    ) -> Result<T, RequestError<E>> {
        let operation = self.context.operation().map_err(RequestError::Session)?;
        let authorized =
            self.authorize(&operation, &Demand::default()).map_err(RequestError::Session)?;
        let (mut authorization, mut just_refreshed) = authorized;
        let mut demand = Demand::default();
        loop {
            let answer = send(&authorization);
            let is_unauthorized = answer.as_ref().is_err_and(Unauthorized::is_unauthorized);
            let may_be_old = authorization.scheme() == "Bearer" && !just_refreshed;
            let Kind::Stored(stored) = &self.kind else {
                return answer.map_err(RequestError::Request);
            };
            // The file's tokens, the other place's, and then new ones: there are no more.
            if !is_unauthorized || !may_be_old || demand.refused.len() == 2 {
                return answer.map_err(RequestError::Request);
            }
            demand.refused.push(authorization.token().clone());
            (authorization, just_refreshed) = match stored.refresh(&operation, &demand) {
                Ok(refreshed) => refreshed,
                // Somebody else has refreshed just now: the server's answer is the one to tell.
                Err(error) if matches!(error.failure(), Failure::NewTokenRefused { .. }) => {
                    return answer.map_err(RequestError::Request);
                }
                Err(error) => return Err(RequestError::Session(self.about(error))),
            };
        }
    }
}
