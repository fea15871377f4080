//! The exchange of an identity token for an access token (RFC 8693).

use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::answer::{ApiError, with_retries};
use super::token::parse_tokens;
use crate::context::Context;
use crate::http::Request;
use crate::identity::TrustRule;
use crate::profile::OAuthCredential;
use crate::remote::ManagementUrl;
use crate::secret::Secret;

/// Where identity tokens are exchanged.
const EXCHANGE_PATH: &str = "/v1/auth/token";
/// RFC 8693 §2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 §3.
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The longest lifetime of an access token.
const LONGEST: Duration = Duration::from_hours(1);

/// What is sent (RFC 8693 §2.1).
#[derive(Serialize)]
struct Exchange<'a> {
    grant_type: &'static str,
    subject_token: &'a str,
    subject_token_type: &'static str,
    audience: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_lifetime_seconds: Option<u64>,
}

/// Exchanges an identity token, under this rule, for an access token. If a lifetime is given, the
/// token lives for that long, one hour at most.
/// A refusal is always `invalid_grant`, without a reason. Failures that may pass are retried: an
/// exchange uses nothing up.
pub(crate) fn exchange(
    context: &Context,
    management: &ManagementUrl,
    rule: &TrustRule,
    identity_token: &Secret,
    lifetime: Option<Duration>,
) -> Result<OAuthCredential, ApiError> {
    let request = Exchange {
        grant_type: GRANT_TYPE,
        subject_token: identity_token.expose(),
        subject_token_type: JWT_TYPE,
        audience: rule.as_str(),
        access_token_lifetime_seconds: lifetime.map(|lifetime| lifetime.min(LONGEST).as_secs()),
    };
    let body = in_wiped_memory(&request);
    let wait = context.wait();
    with_retries(wait, context.observer(), ApiError::is_soon_over, |left| {
        let request = Request::post(management.endpoint(EXCHANGE_PATH)).json(&body).within(left);
        let sent = wait.now();
        let answer = context.http().send(&request)?;
        let tokens = parse_tokens(&answer, &[identity_token])?;
        // The next access token comes from another exchange.
        Ok(OAuthCredential { refresh_token: None, ..tokens.into_credential(sent, None) })
    })
}

/// The JSON of a request.
fn in_wiped_memory(request: &Exchange<'_>) -> Zeroizing<Vec<u8>> {
    // Room for all of it with each character escaped, because a vector that grows leaves copies
    // behind.
    let room = 6 * (request.subject_token.len() + request.audience.len()) + 512;
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    // There are only texts, which always have a JSON form.
    let _ = serde_json::to_writer(&mut *body, request);
    body
}
