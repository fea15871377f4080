//! A token that is valid for long enough (`--min-ttl`), and a new token for a client whose last one
//! was refused (`--refused-stdin`).

use std::time::Duration;

use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::sandbox::sandbox_with;
use baseten_testing::server::{Server, answer, ok, refreshed};
use baseten_testing::stored::{
    REMOTE, ends_in, in_file, name, session, store, tokens, tokens_of, with_key,
};

/// A home whose token was issued and expires this many seconds from now, and a server that issues
/// one other token, which lives for an hour.
fn home(issued_in: i64, ends: i64) -> (Server, Home, String) {
    let server = Server::start([ok(&refreshed("new", Some("r2")))]);
    let (home, name) = (Home::served_by(&server), name("lasting"));
    let mut old = tokens("old", "r1", &ends_in(ends));
    old["issued_at"] = ends_in(issued_in).into();
    home.write_store(&store([(name.as_str(), in_file(REMOTE, &old))]));
    (server, home, name)
}

fn printed(outcome: &Outcome, token: &str) {
    assert_eq!((outcome.status, outcome.stdout.trim()), (0, token), "{outcome}");
}

#[test]
fn a_token_that_ends_too_soon_is_refreshed_early() {
    for (issued_in, ends, min_ttl, token) in [
        (-3000, 600, "5m", "old"),
        (-3000, 600, "10m", "new"),
        (-3000, 600, "15m", "new"),
        // Less than a minute counts as one.
        (-3000, 50, "0s", "new"),
        (-3000, 90, "1s", "old"),
        // Nearly the whole lifetime is requested, so a token is only refreshed once half of it has
        // passed.
        (-1700, 1900, "1h", "old"),
        (-1900, 1700, "1h", "new"),
        (-1900, 1700, "59m", "new"),
        (-1900, 1700, "28m", "old"),
    ] {
        let (_server, home, _) = home(issued_in, ends);
        let outcome = home.run(&["auth", "token", "--min-ttl", min_ttl]);
        printed(&outcome, token);
        let warned = outcome.stderr.contains("the server's tokens do not live longer");
        let lives: i64 = if token == "new" { 3600 } else { ends };
        let asked = if min_ttl == "1h" { 3600 } else { 0 };
        // A new token is already a moment old when it is checked.
        assert_eq!(warned, lives <= asked, "{min_ttl} of {ends}: {outcome}");
    }
}

#[test]
fn sixty_four_processes_that_ask_for_more_than_there_is_refresh_once() {
    let sandbox = sandbox_with(|config| {
        config.latency = Duration::from_millis(200);
        config.access_token_lifetime = Duration::from_mins(10);
    });
    let (home, name) = (Home::at(&sandbox), name("storm"));
    let old = session(&sandbox, "ada", 100);
    home.write_store(&store([(name.as_str(), in_file(&sandbox.remote_url(), &old))]));
    let ask = || home.start(&["auth", "token", "--min-ttl", "2h"]);
    let outcomes: Vec<_> = (0..64).map(|_| ask()).collect::<Vec<_>>();
    for outcome in outcomes.into_iter().map(Running::end) {
        printed(&outcome, tokens_of(&home, &name)["access_token"].as_str().unwrap());
        assert!(outcome.stderr.starts_with("warning: "), "{outcome}");
    }
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn a_valid_token_is_printed_if_it_cannot_be_refreshed() {
    for act in [answer(400, "", r#"{"error": "invalid_grant"}"#), answer(503, "", "")] {
        let server = Server::start([act]);
        let (home, name) = (Home::served_by(&server), name("kept"));
        let old = tokens("old", "r1", &ends_in(300));
        home.write_store(&store([(name.as_str(), in_file(REMOTE, &old))]));
        let outcome = home.run(&["auth", "token", "--min-ttl", "10m"]);
        printed(&outcome, "old");
        assert!(outcome.stderr.starts_with("warning: the token of profile"), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(tokens_of(&home, &name), old, "nothing is deleted");
    }
    let server = Server::start([answer(503, "", "")]);
    let (home, name) = (Home::served_by(&server), name("ended"));
    let old = tokens("old", "r1", &ends_in(50));
    home.write_store(&store([(name.as_str(), in_file(REMOTE, &old))]));
    let outcome = home.run(&["auth", "token", "--min-ttl", "10m"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (6, ""), "{outcome}");
}

#[test]
fn a_client_that_was_refused_gets_another_token() {
    let refused = |home: &Home, token: &str| {
        home.run_with_input(&["auth", "token", "--refused-stdin"], format!("{token}\n"))
    };
    // Another program has refreshed meanwhile.
    let (server, home_of_old, _) = home(-300, 3300);
    printed(&refused(&home_of_old, "older"), "old");
    assert_eq!(server.requests().len(), 0);
    printed(&refused(&home_of_old, "old"), "new");
    // A server that refuses everything does not rotate tokens in a loop.
    let outcome = refused(&home_of_old, "new");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    assert!(outcome.stderr.contains("less than a minute old"), "{outcome}");
    assert_eq!(server.requests().len(), 1);

    let home = Home::with_store(&store([("bot", with_key(REMOTE, "key"))]));
    printed(&refused(&home, "other"), "key");
    let outcome = refused(&home, "key");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    let outcome = refused(&Home::new().with("BASETEN_API_KEY", "key"), "key");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    let outcome = refused(&home, " ");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{outcome}");
}

#[test]
fn a_credential_for_another_remote_is_not_printed() {
    let home = Home::with_store(&store([("bot", with_key(REMOTE, "canary"))]));
    let ask = |remote: &str| home.run(&["auth", "token", "--expect-remote", remote]);
    for same in [REMOTE, "https://APP.example.com:443/"] {
        printed(&ask(same), "canary");
    }
    let outcome = ask("https://app.baseten.co");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    assert!(outcome.stderr.contains(REMOTE) && !outcome.stderr.contains("canary"), "{outcome}");
    assert_eq!(ask("app.baseten.co").status, 2);
}

#[test]
fn a_duration_is_a_whole_number_with_a_unit() {
    let home = Home::with_store(&store([("bot", with_key(REMOTE, "key"))]));
    for good in ["0s", "90s", "10m", "24h"] {
        printed(&home.run(&["auth", "token", "--min-ttl", good]), "key");
    }
    for bad in ["", "10", "m", "1.5h", "-1s", "+1s", "1d", "1 m", "é", "99999999999999999999h"] {
        let outcome = home.run(&["auth", "token", &format!("--min-ttl={bad}")]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{bad}: {outcome}");
    }
}
