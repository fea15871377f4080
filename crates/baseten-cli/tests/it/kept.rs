//! The tokens of a refresh are kept: through signals, full disks, other containers and hostile users.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baseten_sandbox::{Request, Sandbox};
use baseten_testing::faults::{Mount, command_as, is_root};
use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::sandbox_with;
use baseten_testing::server::{Server, ok, refreshed, silence};
use baseten_testing::stored::{REMOTE, ends_in, in_file, only_profile, session, tokens, tokens_of};
use baseten_testing::wait::{self, PATIENCE};
use rustix::process::Signal;

/// A sandbox that delays its responses, and a home whose access token has expired.
fn late(latency: Duration) -> (Sandbox, Home, String) {
    let sandbox = sandbox_with(|config| config.latency = latency);
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -3600);
    let name = only_profile(&home, "kept", in_file(&sandbox.remote_url(), &old));
    (sandbox, home, name)
}

fn assert_alive(sandbox: &Sandbox, home: &Home, name: &str) {
    let stored = tokens_of(home, name);
    assert!(sandbox.is_live(stored["access_token"].as_str().unwrap()), "the token was lost");
    assert!(sandbox.is_live(stored["refresh_token"].as_str().unwrap()), "the session was lost");
    let outcome = home.run(&["auth", "token"]);
    assert_eq!(outcome.stdout.trim(), stored["access_token"], "{outcome}");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn a_signal_waits_until_the_answer_to_a_refresh_is_stored() {
    for (signal, status) in
        [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)]
    {
        let (sandbox, home, name) = late(Duration::from_millis(1500));
        let running = home.start(&["auth", "token"]);
        sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        running.signal(signal);
        let outcome = running.end();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
        assert_eq!(outcome.stderr, "Canceled.\n");
        assert_alive(&sandbox, &home, &name);
    }
}

#[test]
fn ctrl_c_again_after_a_second_ends_the_command_and_another_hang_up_does_not() {
    for (signal, ends) in [(Signal::INT, true), (Signal::QUIT, true), (Signal::HUP, false)] {
        let (silent, arrived) = silence();
        let server = Server::start([silent]);
        let home = Home::served_by(&server);
        let old = tokens("access", "refresh", &ends_in(-1));
        only_profile(&home, "insisting", in_file(REMOTE, &old));
        let mut running = home.start(&["auth", "token"]);
        let _open = arrived.recv_timeout(PATIENCE).unwrap();
        running.signal(signal);
        // Two signals in quick succession count as one.
        std::thread::sleep(Duration::from_millis(100));
        running.signal(signal);
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!running.has_ended(), "{signal:?}");
        running.signal(signal);
        let time = Duration::from_millis(if ends { 5000 } else { 300 });
        assert_eq!(wait::within(time, || running.has_ended()), ends, "{signal:?}");
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let (sandbox, home, name) = late(Duration::from_millis(700));
    let script = format!("trap '' HUP; exec '{}' auth token", baseten());
    let running = Running::start(&mut home.command_of(find("sh", "dash"), &["-c", &script]));
    sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
    running.signal(Signal::HUP);
    let outcome = running.end();
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_alive(&sandbox, &home, &name);
}

#[test]
fn a_refresh_whose_answer_cannot_be_kept_is_not_sent() {
    if !is_root("a mount") {
        return;
    }
    let (sandbox, home, name) = late(Duration::ZERO);
    let before = home.store();
    let config = home.auth_json().parent().unwrap().to_owned();
    let read_only = Mount::read_only(&config);
    let outcome = home.run(&["auth", "token"]);
    drop(read_only);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome}");
    assert_eq!((home.store(), sandbox.refresh_count()), (before, 0));

    // `ulimit -f 0` sends SIGXFSZ to a process that writes to a file.
    let script = format!("ulimit -f 0; exec '{}' auth token", baseten());
    let command = &mut home.command_of(find("sh", "dash"), &["-c", &script]);
    let outcome = Running::start(command).end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains("auth.json: File too large"), "{outcome}");
    assert_eq!(sandbox.refresh_count(), 0);

    assert_eq!(home.run(&["auth", "token"]).status, 0);
    assert_alive(&sandbox, &home, &name);
}

#[test]
fn a_token_from_the_future_is_refreshed_since_the_clock_was_set_back() {
    for (issued_in, is_refreshed) in [(86_400, true), (120, true), (0, false), (-3600, false)] {
        let server = Server::start([ok(&refreshed("new", Some("r2")))]);
        let home = Home::served_by(&server);
        let mut old = tokens("old", "r1", &ends_in(issued_in + 7200));
        old["issued_at"] = ends_in(issued_in).into();
        let name = only_profile(&home, "clock", in_file(REMOTE, &old));
        let outcome = home.run(&["auth", "token"]);
        let expected = if is_refreshed { "new\n" } else { "old\n" };
        assert_eq!((outcome.status, outcome.stdout.as_str()), (0, expected), "{issued_in}");
        if is_refreshed {
            let issued_at = tokens_of(&home, &name)["issued_at"].as_str().unwrap().to_owned();
            assert!(issued_at <= ends_in(0) && issued_at > ends_in(-60), "{issued_at}");
        }
    }
}

/// The possible directories for a user's own locks, in the order in which they are tried.
fn places_of(user: u32) -> Vec<PathBuf> {
    let shared = ["/tmp", "/var/tmp", "/dev/shm"];
    shared.map(|place| Path::new(place).join(format!("baseten-auth-{user}"))).to_vec()
}

#[test]
fn containers_that_share_a_directory_refresh_once() {
    if !is_root("mount namespaces") {
        return;
    }
    let (sandbox, home, name) = late(Duration::from_millis(300));
    // Each container has its own directories for the user's own locks.
    let hidden: Vec<_> = places_of(0).iter().map(|place| place.display().to_string()).collect();
    let hide = "for place; do mkdir -p $place && mount -t tmpfs none $place || exit 99; done";
    let script = format!("{hide}; exec '{}' auth token", baseten());
    let mut arguments = vec!["--mount", "sh", "-c", &script, "sh"];
    arguments.extend(hidden.iter().map(String::as_str));
    let running: Vec<_> = (0..16)
        .map(|_| Running::start(&mut home.command_of(find("unshare", "util-linux"), &arguments)))
        .collect();
    for outcome in running.into_iter().map(Running::end) {
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_eq!(outcome.stdout.trim(), tokens_of(&home, &name)["access_token"], "{outcome}");
    }
    assert_alive(&sandbox, &home, &name);
}

/// A user ID without an account.
const STRANGER: u32 = 60_124;

#[test]
fn another_user_who_takes_all_places_for_locks_blocks_nobody() {
    if !is_root("another user") {
        return;
    }
    let (sandbox, home, name) = late(Duration::ZERO);
    let places = places_of(STRANGER);
    for place in &places {
        fs::create_dir_all(place).unwrap();
    }
    let arguments = ["-R", &STRANGER.to_string(), ".config"];
    Running::start(&mut home.command_of(find("chown", "coreutils"), &arguments)).end().succeeded();
    let outcome = Running::start(&mut command_as(STRANGER, &home, &["auth", "token"])).end();
    for place in &places {
        fs::remove_dir_all(place).unwrap();
    }
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_alive(&sandbox, &home, &name);
}
