//! Checks an identity token against a trust rule: its signature, with the keys that its issuer
//! publishes, and its claims (RFC 7519).

use std::time::Duration;

use axum::http::Uri;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::TrustRule;
use crate::loopback::is_loopback;
use crate::signatures;

/// For each of the two requests to an issuer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Far more than an issuer's documents need.
const MAX_DOCUMENT_BYTES: u64 = 256 * 1024;

/// Part of what an issuer publishes about itself (OIDC Discovery §3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The claim that jsonwebtoken does not check for us.
#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Verifies a token with keys that are fetched again each time. This blocks.
/// The error says what is wrong, for the log: the client is not told.
pub(crate) fn verify(token: &str, rule: &TrustRule) -> Result<(), &'static str> {
    let header = decode_header(token).map_err(|_| "it is not a signed JWT")?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
        return Err("its algorithm is neither RS256 nor ES256");
    }
    let keys = published_keys(&rule.issuer).ok_or("the issuer's keys cannot be fetched")?;
    let key = key_of(&header, &keys).ok_or("the issuer has no such key")?;
    let key = DecodingKey::from_jwk(key).map_err(|_| "the issuer's key is malformed")?;

    let mut validation = Validation::new(header.alg);
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&rule.issuer]);
    validation.set_audience(&[&rule.audience]);
    signatures::install();
    let token = decode::<Claims>(token, &key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "its issuer is another one",
        ErrorKind::InvalidAudience => "its audience is another one",
        _ => "its claims are incomplete or malformed",
    })?;
    if rule.accepts_subject(&token.claims.sub) { Ok(()) } else { Err("its subject is another one") }
}

/// Whether an issuer's documents can be fetched: this has no TLS.
pub(crate) fn is_reachable(issuer: &str) -> bool {
    issuer.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && is_loopback(&uri))
}

fn published_keys(issuer: &str) -> Option<JwkSet> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let discovery: Discovery = fetch(&url)?;
    if discovery.issuer == issuer { fetch(&discovery.jwks_uri) } else { None }
}

fn fetch<T: DeserializeOwned>(url: &str) -> Option<T> {
    if !is_reachable(url) {
        return None;
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .proxy(None)
        .build();
    let mut answer = config.new_agent().get(url).call().ok()?;
    let body = answer.body_mut().with_config().limit(MAX_DOCUMENT_BYTES).read_to_vec().ok()?;
    serde_json::from_slice(&body).ok()
}

/// The key that a token names, or the only key; never one for another purpose.
fn key_of<'a>(header: &Header, keys: &'a JwkSet) -> Option<&'a Jwk> {
    let key = match (&header.kid, keys.keys.as_slice()) {
        (Some(id), _) => keys.find(id)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    let usable =
        key.common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
    let fits = key.common.key_algorithm.is_none_or(|algorithm| algorithm == header.alg.into());
    Some(key).filter(|_| usable && fits)
}
