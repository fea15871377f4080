//! A login at an independent authorization server, approved on its pages in a real browser that the
//! program starts.

#![cfg(target_os = "linux")]

use baseten_testing::counterparts::{OidcServer, person_log, with_person};
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::stored::{EXPIRED, tokens_of};

/// Logs in as alice, who approves in Chromium.
fn alice_logs_in(server: &OidcServer, more: &[&str]) -> Home {
    let home = with_person(server.home(), "--user alice");
    let outcome = home.run(&[WEB_LOGIN, more].concat());
    let person = person_log(&home);
    assert_eq!(outcome.status, 0, "{outcome}\n{person}\n{:?}", server.requests());
    assert_eq!(
        outcome.stdout,
        "Logged in as alice@example.com (Counterpart) as profile alice@example.com:localhost\n"
    );
    for step in ["confirm the device", "log in", "consent"] {
        assert!(person.contains(step), "{person}");
    }
    home
}

/// A token of the only profile.
fn token(home: &Home, name: &str) -> String {
    tokens_of(home, "alice@example.com:localhost")[name].as_str().unwrap().to_owned()
}

/// The exit status of `status --check`, and whether it says that the credential is valid.
fn check(home: &Home) -> (i32, bool) {
    let outcome = home.run(&["auth", "status", "--check", "-o", "json"]);
    (outcome.status, outcome.json()["valid"].as_bool().unwrap())
}

/// How often a request was made with this result.
fn count(server: &OidcServer, request: &str) -> usize {
    server.requests().iter().filter(|done| *done == request).count()
}

#[test]
fn a_session_is_refreshed_with_rotation_until_a_used_token_ends_it() {
    // Tokens are refreshed in their last minute, so every command refreshes this one.
    let server =
        OidcServer::start(&["--access-token-seconds", "30", "--device-code-seconds", "45"]);
    let home = alice_logs_in(&server, &[]);
    assert_eq!(count(&server, "device_code 200"), 1);
    assert_eq!(count(&server, "refresh_token 200"), 0, "{:?}", server.requests());

    let first = home.store();
    let (access, refresh) = (token(&home, "access_token"), token(&home, "refresh_token"));
    let outcome = home.run(&["whoami", "-o", "jsonl"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(
        outcome.stdout,
        "{\"email\":\"alice@example.com\",\"name\":\"\",\"user_id\":\"alice\",\
         \"workspace_name\":\"Counterpart\"}\n"
    );
    assert_ne!(token(&home, "access_token"), access);
    assert_ne!(token(&home, "refresh_token"), refresh);
    assert_eq!(check(&home), (0, true));
    assert_eq!(count(&server, "refresh_token 200"), 2);

    // Another program kept the first refresh token and uses it again.
    let last = home.store();
    home.write_store(&first);
    let outcome = home.run(&["whoami"]);
    assert_eq!(outcome.status, 3, "{outcome}");
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(home.store(), first, "nothing is deleted");
    // That has ended the session, and with it the valid tokens.
    home.write_store(&last);
    assert_eq!(check(&home), (3, false));
    assert_eq!(count(&server, "refresh_token 400 invalid_grant"), 2);
}

#[test]
fn a_logout_invalidates_the_tokens() {
    let server = OidcServer::start(&["--device-code-seconds", "45"]);
    let home = alice_logs_in(&server, &["--profile", "alice@example.com:localhost"]);
    let outcome = home.run(&["auth", "token", "--header"]);
    let access = token(&home, "access_token");
    assert_eq!(outcome.stdout, format!("Authorization: Bearer {access}\n"), "{outcome}");

    let store = home.store();
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(outcome.stdout, "Logged out alice@example.com:localhost\n");
    assert!(!outcome.stderr.contains("could not be ended"), "{outcome}");
    assert_eq!(count(&server, "logout 204"), 1);
    assert!(!home.store().contains("alice"), "{}", home.store());

    // Neither token is valid any more. A newly issued token would not be refreshed.
    let mut copy: serde_json::Value = serde_json::from_str(&store).unwrap();
    let tokens = &mut copy["profiles"]["alice@example.com:localhost"]["oauth_credential"];
    tokens["issued_at"] = EXPIRED.into();
    home.write_store(&copy.to_string());
    assert_eq!(check(&home), (3, false));
    let requests = server.requests();
    assert!(
        requests.ends_with(&["me 401".to_owned(), "refresh_token 400 invalid_grant".to_owned()]),
        "{requests:?}"
    );
    // The copy can still be logged out.
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(!outcome.stderr.contains("could not be ended"), "{outcome}");
}

#[test]
fn a_login_is_denied_on_the_page() {
    let server = OidcServer::start(&["--device-code-seconds", "45"]);
    let home = with_person(server.home(), "--deny");
    let outcome = home.run(WEB_LOGIN);
    assert_eq!(outcome.status, 3, "{outcome}\n{}", person_log(&home));
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(home.store(), "");
    assert_eq!(count(&server, "device_code 400 access_denied"), 1);
}

#[test]
fn a_code_that_nobody_answers_expires() {
    let server = OidcServer::start(&["--device-code-seconds", "3"]);
    let home = server.home();
    let outcome = home.run(WEB_LOGIN);
    assert_eq!(outcome.status, 3, "{outcome}");
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(home.store(), "");
    let requests = server.requests();
    assert!(!requests.iter().any(|request| request.contains("slow_down")), "{requests:?}");
}
