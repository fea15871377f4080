//! Which secret is used when the file and a real keyring disagree.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use baseten_sandbox::Request;
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::server::{Server, http, refreshed, respond};
use baseten_testing::stored::{
    REMOTE, elsewhere, ends_in, in_file, name, only_profile, profile, session, store, tokens,
    tokens_of, with_key,
};
use baseten_testing::wait::PATIENCE;
use serde_json::{Value, json};

/// A server that refreshes any token and accepts any credential except `refused-access`.
fn obliging() -> Server {
    let oblige = |request: String| {
        if request.contains("grant_type=refresh_token") {
            http(200, "", &refreshed("new-access", Some("new-refresh")))
        } else if request.contains("refused-access") {
            http(401, "", "{}")
        } else {
            http(200, "", r#"{"user_id":"ada"}"#)
        }
    };
    Server::start((0..8).map(|_| respond(oblige)))
}

/// Tokens named after the place, which expire in this many seconds.
fn of(place: &str, seconds: i64) -> Value {
    tokens(&format!("{place}-access"), &format!("{place}-refresh"), &ends_in(seconds))
}

fn endless(place: &str) -> Value {
    tokens(&format!("{place}-access"), &format!("{place}-refresh"), "0001-01-01T00:00:00Z")
}

fn nowhere(auth_type: &str) -> Value {
    elsewhere(REMOTE, auth_type)
}

/// A profile with the secret of the other type.
fn mistyped(auth_type: &str) -> Value {
    let mut profile = nowhere(auth_type);
    match auth_type {
        "oauth" => profile["api_key"] = json!("file-key"),
        _ => profile["oauth_credential"] = of("file", 3600),
    }
    profile
}

const NOTHING: &str = "";

/// What is stored in both places, and the expected result.
struct Case {
    what: &'static str,
    file: Value,
    keyring: String,
    /// The credential in the request; `None` if no request may be sent.
    sent: Option<&'static str>,
    /// The refresh token that is sent first, if any.
    presented: Option<&'static str>,
    /// What the keyring has afterwards.
    keyring_after: String,
}

impl Case {
    #[expect(clippy::needless_pass_by_value, reason = "it reads better in the tables")]
    fn new(what: &'static str, file: Value, keyring: impl ToString, sent: &'static str) -> Self {
        let keyring = keyring.to_string();
        let keyring_after = keyring.clone();
        Self { what, file, keyring, sent: Some(sent), presented: None, keyring_after }
    }

    /// The tokens are refreshed first, with this one.
    fn presents(mut self, token: &'static str) -> Self {
        self.presented = Some(token);
        self
    }

    fn empties_the_keyring(mut self) -> Self {
        self.keyring_after = NOTHING.into();
        self
    }

    fn sends_nothing(mut self) -> Self {
        self.sent = None;
        self
    }

    fn check(&self, keyring: &KeyringSession) {
        let what = self.what;
        let server = obliging();
        let home = Home::served_by(&server).with_patient_keyring(keyring);
        let name = only_profile(&home, "fresh", self.file.clone());
        if self.keyring != NOTHING {
            keyring.store(&name, &self.keyring, &[]);
        }
        let before = home.store();

        let outcome = home.run(&["whoami"]);
        let requests = server.requests();
        let presented: Vec<&str> = requests
            .iter()
            .filter_map(|request| request.split("refresh_token=").nth(1))
            .filter_map(|rest| rest.split('&').next())
            // This is the grant type, not the token.
            .filter(|token| *token != "refresh_token")
            .collect();
        assert_eq!(presented, self.presented.as_slice(), "{what}: {outcome}");
        let sent: Vec<&str> = requests
            .iter()
            .flat_map(|request| request.lines())
            .filter_map(|line| line.split_once(": "))
            .filter(|(header, _)| header.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(sent, self.sent.as_slice(), "{what}: {outcome}");
        assert_eq!(outcome.status, if self.sent.is_some() { 0 } else { 3 }, "{what}: {outcome}");
        if self.sent.is_some() {
            assert_eq!(outcome.stderr, "", "{what}");
        }
        let in_keyring = keyring.lookup(&name).unwrap_or_default();
        if self.keyring_after == "new tokens" {
            let there: Value = serde_json::from_str(&in_keyring).unwrap();
            assert_eq!(there["refresh_token"], "new-refresh", "{what}");
        } else {
            assert_eq!(in_keyring, self.keyring_after, "{what}");
        }
        // A refresh writes the tokens to the storage that the login chose; nothing else changes.
        if self.presented.is_some() && self.file.get("oauth_credential").is_some() {
            assert_eq!(tokens_of(&home, &name)["refresh_token"], "new-refresh", "{what}");
        } else {
            assert_eq!(home.store(), before, "{what}");
        }
    }
}

#[test]
fn the_rules_for_tokens_in_two_places() {
    let file = |seconds| in_file(REMOTE, &of("file", seconds));
    let new = |what, file, keyring: Value| Case::new(what, file, keyring, "Bearer new-access");
    let same_end = ends_in(-70);
    let same =
        |place: &str| tokens(&format!("{place}-access"), &format!("{place}-refresh"), &same_end);
    let mut into_keyring = new("refreshed in the keyring", nowhere("oauth"), of("keyring", -1));
    into_keyring.keyring_after = "new tokens".into();
    let cases = [
        Case::new("fresh in the file", file(3600), of("keyring", 7200), "Bearer file-access"),
        Case::new(
            "no end known in the file",
            in_file(REMOTE, &endless("file")),
            of("keyring", 7200),
            "Bearer file-access",
        ),
        Case::new("fresh in the keyring", file(-1), of("keyring", 3600), "Bearer keyring-access"),
        Case::new(
            "fresh in the keyring, last minute in the file",
            file(50),
            of("keyring", 3600),
            "Bearer keyring-access",
        ),
        Case::new(
            "no end known in the keyring",
            file(-1),
            endless("keyring"),
            "Bearer keyring-access",
        ),
        new("later in the keyring", file(-200), of("keyring", -100))
            .presents("keyring-refresh")
            .empties_the_keyring(),
        new("later in the file", file(-100), of("keyring", -200))
            .presents("file-refresh")
            .empties_the_keyring(),
        new("the same end", in_file(REMOTE, &same("file")), same("keyring"))
            .presents("file-refresh")
            .empties_the_keyring(),
        Case::new("in the file only", file(-1), NOTHING, "Bearer new-access")
            .presents("file-refresh"),
        Case::new("a key in the keyring", file(-1), "keyring-key", "Bearer new-access")
            .presents("file-refresh"),
        new("a key as JSON in the keyring", file(-1), json!({ "api_key": "keyring-key" }))
            .presents("file-refresh"),
        Case::new("nonsense in the keyring", file(-1), "{\"access", "Bearer new-access")
            .presents("file-refresh"),
        Case::new(
            "in the keyring only",
            nowhere("oauth"),
            of("keyring", 3600),
            "Bearer keyring-access",
        ),
        into_keyring.presents("keyring-refresh"),
        Case::new(
            "a key in the file",
            mistyped("oauth"),
            of("keyring", 3600),
            "Bearer keyring-access",
        ),
        Case::new("a key in the keyring only", nowhere("oauth"), "keyring-key", "").sends_nothing(),
        Case::new("a key in the file only", mistyped("oauth"), NOTHING, "").sends_nothing(),
        Case::new("keys in both", mistyped("oauth"), "keyring-key", "").sends_nothing(),
    ];
    let keyring = KeyringSession::start();
    for case in cases {
        case.check(&keyring);
    }
}

#[test]
fn the_rules_for_keys_in_two_places() {
    let cases = [
        Case::new("in both", with_key(REMOTE, "file-key"), "keyring-key", "Api-Key file-key"),
        Case::new(
            "tokens in the keyring",
            with_key(REMOTE, "file-key"),
            of("keyring", 3600),
            "Api-Key file-key",
        ),
        Case::new("in the keyring", nowhere("api_key"), "keyring-key", "Api-Key keyring-key"),
        Case::new(
            "as JSON",
            nowhere("api_key"),
            json!({ "api_key": "keyring-key" }),
            "Api-Key keyring-key",
        ),
        Case::new("tokens in the file", mistyped("api_key"), "keyring-key", "Api-Key keyring-key"),
        Case::new("tokens in the keyring only", nowhere("api_key"), of("keyring", 3600), "")
            .sends_nothing(),
        Case::new("tokens in both", mistyped("api_key"), of("keyring", 3600), "").sends_nothing(),
        Case::new("nothing", nowhere("api_key"), NOTHING, "").sends_nothing(),
    ];
    let keyring = KeyringSession::start();
    for case in cases {
        case.check(&keyring);
    }
}

#[test]
fn after_a_refused_token_the_keyring_is_asked_before_a_refresh() {
    let keyring = KeyringSession::start();
    let server = obliging();
    let home = Home::served_by(&server).with_keyring(&keyring);
    // It is refused, although it expires later than the other program's token, which replaced it.
    let name = only_profile(&home, "refused", in_file(REMOTE, &of("refused", 7200)));
    keyring.store(&name, &of("keyring", 3600).to_string(), &[]);
    let outcome = home.run(&["whoami"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains("Bearer keyring-access"), "{}", requests[1]);
}

#[test]
fn tokens_that_are_refused_in_both_places_are_refreshed() {
    let keyring = KeyringSession::start();
    let server = obliging();
    let home = Home::served_by(&server).with_keyring(&keyring);
    // Neither has expired.
    let name = only_profile(&home, "both-refused", in_file(REMOTE, &of("file-refused", 7200)));
    keyring.store(&name, &of("keyring-refused", 3600).to_string(), &[]);
    let outcome = home.run(&["whoami"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[2].contains("refresh_token=file-refused-refresh"), "{}", requests[2]);
    assert!(requests[3].contains("Bearer new-access"), "{}", requests[3]);
    assert_eq!(keyring.lookup(&name), None);
}

#[test]
fn a_logout_that_asks_for_the_file_removes_a_copy_that_can_be_reached() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox();
    let home =
        Home::at(&sandbox).with_patient_keyring(&keyring).with("BASETEN_CREDENTIAL_STORE", "file");
    let fresh = session(&sandbox, "ada", 3600);
    let name = only_profile(&home, "file-only", in_file(&sandbox.remote_url(), &fresh));
    keyring.store(&name, &of("old", -60).to_string(), &[]);
    let outcome = home.run(&["auth", "logout", "--profile", &name]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(keyring.lookup(&name), None);
}

#[test]
fn a_fresh_token_in_the_file_is_used_without_asking_the_keyring() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let fresh = session(&sandbox, "ada", 3600);
    home.write_store(&store([("fresh", in_file(&sandbox.remote_url(), &fresh))]));
    keyring.freeze();
    let start = Instant::now();
    for arguments in [&["auth", "token", "-v"][..], &["whoami", "-v"], &["auth", "status", "-v"]] {
        let outcome = home.run(arguments);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(!outcome.stderr.contains("keyring"), "{outcome}");
    }
    // A call to the frozen keyring would have taken 30 s.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_frozen_keyring_does_not_stop_the_refresh_of_a_profile_in_the_file() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "0.5");
    let old = session(&sandbox, "ada", -1);
    let name = only_profile(&home, "frozen", in_file(&sandbox.remote_url(), &old));
    keyring.freeze();
    let outcome = home.run(&["auth", "token"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(tokens_of(&home, &name)["access_token"], outcome.stdout.trim());
}

#[test]
fn a_used_copy_that_cannot_be_removed_is_reported() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox_with(|config| config.latency = Duration::from_secs(1));
    let home = Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "3");
    let old = session(&sandbox, "ada", -1);
    let name = only_profile(&home, "used-up", in_file(&sandbox.remote_url(), &old));
    keyring.store(&name, &old.to_string(), &[]);
    let refresh = home.start(&["auth", "token"]);
    assert!(sandbox.wait_for_request(PATIENCE, Request::is_refresh).is_some());
    keyring.freeze();
    let mut outcome = refresh.end();
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(tokens_of(&home, &name)["access_token"], outcome.stdout.trim());
    outcome.stdout = "[TOKEN]\n".into();
    outcome.stderr = outcome.stderr.replace(&name, "used-up");
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn a_login_with_another_storage_removes_the_old_copy() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox();
    let mut home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let name = name("moved");
    let (first, second) = (sandbox.api_key("ada").unwrap(), sandbox.new_api_key("ada").unwrap());
    let in_file = |home: &Home| profile(home, &name)["api_key"].clone();
    let logged_in = |home: &Home, key: &str, more: &[&str]| {
        let outcome = home.log_in(key, &name, more);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    };

    logged_in(&home, &first, &[]);
    assert_eq!((keyring.lookup(&name), in_file(&home)), (Some(first.clone()), Value::Null));
    logged_in(&home, &second, &["--insecure-storage"]);
    assert_eq!((keyring.lookup(&name), in_file(&home)), (None, json!(second)));
    logged_in(&home, &first, &[]);
    assert_eq!((keyring.lookup(&name), in_file(&home)), (Some(first.clone()), Value::Null));
    home.set("BASETEN_CREDENTIAL_STORE", "file");
    logged_in(&home, &second, &[]);
    assert_eq!((keyring.lookup(&name), in_file(&home)), (None, json!(second)));
}

#[test]
fn an_old_copy_that_cannot_be_reached_is_reported() {
    let keyring = KeyringSession::start();
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "1");
    let key = sandbox.api_key("ada").unwrap();
    let bot = name("unreachable");
    keyring.store(&bot, "old", &[]);
    home.write_store(&store([(bot.as_str(), elsewhere(&sandbox.remote_url(), "api_key"))]));
    keyring.freeze();
    let mut outcome = home.log_in(&key, &bot, &["--insecure-storage"]);
    outcome.stdout = outcome.stdout.replace(&bot, "bot");
    outcome.stderr = outcome.stderr.replace(&bot, "bot");
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(outcome.status, 0);
    assert_eq!(profile(&home, &bot)["api_key"], json!(key));
}
