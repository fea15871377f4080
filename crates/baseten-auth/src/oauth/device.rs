//! Login through a browser on another device (RFC 8628): a pure decision for each answer, and a
//! thin loop around it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use url::Url;

use super::answer::{self, ApiError, error_in, with_retries};
use super::token::{CLIENT_ID, TOKEN_PATH, Tokens, parse_tokens};
use crate::event::Observer;
use crate::http::{Http, Request, Response};
use crate::profile::OAuthCredential;
use crate::remote::{ManagementUrl, is_loopback};
use crate::secret::Secret;
use crate::text::display_text;
use crate::wait::Wait;

const AUTHORIZE_PATH: &str = "/v1/users/auth/device/authorize";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The pause between polls if the server does not name one (RFC 8628 §3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// No server is polled faster than this.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// What each `slow_down` adds permanently (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Pauses after failures grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long a code counts as valid if the server does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);
/// The longest that a code is waited for.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// How often the caller is called back.
const TICK: Duration = Duration::from_secs(1);

/// A login that waits for approval (RFC 8628 §3.2). It can be kept and waited for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// Proves that the poll comes from whoever started the login.
    pub device_code: Secret,
    /// What the user compares or types, fit for display.
    pub user_code: String,
    /// Where the user approves: `https`, or `http` on this machine, and fit for display.
    pub verification_uri: String,
    /// The same with the code in it, under the same rules.
    pub verification_uri_complete: Option<String>,
    /// When the codes expire.
    pub expires_at: Timestamp,
    /// The shortest pause between two polls, at least 1 s.
    pub interval: Duration,
}

impl DeviceAuthorization {
    /// Whether its codes have expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The page to open: the one that contains the code, if the server names one.
    pub fn page(&self) -> &str {
        self.verification_uri_complete.as_ref().unwrap_or(&self.verification_uri)
    }
}

/// Why a device login did not end in tokens.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The user said no.
    #[error("the login was denied")]
    Denied,
    /// Nobody approved in time.
    #[error("the login was not approved before its code expired")]
    Expired,
    /// The server names a page that must not be shown: it is neither `https` nor on this machine.
    #[error("the server named a login page that is not https")]
    UnsafeVerificationUrl,
    /// The wait was canceled.
    #[error("canceled")]
    Canceled,
    /// Something else.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl DeviceError {
    /// Whether the device code can no longer be used.
    #[must_use]
    pub fn ends_the_code(&self) -> bool {
        match self {
            Self::Denied | Self::Expired | Self::Api(ApiError::OAuth { .. }) => true,
            Self::UnsafeVerificationUrl | Self::Canceled | Self::Api(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct AuthorizationMembers {
    #[serde(default, deserialize_with = "answer::secret")]
    device_code: Option<Secret>,
    #[serde(default, deserialize_with = "answer::text")]
    user_code: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    verification_uri: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    verification_url: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    verification_uri_complete: Option<String>,
    #[serde(default, deserialize_with = "answer::seconds")]
    expires_in: Option<f64>,
    #[serde(default, deserialize_with = "answer::seconds")]
    interval: Option<f64>,
}

/// Starts a device login (RFC 8628 §3.1). After a failed connection, 429 or 5xx it is tried again,
/// three times and for 45 s at most; after a time-out it is not.
pub fn start(
    http: &Http,
    wait: &Wait,
    observer: &Observer,
    management: &ManagementUrl,
) -> Result<DeviceAuthorization, DeviceError> {
    let (sent, answer) = with_retries(wait, observer, ApiError::is_soon_over, |left| {
        let request = Request::post(management.endpoint(AUTHORIZE_PATH))
            .field("client_id", CLIENT_ID)
            .within(left);
        let sent = wait.now();
        let answer = http.send(&request)?;
        error_in(&answer, &[]).map_or(Ok((sent, answer)), Err)
    })?;
    parse(&answer, sent)
}

/// Waits until the user has approved, polling no faster than the server allows (RFC 8628 §3.4).
/// `tick` is given the time that is left, before each second of waiting.
pub fn wait_for_approval(
    http: &Http,
    wait: &Wait,
    management: &ManagementUrl,
    authorization: &DeviceAuthorization,
    tick: &mut dyn FnMut(Duration),
) -> Result<OAuthCredential, DeviceError> {
    let lifetime = authorization.expires_at.duration_since(wait.now());
    let lifetime = Duration::try_from(lifetime).unwrap_or_default().min(LONGEST_LIFETIME);
    // From here on, use a clock that nobody can set.
    let end = wait.deadline(lifetime);
    let left = || wait.remaining(end).unwrap_or_default();
    let mut pace = Pace::new(authorization.interval);
    let mut pause = pace.interval;
    loop {
        while !pause.is_zero() {
            let left = left();
            if left.is_zero() {
                return Err(DeviceError::Expired);
            }
            tick(left);
            let slice = TICK.min(pause).min(left);
            wait.sleep(slice).map_err(|_| DeviceError::Canceled)?;
            pause -= slice;
        }
        if left().is_zero() {
            return Err(DeviceError::Expired);
        }
        let sent = wait.now();
        let outcome = ask(http, management, &authorization.device_code, left());
        if let Err(error) = &outcome
            && error.retry_after().is_some_and(|wanted| wanted >= left())
        {
            // There is no time for another poll, and the user is not to blame for that.
            return outcome.map(|tokens| tokens.into_credential(sent, None)).map_err(Into::into);
        }
        match step(&mut pace, outcome) {
            Decision::Wait(next) => pause = next,
            Decision::Done(tokens) => return Ok(tokens.into_credential(sent, None)),
            Decision::Denied => return Err(DeviceError::Denied),
            Decision::Expired => return Err(DeviceError::Expired),
            Decision::Failed(error) => return Err(error.into()),
        }
    }
}

/// How fast polls may follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    interval: Duration,
    failures: u32,
    /// The server said that we were too fast, although we kept the interval by our clock.
    is_too_fast: bool,
}

/// What to do after a poll.
#[derive(Debug)]
enum Decision {
    Wait(Duration),
    Done(Tokens),
    Denied,
    Expired,
    Failed(ApiError),
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval: interval.max(LEAST_INTERVAL), failures: 0, is_too_fast: false }
    }

    /// The pause between two polls. After a `slow_down` it is a quarter longer, because clocks
    /// differ.
    fn pause(&self) -> Duration {
        let room = if self.is_too_fast { self.interval / 4 } else { Duration::ZERO };
        self.interval.saturating_add(room)
    }

    /// The pause after a failure: twice the last one up to a maximum, but never shorter than the
    /// interval or than the server asked for.
    fn after_failure(&mut self, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let factor = 2u32.saturating_pow(self.failures);
        let pause = self.interval.saturating_mul(factor).min(LONGEST_PAUSE);
        pause.max(self.pause()).max(retry_after.unwrap_or_default())
    }
}

/// Decides what to do after a poll (RFC 8628 §3.5).
fn step(pace: &mut Pace, outcome: Result<Tokens, ApiError>) -> Decision {
    let error = match outcome {
        Ok(tokens) => return Decision::Done(tokens),
        Err(error) => error,
    };
    let code = match &error {
        ApiError::OAuth { code, .. } => code.as_str(),
        _ => "",
    };
    match code {
        "authorization_pending" => {
            pace.failures = 0;
            Decision::Wait(pace.pause())
        }
        "slow_down" => {
            pace.failures = 0;
            pace.interval = pace.interval.saturating_add(SLOW_DOWN);
            pace.is_too_fast = true;
            Decision::Wait(pace.pause().max(error.retry_after().unwrap_or_default()))
        }
        "access_denied" => Decision::Denied,
        "expired_token" => Decision::Expired,
        _ if error.is_transient() => Decision::Wait(pace.after_failure(error.retry_after())),
        _ => Decision::Failed(error),
    }
}

/// One poll, which is one request (RFC 8628 §3.4) and does not outlast the code.
fn ask(
    http: &Http,
    management: &ManagementUrl,
    device_code: &Secret,
    left: Duration,
) -> Result<Tokens, ApiError> {
    let request = Request::post(management.endpoint(TOKEN_PATH))
        .field("grant_type", GRANT_TYPE)
        .field("device_code", device_code.expose())
        .field("client_id", CLIENT_ID)
        .within(left);
    parse_tokens(&http.send(&request)?, &[device_code])
}

/// Reads the answer to the first request, which was sent at this time.
pub(crate) fn parse(
    response: &Response,
    now: Timestamp,
) -> Result<DeviceAuthorization, DeviceError> {
    if let Some(error) = error_in(response, &[]) {
        return Err(error.into());
    }
    let not_protocol = || ApiError::not_protocol(response);
    let members: AuthorizationMembers = answer::object(&response.body).ok_or_else(not_protocol)?;
    let device_code =
        members.device_code.filter(Secret::is_visible_ascii).ok_or_else(not_protocol)?;
    let user_code = display_text(&members.user_code.unwrap_or_default());
    let page = members.verification_uri.or(members.verification_url);
    let (false, Some(page)) = (user_code.is_empty(), page) else {
        return Err(not_protocol().into());
    };
    let lifetime = seconds(members.expires_in, DEFAULT_LIFETIME).min(LONGEST_LIFETIME);
    let lifetime = SignedDuration::try_from(lifetime).map_err(|_| not_protocol())?;
    Ok(DeviceAuthorization {
        device_code,
        user_code,
        verification_uri: safe_page(&page).ok_or(DeviceError::UnsafeVerificationUrl)?,
        verification_uri_complete: members.verification_uri_complete.as_deref().and_then(safe_page),
        expires_at: now.checked_add(lifetime).map_err(|_| not_protocol())?,
        interval: match members.interval {
            Some(interval) if interval > 0.0 => {
                seconds(Some(interval), DEFAULT_INTERVAL).clamp(LEAST_INTERVAL, LONGEST_LIFETIME)
            }
            _ => DEFAULT_INTERVAL,
        },
    })
}

/// A number of seconds as a duration: zero if it is negative, the longest duration if it is too
/// large.
fn seconds(seconds: Option<f64>, default: Duration) -> Duration {
    seconds.map_or(default, |seconds| {
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    })
}

/// A page that may be shown and opened, in pure ASCII: `https`, or `http` on this machine, and
/// without a user name, which could pass for the host.
fn safe_page(text: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let plain = url.username().is_empty() && url.password().is_none();
    (safe && plain).then(|| url.into())
}

#[cfg(test)]
mod tests;
