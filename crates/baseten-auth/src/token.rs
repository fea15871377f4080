//! Token answers (RFC 6749 §5) and the request that refreshes a token.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::answer::{self, ApiError, error_in};
use crate::http::{Http, Request, Response};
use crate::{Clock, Deadline, ManagementUrl, OAuthCredential, Secret};

/// The public client that this program is. It has no secret.
pub(crate) const CLIENT_ID: &str = "baseten-cli";
/// Where tokens are given out.
pub(crate) const TOKEN_PATH: &str = "/v1/users/auth/device/token";

/// What a token answer gives (RFC 6749 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Visible ASCII, so that it fits a header.
    pub access_token: Secret,
    /// Buys the next access token, once. A refresh without one keeps the old one.
    pub refresh_token: Option<Secret>,
    /// How long the access token is good for; `None` when nobody said, or for ever.
    pub expires_in: Option<Duration>,
}

impl Tokens {
    /// The credential that these tokens make, counted from the moment the request was sent. Without
    /// a new refresh token it has `old_refresh_token`.
    #[must_use]
    pub fn into_credential(
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
        }
    }
}

/// The members of a token answer, of whatever type.
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

/// Reads a token answer. No error carries a part of it, but for an OAuth error's own texts.
pub(crate) fn parse_tokens(response: &Response, sent: &[&Secret]) -> Result<Tokens, ApiError> {
    if let Some(error) = error_in(response, sent) {
        return Err(error);
    }
    let not_protocol = || ApiError::NotProtocol { status: response.status };
    // The parser's error would quote the answer.
    let members: TokenMembers =
        serde_json::from_slice(&response.body).map_err(|_| not_protocol())?;
    // A token of a type that the client does not know must not be used (RFC 6749 §7.1).
    if members.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(not_protocol());
    }
    let access_token = members.access_token.filter(is_visible_ascii).ok_or_else(not_protocol)?;
    let refresh_token = members.refresh_token.filter(|token| !token.expose().is_empty());
    if refresh_token.as_ref().is_some_and(|token| !is_visible_ascii(token)) {
        return Err(not_protocol());
    }
    // Below zero it is over already; a number that no duration holds is as good as no end.
    let expires_in =
        members.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    Ok(Tokens { access_token, refresh_token, expires_in })
}

/// RFC 6749 §A.12 without the space, which would end the token in a header.
pub(crate) fn is_visible_ascii(token: &Secret) -> bool {
    !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic())
}

/// Buys new tokens with a refresh token (RFC 6749 §6), which is used up from then on.
///
/// It is sent once. Only where it surely did not arrive is it sent again, at most twice.
pub(crate) fn refresh_request(
    http: &Http,
    clock: &dyn Clock,
    management: &ManagementUrl,
    refresh_token: &Secret,
    deadline: Deadline,
) -> Result<Tokens, ApiError> {
    let mut pauses = [Duration::from_millis(250), Duration::from_secs(1)].into_iter();
    loop {
        let request = Request::post(management.endpoint(TOKEN_PATH))
            .field("grant_type", "refresh_token")
            .field("refresh_token", refresh_token.expose())
            .field("client_id", CLIENT_ID)
            .within(deadline.remaining().unwrap_or_default());
        let error = match http.send(&request) {
            Ok(response) => return parse_tokens(&response, &[refresh_token]),
            Err(error) => error,
        };
        let again = error.surely_not_sent() && error.is_transient();
        match pauses
            .next()
            .filter(|pause| again && deadline.remaining().is_some_and(|left| left > *pause))
        {
            Some(pause) => clock.sleep(pause),
            None => return Err(error.into()),
        }
    }
}
