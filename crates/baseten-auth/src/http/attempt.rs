//! One request in progress: how far it has come, how much time is left, and what an error means at
//! that point.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ureq::Proxy;

use super::error::{Cause, HttpError, ProxyProblem};
use super::proxy::{is_socks, label};
use super::tls::{self, Refusal};
use crate::wait::Wait;

/// From looking up the name to the end of the TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Attempt {
    /// The server's host, with the port if it is not the default.
    pub(super) host: String,
    pub(super) proxy: Option<Proxy>,
    limit: Duration,
    until: Option<(Timestamp, Wait)>,
    start: Instant,
    tunnelled: AtomicBool,
    connected: AtomicBool,
}

impl Attempt {
    pub(super) fn new(
        host: String,
        proxy: Option<Proxy>,
        limit: Duration,
        until: Option<(Timestamp, Wait)>,
    ) -> Self {
        let (tunnelled, connected) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { host, proxy, limit, until, start: Instant::now(), tunnelled, connected }
    }

    /// The proxy has connected us to the server.
    pub(super) fn set_tunnelled(&self) {
        self.tunnelled.store(true, Ordering::SeqCst);
    }

    /// There is a connection to the server. From now on the request may have been sent; an error if
    /// it is too late for that.
    pub(super) fn set_connected(&self) -> Result<(), ureq::Error> {
        if let Some((moment, wait)) = &self.until {
            let left = self.limit.saturating_sub(self.start.elapsed());
            if wait.now().saturating_add(left).is_ok_and(|end| end > *moment) {
                let host = self.host.clone();
                return Err(ureq::Error::Other(HttpError::TooLate { host }.into()));
            }
        }
        self.connected.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// How long it may take, from the start, to reach the next stage.
    fn limit(&self) -> Duration {
        if self.is_connected() { self.limit } else { self.connect_limit() }
    }

    pub(super) fn connect_limit(&self) -> Duration {
        CONNECT_LIMIT.min(self.limit)
    }

    /// What is left of that time; an error if nothing is.
    pub(super) fn left(&self) -> io::Result<Duration> {
        let left = self.limit().saturating_sub(self.start.elapsed());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// What an error of ureq means to our callers. Its own text is dropped if it could contain a
    /// part of an answer.
    pub(super) fn failure(&self, error: ureq::Error) -> HttpError {
        match error {
            ureq::Error::Other(error) => match error.downcast() {
                Ok(ours) => *ours,
                Err(source) => HttpError::Connect { host: self.host.clone(), source },
            },
            error if self.is_connected() => self.after_connecting(error),
            error => self.before_connecting(error, !self.tunnelled.load(Ordering::SeqCst)),
        }
    }

    /// An error on the way to the proxy, if there is one, or to the server.
    pub(super) fn before_connecting(&self, error: ureq::Error, to_proxy: bool) -> HttpError {
        if let Some(proxy) = self.proxy.as_ref().filter(|_| to_proxy) {
            let (problem, source) = proxy_problem(error, is_socks(proxy));
            return HttpError::Proxy { proxy: label(proxy), problem, source };
        }
        let host = self.host.clone();
        match error {
            error if is_timeout(&error) => {
                HttpError::Timeout { host, limit: self.connect_limit(), sent: false }
            }
            ureq::Error::Io(error) => match tls::refusal(error) {
                Refusal::Certificate(problem, source) => {
                    HttpError::Certificate { host, problem, source }
                }
                Refusal::Tls(source) => HttpError::Tls { host, source },
                Refusal::Io(source) => HttpError::Connect { host, source: source.into() },
            },
            error => HttpError::Connect { host, source: error.to_string().into() },
        }
    }

    fn after_connecting(&self, error: ureq::Error) -> HttpError {
        let host = self.host.clone();
        match error {
            error if is_timeout(&error) => {
                HttpError::Timeout { host, limit: self.limit, sent: true }
            }
            ureq::Error::Io(source) => HttpError::Lost { host, source: source.into() },
            ureq::Error::LargeResponseHeader(_, limit) => HttpError::TooLarge { host, limit },
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => HttpError::NotHttp { host },
            error => HttpError::Lost { host, source: error.to_string().into() },
        }
    }
}

/// What a proxy did, and the cause if there is one.
fn proxy_problem(error: ureq::Error, is_socks: bool) -> (ProxyProblem, Option<Cause>) {
    match error {
        error if is_timeout(&error) => (ProxyProblem::Timeout, None),
        ureq::Error::ConnectProxyFailed(text) => (refused_with(&text), None),
        ureq::Error::Protocol(_) => (ProxyProblem::Protocol, None),
        ureq::Error::Io(error) => match tls::refusal(error) {
            Refusal::Certificate(problem, source) => (ProxyProblem::Certificate(problem), source),
            Refusal::Tls(source) => (ProxyProblem::Protocol, Some(source)),
            Refusal::Io(error) => {
                use io::ErrorKind::{InvalidData, InvalidInput, Other, PermissionDenied};
                // ureq maps a SOCKS proxy's own answers to error kinds that no connection gives.
                let problem = match error.kind() {
                    _ if !is_socks => ProxyProblem::Unreachable,
                    PermissionDenied => ProxyProblem::Authentication,
                    Other => ProxyProblem::Refused(None),
                    InvalidData | InvalidInput => ProxyProblem::Protocol,
                    _ => ProxyProblem::Unreachable,
                };
                (problem, Some(error.into()))
            }
        },
        error => (ProxyProblem::Unreachable, Some(error.to_string().into())),
    }
}

/// What it means that a proxy did not connect. ureq gives its status only in the text.
fn refused_with(text: &str) -> ProxyProblem {
    let status = text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok());
    match status {
        // Tinyproxy answers 401 if the login is wrong.
        Some(401 | 407) => ProxyProblem::Authentication,
        Some(status) => ProxyProblem::Refused(Some(status)),
        None => ProxyProblem::Unreachable,
    }
}

fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}
