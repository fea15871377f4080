//! The decision for each answer, and the loop against a scripted server.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::test_support::server::{Act, Server, answer};
use crate::test_support::{FakeClock, field, http, management};

const STARTED: &str = r#"{"device_code": "canary", "user_code": "ABCD-EFGH",
    "verification_uri": "https://app.baseten.co/device", "expires_in": 600}"#;

const HOST: &str = "api.example";

fn read(body: &str) -> Result<DeviceAuthorization, DeviceError> {
    let response = Response {
        host: HOST.to_owned(),
        status: 200,
        retry_after: None,
        body: body.as_bytes().to_vec().into(),
        headers: ureq::http::HeaderMap::new(),
    };
    parse(&response, FakeClock::START.parse().unwrap())
}

fn with(members: &str) -> Result<DeviceAuthorization, DeviceError> {
    read(&format!(r#"{{"device_code": "d", "user_code": "U", {members}}}"#))
}

fn page(uri: &str) -> Result<String, DeviceError> {
    let uri = serde_json::Value::from(uri);
    with(&format!(r#""verification_uri": {uri}"#)).map(|started| started.verification_uri)
}

#[test]
fn a_whole_answer_is_read() {
    let body = r#"{"device_code": "d", "user_code": "ABCD-EFGH", "interval": 7,
        "verification_uri": "https://app.baseten.co/device", "expires_in": 600,
        "verification_uri_complete": "https://app.baseten.co/device?code=ABCD-EFGH"}"#;
    let expected = DeviceAuthorization {
        device_code: Secret::from("d"),
        user_code: "ABCD-EFGH".to_owned(),
        verification_uri: "https://app.baseten.co/device".to_owned(),
        verification_uri_complete: Some("https://app.baseten.co/device?code=ABCD-EFGH".to_owned()),
        expires_at: "2026-11-01T12:10:00Z".parse().unwrap(),
        interval: Duration::from_secs(7),
    };
    assert_eq!(read(body).unwrap(), expected);
}

#[test]
fn intervals_and_lifetimes_have_many_forms() {
    for (member, interval) in [
        ("", 5.0),
        (r#", "interval": null"#, 5.0),
        (r#", "interval": 0"#, 5.0),
        (r#", "interval": -3"#, 5.0),
        (r#", "interval": "soon""#, 5.0),
        (r#", "interval": "7""#, 7.0),
        (r#", "interval": 2.5"#, 2.5),
        (r#", "interval": 0.2"#, 1.0),
        (r#", "interval": 1e300"#, 86400.0),
    ] {
        let started = with(&format!(r#""verification_url": "https://x/"{member}"#)).unwrap();
        assert_eq!(started.interval, Duration::from_secs_f64(interval), "{member}");
    }
    for (expires_in, end) in [
        ("60", "2026-11-01T12:01:00Z"),
        ("\"60\"", "2026-11-01T12:01:00Z"),
        ("60.5", "2026-11-01T12:01:00.5Z"),
        ("0", "2026-11-01T12:00:00Z"),
        ("-5", "2026-11-01T12:00:00Z"),
        ("null", "2026-11-01T12:10:00Z"),
        ("1e300", "2026-11-02T12:00:00Z"),
    ] {
        let members = format!(r#""verification_uri": "https://x/", "expires_in": {expires_in}"#);
        assert_eq!(with(&members).unwrap().expires_at, end.parse().unwrap(), "{expires_in}");
    }
}

#[test]
fn only_safe_pages_are_shown() {
    for (uri, shown) in [
        ("https://app.baseten.co/device?a=b#c", "https://app.baseten.co/device?a=b#c"),
        ("http://localhost:8000/device", "http://localhost:8000/device"),
        ("http://app.localhost:8000/device", "http://app.localhost:8000/device"),
        ("http://127.0.0.1:8000/device", "http://127.0.0.1:8000/device"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://x.example/\u{202e}a\nb", "https://x.example/%E2%80%AEab"),
    ] {
        assert_eq!(page(uri).unwrap(), shown);
    }
    for uri in [
        "",
        "device",
        "http://app.baseten.co/device",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://app.baseten.co@evil.example/",
        "https:",
    ] {
        assert!(matches!(page(uri), Err(DeviceError::UnsafeVerificationUrl)), "{uri}");
    }
    let members = r#""verification_uri": "https://x/", "verification_uri_complete": "http://y/""#;
    assert_eq!(with(members).unwrap().verification_uri_complete, None);
}

#[test]
fn the_user_code_is_made_fit_for_display() {
    let body = r#"{"device_code": "d", "user_code": "\u001b[2J AB\u202eCD\n",
        "verification_uri": "https://x/"}"#;
    assert_eq!(read(body).unwrap().user_code, "[2J ABCD");
}

#[test]
fn anything_else_is_not_the_protocol_and_is_not_quoted() {
    for body in [
        "",
        "<html>canary</html>",
        r#"{"device_code": "canary"}"#,
        r#"{"device_code": "canary", "user_code": "U"}"#,
        r#"{"device_code": "canary", "user_code": "\u200b", "verification_uri": "https://x/"}"#,
        r#"{"device_code": "canary\n", "user_code": "U", "verification_uri": "https://x/"}"#,
        r#"{"device_code": "", "user_code": "canary", "verification_uri": "https://x/"}"#,
    ] {
        let error = read(body).unwrap_err();
        assert!(matches!(error, DeviceError::Api(ApiError::NotProtocol { .. })), "{body}");
        assert!(!format!("{error:?} {error}").contains("canary"), "{body}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics_or_leads_astray(body in any::<String>(), uri in any::<String>()) {
        crate::fuzzing::device_answer(&[b"\0\x64", body.as_bytes()].concat());
        let whole = serde_json::json!({
            "device_code": body, "user_code": body, "verification_uri": uri,
            "verification_uri_complete": format!("https://{uri}"), "interval": body,
        });
        crate::fuzzing::device_answer(&[b"\0\x64", whole.to_string().as_bytes()].concat());
        if let Ok(shown) = page(&uri) {
            prop_assert!(shown.starts_with("http"));
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn no_pause_is_shorter_than_the_interval(answers in prop::collection::vec(0..5, 0..40)) {
        let mut pace = Pace::new(Duration::from_secs(2));
        let (mut interval, mut room) = (Duration::from_secs(2), false);
        for answer in answers {
            let (outcome, slower) = match answer {
                0 => (oauth(400, "authorization_pending"), false),
                1 => (oauth(400, "slow_down"), true),
                2 => (status(503, Some(7)), false),
                3 => (status(429, Some(1_000_000)), false),
                _ => (lost(), false),
            };
            interval += if slower { SLOW_DOWN } else { Duration::ZERO };
            // Clocks differ, so after one `slow_down` the pause gets a quarter longer.
            room |= slower;
            let Decision::Wait(pause) = step(&mut pace, outcome) else {
                return Err(TestCaseError::fail("the loop would have ended"));
            };
            let asked = Duration::from_secs(if answer == 3 { 1_000_000 } else { 0 });
            let least = if room { interval + interval / 4 } else { interval };
            prop_assert!(pause >= least && pause <= least.max(LONGEST_PAUSE).max(asked));
            prop_assert!(pause >= asked);
        }
    }
}

fn oauth(status: u16, code: &str) -> Result<Tokens, ApiError> {
    Err(ApiError::OAuth {
        host: HOST.into(),
        status,
        code: code.to_owned(),
        description: None,
        retry_after: None,
    })
}

fn status(status: u16, retry_after: Option<u64>) -> Result<Tokens, ApiError> {
    let retry_after = retry_after.map(Duration::from_secs);
    Err(ApiError::Status { host: HOST.into(), status, code: None, message: None, retry_after })
}

fn lost() -> Result<Tokens, ApiError> {
    use crate::http::HttpError;
    Err(HttpError::Lost { host: "h".to_owned(), source: "reset".into() }.into())
}

fn certificate() -> Result<Tokens, ApiError> {
    use crate::http::{CertificateProblem, HttpError};
    let problem = CertificateProblem::Expired;
    Err(HttpError::Certificate { host: "h".to_owned(), problem, source: None }.into())
}

#[test]
fn each_answer_has_one_decision() {
    let tokens = || {
        let access_token = Secret::from("a");
        Ok(Tokens { access_token, refresh_token: None, expires_in: None })
    };
    let not_protocol = || Err(ApiError::NotProtocol { host: HOST.into(), status: 200 });
    for (outcome, decision) in [
        (tokens(), "done"),
        (oauth(400, "authorization_pending"), "wait 5"),
        (oauth(200, "authorization_pending"), "wait 5"),
        (oauth(428, "authorization_pending"), "wait 5"),
        (oauth(400, "slow_down"), "wait 12.5"),
        (oauth(429, "slow_down"), "wait 12.5"),
        (oauth(400, "access_denied"), "denied"),
        (oauth(400, "expired_token"), "expired"),
        (oauth(400, "invalid_grant"), "failed"),
        (oauth(401, "invalid_client"), "failed"),
        (oauth(429, "rate_limited"), "wait 10"),
        (oauth(503, "temporarily_unavailable"), "wait 10"),
        (status(429, None), "wait 10"),
        (status(429, Some(3)), "wait 10"),
        (status(429, Some(30)), "wait 30"),
        (status(503, Some(3600)), "wait 3600"),
        (status(500, None), "wait 10"),
        (status(404, None), "failed"),
        (status(403, Some(3)), "failed"),
        (status(302, None), "failed"),
        (lost(), "wait 10"),
        (certificate(), "failed"),
        (not_protocol(), "failed"),
    ] {
        let name = format!("{outcome:?}");
        let decided = match step(&mut Pace::new(DEFAULT_INTERVAL), outcome) {
            Decision::Wait(pause) => format!("wait {}", pause.as_secs_f64()),
            Decision::Done(_) => "done".to_owned(),
            Decision::Denied => "denied".to_owned(),
            Decision::Expired => "expired".to_owned(),
            Decision::Failed(_) => "failed".to_owned(),
        };
        assert_eq!(decided, decision, "{name}");
    }
}

#[test]
fn pauses_grow_and_a_slow_down_is_kept() {
    let mut pace = Pace::new(DEFAULT_INTERVAL);
    let mut pause = |outcome| match step(&mut pace, outcome) {
        Decision::Wait(pause) => pause.as_secs_f64(),
        other => panic!("{other:?}"),
    };
    let mut pauses = Vec::new();
    for outcome in [lost(), lost(), lost(), lost(), lost()] {
        pauses.push(pause(outcome));
    }
    for code in ["authorization_pending", "slow_down", "slow_down", "authorization_pending"] {
        pauses.push(pause(oauth(400, code)));
    }
    pauses.push(pause(lost()));
    let expected = [10.0, 20.0, 40.0, 60.0, 60.0, 5.0, 12.5, 18.75, 18.75, 30.0];
    assert_eq!(pauses, expected);
}

/// Waits against a script. Returns the outcome, the seconds between the polls, and the times that
/// `tick` was given.
fn run(
    interval: u64,
    lifetime: i64,
    script: Vec<Act>,
) -> (Result<OAuthCredential, DeviceError>, Arc<FakeClock>, Vec<u64>, Server) {
    let server = Server::start(script);
    let clock = FakeClock::new();
    let mut started = read(STARTED).unwrap();
    started.interval = Duration::from_secs(interval);
    started.expires_at = clock.wait().now() + SignedDuration::from_secs(lifetime);
    let mut told = Vec::new();
    let mut tick = |left: Duration| told.push(left.as_secs());
    let management = management(&server);
    let outcome = wait_for_approval(&http(), &clock.wait(), &management, &started, &mut tick);
    (outcome, clock, told, server)
}

fn pending() -> Act {
    answer(400, "", r#"{"error": "authorization_pending"}"#)
}

#[test]
fn the_loop_waits_first_and_keeps_the_pace() {
    let (outcome, clock, told, server) = run(
        2,
        600,
        vec![
            pending(),
            answer(400, "", r#"{"error": "slow_down"}"#),
            Act::Close,
            answer(200, "", r#"{"access_token": "a", "expires_in": 60}"#),
            pending(),
        ],
    );
    let credential = outcome.unwrap();
    assert_eq!(credential.access_token.expose(), "a");
    // Counted from when the answered poll was sent.
    assert_eq!(credential.expiry, Some(clock.wait().now() + SignedDuration::from_secs(60)));
    // 2 s, 2 s, 8.75 s after slow_down, 14 s after the lost answer: in slices of a second at most.
    let sleeps = clock.sleeps();
    let slept: Duration = sleeps.iter().copied().map(Duration::from_secs_f64).sum();
    assert_eq!(slept, Duration::from_millis(2000 + 2000 + 8750 + 14_000));
    assert!(sleeps.iter().all(|slice| *slice <= 1.0), "{sleeps:?}");
    assert_eq!((told.first(), told.len()), (Some(&600), sleeps.len()));
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[0].starts_with("POST /v1/users/auth/device/token HTTP/1.1\r\n"));
    assert_eq!(field(&requests, "device_code"), ["canary"; 4]);
    assert_eq!(field(&requests, "client_id"), ["baseten-cli"; 4]);
    assert_eq!(field(&requests, "grant_type"), [GRANT_TYPE; 4]);
}

#[test]
fn the_loop_ends_with_the_code() {
    let (outcome, clock, told, server) = run(2, 5, vec![pending(), pending(), pending()]);
    assert!(matches!(outcome, Err(DeviceError::Expired)));
    assert_eq!((clock.sleeps(), told), (vec![1.0; 5], vec![5, 4, 3, 2, 1]));
    assert_eq!(server.requests().len(), 2);
    for lifetime in [0, -100] {
        let (outcome, clock, _, server) = run(2, lifetime, vec![]);
        assert!(matches!(outcome, Err(DeviceError::Expired)));
        assert_eq!((clock.sleeps(), server.requests().len()), (vec![], 0));
    }
}

#[test]
fn the_loop_outlives_a_server_that_is_away() {
    let (outcome, clock, _, _) = run(5, 100, vec![Act::Close]);
    assert!(matches!(outcome, Err(DeviceError::Expired)));
    assert_eq!(clock.sleeps(), [1.0; 100]);
}

#[test]
fn the_loop_ends_with_a_refusal() {
    for (act, ending) in [
        (answer(400, "", r#"{"error": "access_denied"}"#), "the login was denied"),
        (
            answer(400, "", r#"{"error": "expired_token"}"#),
            "the login was not approved before its code expired",
        ),
        (
            answer(400, "", r#"{"error": "bad", "error_description": "canary: no"}"#),
            "HOST answered bad: …: no",
        ),
        (answer(404, "", "<html>"), "HOST answered HTTP 404"),
    ] {
        let (outcome, _, _, server) = run(1, 100, vec![act, pending()]);
        let host = format!("localhost:{}", server.address.port());
        assert_eq!(outcome.unwrap_err().to_string(), ending.replace("HOST", &host));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn the_first_request_is_sent_up_to_four_times() {
    let clock = FakeClock::new();
    let busy = || answer(429, "Retry-After: 9\r\n", "");
    let server = Server::start([Act::Close, busy(), answer(503, "", ""), answer(200, "", STARTED)]);
    let started =
        start(&http(), &clock.wait(), &Observer::default(), &management(&server)).unwrap();
    assert_eq!(clock.sleeps(), [1.0, 9.0, 4.0]);
    // Counted from when the answered request was sent.
    assert_eq!(started.expires_at, "2026-11-01T12:10:14Z".parse().unwrap());
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /v1/users/auth/device/authorize HTTP/1.1\r\n"));
    assert!(requests[0].ends_with("\r\n\r\nclient_id=baseten-cli"));

    let clock = FakeClock::new();
    let server = Server::start((0..5).map(|_| answer(500, "", "")));
    let error =
        start(&http(), &clock.wait(), &Observer::default(), &management(&server)).unwrap_err();
    assert!(matches!(error, DeviceError::Api(ApiError::Status { status: 500, .. })));
    assert_eq!((clock.sleeps(), server.requests().len()), (vec![1.0, 2.0, 4.0], 4));

    // In all, it takes 45 s at most.
    let clock = FakeClock::new();
    let server = Server::start([answer(429, "Retry-After: 45\r\n", ""), answer(200, "", STARTED)]);
    assert!(start(&http(), &clock.wait(), &Observer::default(), &management(&server)).is_err());
    assert_eq!((clock.sleeps(), server.requests().len()), (vec![], 1));
}

#[test]
fn the_first_request_is_not_repeated_after_a_refusal() {
    for act in [answer(400, "", ""), answer(200, "", "<html>"), answer(302, "", "")] {
        let (clock, server) = (FakeClock::new(), Server::start([act, answer(200, "", STARTED)]));
        assert!(start(&http(), &clock.wait(), &Observer::default(), &management(&server)).is_err());
        assert_eq!((clock.sleeps(), server.requests().len()), (vec![], 1));
    }
}
