//! Browser logins that fail: servers with errors, servers that hang, and signals after the approval.

use std::time::{Duration, Instant};

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::server::{ADA, Act, STARTED, Server, TOKENS, answer, ok};
#[cfg(unix)]
use baseten_testing::server::{http, respond, silence};
#[cfg(unix)]
use baseten_testing::wait::PATIENCE;
#[cfg(unix)]
use rustix::process::Signal;

const WEB: &[&str] = &["auth", "login", "--web", "--insecure-storage", "--profile", "work"];

#[test]
fn a_failed_request_for_the_user_is_retried() {
    let server = Server::start([ok(STARTED), ok(TOKENS), answer(503, "", ""), Act::Close, ok(ADA)]);
    let outcome = Home::at_remote(server.remote("http")).run(WEB);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_login_that_cannot_be_stored_is_ended_at_the_server() {
    let refused = || answer(403, "", r#"{"message": "no workspace"}"#);
    let script = || [ok(STARTED), ok(TOKENS), refused()];
    let server = Server::start(script().into_iter().chain([answer(204, "", "")]));
    let home = Home::at_remote(server.remote("http"));
    let outcome = home.run(WEB);
    assert_eq!(outcome.status, 3, "{outcome}");
    // The hint has the same remote and the same name.
    let again = format!(
        "hint: start again with: baseten auth login --web --profile work --remote-url {} \
         --insecure-storage\n",
        server.remote("http")
    );
    assert!(outcome.stderr.ends_with(&again), "{outcome}");
    let last = server.requests().pop().unwrap();
    assert!(last.starts_with("POST /v1/users/auth/logout "), "{last}");
    assert!(last.contains("Bearer canary-access"), "{last}");
    assert!(!home.auth_json().exists());
}

#[test]
fn a_retry_after_beyond_the_expiry_of_the_code_is_an_error_of_the_server() {
    let busy = answer(503, "Retry-After: 3600\r\n", "");
    let server = Server::start([ok(STARTED), busy]);
    let outcome = Home::at_remote(server.remote("http")).run(WEB);
    assert_eq!(outcome.status, 6, "{outcome}");
    assert!(outcome.stderr.contains(" answered HTTP 503"), "{outcome}");
}

#[test]
#[cfg(unix)]
fn a_login_that_is_canceled_before_its_user_is_known_is_ended_at_the_server() {
    let (silent, heard) = silence();
    let server = Server::start([ok(STARTED), ok(TOKENS), silent, answer(204, "", "")]);
    let home = Home::at_remote(server.remote("http"));
    let running = home.start(WEB);
    let _open = heard.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    let start = Instant::now();
    let outcome = running.end();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(outcome.status, 143, "{outcome}");
    assert!(outcome.stderr.ends_with("Canceled.\n"), "{outcome}");
    assert!(server.requests().pop().unwrap().starts_with("POST /v1/users/auth/logout "));
}

#[test]
fn a_server_that_hangs_is_not_waited_for_beyond_the_expiry_of_the_code() {
    let started = STARTED.replace("600", "3");
    let server = Server::start([ok(&started), Act::Hang, Act::Hang]);
    let start = Instant::now();
    let outcome = Home::at_remote(server.remote("http")).run(WEB);
    assert_eq!(outcome.status, 3, "{outcome}");
    assert!(outcome.stderr.contains("the code expired"), "{outcome}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_long_url_is_on_one_line() {
    let page = format!("https://app.example.com/device?state={}", "x".repeat(500));
    let started = STARTED.replace("https://app.example.com/device", &page);
    let denied = answer(400, "", r#"{"error": "access_denied"}"#);
    let server = Server::start([ok(&started), denied, ok(&started)]);
    let home = Home::at_remote(server.remote("http"));
    let outcome = home.run(WEB);
    assert!(outcome.stderr.contains(&format!("\n  {page}\n")), "{outcome}");
    let outcome = home.run(&[WEB_LOGIN, &["--no-wait"]].concat());
    assert!(outcome.stdout.starts_with(&format!("Open {page}\n")), "{outcome}");
}

#[test]
#[cfg(unix)]
fn a_login_that_is_canceled_while_it_is_stored_is_ended_at_the_server() {
    let mut home = Home::new();
    let lock = home.auth_json().with_file_name("auth.json.lock");
    let (locked, held) = std::sync::mpsc::channel();
    // Another process holds the lock of the store when this login wants to write.
    let me = respond(move |_| {
        let file = std::fs::File::options().write(true).open(lock).unwrap();
        file.lock().unwrap();
        locked.send(file).unwrap();
        http(200, "", ADA)
    });
    let (told, heard) = std::sync::mpsc::channel();
    let slow_logout = respond(move |request| {
        told.send(request).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        http(204, "", "")
    });
    let script = [ok(STARTED), ok(TOKENS), me, slow_logout];
    let server = Server::start(script);
    home.set("BASETEN_REMOTE_URL", server.remote("http"));
    let running = home.start(WEB);
    let _held = held.recv_timeout(PATIENCE).unwrap();
    // A signal any earlier would end the process before it starts to store the login.
    std::thread::sleep(Duration::from_millis(700));
    running.signal(Signal::INT);
    let request = heard.recv_timeout(PATIENCE).unwrap();
    assert!(request.starts_with("POST /v1/users/auth/logout "), "{request}");
    let start = Instant::now();
    let outcome = running.end();
    // The process waits until the server has answered.
    assert!(start.elapsed() > Duration::from_millis(400), "{:?}", start.elapsed());
    assert_eq!(outcome.status, 130, "{outcome}");
    assert!(outcome.stderr.ends_with("Canceled.\n"), "{outcome}");
    assert!(!home.auth_json().exists());
}
