//! Token answers (RFC 6749 §5).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::answer::{self, ApiError, error_in};
use crate::http::Response;
use crate::profile::OAuthCredential;
use crate::secret::Secret;

/// The public client that this program is. It has no secret.
pub(crate) const CLIENT_ID: &str = "baseten-cli";
/// The token endpoint.
pub(crate) const TOKEN_PATH: &str = "/v1/users/auth/device/token";

/// The content of a token answer (RFC 6749 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Visible ASCII, so that it fits a header.
    pub(crate) access_token: Secret,
    /// Can be exchanged for the next access token, once. A refresh without one keeps the old one.
    pub(crate) refresh_token: Option<Secret>,
    /// How long the access token is valid; `None` if that is unknown or for ever.
    pub(crate) expires_in: Option<Duration>,
}

impl Tokens {
    /// The credential made of these tokens. Its expiry counts from the moment the request was sent.
    /// If there is no new refresh token, it keeps `old_refresh_token`.
    pub(crate) fn into_credential(
        self,
        requested_at: Timestamp,
        old_refresh_token: Option<Secret>,
    ) -> OAuthCredential {
        let expiry = self.expires_in.and_then(|lifetime| {
            requested_at.checked_add(SignedDuration::try_from(lifetime).ok()?).ok()
        });
        OAuthCredential {
            access_token: self.access_token,
            refresh_token: self.refresh_token.or(old_refresh_token),
            expiry,
            issued_at: Some(requested_at),
        }
    }
}

/// The members of a token answer, of any type.
#[derive(Deserialize)]
struct TokenMembers {
    #[serde(default, deserialize_with = "answer::secret")]
    access_token: Option<Secret>,
    #[serde(default, deserialize_with = "answer::secret")]
    refresh_token: Option<Secret>,
    #[serde(default, deserialize_with = "answer::text")]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "answer::seconds")]
    expires_in: Option<f64>,
}

/// Reads a token answer. Errors contain no part of it, except for the texts of an OAuth error.
pub(crate) fn parse_tokens(response: &Response, sent: &[&Secret]) -> Result<Tokens, ApiError> {
    if let Some(error) = error_in(response, sent) {
        return Err(error);
    }
    let not_protocol = || ApiError::not_protocol(response);
    // The parser's error would quote the answer.
    let members: TokenMembers = answer::object(&response.body).ok_or_else(not_protocol)?;
    // A token of a type that the client does not know must not be used (RFC 6749 §7.1).
    if members.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(not_protocol());
    }
    let access_token =
        members.access_token.filter(Secret::is_visible_ascii).ok_or_else(not_protocol)?;
    let refresh_token = members.refresh_token.filter(|token| !token.expose().is_empty());
    if refresh_token.as_ref().is_some_and(|token| !token.is_visible_ascii()) {
        return Err(not_protocol());
    }
    // A negative number means already expired; one that is too large means no expiry.
    let expires_in =
        members.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    Ok(Tokens { access_token, refresh_token, expires_in })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(status: u16, body: &str) -> Result<Tokens, ApiError> {
        let body = body.as_bytes().to_vec().into();
        let host = "api.example".to_owned();
        parse_tokens(
            &Response {
                host,
                status,
                retry_after: None,
                body,
                headers: ureq::http::HeaderMap::new(),
            },
            &[],
        )
    }

    fn lifetime(expires_in: &str) -> Option<f64> {
        let body = format!(r#"{{"access_token": "a", "expires_in": {expires_in}}}"#);
        parse(200, &body).unwrap().expires_in.map(|lifetime| lifetime.as_secs_f64())
    }

    #[test]
    fn a_whole_answer_is_read() {
        let body = r#"{"access_token": "a", "refresh_token": "r", "token_type": "Bearer",
            "expires_in": 3600, "scope": "all", "more": [{}]}"#;
        let tokens = parse(200, body).unwrap();
        assert_eq!(tokens.access_token.expose(), "a");
        assert_eq!(tokens.refresh_token.as_ref().unwrap().expose(), "r");
        let credential = tokens.into_credential("2026-11-01T12:00:00Z".parse().unwrap(), None);
        assert_eq!(credential.expiry, Some("2026-11-01T13:00:00Z".parse().unwrap()));
    }

    #[test]
    fn missing_parts_are_left_out() {
        for body in [
            r#"{"access_token": "a"}"#,
            r#"{"access_token": "a", "refresh_token": null, "token_type": null}"#,
            r#"{"access_token": "a", "refresh_token": "", "token_type": "bearer"}"#,
            r#"{"access_token": "a", "refresh_token": 7, "error": null, "expires_in": []}"#,
        ] {
            let tokens = parse(201, body).unwrap();
            assert_eq!((&tokens.refresh_token, tokens.expires_in), (&None, None), "{body}");
            let old = Some(Secret::from("old"));
            let credential = tokens.into_credential(Timestamp::UNIX_EPOCH, old.clone());
            assert_eq!((credential.refresh_token, credential.expiry), (old, None));
        }
    }

    #[test]
    fn lifetimes_have_many_forms() {
        for (expires_in, seconds) in [
            ("3600", Some(3600.0)),
            ("\"3600\"", Some(3600.0)),
            ("\" 59.5 \"", Some(59.5)),
            ("0.5", Some(0.5)),
            ("0", Some(0.0)),
            ("-7", Some(0.0)),
            ("\"-1e9\"", Some(0.0)),
            ("null", None),
            ("true", None),
            ("\"soon\"", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("1e300", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(lifetime(expires_in), seconds, "{expires_in}");
        }
        let tokens = parse(200, r#"{"access_token": "a", "expires_in": 1e15}"#).unwrap();
        assert_eq!(tokens.into_credential(Timestamp::MAX, None).expiry, None);
    }

    #[test]
    fn anything_else_is_not_the_protocol_and_is_not_quoted() {
        for body in [
            "",
            "canary",
            "<html>canary</html>",
            "\"canary\"",
            "null",
            r#"{"access_token": "canary""#,
            r#"{"access_token": "canary", "access_token": "canary"}"#,
            r#"{"access_token": ["canary"]}"#,
            r#"{"access_token": 7, "refresh_token": "canary"}"#,
            r#"{"access_token": "", "refresh_token": "canary"}"#,
            r#"{"access_token": "canary\u0000"}"#,
            r#"{"access_token": "canary\r\nX: y"}"#,
            r#"{"access_token": "two canary"}"#,
            r#"{"access_token": "canaryé"}"#,
            r#"{"access_token": "canary", "refresh_token": "r\n"}"#,
            r#"{"access_token": "canary", "token_type": "mac"}"#,
        ] {
            let error = parse(200, body).unwrap_err();
            assert!(matches!(error, ApiError::NotProtocol { status: 200, .. }), "{body}");
            assert!(!format!("{error:?} {error}").contains("canary"), "{body}");
        }
    }

    #[test]
    fn an_error_member_is_an_error_whatever_the_status() {
        for status in [200, 400, 401] {
            let body = r#"{"error": "invalid_grant", "access_token": "a"}"#;
            let error = parse(status, body).unwrap_err();
            assert!(matches!(error, ApiError::OAuth { code, .. } if code == "invalid_grant"));
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_gives_a_token_that_no_header_takes(
            status in 100u16..600,
            body in prop_oneof![
                any::<String>(),
                any::<(String, f64)>().prop_map(|(token, lifetime)| serde_json::json!({
                    "access_token": token, "expires_in": lifetime
                }).to_string()),
            ],
        ) {
            if let Ok(tokens) = parse(status, &body) {
                prop_assert!(tokens.access_token.is_visible_ascii());
                let _ = tokens.into_credential(Timestamp::MAX, None);
            }
            let status = (status - 100).to_be_bytes();
            crate::fuzzing::token_answer(&[&status[..], body.as_bytes()].concat());
        }
    }
}
