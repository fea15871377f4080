//! Listeners on loopback, the thread that serves them, and the log of requests.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{self, DefaultBodyLimit};
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, USER_AGENT};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::oneshot;

use crate::state::State;
use crate::{Config, Error, api, pages};

/// Far more than any form that is sent here.
const MAX_BODY_BYTES: usize = 64 * 1024;

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
    /// The `grant_type` field of the form, where it is one that we know.
    pub grant_type: Option<&'static str>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The `error` member (of OAuth) or the `code` member (of the management API) of the answer.
    pub error: Option<&'static str>,
}

impl Request {
    /// Whether it asked for tokens with a refresh token.
    pub fn is_refresh(&self) -> bool {
        self.grant_type == Some(api::REFRESH_TOKEN_GRANT)
    }

    /// Whether it was a poll of a device login.
    pub fn is_poll(&self) -> bool {
        self.grant_type == Some(api::DEVICE_CODE_GRANT)
    }
}

/// What a handler adds to its answer for the log: the grant type of the request.
#[derive(Clone, Copy)]
pub(crate) struct LoggedGrant(pub(crate) &'static str);

/// What a handler adds to its answer for the log: the error in it.
#[derive(Clone, Copy)]
pub(crate) struct LoggedError(pub(crate) &'static str);

/// What the handlers and the handle share.
pub(crate) struct Shared {
    port: u16,
    state: Mutex<State>,
    log: Mutex<Vec<Request>>,
    logged: Condvar,
}

impl Shared {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the sandbox knows. Hold it for one question or one change, and never while waiting.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log().clone()
    }

    fn log(&self) -> MutexGuard<'_, Vec<Request>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on its thread. Dropping it stops it.
pub(crate) struct Server {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(config: Config) -> Result<Self, Error> {
        let wanted = config.port;
        let start_error = |source| Error::Start { port: wanted, source };
        let listeners = bind(wanted).map_err(start_error)?;
        let port = listeners.first().map_or(Ok(wanted), port_of).map_err(start_error)?;

        let state = State::new(config);
        if let Some(user) = &state.config().auto_approve {
            state.user(user)?;
        }
        let shared = Arc::new(Shared {
            port,
            state: Mutex::new(state),
            log: Mutex::default(),
            logged: Condvar::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let thread =
            spawn(listeners, &router(Arc::clone(&shared)), stopped).map_err(start_error)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn port(&self) -> u16 {
        self.shared.port
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests()
    }

    /// Asks again after each request, until there is an answer or `timeout` is over.
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        question: impl Fn(&Shared) -> Option<T>,
    ) -> Option<T> {
        let start = Instant::now();
        loop {
            let seen = self.shared.log().len();
            if let Some(answer) = question(&self.shared) {
                return Some(answer);
            }
            let left = timeout.checked_sub(start.elapsed())?;
            let nothing_new = |log: &mut Vec<Request>| log.len() == seen;
            drop(self.shared.logged.wait_timeout_while(self.shared.log(), left, nothing_new));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, not even that it panicked.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("port", &self.port()).finish_non_exhaustive()
    }
}

/// Listens on 127.0.0.1 and, where the machine has it, on the same port of `::1`: `localhost` can
/// mean either. For port 0 several free ports are tried, for one may be free on one side only.
fn bind(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut attempts = if port == 0 { 10 } else { 1 };
    loop {
        attempts -= 1;
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port_of(&v4)?)) {
            Ok(v6) => return Ok(vec![v4, v6]),
            // Somebody else would get half of what is meant for us.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => return Ok(vec![v4]),
        }
    }
}

fn port_of(listener: &TcpListener) -> io::Result<u16> {
    listener.local_addr().map(|address| address.port())
}

/// Serves on a thread of its own until the other end of `stopped` is dropped. Answers that are
/// on their way then are cut off, so that stopping takes no time.
fn spawn(
    listeners: Vec<TcpListener>,
    router: &Router,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let router = router.clone();
        let listener = {
            let _in_runtime = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move { axum::serve(listener, router).await });
    }
    std::thread::Builder::new().name("baseten-sandbox".to_owned()).spawn(move || {
        // An error says that the sender is gone, which is what is waited for.
        let _ = runtime.block_on(stopped);
    })
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .nest("/v1", api::routes())
        .merge(pages::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), log_and_delay))
        .with_state(shared)
}

/// Writes the request down once it is answered, then holds the answer back for as long as the
/// configuration says.
async fn log_and_delay(
    extract::State(shared): extract::State<Arc<Shared>>,
    request: extract::Request,
    next: Next,
) -> Response {
    let mut entry = Request {
        received_at: Instant::now(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        host: header(request.headers(), &HOST),
        user_agent: header(request.headers(), &USER_AGENT),
        authorization: authorization_scheme(request.headers()),
        grant_type: None,
        status: 0,
        error: None,
    };
    let is_api = entry.path.starts_with("/v1/");
    let response = next.run(request).await;
    entry.status = response.status().as_u16();
    entry.grant_type = response.extensions().get().map(|LoggedGrant(grant)| *grant);
    entry.error = response.extensions().get().map(|LoggedError(error)| *error);
    shared.log().push(entry);
    shared.logged.notify_all();

    let latency = if is_api { shared.state().config().latency } else { Duration::ZERO };
    tokio::time::sleep(latency).await;
    response
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Only what we know by name: the first word of a malformed header may be the secret itself.
fn authorization_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or_default();
    Some(match value.split_once(' ') {
        Some(("Bearer", _)) => "Bearer",
        Some(("Api-Key", _)) => "Api-Key",
        _ => "other",
    })
}
