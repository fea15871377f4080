//! The only HTTP client: one request, one connection, no redirects, and a limit on everything.

mod attempt;
mod dial;
mod error;
mod proxy;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "http/without_tls.rs"]
mod tls;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderValue, header, request};
use url::Url;
use zeroize::Zeroizing;

use self::attempt::Attempt;
use self::dial::{Dialer, Good};
pub use self::error::{CertificateProblem, HttpError, ProxyProblem};
use crate::env::Env;
use crate::event::{Event, Observer};
use crate::remote::is_loopback;
use crate::secret::Secret;
use crate::wait::{Clock as _, SystemClock, Wait};

/// From looking up the name to the last byte of the answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// The HTTP client of a run. Creating one costs nothing; TLS is set up at the first `https`
/// request.
#[derive(Debug)]
pub struct Http {
    env: Env,
    user_agent: String,
    observer: Observer,
    tls: OnceLock<Arc<tls::Config>>,
    good: Good,
    /// A file of additional trusted certificates, and the variable that names it.
    authority: Option<(&'static str, PathBuf)>,
}

/// A request to send.
#[must_use]
pub struct Request<'a> {
    method: &'static str,
    url: String,
    headers: Vec<(header::HeaderName, &'a str)>,
    body: Body<'a>,
    limit: Duration,
    until: Option<(Timestamp, Wait)>,
}

/// What a request carries.
enum Body<'a> {
    None,
    /// The fields of a form.
    Form(Vec<(&'static str, &'a str)>),
    /// A JSON text.
    Json(&'a [u8]),
}

/// The answer to a request, whatever its status.
pub struct Response {
    /// The server's host, with the port if it is not the default.
    pub host: String,
    /// The HTTP status. No redirect was followed.
    pub status: u16,
    /// How long the server asks us to wait before the next request (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
    /// The body, at most 1 MiB. It may hold tokens.
    pub body: Zeroizing<Vec<u8>>,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Response {
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl<'a> Request<'a> {
    /// A `GET` of a URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url.into(), Body::None)
    }

    /// A `POST` to a URL. Its body is empty unless fields are added.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url.into(), Body::Form(Vec::new()))
    }

    /// A `DELETE` of a URL.
    pub(crate) fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url.into(), Body::None)
    }

    fn new(method: &'static str, url: String, body: Body<'a>) -> Self {
        let headers = Vec::new();
        Self { method, url, headers, body, limit: REQUEST_LIMIT, until: None }
    }

    /// Adds a form field to the body of a `POST`. The value may be a secret.
    pub fn field(mut self, name: &'static str, value: &'a str) -> Self {
        if let Body::Form(fields) = &mut self.body {
            fields.push((name, value));
        }
        self
    }

    /// Makes a JSON text the body of a `POST`. It may hold secrets.
    pub fn json(mut self, text: &'a [u8]) -> Self {
        self.body = Body::Json(text);
        self
    }

    /// Sets a header. Its name is in lower case; its value may be a secret.
    pub(crate) fn header(mut self, name: &'static str, value: &'a str) -> Self {
        self.headers.push((header::HeaderName::from_static(name), value));
        self
    }

    /// Sets the whole value of the `Authorization` header.
    pub fn authorization(mut self, value: &'a Secret) -> Self {
        self.headers.push((header::AUTHORIZATION, value.expose()));
        self
    }

    /// Shortens the time that the whole request may take, which is 30 s.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = self.limit.min(limit);
        self
    }

    /// Keeps the request from being sent if its time would not be over by this moment of the wall
    /// clock: a machine that was asleep meanwhile has counted none of that time.
    pub(crate) fn answered_by(mut self, moment: Option<Timestamp>, wait: &Wait) -> Self {
        self.until = moment.map(|moment| (moment, wait.clone()));
        self
    }

    /// The request without its body.
    fn head(&self, url: &Url) -> Result<request::Builder, HttpError> {
        let mut head = request::Builder::new()
            .method(self.method)
            .uri(url.as_str())
            .header(header::CONNECTION, "close");
        for (name, text) in &self.headers {
            let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            let value = HeaderValue::from_str(text).ok().filter(|_| plain);
            let mut value = value.ok_or(HttpError::Credential)?;
            value.set_sensitive(true);
            head = head.header(name, value);
        }
        let content_type = match &self.body {
            Body::Form(fields) if !fields.is_empty() => "application/x-www-form-urlencoded",
            Body::Json(_) => "application/json",
            Body::None | Body::Form(_) => return Ok(head),
        };
        Ok(head.header(header::CONTENT_TYPE, content_type))
    }
}

/// A form as `application/x-www-form-urlencoded`, in memory that is wiped.
fn encoded(fields: &[(&str, &str)]) -> Zeroizing<String> {
    // Room for the worst case, so that the text never moves and leaves no copy behind.
    let room = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(room));
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
        text.push('=');
        text.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
    }
    text
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
    /// A client that reads proxies and trusted certificates from this environment, sends this user
    /// agent, and reports every request.
    /// The user agent must be visible ASCII; [`user_agent`] makes one.
    #[must_use]
    pub fn new(env: Env, user_agent: String, observer: Observer) -> Self {
        Self {
            env,
            user_agent,
            observer,
            tls: OnceLock::new(),
            good: Good::default(),
            authority: None,
        }
    }

    /// The same client with another observer.
    pub(crate) fn with_observer(&self, observer: Observer) -> Self {
        Self::new(self.env.clone(), self.user_agent.clone(), observer)
    }

    /// The same client with another user agent.
    pub(crate) fn with_user_agent(&self, user_agent: String) -> Self {
        Self::new(self.env.clone(), user_agent, self.observer.clone())
    }

    /// The same client, which also trusts the certificates in a file; a variable names it.
    pub(crate) fn trusting(&self, authority: Option<(&'static str, PathBuf)>) -> Self {
        let client = Self::new(self.env.clone(), self.user_agent.clone(), self.observer.clone());
        Self { authority, ..client }
    }

    /// Sends a request once and returns the answer, whatever it is.
    /// [`HttpError`] only if there is no complete answer: a status of 4xx or 5xx is not an error
    /// here.
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
        let head = request.head(&url)?;
        let form;
        let body = match &request.body {
            Body::None => None,
            Body::Form(fields) => {
                form = encoded(fields);
                Some(form.as_bytes())
            }
            Body::Json(text) => Some(*text),
        };
        let proxy = proxy::choose(&self.env, &url)?;
        // Everything that goes through a proxy is `https`.
        let tls = if url.scheme() == "https" { Some(self.tls(&url)?) } else { None };
        let (limit, until) = (request.limit, request.until.clone());
        let attempt = Arc::new(Attempt::new(host_label(&url), proxy, limit, until));
        let dialer = Dialer { attempt: Arc::clone(&attempt), tls, good: Arc::clone(&self.good) };
        let agent = dialer.agent(self.config(&attempt));
        let failed = |error| attempt.failure(error);
        let answer = run(&agent, head, body).map_err(failed)?;
        let (head, mut body) = answer.into_parts();
        let body = read_body(&mut body.as_reader()).map_err(|error| match error {
            BodyError::TooLarge => {
                HttpError::TooLarge { host: attempt.host.clone(), limit: BODY_LIMIT }
            }
            BodyError::Io(error) => failed(error.into()),
        })?;
        let retry_after = retry_after(&head.headers, SystemClock.now());
        let host = attempt.host.clone();
        Ok(Response {
            host,
            status: head.status.as_u16(),
            retry_after,
            body,
            headers: head.headers,
        })
    }

    fn config(&self, attempt: &Attempt) -> Config {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(self.user_agent.as_str())
            .accept("application/json")
            .max_idle_connections(0)
            // Only for SOCKS proxies; the attempt has all other limits.
            .timeout_connect(Some(attempt.connect_limit()))
            .proxy(attempt.proxy.clone())
            .build()
    }

    fn tls(&self, url: &Url) -> Result<Arc<tls::Config>, HttpError> {
        if !cfg!(feature = "tls") {
            let source = "this program was built without TLS".into();
            return Err(HttpError::Tls { host: host_label(url), source });
        }
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls::config(&self.env, self.authority.as_ref())?);
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }
}

/// The program's user agent: `baseten-cli/<version> (rust; <os>; <arch>)`.
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

/// The host, with the port if it is not the default.
fn host_label(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn run(
    agent: &ureq::Agent,
    head: request::Builder,
    body: Option<&[u8]>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    match body {
        None => agent.run(head.body(())?),
        Some(body) => agent.run(head.body(body)?),
    }
}

enum BodyError {
    TooLarge,
    Io(io::Error),
}

/// Reads a body into memory that is wiped, even when it moves to grow.
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

/// `Retry-After` in seconds or as a date; a date in the past means no wait.
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
        let fields = [("a b", "1&2=3 é"), ("c", "")];
        assert_eq!(encoded(&fields).as_str(), "a+b=1%262%3D3+%C3%A9&c=");
    }

    #[test]
    fn debug_shows_no_values() {
        let secret = Secret::from("Bearer canary");
        let request = Request::post("https://x/").field("a", "canary").authorization(&secret);
        assert!(!format!("{request:?}").contains("canary"));
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn a_build_without_tls_says_so() {
        let http = Http::new(Env::default(), user_agent("0"), Observer::default());
        let error = http.send(&Request::get("https://api.example/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot make a secure connection to api.example");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "this program was built without TLS");
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
