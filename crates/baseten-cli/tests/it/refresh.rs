//! A refresh happens once, however many processes need it, and its tokens are never lost.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use baseten_sandbox::Request;
use baseten_testing::faults::{Mount, falls_asleep_before, is_root, says_io_error, straced};
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::server::{Act, Server, answer, http, ok, refreshed, respond, silence};
use baseten_testing::stored::{
    REMOTE, elsewhere, ends_in, in_file, name, only_profile, profile, session, session_tokens,
    store, tokens, tokens_of,
};
use baseten_testing::wait::PATIENCE;
use rustix::process::Signal;

/// Starts this many processes at once and returns the token, which must be the same for all.
fn race(homes: &[&Home], processes: usize, name: &str) -> String {
    let running: Vec<Running> = (0..processes)
        .map(|number| homes[number % homes.len()].start(&["auth", "token", "--profile", name]))
        .collect();
    let outcomes: Vec<Outcome> = running.into_iter().map(Running::end).collect();
    for outcome in &outcomes {
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
        assert_eq!(outcome.stdout, outcomes[0].stdout);
    }
    outcomes[0].stdout.trim().to_owned()
}

#[test]
fn sixty_four_processes_refresh_once() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(300));
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -3600);
    let name = only_profile(&home, "sixty-four", in_file(&sandbox.remote_url(), &old));

    let token = race(&[&home], 64, &name);
    assert_eq!(sandbox.refresh_count(), 1);
    assert!(sandbox.is_live(&token));
    let stored = tokens_of(&home, &name);
    assert_eq!(stored["access_token"], token);
    assert!(sandbox.is_live(stored["refresh_token"].as_str().unwrap()));
}

#[test]
fn a_machine_that_was_asleep_takes_the_lock_again() {
    let answer = || ok(&refreshed("new", Some("r2")));
    let server = Server::start([answer(), answer()]);
    let mut home = Home::served_by(&server);
    let old = tokens("old", "r1", &ends_in(-3600));
    only_profile(&home, "asleep", in_file("https://app.baseten.co", &old));
    if !falls_asleep_before(&mut home, server.address.port()) {
        return;
    }
    assert_eq!(home.run(&["auth", "token"]).to_string(), Outcome::done("new\n").to_string());
    // The first connection was closed before anything was sent.
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[0].is_empty() && requests[1].contains("r1"), "{requests:?}");
}

#[test]
fn a_check_shows_when_the_tokens_end_that_it_has_refreshed() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -3600);
    only_profile(&home, "checked", in_file(&sandbox.remote_url(), &old));
    let status = home.run(&["auth", "status", "--check", "-o", "json"]).json();
    assert_eq!(status["valid"], true);
    let end: jiff::Timestamp = status["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(end > jiff::Timestamp::now(), "{status}");
}

/// An error about the variable after the refresh would lose the tokens of a server that rotates them.
#[test]
fn an_invalid_variable_costs_no_token() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "nonsense");
    let old = session(&sandbox, "ada", -3600);
    let name = only_profile(&home, "nonsense", in_file(&sandbox.remote_url(), &old));

    let outcome = home.run(&["auth", "token"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(tokens_of(&home, &name)["access_token"], outcome.stdout.trim());
}

#[test]
fn sixteen_processes_and_two_directories_share_one_keyring_entry_and_one_refresh() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(300));
    let keyring = KeyringSession::start();
    let (one, other) = (
        Home::at(&sandbox).with_patient_keyring(&keyring),
        Home::at(&sandbox).with_patient_keyring(&keyring),
    );
    let name = only_profile(&one, "shared", elsewhere(&sandbox.remote_url(), "oauth"));
    other.write_store(&one.store());
    keyring.store(&name, &session(&sandbox, "ada", -3600).to_string(), &[]);

    let token = race(&[&one, &other], 16, &name);
    assert_eq!(sandbox.refresh_count(), 1);
    let stored: serde_json::Value = serde_json::from_str(&keyring.lookup(&name).unwrap()).unwrap();
    assert_eq!(stored["access_token"], token);
    assert!(sandbox.is_live(stored["refresh_token"].as_str().unwrap()));
    assert_eq!(profile(&one, &name), elsewhere(&sandbox.remote_url(), "oauth"));
}

#[test]
fn two_profiles_refresh_side_by_side() {
    let latency = Duration::from_secs(2);
    let sandbox = sandbox_with(|config| config.latency = latency);
    let home = Home::at(&sandbox);
    let (one, other) = (name("one"), name("other"));
    let remote = sandbox.remote_url();
    home.write_store(&store([
        (one.as_str(), in_file(&remote, &session(&sandbox, "ada", -1))),
        (other.as_str(), in_file(&remote, &session(&sandbox, "grace", -1))),
    ]));
    let running = [&one, &other].map(|name| home.start(&["auth", "token", "--profile", name]));
    for running in running {
        running.end().succeeded();
    }
    let refreshes: Vec<Instant> = sandbox
        .requests()
        .iter()
        .filter(|request| request.is_refresh())
        .map(|request| request.received_at)
        .collect();
    assert_eq!(refreshes.len(), 2);
    let apart = refreshes[1].saturating_duration_since(refreshes[0]);
    assert!(apart < latency, "{apart:?}");
    // Neither process has undone what the other wrote.
    for name in [&one, &other] {
        let access = tokens_of(&home, name)["access_token"].as_str().unwrap().to_owned();
        assert!(sandbox.is_live(&access));
        let again = home.run(&["auth", "token", "--profile", name]);
        assert_eq!(again.stdout.trim(), access);
    }
    assert_eq!(sandbox.refresh_count(), 2);
}

#[test]
fn what_another_program_stored_meanwhile_is_used_when_the_refresh_token_is_refused() {
    // Even a token that expires soon is used.
    for seconds in [3600, 30] {
        second_chance(seconds);
    }
}

fn second_chance(seconds: i64) {
    let name = name("second-chance");
    let home = Home::new();
    let theirs = store([(
        name.as_str(),
        in_file(REMOTE, &tokens("their-access", "their-refresh", &ends_in(seconds))),
    )]);
    let (path, text) = (home.auth_json(), theirs.clone());
    let server = Server::start([respond(move |_| {
        fs::write(path, text).unwrap();
        http(400, "", r#"{"error":"invalid_grant"}"#)
    })]);
    let home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", ""));
    home.write_store(&store([(
        name.as_str(),
        in_file(REMOTE, &tokens("access", "refresh", &ends_in(-5))),
    )]));
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "their-access\n"), "{outcome}");
    assert_eq!(outcome.stderr, "");
    assert_eq!(home.store(), theirs);
}

#[test]
fn a_refused_refresh_token_ends_in_a_hint_and_deletes_nothing() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let before = store([("ended", in_file(&sandbox.remote_url(), &session(&sandbox, "ada", -1)))]);
    home.write_store(&before);
    sandbox.end_sessions("ada");
    let outcome = home.run(&["auth", "token"]);
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(outcome.status, 3);
    assert_eq!(home.store(), before);
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn our_own_logout_waits_for_a_refresh_and_ends_the_new_session() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_secs(1));
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -1);
    let name = only_profile(&home, "logout-meanwhile", in_file(&sandbox.remote_url(), &old));
    let refresh = home.start(&["auth", "token"]);
    assert!(sandbox.wait_for_request(PATIENCE, Request::is_refresh).is_some());
    let logout = home.start(&["auth", "logout", "--profile", &name]);
    let (refresh, logout) = (refresh.end(), logout.end());
    assert_eq!((refresh.status, logout.status), (0, 0), "{refresh}{logout}");
    assert_eq!(profile(&home, &name), serde_json::Value::Null);
    assert_eq!(sandbox.session_count("ada"), 0);
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn what_another_program_removed_during_a_refresh_does_not_come_back() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_secs(1));
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -1);
    let name = only_profile(&home, "removed", in_file(&sandbox.remote_url(), &old));
    let refresh = home.start(&["auth", "token"]);
    assert!(sandbox.wait_for_request(PATIENCE, Request::is_refresh).is_some());
    home.write_store(&store([]));
    let outcome = refresh.end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (4, ""), "{outcome}");
    assert!(outcome.stderr.contains("another process has logged out profile"), "{outcome}");
    assert_eq!(profile(&home, &name), serde_json::Value::Null);
}

#[test]
fn an_entry_removed_from_the_keyring_during_a_refresh_does_not_come_back() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_secs(1));
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let name = only_profile(&home, "removed-entry", elsewhere(&sandbox.remote_url(), "oauth"));
    keyring.store(&name, &session(&sandbox, "ada", -1).to_string(), &[]);
    let refresh = home.start(&["auth", "token"]);
    assert!(sandbox.wait_for_request(PATIENCE, Request::is_refresh).is_some());
    keyring.secret_tool(&["clear", "service", "baseten-profile", "username", &name], "");
    let outcome = refresh.end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (4, ""), "{outcome}");
    assert_eq!(keyring.lookup(&name), None);
}

#[test]
fn a_newer_login_of_another_program_survives_a_slow_refresh() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_secs(1));
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let (in_keyring, name) = (name("newer-in-keyring"), name("newer"));
    let remote = sandbox.remote_url();
    home.write_store(&store([
        (name.as_str(), in_file(&remote, &session(&sandbox, "ada", -1))),
        (in_keyring.as_str(), elsewhere(&remote, "oauth")),
    ]));
    keyring.store(&in_keyring, &session(&sandbox, "grace", -1).to_string(), &[]);
    let refreshes =
        [&name, &in_keyring].map(|name| home.start(&["auth", "token", "--profile", name]));
    for user in 1..=2 {
        let count = || sandbox.refresh_count() >= user;
        assert!(sandbox.wait_for_request(PATIENCE, |_| count()).is_some());
    }
    let newer = session(&sandbox, "ada", 3600);
    let theirs = store([
        (name.as_str(), in_file(&remote, &newer)),
        (in_keyring.as_str(), elsewhere(&remote, "oauth")),
    ]);
    home.write_store(&theirs);
    keyring.store(&in_keyring, &newer.to_string(), &[]);
    for refresh in refreshes {
        let outcome = refresh.end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    }
    assert_eq!(home.store(), theirs);
    assert_eq!(keyring.lookup(&in_keyring), Some(newer.to_string()));
}

#[test]
fn a_server_slower_than_the_keyring_may_be_costs_no_token() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(2500));
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "2");
    let name = only_profile(&home, "slow-server", elsewhere(&sandbox.remote_url(), "oauth"));
    keyring.store(&name, &session(&sandbox, "ada", -1).to_string(), &[]);
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert!(keyring.lookup(&name).unwrap().contains(outcome.stdout.trim()));
}

#[test]
fn a_refused_token_is_refreshed_once_and_the_request_made_once_more() {
    let me = r#"{"user_id":"ada"}"#;
    let server = Server::start([
        answer(401, "", "{}"),
        ok(&refreshed("new-access", Some("new-refresh"))),
        ok(me),
    ]);
    let home = Home::served_by(&server);
    let name = only_profile(
        &home,
        "refused",
        in_file(REMOTE, &tokens("old-access", "old-refresh", &ends_in(3600))),
    );
    let outcome = home.run(&["whoami"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].contains("Bearer old-access"), "{}", requests[0]);
    assert!(requests[1].contains("refresh_token=old-refresh"), "{}", requests[1]);
    assert!(requests[2].contains("Bearer new-access"), "{}", requests[2]);
    assert_eq!(tokens_of(&home, &name)["refresh_token"], "new-refresh");
}

#[test]
fn a_token_refused_after_its_refresh_is_not_refreshed_again() {
    for (ends, answers) in [(3600, 3), (-1, 2)] {
        let refresh = || ok(&refreshed("new-access", Some("new-refresh")));
        let mut script = vec![refresh(), answer(401, "", "{}"), ok("{}"), refresh()];
        if ends > 0 {
            script.insert(0, answer(401, "", "{}"));
        }
        let server = Server::start(script);
        let home = Home::served_by(&server);
        let name = only_profile(
            &home,
            "refused-twice",
            in_file(REMOTE, &tokens("old-access", "old-refresh", &ends_in(ends))),
        );
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 3, "{outcome}");
        assert_eq!(server.requests().len(), answers);
        assert_eq!(tokens_of(&home, &name)["refresh_token"], "new-refresh");
    }
}

#[test]
fn a_refresh_is_not_sent_to_a_full_disk() {
    if !is_root("a refresh on a full disk") {
        return;
    }
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let directory = home.auth_json().parent().unwrap().to_owned();
    let _tiny = Mount::tiny(&directory);
    let old = session(&sandbox, "ada", -1);
    let before = store([("stuck", in_file(&sandbox.remote_url(), &old))]);
    home.write_store(&before);
    fs::write(directory.join("auth.json.lock"), "").unwrap();
    // As much as fits.
    let _ = fs::write(directory.join("filler"), vec![0; 64 * 1024]);
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    assert_eq!((home.store(), sandbox.refresh_count()), (before, 0));
    fs::remove_file(directory.join("filler")).unwrap();
    let outcome = home.run(&["auth", "token"]);
    assert!(sandbox.is_live(outcome.stdout.trim()), "{outcome}");
}

#[test]
fn a_token_that_cannot_be_stored_is_printed_and_the_failure_is_reported() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -1);
    let before = store([("stuck", in_file(&sandbox.remote_url(), &old))]);
    home.write_store(&before);
    // The rehearsal uses another kind of rename.
    let outcome = straced(&home, "renameat2:error=EIO:when=1", &["auth", "token"], "");
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(sandbox.is_live(outcome.stdout.trim()), "{outcome}");
    assert!(outcome.stderr.starts_with("warning: "), "{outcome}");
    assert!(says_io_error(&outcome.stderr), "{outcome}");
    assert!(outcome.stderr.contains("baseten auth login"), "{outcome}");
    assert_eq!(home.store(), before);
}

#[test]
fn a_refresh_that_may_have_arrived_is_not_sent_again() {
    let server =
        Server::start([Act::Close, ok(&refreshed("never", None)), ok(&refreshed("never", None))]);
    let home = Home::served_by(&server);
    let name = name("lost-answer");
    let before =
        store([(name.as_str(), in_file(REMOTE, &tokens("access", "refresh", &ends_in(-1))))]);
    home.write_store(&before);
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (6, ""), "{outcome}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(home.store(), before);
}

#[test]
fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let sandbox = sandbox_with(|config| config.rotate_refresh_tokens = false);
    let home = Home::at(&sandbox);
    let tokens = sandbox.new_session("ada").unwrap();
    let old = session_tokens(&tokens, -1);
    let name = only_profile(&home, "kept", in_file(&sandbox.remote_url(), &old));
    let outcome = home.run(&["auth", "token"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    let stored = tokens_of(&home, &name);
    assert_eq!(stored["refresh_token"], tokens.refresh_token.unwrap());
    assert_eq!(stored["access_token"], outcome.stdout.trim());
    assert_ne!(stored["access_token"], tokens.access_token);
}

#[test]
fn a_token_is_refreshed_in_its_last_minute_and_not_before() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let remote = sandbox.remote_url();
    for (expiry, refreshes) in [
        (ends_in(30), 1),
        (ends_in(59), 1),
        (ends_in(90), 0),
        ("0001-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let tokens_ = sandbox.new_session("ada").unwrap();
        let old = tokens(&tokens_.access_token, tokens_.refresh_token.as_deref().unwrap(), &expiry);
        only_profile(&home, "margin", in_file(&remote, &old));
        let before = sandbox.refresh_count();
        let outcome = home.run(&["auth", "token"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_eq!(sandbox.refresh_count() - before, refreshes, "{expiry}");
        assert_eq!(outcome.stdout.trim() == tokens_.access_token, refreshes == 0, "{expiry}");
    }
}

#[test]
fn the_next_process_goes_on_at_once_when_the_refreshing_one_is_killed() {
    let (silent, arrived) = silence();
    let server = Server::start([silent, ok(&refreshed("new-access", Some("new-refresh")))]);
    let home = Home::served_by(&server);
    only_profile(&home, "killed", in_file(REMOTE, &tokens("access", "refresh", &ends_in(-1))));
    let holder = home.start(&["auth", "token"]);
    let _open = arrived.recv_timeout(PATIENCE).unwrap();
    let next = home.start(&["auth", "token"]);
    std::thread::sleep(Duration::from_millis(300));
    let killed = Instant::now();
    drop(holder);
    let outcome = next.end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "new-access\n"), "{outcome}");
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_lock_that_is_never_released_is_waited_for_30_seconds() {
        let (silent, arrived) = silence();
        let server = Server::start([silent]);
        let home = Home::served_by(&server);
        let text =
            store([("stopped", in_file(REMOTE, &tokens("access", "refresh", &ends_in(-1))))]);
        // The lock needs a unique name, and the snapshot one that stays the same.
        let name = name("stopped");
        home.write_store(&text.replace("stopped", &name));
        let holder = home.start(&["auth", "token"]);
        let _open = arrived.recv_timeout(PATIENCE).unwrap();
        holder.signal(Signal::STOP);
        let start = Instant::now();
        let mut outcome = home.run(&["auth", "token"]);
        let waited = start.elapsed().as_secs();
        assert!((29..40).contains(&waited), "{waited} s");
        outcome.stderr = outcome.stderr.replace(&name, "stopped");
        baseten_testing::assert_outcome!(home, outcome);
        assert_eq!(outcome.status, 1);
    }
}
