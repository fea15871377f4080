//! From a URL to a connection: names, proxies, TLS. Everything here is bounded by the request's
//! time, also when the other side sends one byte at a time.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, SocksConnector,
    TcpConnector, Transport, TransportAdapter,
};
use zeroize::Zeroizing;

use super::error::Cause;
use super::proxy::{Proxy, ProxyKind};
use super::{CertificateProblem, HttpError, ProxyProblem, tls};
use crate::remote::is_localhost;

/// Finds addresses; `localhost` and names below it are this machine (RFC 6761 §6.3).
#[derive(Debug)]
pub(super) struct Lookup;

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port) = host_and_port(uri);
        let name = bare(host);
        let mut found = self.empty();
        if is_localhost(name) {
            found.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
            found.push(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port));
        } else if let Ok(address) = name.parse::<IpAddr>() {
            found.push(SocketAddr::new(address, port));
        } else {
            let failed = |source: io::Error| {
                other(HttpError::Connect { host: label(uri), source: source.into() })
            };
            let addresses = ask_system(name.to_owned(), port, timeout)?.map_err(failed)?;
            addresses.into_iter().take(16).for_each(|address| found.push(address));
            if found.is_empty() {
                return Err(failed(io::Error::other("the name has no address")));
            }
        }
        Ok(found)
    }
}

/// The system's look-up has no time limit of its own, so it happens on a thread that is left
/// behind when it takes too long.
fn ask_system(
    name: String,
    port: u16,
    timeout: NextTimeout,
) -> Result<io::Result<Vec<SocketAddr>>, ureq::Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("name look-up".to_owned()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more when it took too long.
        let _ = sender.send(found);
    })?;
    receiver.recv_timeout(*timeout.after).map_err(|_| ureq::Error::Timeout(timeout.reason))
}

/// Makes the connection for one request.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) proxy: Option<Proxy>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) user_agent: String,
    /// Becomes true when the first byte of the request leaves.
    pub(super) sent: Arc<AtomicBool>,
}

impl Connector for Dialer {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Wire>, ureq::Error> {
        let plain = match &self.proxy {
            None => connected(TcpConnector::default().connect(details, None::<()>))?,
            Some(proxy) => self.through(proxy, details)?,
        };
        let (host, _) = host_and_port(details.uri);
        let inner = if details.needs_tls() {
            self.secure(plain, host, details)
                .map_err(|failure| other(failure.into_server_error(label(details.uri))))?
        } else {
            plain
        };
        Ok(Some(Wire { inner, tls: details.needs_tls(), sent: Arc::clone(&self.sent) }))
    }
}

impl Dialer {
    /// A connection to the target of `details` that goes through a proxy.
    fn through(
        &self,
        proxy: &Proxy,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        let failed =
            |problem, source| other(HttpError::Proxy { proxy: proxy.to_string(), problem, source });
        let unreached = |error| match unwrap_other(error) {
            Ok(HttpError::Connect { source, .. }) => {
                failed(ProxyProblem::Unreachable, Some(source))
            }
            Ok(error) => other(error),
            Err(ureq::Error::Timeout(_)) => failed(ProxyProblem::Timeout, None),
            Err(ureq::Error::Io(error)) => failed(socks_problem(&error), Some(error.into())),
            Err(error) => failed(ProxyProblem::Unreachable, Some(error.into())),
        };
        if let ProxyKind::Socks(_) = proxy.kind {
            let connection = SocksConnector::default().connect(details, None::<()>);
            return connected(connection).map_err(unreached);
        }
        let plain = reach(proxy, details).map_err(unreached)?;
        let transport = if proxy.kind == ProxyKind::Https {
            self.secure(plain, &proxy.host, details)
                .map_err(TlsFailure::into_proxy_problem)
                .map_err(|(problem, source)| failed(problem, source))?
        } else {
            plain
        };
        self.open_tunnel(transport, proxy, details)
            .map_err(|(problem, source)| failed(problem, source))
    }

    /// Asks a proxy for a connection to the target (RFC 9110 §9.3.6).
    fn open_tunnel(
        &self,
        transport: Box<dyn Transport>,
        proxy: &Proxy,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, (ProxyProblem, Option<Cause>)> {
        let (host, port) = host_and_port(details.uri);
        let mut stream = adapter(transport, details);
        let head = tunnel_request(proxy, &self.user_agent, host, port);
        let status = stream.write_all(head.as_bytes()).and_then(|()| read_status(&mut stream));
        match status {
            Ok(200..=299) => Ok(stream.into_inner()),
            // Tinyproxy says 401 where the login is wrong.
            Ok(401 | 407) => Err((ProxyProblem::Authentication, None)),
            Ok(status) => Err((ProxyProblem::Refused(Some(status)), None)),
            Err(error) if is_timeout(&error) => Err((ProxyProblem::Timeout, None)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err((ProxyProblem::Protocol, Some(error.into())))
            }
            Err(error) => Err((ProxyProblem::Unreachable, Some(error.into()))),
        }
    }

    /// A TLS connection to `host` over another connection.
    fn secure(
        &self,
        transport: Box<dyn Transport>,
        host: &str,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, TlsFailure> {
        let config = self.tls.clone().ok_or(TlsFailure::Name)?;
        let name = ServerName::try_from(bare(host).to_owned()).map_err(|_| TlsFailure::Name)?;
        let mut connection = ClientConnection::new(config, name).map_err(TlsFailure::Tls)?;
        let mut stream = adapter(transport, details);
        match connection.complete_io(&mut stream) {
            Ok(_) => Ok(Box::new(TlsTransport {
                stream: StreamOwned::new(connection, stream),
                buffers: LazyBuffers::new(
                    details.config.input_buffer_size(),
                    details.config.output_buffer_size(),
                ),
            })),
            Err(error) => Err(TlsFailure::from(error)),
        }
    }
}

/// A connection to the proxy itself.
fn reach(
    proxy: &Proxy,
    details: &ConnectionDetails<'_>,
) -> Result<Box<dyn Transport>, ureq::Error> {
    let uri = proxy_uri(proxy)?;
    let addrs = details.resolver.resolve(&uri, details.config, remaining(details))?;
    let details = ConnectionDetails {
        uri: &uri,
        addrs,
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: (details.current_time)(),
        timeout: remaining(details),
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    };
    connected(TcpConnector::default().connect(&details, None::<()>))
}

/// Why there is no TLS connection.
enum TlsFailure {
    Certificate(CertificateProblem, rustls::Error),
    Tls(rustls::Error),
    Name,
    Timeout,
    Io(io::Error),
}

impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        if is_timeout(&error) {
            return Self::Timeout;
        }
        match error.downcast::<rustls::Error>() {
            Ok(error) => match &error {
                rustls::Error::InvalidCertificate(reason) => {
                    Self::Certificate(tls::problem(reason), error)
                }
                _ => Self::Tls(error),
            },
            Err(error) => Self::Io(error),
        }
    }
}

impl TlsFailure {
    fn into_server_error(self, host: String) -> HttpError {
        match self {
            Self::Certificate(problem, source) => {
                HttpError::Certificate { host, problem, source: further(problem, source) }
            }
            Self::Tls(source) => HttpError::Tls { host, source: source.into() },
            Self::Name => HttpError::Tls { host, source: "the host is no name for TLS".into() },
            // How long was waited is filled in where it is known.
            Self::Timeout => {
                HttpError::Timeout { host, limit: std::time::Duration::ZERO, sent: false }
            }
            Self::Io(source) => HttpError::Connect { host, source: source.into() },
        }
    }

    fn into_proxy_problem(self) -> (ProxyProblem, Option<Cause>) {
        match self {
            Self::Certificate(problem, source) => {
                (ProxyProblem::Certificate(problem), further(problem, source))
            }
            Self::Tls(source) => (ProxyProblem::Protocol, Some(source.into())),
            Self::Name => (ProxyProblem::Protocol, None),
            Self::Timeout => (ProxyProblem::Timeout, None),
            Self::Io(source) => (ProxyProblem::Unreachable, Some(source.into())),
        }
    }
}

/// What the verifier said, where the problem does not say it all: its words are not for users.
fn further(problem: CertificateProblem, source: rustls::Error) -> Option<Cause> {
    (problem == CertificateProblem::Other).then(|| source.into())
}

/// The connection as the HTTP code sees it, with a note of when the request starts to leave.
#[derive(Debug)]
pub(super) struct Wire {
    inner: Box<dyn Transport>,
    tls: bool,
    sent: Arc<AtomicBool>,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if amount > 0 {
            self.sent.store(true, Ordering::SeqCst);
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.tls
    }
}

struct TlsTransport {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The error of ours that ureq carried for us.
pub(super) fn unwrap_other(error: ureq::Error) -> Result<HttpError, ureq::Error> {
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<HttpError>() {
            Ok(error) => Ok(*error),
            Err(inner) => Err(ureq::Error::Other(inner)),
        },
        error => Err(error),
    }
}

fn other(error: HttpError) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// The connection in the form that everything here passes on.
fn connected<T: Transport>(
    connection: Result<Option<Either<(), T>>, ureq::Error>,
) -> Result<Box<dyn Transport>, ureq::Error> {
    match connection? {
        Some(Either::B(transport)) => Ok(Box::new(transport)),
        _ => Err(ureq::Error::ConnectionFailed),
    }
}

/// The host (IPv6 in brackets) and port that a URL leads to.
fn host_and_port(uri: &Uri) -> (&str, u16) {
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default))
}

/// The host, with the port where it is a special one.
fn label(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn proxy_uri(proxy: &Proxy) -> Result<Uri, ureq::Error> {
    format!("http://{proxy}/").parse().map_err(|_| ureq::Error::InvalidProxyUrl)
}

/// What is left of the time for making the connection.
fn remaining(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if !timeout.after.is_not_happening() {
        let spent = elapsed(details);
        timeout.after = Duration::Exact(timeout.after.saturating_sub(spent));
    }
    timeout
}

/// How long making the connection has taken.
fn elapsed(details: &ConnectionDetails<'_>) -> std::time::Duration {
    match ((details.current_time)(), details.now) {
        (Instant::Exact(now), Instant::Exact(start)) => now.saturating_duration_since(start),
        _ => std::time::Duration::ZERO,
    }
}

fn adapter(transport: Box<dyn Transport>, details: &ConnectionDetails<'_>) -> TransportAdapter {
    let mut stream = TransportAdapter::new(transport, Arc::clone(&details.current_time));
    stream.set_timeout(remaining(details));
    stream
}

fn tunnel_request(proxy: &Proxy, user_agent: &str, host: &str, port: u16) -> Zeroizing<String> {
    let mut head = Zeroizing::new(String::with_capacity(4096));
    // Writing to a string cannot fail.
    let _ = write!(head, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    let _ = write!(head, "User-Agent: {user_agent}\r\n");
    if let Some((user, password)) = &proxy.login {
        let login = Zeroizing::new(format!("{}:{}", user.expose(), password.expose()));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(login.as_bytes()));
        let _ = write!(head, "Proxy-Authorization: Basic {}\r\n", encoded.as_str());
    }
    head.push_str("\r\n");
    head
}

/// Reads the head of an answer, not a byte further, and returns its status.
fn read_status(stream: &mut impl Read) -> io::Result<u16> {
    const LONGEST: usize = 16 * 1024;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST {
            return Err(bad());
        }
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| bad())?;
    let mut words = line.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some("HTTP/1.0" | "HTTP/1.1"), Some(Ok(status @ 100..=999))) => Ok(status),
        _ => Err(bad()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(ureq::Error::Timeout(_))) || error.kind() == io::ErrorKind::TimedOut
}

/// What an error on the way to or through a SOCKS proxy means. ureq gives the proxy's own answers
/// kinds that no connection gives.
fn socks_problem(error: &io::Error) -> ProxyProblem {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ProxyProblem::Authentication,
        io::ErrorKind::Other => ProxyProblem::Refused(None),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => ProxyProblem::Protocol,
        _ => ProxyProblem::Unreachable,
    }
}
