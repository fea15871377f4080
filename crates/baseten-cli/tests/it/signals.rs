//! SIGINT and SIGTERM wherever a command may wait.

#![cfg(unix)]

use std::io::Write;
use std::time::{Duration, Instant};

use baseten_sandbox::Request;
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::sandbox::sandbox;
use baseten_testing::server::{http, ok, refreshed, silence};
use baseten_testing::stored::{EXPIRED, LIVES, logged_in};
use baseten_testing::wait::{PATIENCE, within};
use rustix::process::Signal;

#[test]
fn signals_cancel_a_login_that_waits_and_nothing_is_stored() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let sandbox = sandbox();
        let home = Home::at(&sandbox);
        let running = home.start(WEB_LOGIN);
        sandbox.wait_for_request(PATIENCE, Request::is_poll).unwrap();
        running.signal(signal);
        let outcome = running.end();
        assert_eq!(outcome.status, status, "{outcome}");
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.ends_with("\nCanceled.\n"), "{outcome}");
        assert!(!home.auth_json().exists());
    }
}

#[test]
fn signals_cancel_a_request_that_hangs() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (silent, arrival) = silence();
        let home = Home::with_script([silent]).with("BASETEN_API_KEY", "key");
        let running = home.start(&["whoami"]);
        let _open = arrival.recv_timeout(PATIENCE).unwrap();
        running.signal(signal);
        let outcome = running.end();
        assert_eq!(
            outcome.to_string(),
            format!("exit: {status}\n----- stdout -----\n----- stderr -----\nCanceled.\n")
        );
    }
}

#[test]
fn signals_cancel_a_logout_that_waits_for_the_server() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (silent, arrival) = silence();
        let home = logged_in(LIVES, [silent]);
        let before = home.store();
        let running = home.start(&["auth", "logout"]);
        let _open = arrival.recv_timeout(PATIENCE).unwrap();
        let sent = Instant::now();
        running.signal(signal);
        let outcome = running.end();
        assert!(sent.elapsed() < Duration::from_secs(3), "{:?}", sent.elapsed());
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
        assert_eq!(outcome.stderr, "Canceled.\n");
        assert_eq!(home.store(), before);
    }
}

/// The profile stays, and so must its refresh token.
#[test]
fn a_logout_that_has_to_refresh_first_is_done_whole_or_not_at_all() {
    for signal in [Signal::INT, Signal::TERM] {
        let (silent, arrival) = silence();
        let home = logged_in(EXPIRED, [silent, ok("")]).with("BASETEN_CREDENTIAL_STORE", "file");
        let running = home.start(&["auth", "logout"]);
        let mut stream = arrival.recv_timeout(PATIENCE).unwrap();
        running.signal(signal);
        within(Duration::from_millis(500), || false);
        stream.write_all(&http(200, "", &refreshed("access-2", Some("refresh-2")))).unwrap();
        drop(stream);
        let outcome = running.end();
        // With the session ended, there is nothing more to wait for.
        assert!(!home.store().contains("refresh"), "{outcome}");
        assert_eq!(outcome.to_string(), Outcome::done("Logged out work\n").to_string());
    }
}

#[test]
fn a_signal_after_a_login_is_stored_ends_the_wait_for_the_old_session() {
    let (silent, arrival) = silence();
    let home = logged_in(LIVES, [ok(r#"{"user_id": "ada"}"#), silent]);
    let login = ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", "work"];
    let running = Running::with_input(&mut home.command(&login), "key");
    let _open = arrival.recv_timeout(PATIENCE).unwrap();
    let sent = Instant::now();
    running.signal(Signal::INT);
    let outcome = running.end();
    assert!(sent.elapsed() < Duration::from_secs(3), "{:?}", sent.elapsed());
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(outcome.stdout, "Logged in as ada as profile work\n");
    assert!(home.store().contains("\"api_key\": \"key\""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_a_command_whose_output_nobody_reads() {
    let home = logged_in(LIVES, []);
    let (_reader, writer) = std::io::pipe().unwrap();
    // Fill the pipe, so that the next byte has to wait.
    let mut filler = std::process::Command::new("/bin/sh");
    filler.args(["-c", "exec timeout 1 cat /dev/zero"]).stdout(writer.try_clone().unwrap());
    filler.status().unwrap();
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut switch = home.command(&["auth", "switch", "--profile", "work"]);
        let running = Running::start(switch.stdout(writer.try_clone().unwrap()));
        std::thread::sleep(Duration::from_millis(500));
        running.signal(signal);
        let outcome = running.end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, "Canceled.\n"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_a_command_whose_errors_nobody_reads() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut filler = std::process::Command::new("/bin/sh");
        filler.args(["-c", "exec timeout 1 cat /dev/zero"]).stdout(writer.try_clone().unwrap());
        filler.status().unwrap();
        let home = logged_in(LIVES, [silence().0]);
        let mut whoami = home.command(&["whoami", "-v"]);
        let mut child = whoami.stderr(writer).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut ended = None;
        let in_time = within(Duration::from_secs(5), || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        drop(reader);
        let _ = child.kill();
        assert!(in_time, "{signal:?}");
        assert_eq!(ended.unwrap().code(), Some(status));
    }
}

/// The request alone may take 25 s.
#[test]
fn an_answer_that_came_while_the_process_was_stopped_is_kept() {
    let (silent, arrival) = silence();
    let home = logged_in(EXPIRED, [silent]);
    let running = home.start(&["auth", "token"]);
    let mut stream = arrival.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::STOP);
    // Until it has stopped, a moment later.
    within(Duration::from_millis(500), || false);
    stream.write_all(&http(200, "", &refreshed("access-2", Some("refresh-2")))).unwrap();
    within(Duration::from_secs(27), || false);
    running.signal(Signal::CONT);
    let outcome = running.end();
    assert_eq!(outcome.to_string(), Outcome::done("access-2\n").to_string());
    assert!(home.store().contains("refresh-2"));
}
