//! The one HTTP client: one request, one connection, no redirect, and a bound on everything.

mod dial;
mod error;
mod proxy;
mod tls;

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderValue, header};
use url::Url;
use zeroize::Zeroizing;

pub use self::error::{Cause, CertificateProblem, HttpError, ProxyProblem};
use self::proxy::{Proxy, ProxyKind};
use crate::remote::is_loopback;
use crate::{Env, Event, Observer, Secret};

/// From the look-up of the name to the end of the TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// From the look-up of the name to the last byte of the answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// The HTTP client of a run. Making one costs nothing; TLS is set up for the first `https` request.
#[derive(Debug)]
pub struct Http {
    env: Env,
    user_agent: String,
    observer: Observer,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// A request that is to be sent.
#[must_use]
pub struct Request<'a> {
    method: &'static str,
    url: String,
    form: Vec<(&'static str, &'a str)>,
    authorization: Option<&'a Secret>,
    limit: Duration,
}

/// The answer to a request, whatever its status.
pub struct Response {
    /// The HTTP status. No redirect was followed.
    pub status: u16,
    /// How long the server wants not to be asked again (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
    /// The body, at most 1 MiB. It may hold tokens.
    pub body: Zeroizing<Vec<u8>>,
}

impl<'a> Request<'a> {
    /// A `GET` of a URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url.into())
    }

    /// A `POST` to a URL, with an empty body unless it gets fields.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url.into())
    }

    fn new(method: &'static str, url: String) -> Self {
        Self { method, url, form: Vec::new(), authorization: None, limit: REQUEST_LIMIT }
    }

    /// Adds a form field. The value may be a secret.
    pub fn field(mut self, name: &'static str, value: &'a str) -> Self {
        self.form.push((name, value));
        self
    }

    /// Sets the whole value of the `Authorization` header.
    pub fn authorization(mut self, value: &'a Secret) -> Self {
        self.authorization = Some(value);
        self
    }

    /// Shortens the time that the whole request may take, which is 30 s.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = self.limit.min(limit);
        self
    }

    /// The form as `application/x-www-form-urlencoded`, in memory that is wiped.
    fn encoded_form(&self) -> Zeroizing<String> {
        // Room for the worst case, so that nothing is moved and left behind.
        let room = self.form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut text = Zeroizing::new(String::with_capacity(room));
        for (name, value) in &self.form {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
            text.push('=');
            text.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
        }
        text
    }
}

/// No values: they may be secrets.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Request({} {})", self.method, self.url)
    }
}

/// No body: it may hold tokens.
impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

impl Http {
    /// A client that reads proxies and trusted certificates from this environment, names itself
    /// so, and reports every request.
    ///
    /// The user agent must be visible ASCII; [`user_agent`] makes one.
    #[must_use]
    pub fn new(env: Env, user_agent: String, observer: Observer) -> Self {
        Self { env, user_agent, observer, tls: OnceLock::new() }
    }

    /// Sends a request once and returns whatever answer there is.
    ///
    /// [`HttpError`] only where there is no whole answer: a status of 4xx or 5xx is no error here.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let start = Instant::now();
        let result = self.exchange(request);
        self.observer.notify(&Event::Request {
            method: request.method,
            url: &request.url,
            status: result.as_ref().ok().map(|response| response.status),
            elapsed: start.elapsed(),
        });
        result
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let url = checked_url(&request.url)?;
        let proxy = Proxy::choose(&self.env, &url)?;
        let needs_tls =
            url.scheme() == "https" || proxy.as_ref().is_some_and(|p| p.kind == ProxyKind::Https);
        let sent = Arc::new(AtomicBool::new(false));
        let config = self.config(request, proxy.as_ref())?;
        let dialer = dial::Dialer {
            proxy,
            tls: if needs_tls { Some(self.tls()?) } else { None },
            user_agent: self.user_agent.clone(),
            sent: Arc::clone(&sent),
        };
        let failed =
            |error| failure(error, &host_label(&url), request.limit, sent.load(Ordering::SeqCst));
        // An agent for each request: nothing of one connection reaches another.
        let agent = ureq::Agent::with_parts(config, dialer, dial::Lookup);
        let answer = run(&agent, request).map_err(failed)?;
        let (head, mut body) = answer.into_parts();
        let body = read_body(&mut body.as_reader()).map_err(|error| match error {
            BodyError::TooLarge => {
                HttpError::TooLarge { host: host_label(&url), limit: BODY_LIMIT }
            }
            BodyError::Io(error) => failed(error.into()),
        })?;
        let retry_after = retry_after(&head.headers, Timestamp::now());
        Ok(Response { status: head.status.as_u16(), retry_after, body })
    }

    fn config(&self, request: &Request<'_>, proxy: Option<&Proxy>) -> Result<Config, HttpError> {
        let connect = CONNECT_LIMIT.min(request.limit);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(self.user_agent.as_str())
            .accept("application/json")
            .max_idle_connections(0)
            .timeout_global(Some(request.limit))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .proxy(proxy.map(ureq_proxy).transpose()?);
        Ok(config.build())
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls::client_config(&self.env)?);
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }
}

/// How the program names itself: `baseten-cli/<version> (rust; <os>; <arch>)`.
#[must_use]
pub fn user_agent(version: &str) -> String {
    format!("baseten-cli/{version} (rust; {}; {})", std::env::consts::OS, std::env::consts::ARCH)
}

/// A URL that a request may go to: `https`, or `http` to this machine.
fn checked_url(text: &str) -> Result<Url, HttpError> {
    let insecure = |host: &str| HttpError::Insecure { host: host.to_owned() };
    let url = Url::parse(text).map_err(|_| insecure("a malformed URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(insecure(&host_label(&url))),
    }
}

/// The host, with the port where it is a special one.
fn host_label(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The proxy as ureq has to know it: for SOCKS to speak to it, for the others only so that the
/// server's name is left to the proxy.
fn ureq_proxy(proxy: &Proxy) -> Result<ureq::Proxy, HttpError> {
    let protocol = match proxy.kind {
        ProxyKind::Socks(protocol) => protocol,
        ProxyKind::Http | ProxyKind::Https => ureq::ProxyProtocol::Http,
    };
    let mut builder = ureq::Proxy::builder(protocol).host(&proxy.host).port(proxy.port);
    if let (ProxyKind::Socks(_), Some((user, password))) = (proxy.kind, &proxy.login) {
        builder = builder.username(user.expose()).password(password.expose());
    }
    builder.build().map_err(|_| HttpError::Proxy {
        proxy: proxy.to_string(),
        problem: ProxyProblem::Unreachable,
        source: None,
    })
}

fn run(
    agent: &ureq::Agent,
    request: &Request<'_>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let mut head = ureq::http::Request::builder()
        .method(request.method)
        .uri(&request.url)
        .header(header::CONNECTION, "close");
    if let Some(secret) = request.authorization {
        let plain = secret.expose().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let value = HeaderValue::from_str(secret.expose()).ok().filter(|_| plain);
        let mut value = value.ok_or_else(|| ureq::Error::Other(HttpError::Credential.into()))?;
        value.set_sensitive(true);
        head = head.header(header::AUTHORIZATION, value);
    }
    if request.method == "GET" {
        return agent.run(head.body(())?);
    }
    let form = request.encoded_form();
    if !request.form.is_empty() {
        head = head.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    agent.run(head.body(form.as_bytes())?)
}

/// What an error of ureq means to our callers. Its own text is not kept where it could hold a part
/// of an answer.
fn failure(error: ureq::Error, host: &str, limit: Duration, sent: bool) -> HttpError {
    let host = host.to_owned();
    let connect_limit = CONNECT_LIMIT.min(limit);
    let error = match dial::unwrap_other(error) {
        // Making the connection knows better what failed, but not how this file calls the host.
        Ok(HttpError::Timeout { .. }) => {
            return HttpError::Timeout { host, limit: connect_limit, sent: false };
        }
        Ok(error) => return error,
        Err(error) => error,
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            HttpError::Timeout { host, limit: connect_limit, sent }
        }
        ureq::Error::Timeout(_) => HttpError::Timeout { host, limit, sent },
        ureq::Error::Io(source) if sent => HttpError::Lost { host, source: source.into() },
        ureq::Error::Io(source) => HttpError::Connect { host, source: source.into() },
        ureq::Error::LargeResponseHeader(_, limit) => HttpError::TooLarge { host, limit },
        ureq::Error::Protocol(_) | ureq::Error::Http(_) if sent => HttpError::NotHttp { host },
        error if sent => HttpError::Lost { host, source: error.to_string().into() },
        error => HttpError::Connect { host, source: error.to_string().into() },
    }
}

enum BodyError {
    TooLarge,
    Io(io::Error),
}

/// Reads a body into memory that is wiped, also where it has to move to grow.
fn read_body(reader: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut chunk = Zeroizing::new([0; 8 * 1024]);
    let mut body = Zeroizing::new(Vec::with_capacity(chunk.len()));
    loop {
        let amount = match reader.read(chunk.as_mut_slice()) {
            Ok(0) => return Ok(body),
            Ok(amount) => amount,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BodyError::Io(error)),
        };
        let room = body.len() + amount;
        if room > BODY_LIMIT {
            return Err(BodyError::TooLarge);
        }
        if room > body.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * room));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(chunk.get(..amount).unwrap_or_default());
    }
}

/// `Retry-After` in seconds or as a date; a date that has passed is no wait.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, "1994-11-06T08:49:30Z".parse().unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        for odd in ["-1", "1.5", "soon", "", "99999999999999999999999"] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        let request = Request::post("x").field("a b", "1&2=3 é").field("c", "");
        assert_eq!(request.encoded_form().as_str(), "a+b=1%262%3D3+%C3%A9&c=");
    }

    #[test]
    fn debug_shows_no_values() {
        let secret = Secret::from("Bearer canary");
        let request = Request::post("https://x/").field("a", "canary").authorization(&secret);
        assert!(!format!("{request:?}").contains("canary"));
    }

    #[test]
    fn nothing_is_sent_without_tls_to_another_machine() {
        let http = Http::new(Env::default(), user_agent("0"), Observer::default());
        for url in ["http://example.com/", "ftp://localhost/", "nothing", "http://0.0.0.0/"] {
            let error = http.send(&Request::get(url)).unwrap_err();
            assert!(matches!(error, HttpError::Insecure { .. }), "{url}: {error:?}");
            assert!(error.surely_not_sent());
        }
    }
}
