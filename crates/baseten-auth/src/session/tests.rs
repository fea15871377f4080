use std::time::Duration;

use baseten_testing::home::Home;
use baseten_testing::stored;
use serde_json::Value;

use super::*;
use crate::test_support::server::{Server, answer};
use crate::test_support::{FakeClock, field};

#[test]
fn a_session_that_is_held_for_a_day_refreshes_when_its_tokens_end() {
    const CALLS: usize = 24 * 12;
    let tokens = |number: usize| {
        let body = format!(
            r#"{{"access_token": "a{number}", "refresh_token": "r{number}", "expires_in": 3600}}"#
        );
        answer(200, "", &body)
    };
    let server = Server::start((1..=CALLS).map(tokens));
    let home = Home::new();
    let tokens = stored::tokens("a0", "r0", "2026-11-01T12:30:00Z");
    stored::only_profile(&home, "day", stored::in_file(stored::REMOTE, &tokens));
    let url = server.url("localhost", "");
    let directory = home.auth_json().parent().unwrap().to_str().unwrap().to_owned();
    let variables =
        [("BASETEN_CONFIG_DIR", directory), ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)];
    let clock = FakeClock::new();
    let context = Context::new(variables.into_iter().collect()).with_wait(clock.wait());
    let session = Session::resolve(&context, None).unwrap();
    for _ in 0..CALLS {
        let authorization = session.authorization().unwrap();
        let left = authorization.expiry().unwrap().duration_since(clock.wait().now());
        assert!(left.as_secs() > 60, "{left}");
        clock.wait().sleep(Duration::from_mins(5)).unwrap();
    }
    // The first tokens last half an hour, the others an hour less the margin.
    let presented = field(&server.requests(), "refresh_token");
    let expected: Vec<_> = (0..presented.len()).map(|number| format!("r{number}")).collect();
    assert_eq!(presented, expected);
    assert!((24..=26).contains(&presented.len()), "{}", presented.len());
}

/// Opens a session, and then replaces its stored profile.
fn replaced_by(before: Value, after: Value) -> (Server, Session, String, Home) {
    let clock = FakeClock::new();
    let tokens = r#"{"access_token": "a2", "refresh_token": "r2", "expires_in": 3600}"#;
    let server = Server::start([answer(200, "", tokens)]);
    let home = Home::new();
    let name = stored::only_profile(&home, "held", before);
    let directory = home.auth_json().parent().unwrap().to_str().unwrap().to_owned();
    let variables = [
        ("BASETEN_CONFIG_DIR", directory),
        ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", "")),
    ];
    let context = Context::new(variables.into_iter().collect()).with_wait(clock.wait());
    let session = Session::resolve(&context, None).unwrap();
    session.authorization().unwrap();
    clock.wait().sleep(Duration::from_mins(2)).unwrap();
    home.write_store(&stored::store([(name.as_str(), after)]));
    (server, session, name, home)
}

#[test]
fn a_session_takes_no_credential_of_another_remote_or_kind() {
    let soon = stored::tokens("a", "r", "2026-11-01T12:02:00Z");
    let (here, there) = (stored::REMOTE, "https://other.example.com");
    let lives = stored::tokens("theirs", "theirs", stored::LIVES);
    for (before, after) in [
        (stored::in_file(here, &soon), stored::in_file(there, &lives)),
        (stored::in_file(here, &soon), stored::with_key(here, "theirs")),
        (stored::with_key(here, "key"), stored::with_key(there, "theirs")),
        (stored::with_key(here, "key"), stored::in_file(here, &lives)),
    ] {
        let (server, session, _, _home) = replaced_by(before, after);
        let error = session.authorization().unwrap_err();
        assert!(matches!(error.failure(), Failure::ReplacedMeanwhile { .. }), "{error}");
        assert_eq!(server.requests(), Vec::<String>::new());
    }
}

#[test]
fn the_key_of_a_new_login_is_used() {
    let key = |key| stored::with_key(stored::REMOTE, key);
    let (_server, session, name, home) = replaced_by(key("old"), key("new"));
    assert_eq!(session.authorization().unwrap().token().expose(), "new");
    // A request whose old key is refused uses the new key at once.
    let mut asked = Vec::new();
    let answer = session.with_retry(|authorization| {
        let token = authorization.token().expose().to_owned();
        asked.push(token.clone());
        home.write_store(&stored::store([(name.as_str(), key("newest"))]));
        if token == "newest" { Ok(()) } else { Err(ureq::Error::StatusCode(401)) }
    });
    assert!(answer.is_ok());
    assert_eq!(asked, ["new", "newest"]);
}

#[test]
fn a_user_agent_that_no_header_carries_is_refused() {
    for bad in ["tool\n", "töol"] {
        let error = Session::builder().user_agent(bad).open().unwrap_err();
        assert!(matches!(error.failure(), Failure::UserAgent), "{error}");
    }
}

#[test]
fn it_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Session>();
    shared::<SessionBuilder>();
    shared::<Authorization>();
    shared::<Secret>();
    shared::<Error>();
    shared::<RequestError<std::io::Error>>();
}
