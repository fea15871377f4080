//! Answers of the server: both forms of its errors, and JSON with values of the wrong type.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::event::{Event, Observer};
use crate::http::{HttpError, Response};
use crate::secret::Secret;
use crate::text::{display_text, is_hidden};
use crate::wait::Wait;

/// Why the server did not do what it was asked. A `host` has the port if it is not the default.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum ApiError {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An error of the OAuth endpoints (RFC 6749 §5.2, RFC 8628 §3.5).
    #[error("{host} answered {code}{}", Detail(description))]
    OAuth {
        host: Box<str>,
        /// The HTTP status, which may be 200.
        status: u16,
        /// The `error` member, such as `invalid_grant`, fit for display.
        code: String,
        /// The `error_description` member, fit for display.
        description: Option<String>,
        retry_after: Option<Duration>,
    },
    /// Any other answer that is not a success.
    #[error("{host} answered HTTP {status}{}", Detail(message))]
    Status {
        host: Box<str>,
        status: u16,
        /// The `code` member of the management API's errors, fit for display.
        code: Option<String>,
        /// The `message` member of the management API's errors, fit for display.
        message: Option<String>,
        retry_after: Option<Duration>,
    },
    /// A success that does not follow the protocol, such as a proxy's page.
    #[error("the answer of {host} (HTTP {status}) is not one that this program understands")]
    NotProtocol { host: Box<str>, status: u16 },
}

impl ApiError {
    /// Whether the same request may well succeed in a moment: there was no connection, there were
    /// too many requests, or the server had an internal error.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::OAuth { status, .. } | Self::Status { status, .. } => {
                *status == 429 || *status >= 500
            }
            Self::NotProtocol { .. } => false,
        }
    }

    /// The error for a success in an unknown form.
    pub(crate) fn not_protocol(response: &Response) -> Self {
        Self::NotProtocol { host: response.host.as_str().into(), status: response.status }
    }

    /// Like [`ApiError::is_transient`], but not for a time-out: a retry could wait as long
    /// again.
    pub(crate) fn is_soon_over(&self) -> bool {
        self.is_transient() && !matches!(self, Self::Http(HttpError::Timeout { .. }))
    }

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http(_) => None,
            Self::OAuth { status, .. }
            | Self::Status { status, .. }
            | Self::NotProtocol { status, .. } => Some(*status),
        }
    }

    /// Whether a refresh token, or a device code, is invalid or expired (RFC 6749 §5.2).
    pub(crate) fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::OAuth { code, .. } if code == "invalid_grant")
    }

    /// How long the server asks us to wait before the next request, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::OAuth { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            Self::Http(_) | Self::NotProtocol { .. } => None,
        }
    }
}

/// How often a request is sent again after a failure that may pass.
const RETRIES: u32 = 3;
/// No request starts later than this after the first one.
const LONGEST_WAIT: Duration = Duration::from_secs(45);

/// Makes a request. If it fails for a reason that may pass (`is_worth_it`), makes it again after 1,
/// 2 and 4 s, or after the time that the server asks for, for 45 s at most. The function is given
/// the time that the request may take.
pub(crate) fn with_retries<T>(
    wait: &Wait,
    observer: &Observer,
    is_worth_it: fn(&ApiError) -> bool,
    mut attempt: impl FnMut(Duration) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let end = wait.deadline(LONGEST_WAIT);
    let mut retries = 0;
    loop {
        let left = wait.remaining(end).unwrap_or_default();
        let error = match attempt(left) {
            Err(error) if is_worth_it(&error) && retries < RETRIES => error,
            outcome => return outcome,
        };
        let wanted = error.retry_after().unwrap_or_default();
        let pause = wanted.max(Duration::from_secs(1 << retries));
        if wait.remaining(end).is_none_or(|left| left <= pause) {
            return Err(error);
        }
        observer.notify(&Event::Retry { reason: &error, pause });
        if wait.sleep(pause).is_err() {
            return Err(error);
        }
        retries += 1;
    }
}

/// `: text`, or nothing.
struct Detail<'a>(&'a Option<String>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|text| write!(formatter, ": {text}"))
    }
}

/// The members of both forms of errors.
#[derive(Deserialize)]
struct ErrorMembers {
    #[serde(default, deserialize_with = "text")]
    error: Option<String>,
    #[serde(default, deserialize_with = "text")]
    error_description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    message: Option<String>,
}

/// The errors of RFC 6749 §5.2 and RFC 8628 §3.5.
const CODES: &[&str] = &[
    "access_denied",
    "authorization_pending",
    "expired_token",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "slow_down",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// The error in an answer; `None` for a success.
/// An `error` member makes an OAuth answer an error whatever its status. If the server repeats one
/// of `secrets`, which were sent to it, that is not shown.
pub(crate) fn error_in(response: &Response, secrets: &[&Secret]) -> Option<ApiError> {
    let Response { ref host, status, retry_after, ref body, .. } = *response;
    let host = host.as_str().into();
    let success = (200..300).contains(&status);
    let members = object::<ErrorMembers>(body);
    let fit = |text: Option<String>| {
        let text = display_text(&without(&text?, secrets));
        (!text.is_empty()).then_some(text)
    };
    match members {
        Some(ErrorMembers { error: Some(error), error_description, .. }) => {
            // Callers branch on the code, and so short a word may well occur within a secret's
            // text.
            let code = if CODES.contains(&error.as_str()) { Some(error) } else { fit(Some(error)) };
            let code = code.unwrap_or_else(|| "an unnamed error".to_owned());
            let description = fit(error_description);
            Some(ApiError::OAuth { host, status, code, description, retry_after })
        }
        _ if success => None,
        Some(ErrorMembers { code, message, error_description, .. }) => {
            let (code, message) = (fit(code), fit(message.or(error_description)));
            Some(ApiError::Status { host, status, code, message, retry_after })
        }
        None => Some(ApiError::Status { host, status, code: None, message: None, retry_after }),
    }
}

/// The members of a JSON object; `None` for anything else. An array is refused too: a derived
/// `Deserialize` would take its elements for the members.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(body).ok()).flatten()
}

/// The text without any of these secrets, and without a secret that is repeated without the scheme
/// of its header. Hidden characters are removed first: one inside a secret would keep it from being
/// found, although it is not shown.
fn without(text: &str, secrets: &[&Secret]) -> String {
    let shown = |character: &char| character.is_whitespace() || !is_hidden(*character);
    let mut text: String = text.chars().filter(shown).collect();
    for secret in secrets {
        let secret = secret.expose().rsplit(' ').next().unwrap_or_default();
        if !secret.is_empty() && text.contains(secret) {
            text = text.replace(secret, "…");
        }
    }
    text
}

/// A text; anything else counts as missing.
pub(crate) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    input.deserialize_any(Lenient(|text, is_number| (!is_number).then(|| text.to_owned())))
}

/// A text or a number, as text; anything else counts as missing.
pub(crate) fn name<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    input.deserialize_any(Lenient(|text, _| Some(text.to_owned())))
}

/// A text that is kept as a secret from its first copy on; anything else counts as missing.
pub(crate) fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Secret>, D::Error> {
    input.deserialize_any(Lenient(|text, is_number| (!is_number).then(|| Secret::from(text))))
}

/// A number of seconds, as a number or as text; anything else counts as missing.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
    input.deserialize_any(Lenient(|text, _| {
        text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())
    }))
}

/// Accepts a value of any type. A text, or a number in text form (then the second argument is
/// true), is passed to the function; other types count as missing.
struct Lenient<T>(fn(&str, bool) -> Option<T>);

impl<'de, T> Visitor<'de> for Lenient<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((self.0)(text, false))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok((self.0)(&number.to_string(), true))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok((self.0)(&number.to_string(), true))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok((self.0)(&number.to_string(), true))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: u16, body: &str) -> Option<String> {
        let (host, body) = ("api.example".to_owned(), body.as_bytes().to_vec().into());
        let response = Response {
            host,
            status,
            retry_after: None,
            body,
            headers: ureq::http::HeaderMap::new(),
        };
        let secrets = [&Secret::from("Bearer canary"), &Secret::from("k1"), &Secret::from("")];
        error_in(&response, &secrets).map(|error| error.to_string())
    }

    #[test]
    fn both_forms_of_errors_are_read() {
        for (status, body, text) in [
            (200, "{}", None),
            (204, "", None),
            (200, "<html>", None),
            (200, r#"["x"]"#, None),
            (200, r#"{"error": null, "message": "fine"}"#, None),
            (302, "", Some("api.example answered HTTP 302")),
            (400, r#"{"error": "invalid_grant"}"#, Some("api.example answered invalid_grant")),
            (
                400,
                r#"{"error": "invalid_grant", "error_description": "used\nup"}"#,
                Some("api.example answered invalid_grant: used up"),
            ),
            (200, r#"{"error": "access_denied"}"#, Some("api.example answered access_denied")),
            (200, r#"{"error": ""}"#, Some("api.example answered an unnamed error")),
            (
                401,
                r#"{"code": "UNAUTHORIZED", "message": "Who\u001b[31m are\u202e you?"}"#,
                Some("api.example answered HTTP 401: Who[31m are you?"),
            ),
            (
                403,
                r#"{"code": 7, "message": {"a": [1, {}]}}"#,
                Some("api.example answered HTTP 403"),
            ),
            (502, "<html>Bad gateway</html>", Some("api.example answered HTTP 502")),
            (500, "", Some("api.example answered HTTP 500")),
            (500, "[]", Some("api.example answered HTTP 500")),
            (400, "{\"error\": \"x\"", Some("api.example answered HTTP 400")),
            (
                401,
                r#"{"message": "canary is no key"}"#,
                Some("api.example answered HTTP 401: … is no key"),
            ),
            (401, r#"{"message": "k1?"}"#, Some("api.example answered HTTP 401: …?")),
            (
                401,
                r#"{"message": "can\u200bary is no\nkey"}"#,
                Some("api.example answered HTTP 401: … is no key"),
            ),
        ] {
            assert_eq!(shown(status, body).as_deref(), text, "{status} {body}");
        }
    }

    #[test]
    fn only_too_many_requests_and_trouble_at_the_server_pass() {
        let error = |status, body: &str| {
            let (host, body) = ("api.example".to_owned(), body.as_bytes().to_vec().into());
            error_in(
                &Response {
                    host,
                    status,
                    retry_after: None,
                    body,
                    headers: ureq::http::HeaderMap::new(),
                },
                &[],
            )
            .unwrap()
        };
        for status in [429, 500, 503] {
            assert!(error(status, "").is_transient());
            assert!(error(status, r#"{"error": "x"}"#).is_transient());
        }
        for status in [302, 400, 401, 404, 407] {
            assert!(!error(status, "").is_transient());
        }
    }
}
