//! Exit statuses: every row of their table, and every special case.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::sandbox::{deny, sandbox, sandbox_with};
use baseten_testing::server::{Act, Server, answer, http, ok};
use baseten_testing::stored::{EXPIRED, LIVES, logged_in};
#[cfg(unix)]
use baseten_testing::stored::{REMOTE, elsewhere, store};

/// A home whose only credential is an API key of the environment, and whose requests go to a
/// server with this script.
fn asking(script: impl IntoIterator<Item = Act>) -> Home {
    Home::with_script(script).with("BASETEN_API_KEY", "key")
}

fn device_login(script: impl IntoIterator<Item = Act>) -> Outcome {
    let home = Home::with_script(script);
    let outcome = home.run(WEB_LOGIN);
    assert_eq!(home.store(), "", "{outcome}");
    outcome
}

fn authorization() -> Act {
    ok(r#"{"device_code": "device-code", "user_code": "ABCD-EFGH", "expires_in": 60,
            "verification_uri": "https://app.baseten.co/device", "interval": 1}"#)
}

#[track_caller]
fn ends_with(status: i32, outcome: &Outcome) {
    assert_eq!(outcome.status, status, "{outcome}");
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert!(outcome.stderr.contains("error: "), "{outcome}");
    assert!(outcome.stderr.contains("\nhint: "), "{outcome}");
}

#[test]
fn every_http_status_has_an_exit_status() {
    for (http, exit) in [
        (300, 6),
        (302, 6),
        (307, 6),
        (400, 5),
        (401, 3),
        (403, 3),
        (404, 4),
        (405, 5),
        (407, 6),
        (409, 5),
        (422, 5),
        (429, 5),
        (500, 6),
        (502, 6),
        (503, 6),
        (599, 6),
    ] {
        for body in ["", "<html>", r#"{"code": "CODE", "message": "Some words."}"#] {
            let home = asking([answer(http, "Location: http://localhost:1/\r\n", body)]);
            let outcome = home.run(&["whoami"]);
            assert_eq!(outcome.status, exit, "{http}: {outcome}");
            ends_with(exit, &outcome);
            assert_eq!(outcome.stderr.contains("Some words."), body.contains("Some words."));
        }
    }
}

#[test]
fn answers_that_break_the_protocol_are_6() {
    for body in ["", "<html>a page of a network</html>", "[]", "{}", "null", r#"{"user_id": []}"#] {
        ends_with(6, &asking([ok(body)]).run(&["whoami"]));
        ends_with(6, &device_login([ok(body)]));
        ends_with(6, &logged_in(EXPIRED, [ok(body)]).run(&["auth", "token"]));
    }
    let endless = "x".repeat(2 * 1024 * 1024);
    for bytes in ["SSH-2.0-OpenSSH_9.2\r\n".to_owned(), format!("HTTP/1.1 200 OK\r\n\r\n{endless}")]
    {
        ends_with(6, &asking([Act::Answer(bytes.into_bytes())]).run(&["whoami"]));
    }
}

#[test]
fn connections_that_break_are_6() {
    ends_with(6, &asking([Act::Close]).run(&["whoami"]));
    ends_with(6, &asking([Act::Reset]).run(&["whoami"]));
    let cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    ends_with(6, &asking([Act::Answer(cut_short)]).run(&["whoami"]));
}

#[test]
fn no_connection_is_6() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::with_api(format!("http://localhost:{port}")).with("BASETEN_API_KEY", "key");
    let outcome = home.run(&["whoami"]);
    ends_with(6, &outcome);
    assert!(outcome.stderr.contains(&format!("cannot connect to localhost:{port}")), "{outcome}");
}

#[test]
fn a_tls_failure_is_6() {
    let speaks_no_tls = Act::Custom(Box::new(|mut stream| {
        let _ = stream.write_all(&http(400, "", "no TLS here"));
    }));
    let server = Server::start([speaks_no_tls]);
    let home = Home::with_api(server.remote("https")).with("BASETEN_API_KEY", "key");
    ends_with(6, &home.run(&["whoami"]));
}

/// The codes of the OAuth endpoints, with the status that the standard gives them and with 200.
const OAUTH_ERRORS: &[(&str, u16, i32)] = &[
    ("access_denied", 400, 3),
    ("access_denied", 200, 3),
    ("expired_token", 400, 3),
    ("expired_token", 200, 3),
    ("invalid_grant", 400, 3),
    ("invalid_grant", 200, 3),
    ("invalid_client", 401, 3),
    ("invalid_client", 400, 3),
    ("invalid_client", 200, 3),
    ("invalid_request", 400, 5),
    ("invalid_request", 200, 5),
    ("unsupported_grant_type", 400, 5),
    ("something_new", 400, 5),
    ("something_new", 200, 5),
    ("something_new", 401, 3),
    ("something_new", 404, 4),
    ("something_new", 302, 6),
    ("server_error", 200, 6),
    ("temporarily_unavailable", 200, 6),
];

fn oauth_error(code: &str, status: u16) -> Act {
    answer(status, "", &format!(r#"{{"error": "{code}", "error_description": "Some words."}}"#))
}

#[test]
fn oauth_errors_at_the_start_of_a_login() {
    for &(code, status, exit) in OAUTH_ERRORS {
        let outcome = device_login([oauth_error(code, status)]);
        assert_eq!(outcome.status, exit, "{code} {status}: {outcome}");
        ends_with(exit, &outcome);
    }
}

#[test]
fn oauth_errors_while_waiting_for_the_approval() {
    std::thread::scope(|scope| {
        for &(code, status, exit) in OAUTH_ERRORS {
            scope.spawn(move || {
                let outcome = device_login([authorization(), oauth_error(code, status)]);
                assert_eq!(outcome.status, exit, "{code} {status}: {outcome}");
                ends_with(exit, &outcome);
            });
        }
    });
}

#[test]
fn oauth_errors_of_a_refresh() {
    for &(code, status, exit) in OAUTH_ERRORS {
        let home = logged_in(EXPIRED, [oauth_error(code, status)]);
        let before = home.store();
        let outcome = home.run(&["auth", "token"]);
        assert_eq!(outcome.status, exit, "{code} {status}: {outcome}");
        ends_with(exit, &outcome);
        assert!(outcome.stderr.contains("'work'"), "{outcome}");
        assert_eq!(home.store(), before);
    }
}

#[test]
fn a_session_that_the_server_has_ended_is_3_and_nothing_is_deleted() {
    let home = logged_in(LIVES, [answer(401, "", ""), oauth_error("invalid_grant", 400)]);
    let before = home.store();
    let outcome = home.run(&["whoami"]);
    ends_with(3, &outcome);
    assert!(outcome.stderr.contains("baseten auth login --profile work"), "{outcome}");
    assert_eq!(home.store(), before);
}

#[test]
fn a_login_that_is_denied_is_3() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let running = home.start(WEB_LOGIN);
    deny(&sandbox);
    let outcome = running.end();
    ends_with(3, &outcome);
    assert_eq!(home.store(), "");
}

#[test]
fn a_login_that_nobody_approves_in_time_is_3() {
    let sandbox = sandbox_with(|config| config.device_code_lifetime = Duration::from_secs(1));
    let home = Home::at(&sandbox);
    ends_with(3, &home.run(WEB_LOGIN));
    assert_eq!(home.store(), "");
}

#[test]
fn mistakes_on_the_command_line_are_2() {
    let home = Home::with_store(r#"{"version": 1, "profiles": {}}"#);
    for arguments in [
        &["frobnicate"][..],
        &["auth", "frobnicate"],
        &["auth", "status", "--frobnicate"],
        &["auth", "status", "word"],
        &["auth", "status", "--output", "yaml"],
        &["auth", "status", "--output"],
        &["auth", "status", "--profile"],
        &["auth", "status", "--profile", ""],
        &["auth", "status", "--profile", "line\nbreak"],
        &["auth", "login"],
        &["auth", "login", "--with-api-key"],
        &["auth", "login", "--web", "--with-api-key"],
        &["auth", "login", "--web=maybe"],
        &["auth", "login", "--web=false"],
        &["auth", "login", "--no-wait", "--resume"],
        &["auth", "login", "--no-wait", "--with-api-key"],
        &["auth", "login", "--web", "--remote-url", "app.baseten.co"],
        &["auth", "login", "--web", "--remote-url", "http://app.baseten.co"],
        &["auth", "login", "--web", "--remote-url", "https://app.baseten.co/path"],
        &["auth", "login", "--web", "--remote-url", ""],
        &["auth", "status", "--jq", ".["],
        &["auth", "status", "--jq", ".", "--output", "text"],
        &["auth", "status", "--jq", ".", "--output", "none"],
        &["auth", "status", "--raw-output"],
        &["auth", "token", "--header", "--output", "json"],
    ] {
        let outcome = home.run(arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}: {outcome}");
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert!(outcome.stderr.starts_with("error: "), "{arguments:?}: {outcome}");
    }
}

#[test]
fn switching_without_a_name_and_a_terminal_is_2() {
    let home = logged_in(LIVES, []);
    let outcome = home.run(&["auth", "switch"]);
    ends_with(2, &outcome);
    assert!(outcome.stderr.contains("--profile"), "{outcome}");
}

#[test]
fn an_invalid_api_key_is_2() {
    for key in ["", "\n\n", "two words", "bell\u{7}", "clé"] {
        ends_with(2, &Home::new().log_in(key, "bot", &[]));
    }
    for key in ["\n", "two words", "clé"] {
        ends_with(2, &Home::new().with("BASETEN_API_KEY", key).run(&["whoami"]));
    }
}

#[test]
fn invalid_variables_are_2() {
    for (variable, value) in [
        ("BASETEN_REMOTE_URL", "app.baseten.co"),
        ("BASETEN_REMOTE_URL", "http://app.baseten.co"),
        ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "https://api.baseten.co/v1"),
        ("BASETEN_CREDENTIAL_STORE", "paper"),
        ("BASETEN_CREDENTIAL_STORE", "helper:../evil"),
    ] {
        let outcome = Home::new().with(variable, value).run(&["auth", "login", "--web"]);
        ends_with(2, &outcome);
        assert!(outcome.stderr.contains(variable), "{outcome}");
    }
    let outcome = Home::new().with("BASETEN_PROFILE", "line\nbreak").run(&["auth", "status"]);
    ends_with(2, &outcome);
    assert!(outcome.stderr.contains("BASETEN_PROFILE"), "{outcome}");
}

#[test]
fn not_logged_in_is_3() {
    for command in [&["auth", "status"][..], &["auth", "token"], &["auth", "logout"], &["whoami"]] {
        ends_with(3, &Home::new().run(command));
    }
    ends_with(3, &Home::new().run(&["auth", "switch"]));
    ends_with(3, &Home::new().run(&["auth", "login", "--resume"]));
}

#[test]
fn no_current_profile_is_3() {
    let home = logged_in(LIVES, []);
    home.write_store(&home.store().replace(r#""current": "work","#, ""));
    for command in [&["auth", "status"][..], &["auth", "token"], &["auth", "logout"], &["whoami"]] {
        let outcome = home.run(command);
        ends_with(3, &outcome);
        assert!(outcome.stderr.contains("baseten auth switch"), "{outcome}");
    }
}

#[test]
fn no_such_profile_is_4() {
    let home = logged_in(LIVES, []);
    for command in ["status", "token", "logout", "switch"] {
        let outcome = home.run(&["auth", command, "--profile", "gone"]);
        ends_with(4, &outcome);
        assert!(outcome.stderr.contains("'gone'"), "{outcome}");
    }
    let home = home.with("BASETEN_PROFILE", "gone");
    for command in ["status", "token", "logout"] {
        let outcome = home.run(&["auth", command]);
        ends_with(4, &outcome);
        assert!(outcome.stderr.contains("BASETEN_PROFILE"), "{outcome}");
    }
}

#[test]
fn a_current_profile_that_is_gone_is_4() {
    let home = Home::with_store(r#"{"version": 1, "current": "gone", "profiles": {}}"#);
    for command in ["status", "token", "logout"] {
        let outcome = home.run(&["auth", command]);
        ends_with(4, &outcome);
        assert!(outcome.stderr.contains("current profile 'gone'"), "{outcome}");
    }
}

#[test]
fn a_store_that_cannot_be_used_is_1() {
    for store in ["not JSON", "[]", r#"{"version": 2}"#, r#"{"profiles": []}"#] {
        let home = Home::with_store(store);
        for arguments in [
            &["auth", "status"][..],
            &["auth", "list"],
            &["auth", "token"],
            &["auth", "logout"],
            &["auth", "switch", "--profile", "a"],
            &["auth", "login", "--web"],
        ] {
            let outcome = home.run(arguments);
            ends_with(1, &outcome);
            assert!(outcome.stderr.contains("auth.json"), "{outcome}");
            assert_eq!(home.store(), store);
        }
    }
    let home = Home::new();
    std::fs::create_dir_all(home.auth_json()).unwrap();
    ends_with(1, &home.run(&["auth", "status"]));
}

#[test]
#[cfg(unix)]
fn a_pipe_in_place_of_the_store_is_not_waited_for() {
    let home = Home::new();
    std::fs::create_dir_all(home.auth_json().parent().unwrap()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(home.auth_json()).status().unwrap();
    assert!(made.success());
    let outcome = home.run(&["auth", "status"]);
    ends_with(1, &outcome);
    assert!(outcome.stderr.contains("it is not a file"), "{outcome}");
}

#[test]
fn a_filter_that_does_not_fit_the_record_is_1() {
    let outcome = Home::new().run(&["version", "--jq", ".version | tonumber"]);
    ends_with(1, &outcome);
    assert!(outcome.stderr.contains("the --jq filter failed"), "{outcome}");
}

#[test]
fn a_machine_without_a_home_is_1() {
    let variable = if cfg!(windows) { "AppData" } else { "HOME" };
    let mut home = Home::new();
    home.unset(&variable.to_ascii_uppercase());
    let outcome = home.run(&["auth", "status"]);
    ends_with(1, &outcome);
    assert!(outcome.stderr.contains(variable), "{outcome}");
}

/// On other systems the keyring is always available.
#[cfg(target_os = "linux")]
#[test]
fn a_keyring_that_is_not_available_is_1() {
    let home = Home::with_store(&store([("bot", elsewhere(REMOTE, "api_key"))]))
        .with("BASETEN_CREDENTIAL_STORE", "keyring");
    let outcome = home.run(&["auth", "token"]);
    ends_with(1, &outcome);
    assert!(outcome.stderr.contains("keyring"), "{outcome}");
    assert!(outcome.stderr.contains("'bot'"), "{outcome}");
}

/// A home whose credential helper runs this shell script.
#[cfg(unix)]
fn with_helper(script: &str) -> Home {
    let home = Home::with_store(&store([("bot", elsewhere(REMOTE, "api_key"))]));
    home.install("docker-credential-fake", script);
    home.with("BASETEN_CREDENTIAL_STORE", "helper:fake")
}

#[test]
#[cfg(unix)]
fn a_helper_that_has_nothing_is_3_and_one_that_fails_is_1() {
    let home = with_helper("echo credentials not found in native keychain; exit 1");
    ends_with(3, &home.run(&["auth", "token"]));
    let home = with_helper("echo out of order; exit 1");
    let outcome = home.run(&["auth", "token"]);
    ends_with(1, &outcome);
    assert!(outcome.stderr.contains("docker-credential-fake"), "{outcome}");
    assert!(outcome.stderr.contains("out of order"), "{outcome}");
    let home = with_helper("").with("PATH", "/usr/bin:/bin");
    ends_with(1, &home.run(&["auth", "token"]));
}

const PRINTING: &[&[&str]] = &[
    &["auth", "status"],
    &["auth", "status", "--output", "json"],
    &["auth", "list"],
    &["auth", "token"],
    &["version"],
    &["--version"],
    &["--help"],
    &["auth", "login", "--help"],
];

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let home = logged_in(LIVES, []);
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outcome = Running::start(home.command(arguments).stdout(writer)).end();
        assert_eq!(outcome.status, 0, "{arguments:?}: {outcome}");
        assert_eq!(outcome.stderr, "", "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_under_stdout_is_1() {
    let home = logged_in(LIVES, []);
    for arguments in PRINTING {
        let full = File::create("/dev/full").unwrap();
        let outcome = Running::start(home.command(arguments).stdout(full)).end();
        ends_with(1, &outcome);
        assert!(outcome.stderr.contains("standard output"), "{outcome}");
    }
    let home = home.with("BASETEN_PROFILE", "gone");
    let full = File::create("/dev/full").unwrap();
    let outcome = Running::start(home.command(&["auth", "status"]).stderr(full)).end();
    assert_eq!(outcome.status, 4, "a full disk under stderr changes nothing: {outcome}");
}

#[test]
fn success_is_0() {
    let home = logged_in(LIVES, []);
    for arguments in PRINTING {
        let outcome = home.run(arguments);
        assert_eq!(outcome.status, 0, "{arguments:?}: {outcome}");
        assert_ne!(outcome.stdout, "");
    }
    let closed = home.command(&["auth", "status"]).stdout(Stdio::null()).status();
    assert!(closed.unwrap().success());
}

#[cfg(target_os = "linux")]
mod slow_tests {
    use super::*;

    /// A listener whose queue is full drops further connections.
    #[test]
    fn a_timeout_is_6() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let wait = Duration::from_millis(100);
        let connect = |_| std::net::TcpStream::connect_timeout(&address, wait).ok();
        let queue: Vec<_> = (0..8).map_while(connect).collect();
        assert!(queue.len() < 8, "the queue does not fill");
        let home = Home::with_api(format!("http://{address}")).with("BASETEN_API_KEY", "key");
        let outcome = home.run(&["whoami"]);
        ends_with(6, &outcome);
        assert!(outcome.stderr.contains("did not answer within 10 s"), "{outcome}");
    }
}
