//! SIGINT and SIGTERM wherever a command may wait.

use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use baseten_sandbox::Request;
use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::sandbox::sandbox;
use baseten_testing::server::{Act, answer, read_request};

use crate::exit_status::{LIVES, asking, logged_in};

#[test]
fn signals_cancel_a_login_that_waits_and_nothing_is_stored() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let sandbox = sandbox();
        let home = Home::at(&sandbox);
        let running = home.start(&["auth", "login", "--web", "--insecure-storage"]);
        sandbox.wait_for_request(Duration::from_secs(30), Request::is_poll).unwrap();
        send(signal, &running);
        let outcome = running.end();
        assert_eq!(outcome.status, status, "{outcome}");
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.ends_with("\nCanceled.\n"), "{outcome}");
        assert!(!home.auth_json().exists());
    }
}

#[test]
fn signals_cancel_a_request_that_hangs() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let (hang, arrival) = hang();
        let home = asking([hang]);
        let running = home.start(&["whoami"]);
        let _open = arrival.recv_timeout(Duration::from_secs(30)).unwrap();
        send(signal, &running);
        let outcome = running.end();
        assert_eq!(
            outcome.to_string(),
            format!("exit: {status}\n----- stdout -----\n----- stderr -----\nCanceled.\n")
        );
    }
}

/// Reads a request, says so, and keeps the connection open.
fn hang() -> (Act, Receiver<TcpStream>) {
    let (arrived, arrival) = channel();
    let act = Act::Custom(Box::new(move |stream| {
        read_request(&mut &stream);
        arrived.send(stream).unwrap();
    }));
    (act, arrival)
}

#[test]
fn signals_cancel_a_logout_that_waits_for_the_server() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let (hang, arrival) = hang();
        let home = logged_in(LIVES, [hang]);
        let before = home.store();
        let running = home.start(&["auth", "logout"]);
        let _open = arrival.recv_timeout(Duration::from_secs(30)).unwrap();
        let sent = Instant::now();
        send(signal, &running);
        let outcome = running.end();
        assert!(sent.elapsed() < Duration::from_secs(3), "{:?}", sent.elapsed());
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
        assert_eq!(outcome.stderr, "Canceled.\n");
        assert_eq!(home.store(), before);
    }
}

#[test]
fn a_signal_after_a_login_is_stored_ends_the_wait_for_the_old_session() {
    let (hang, arrival) = hang();
    let home = logged_in(LIVES, [answer(200, "", r#"{"user_id": "ada"}"#), hang]);
    let mut login = home.command(&[
        "auth",
        "login",
        "--with-api-key",
        "--insecure-storage",
        "--profile",
        "work",
    ]);
    let mut running = Running(login.stdin(Stdio::piped()).spawn().unwrap());
    std::io::Write::write_all(&mut running.0.stdin.take().unwrap(), b"key").unwrap();
    let _open = arrival.recv_timeout(Duration::from_secs(30)).unwrap();
    let sent = Instant::now();
    send("INT", &running);
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
    // Full, so that the next byte has to wait.
    let mut filler = std::process::Command::new("/bin/sh");
    filler.args(["-c", "exec timeout 1 cat /dev/zero"]).stdout(writer.try_clone().unwrap());
    filler.status().unwrap();
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut switch = home.command(&["auth", "switch", "--profile", "work"]);
        let running = Running(switch.stdout(writer.try_clone().unwrap()).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(500));
        send(signal, &running);
        let outcome = running.end();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, "Canceled.\n"));
    }
}

pub(crate) fn send(signal: &str, running: &Running) {
    let kill = format!("kill -{signal} {}", running.0.id());
    let status = std::process::Command::new("/bin/sh").args(["-c", &kill]).status();
    assert!(status.unwrap().success());
}
