//! What the handlers and the handle share: the state, and the log of requests.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{HeaderMap, HeaderName};
use axum::response::Response;

use crate::state::State;

/// The grant type of a poll (RFC 8628 §3.4).
pub(crate) const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The grant type of a refresh (RFC 6749 §6).
pub(crate) const REFRESH_TOKEN_GRANT: &str = "refresh_token";
/// The grant type of an exchange (RFC 8693 §2.1).
pub(crate) const TOKEN_EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A request and its answer, without anything secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// When it arrived.
    pub received_at: Instant,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The scheme of the `Authorization` header: `Bearer`, `Api-Key` or `other`.
    pub authorization: Option<&'static str>,
    /// The `grant_type` of the request, if it is a known one.
    pub grant_type: Option<&'static str>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The `error` member (of OAuth) or the `code` member (of the management API) of the answer.
    pub error: Option<&'static str>,
    /// Why an identity token was refused. The answer does not say it.
    pub refusal: Option<&'static str>,
}

impl Request {
    /// Whether it asked for tokens with a refresh token.
    pub fn is_refresh(&self) -> bool {
        self.grant_type == Some(REFRESH_TOKEN_GRANT)
    }

    /// Whether it was a poll of a device login.
    pub fn is_poll(&self) -> bool {
        self.grant_type == Some(DEVICE_CODE_GRANT)
    }

    /// Whether it asked for an access token with an identity token.
    pub fn is_exchange(&self) -> bool {
        self.grant_type == Some(TOKEN_EXCHANGE_GRANT)
    }
}

/// What a handler adds to its answer for the log: some members of [`Request`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Logged {
    pub(crate) grant_type: Option<&'static str>,
    pub(crate) error: Option<&'static str>,
    pub(crate) refusal: Option<&'static str>,
}

impl Logged {
    /// What an answer has of it.
    pub(crate) fn of(response: &mut Response) -> &mut Self {
        response.extensions_mut().get_or_insert_default()
    }
}

/// What the handlers and the handle share.
pub(crate) struct Shared {
    port: u16,
    state: Mutex<State>,
    log: Mutex<Vec<Request>>,
    logged: Condvar,
}

impl Shared {
    pub(crate) fn new(port: u16, state: State) -> Self {
        Self { port, state: Mutex::new(state), log: Mutex::default(), logged: Condvar::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The sandbox's state. Hold it for one read or one change, and never while waiting.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log().clone()
    }

    /// Adds a request that has been answered.
    pub(crate) fn log_request(&self, request: Request) {
        self.log().push(request);
        self.logged.notify_all();
    }

    /// Checks again after each request, until there is a result or `timeout` is over.
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        question: impl Fn(&Self) -> Option<T>,
    ) -> Option<T> {
        let start = Instant::now();
        loop {
            let seen = self.log().len();
            if let Some(answer) = question(self) {
                return Some(answer);
            }
            let left = timeout.checked_sub(start.elapsed())?;
            let nothing_new = |log: &mut Vec<Request>| log.len() == seen;
            drop(self.logged.wait_timeout_while(self.log(), left, nothing_new));
        }
    }

    fn log(&self) -> MutexGuard<'_, Vec<Request>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A header, if it is visible ASCII.
pub(crate) fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
