//! Listeners on loopback, the thread that serves them, and what is done around every request.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{self, DefaultBodyLimit};
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, USER_AGENT};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::error::Error;
use crate::shared::{Logged, Request, Shared, header};
use crate::state::State;
use crate::{api, identity, pages};

/// Far more than any request needs.
const MAX_BODY_BYTES: usize = 64 * 1024;

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
        for rule in &state.config().trust_rules {
            state.user(&rule.user)?;
            if !identity::is_reachable(&rule.issuer) {
                return Err(Error::Issuer(rule.issuer.clone()));
            }
        }
        let shared = Arc::new(Shared::new(port, state));
        let (stop, stopped) = oneshot::channel();
        let thread =
            spawn(listeners, &router(Arc::clone(&shared)), stopped).map_err(start_error)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("port", &self.shared.port()).finish_non_exhaustive()
    }
}

/// Listens on 127.0.0.1 and, if the machine has it, on the same port of `::1`: `localhost` can mean
/// either. For port 0 it tries several free ports, because a port may be free on one of them only.
fn bind(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut attempts = if port == 0 { 10 } else { 1 };
    loop {
        attempts -= 1;
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port_of(&v4)?)) {
            Ok(v6) => return Ok(vec![v4, v6]),
            // Another program would get half of our requests.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => return Ok(vec![v4]),
        }
    }
}

fn port_of(listener: &TcpListener) -> io::Result<u16> {
    listener.local_addr().map(|address| address.port())
}

/// Serves on its own thread until the other end of `stopped` is dropped. Then it drops unfinished
/// answers, so that stopping takes no time.
fn spawn(
    listeners: Vec<TcpListener>,
    router: &Router,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let service = router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let listener = {
            let _in_runtime = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move { axum::serve(listener, service).await });
    }
    std::thread::Builder::new().name("baseten-sandbox".to_owned()).spawn(move || {
        // Dropping the sender stops the server; it arrives here as an error.
        let _ = runtime.block_on(stopped);
        // This does not wait for requests to an issuer.
        runtime.shutdown_background();
    })
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), log_and_delay))
        .with_state(shared)
}

/// Logs the request once it is answered, then delays the answer by the configured latency.
async fn log_and_delay(
    extract::State(shared): extract::State<Arc<Shared>>,
    request: extract::Request,
    next: Next,
) -> Response {
    let entry = Request {
        received_at: Instant::now(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        host: header(request.headers(), &HOST),
        user_agent: header(request.headers(), &USER_AGENT),
        authorization: authorization_scheme(request.headers()),
        grant_type: None,
        status: 0,
        error: None,
        refusal: None,
    };
    let is_api = entry.path.starts_with("/v1/") || entry.path == "/graphql/";
    let mut response = next.run(request).await;
    let Logged { grant_type, error, refusal } = *Logged::of(&mut response);
    let status = response.status().as_u16();
    shared.log_request(Request { grant_type, status, error, refusal, ..entry });

    let latency = if is_api { shared.state().config().latency } else { Duration::ZERO };
    tokio::time::sleep(latency).await;
    response
}

/// Only known schemes: the first word of a malformed header may be the secret itself.
fn authorization_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or_default();
    Some(match value.split_once(' ') {
        Some(("Bearer", _)) => "Bearer",
        Some(("Api-Key", _)) => "Api-Key",
        _ => "other",
    })
}
