//! The exchange of identity tokens for access tokens (RFC 8693).

use std::time::{Duration, Instant};

use baseten_sandbox::{Config, Error, Sandbox, TrustRule};
use serde_json::{Value, json};

use crate::issuer::{Issuer, base64, now, unsigned};
use crate::support::*;

fn rule(issuer: &Issuer) -> TrustRule {
    TrustRule {
        id: "ci".to_owned(),
        issuer: issuer.url.clone(),
        audience: "baseten".to_owned(),
        subject: "repo:acme/models:*".to_owned(),
        user: "grace".to_owned(),
    }
}

fn sandbox_of(issuer: &Issuer) -> Sandbox {
    sandbox_with(rule(issuer))
}

fn sandbox_with(rule: TrustRule) -> Sandbox {
    Sandbox::start(Config { trust_rules: vec![rule], ..Config::default() }).unwrap()
}

fn request(token: &str) -> Value {
    json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": "ci",
    })
}

fn post(sandbox: &Sandbox, request: &Value) -> Answer {
    let head = "POST /v1/auth/token\nContent-Type: application/json";
    send(sandbox, head, &request.to_string())
}

fn exchange(sandbox: &Sandbox, token: &str) -> Answer {
    post(sandbox, &request(token))
}

/// The request with one field changed.
fn changed(mut request: Value, field: &str, value: impl Into<Value>) -> Value {
    request[field] = value.into();
    request
}

fn without(mut claims: Value, claim: &str) -> Value {
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

#[test]
fn an_identity_token_is_exchanged_for_an_access_token() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let token = issuer.sign(&issuer.claims());
    let answer = exchange(&sandbox, &token);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let access_token = text(&answer.json(), "access_token").to_owned();
    let whole = json!({ "access_token": access_token, "expires_in": 3600, "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token" });
    assert_eq!(answer.json(), whole);

    let bearer = format!("Bearer {access_token}");
    assert_eq!(me(&sandbox, &bearer).json()["user_id"], "grace");
    sandbox.expire_access_tokens();
    assert_eq!(me(&sandbox, &bearer).status, 401);

    let requests = sandbox.requests();
    assert!(requests[0].is_exchange() && !requests[1].is_exchange(), "{requests:?}");
    assert!(!format!("{requests:?}").contains(&token[..20]));
}

#[test]
fn rsa_keys_and_lists_of_audiences_are_good_too() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let claims = changed(issuer.claims(), "aud", json!(["other", "baseten"]));
    assert_eq!(exchange(&sandbox, &issuer.sign(&claims)).status, 200);
    // From now on the issuer has another key.
    let token = issuer.sign_with_rsa(&claims);
    assert_eq!(exchange(&sandbox, &token).status, 200);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let other = format!("{message}.{}", base64(&vec![1; signature.len() * 3 / 4]));
    assert_eq!(exchange(&sandbox, &other).error(), error(400, "invalid_grant"));
}

#[test]
fn an_access_token_lives_for_as_long_as_was_asked_and_never_longer_than_allowed() {
    let issuer = Issuer::start();
    let asked = |config: Config, seconds: Option<u64>| {
        let sandbox = Sandbox::start(Config { trust_rules: vec![rule(&issuer)], ..config });
        let request = request(&issuer.sign(&issuer.claims()));
        let request = changed(request, "access_token_lifetime_seconds", seconds);
        post(&sandbox.unwrap(), &request).json()["expires_in"].as_u64().unwrap()
    };
    let of = |seconds| Config {
        access_token_lifetime: Duration::from_secs(seconds),
        ..Config::default()
    };
    assert_eq!(asked(Config::default(), Some(120)), 120);
    assert_eq!(asked(Config::default(), Some(3600)), 3600);
    assert_eq!(asked(of(30), Some(120)), 30);
    assert_eq!(asked(of(30), None), 30);
    assert_eq!(asked(of(7200), None), 3600);
}

#[test]
fn tokens_that_break_the_rule_are_refused_and_only_the_log_says_why() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let (claims, header) = (issuer.claims(), json!({ "alg": "ES256", "kid": "ec" }));
    let with = |claim: &str, value: Value| issuer.sign(&changed(claims.clone(), claim, value));
    let as_header = |header: Value| issuer.sign_as(&header, &claims);
    let good = issuer.sign(&claims);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let another_issuers = Issuer::start().sign(&claims);
    let incomplete = "its claims are incomplete or malformed";
    let no_jwt = "it is not a signed JWT";
    let no_key = "the issuer has no such key";
    let algorithm = "its algorithm is neither RS256 nor ES256";
    let subject = "its subject is another one";
    for (token, reason) in [
        (with("aud", json!("other")), "its audience is another one"),
        (with("aud", json!(["other"])), "its audience is another one"),
        (with("iss", json!("http://localhost:1")), "its issuer is another one"),
        (with("sub", json!("repo:acme/other:ref:refs/heads/main")), subject),
        (with("sub", json!("repo:acme/models")), subject),
        (with("exp", json!(now() - 1)), "it has expired"),
        (with("exp", json!("tomorrow")), incomplete),
        (with("nbf", json!(now() + 60)), "it is not valid yet"),
        (issuer.sign(&without(claims.clone(), "exp")), incomplete),
        (issuer.sign(&without(claims.clone(), "sub")), incomplete),
        (issuer.sign(&without(claims.clone(), "aud")), incomplete),
        (issuer.sign(&without(claims.clone(), "iss")), incomplete),
        (another_issuers, "its signature is wrong"),
        (format!("{}.{signature}", unsigned(&header, &json!({}))), "its signature is wrong"),
        (format!("{message}."), "its signature is wrong"),
        (format!("{}.", unsigned(&json!({ "alg": "none" }), &claims)), no_jwt),
        (message.to_owned(), no_jwt),
        ("garbage".to_owned(), no_jwt),
        (as_header(json!({ "alg": "HS256", "kid": "ec" })), algorithm),
        (as_header(json!({ "alg": "RS256", "kid": "ec" })), no_key),
        (as_header(json!({ "alg": "ES256", "kid": "other" })), no_key),
    ] {
        let answer = exchange(&sandbox, &token);
        assert_eq!((answer.status, answer.json()), (400, json!({ "error": "invalid_grant" })));
        assert_eq!(sandbox.requests().last().unwrap().refusal, Some(reason), "{token}");
    }
    let unknown = post(&sandbox, &changed(request(&good), "audience", "other"));
    assert_eq!((unknown.status, unknown.json()), (400, json!({ "error": "invalid_grant" })));
    assert_eq!(exchange(&sandbox, &good).status, 200, "all else was good");
}

#[test]
fn a_subject_without_a_star_is_the_whole_subject() {
    let issuer = Issuer::start();
    let sandbox = sandbox_with(TrustRule { subject: "job".to_owned(), ..rule(&issuer) });
    let token = |subject: &str| issuer.sign(&changed(issuer.claims(), "sub", subject));
    assert_eq!(exchange(&sandbox, &token("job")).status, 200);
    assert_eq!(exchange(&sandbox, &token("job2")).error(), error(400, "invalid_grant"));
}

#[test]
fn keys_that_are_not_for_this_are_not_used() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let token = issuer.sign(&issuer.claims());
    let published = issuer.published.lock().unwrap().clone();
    let elsewhere = "https://example.com/keys";
    for (document, pointer, value) in [
        ("keys", "/keys/0/use", "enc"),
        ("keys", "/keys/0/alg", "ES384"),
        ("keys", "/keys/0/x", "AAAA"),
        ("keys", "/keys", ""),
        ("discovery", "/jwks_uri", elsewhere),
        ("discovery", "/issuer", elsewhere),
    ] {
        let mut faulty = published.clone();
        let documents = if document == "keys" { &mut faulty.keys } else { &mut faulty.discovery };
        *documents.pointer_mut(pointer).unwrap() = value.into();
        *issuer.published.lock().unwrap() = faulty;
        let answer = exchange(&sandbox, &token);
        assert_eq!(answer.error(), error(400, "invalid_grant"), "{pointer}");
    }
    *issuer.published.lock().unwrap() = published;
    assert_eq!(exchange(&sandbox, &token).status, 200);
}

#[test]
fn an_issuer_that_does_not_answer_holds_up_nobody_else() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let token = issuer.sign(&issuer.claims());
    issuer.published.lock().unwrap().keys = Value::Null;
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| exchange(&sandbox, &token).error());
        issuer.unanswered.recv_timeout(Duration::from_secs(10)).unwrap();
        let start = Instant::now();
        assert_eq!(me(&sandbox, "Bearer x").status, 401);
        assert!(start.elapsed() < Duration::from_secs(2) && !hanging.is_finished());
        assert_eq!(hanging.join().unwrap(), error(400, "invalid_grant"));
    });
}

#[test]
fn malformed_requests_get_the_errors_of_the_rfc() {
    let issuer = Issuer::start();
    let sandbox = sandbox_of(&issuer);
    let good = request(&issuer.sign(&issuer.claims()));
    for (field, value, expected) in [
        ("grant_type", json!(null), "invalid_request"),
        ("grant_type", json!("refresh_token"), "unsupported_grant_type"),
        ("subject_token", json!(null), "invalid_request"),
        ("subject_token", json!(""), "invalid_request"),
        ("subject_token", json!(1), "invalid_request"),
        ("subject_token_type", json!(null), "invalid_request"),
        ("subject_token_type", json!("jwt"), "invalid_request"),
        ("requested_token_type", json!("jwt"), "invalid_request"),
        ("audience", json!(null), "invalid_request"),
        ("access_token_lifetime_seconds", json!(0), "invalid_request"),
        ("access_token_lifetime_seconds", json!(3601), "invalid_request"),
        ("access_token_lifetime_seconds", json!(-1), "invalid_request"),
        ("access_token_lifetime_seconds", json!("60"), "invalid_request"),
    ] {
        let answer = post(&sandbox, &changed(good.clone(), field, value.clone()));
        assert_eq!(answer.error(), error(400, expected), "{field}: {value}");
    }
    let fields = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
    assert_eq!(form(&sandbox, "/v1/auth/token", fields).error(), error(400, "invalid_request"));
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    assert_eq!(post(&sandbox, &changed(good, "requested_token_type", access_token)).status, 200);
}

#[test]
fn rules_that_cannot_work_are_errors_at_the_start() {
    let issuer = Issuer::start();
    let start = |rule| Sandbox::start(Config { trust_rules: vec![rule], ..Config::default() });
    let nobody = start(TrustRule { user: "nobody".to_owned(), ..rule(&issuer) });
    assert!(matches!(nobody, Err(Error::NoSuchUser(_))));
    for url in ["https://localhost:1", "http://example.com", "localhost", ""] {
        let elsewhere = start(TrustRule { issuer: url.to_owned(), ..rule(&issuer) });
        assert!(matches!(elsewhere, Err(Error::Issuer(_))), "{url}");
    }
}
