//! Secrets in real keyrings: shared with other programs, and in keyrings that are unavailable,
//! locked, frozen or broken. No command waits longer than its timeout.

#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use baseten_sandbox::Sandbox;
use baseten_testing::faults::is_root;
use baseten_testing::foreign_socket::ForeignSocket;
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::outcome::Outcome;
use baseten_testing::program::baseten;
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::stored::{elsewhere, store};
use rustix::net::SocketAddrUnix;
use rustix::process::Signal;
use serde_json::{Value, json};

/// How much longer than its keyring timeout a command may take on a busy machine.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// The keyring timeout of a command that cannot show a prompt.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

const NAME: &str = "bot";

/// A home with a profile whose secret is elsewhere.
pub(crate) fn with_profile(home: Home, sandbox: &Sandbox, auth_type: &str) -> Home {
    home.write_store(&store([(NAME, elsewhere(&sandbox.remote_url(), auth_type))]));
    home
}

/// How many items `secret-tool` finds for this profile, in all collections.
fn count(session: &KeyringSession, profile: &str) -> usize {
    let attributes = ["search", "--all", "service", "baseten-profile", "username", profile];
    let output = session.secret_tool(&attributes, "");
    String::from_utf8(output.stdout).unwrap().matches("secret = ").count()
}

fn timed(home: &Home, arguments: &[&str]) -> (Outcome, Duration) {
    let start = Instant::now();
    let outcome = home.run(arguments);
    (outcome, start.elapsed())
}

// Secrets shared with other programs.

#[test]
fn a_keyring_is_not_used_with_more_files_than_libdbus_can_take() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = Home::at(&sandbox).with_keyring(&session);
    home.log_in(sandbox.api_key("ada").unwrap(), NAME, &[]).succeeded();
    for (open, status) in [(900, 0), (1100, 1)] {
        let script = format!(
            "ulimit -n 4096; for file in $(seq 3 {open}); do eval \"exec $file</dev/null\"; done; \
             exec \"$0\" auth token"
        );
        let outcome = home.command_of("bash", &["-c", &script, baseten()]).output().unwrap();
        let outcome = Outcome::from(outcome);
        assert_eq!(outcome.status, status, "{open}: {outcome}");
        assert_eq!(outcome.stderr.contains("too many files are open"), status == 1, "{outcome}");
    }
}

#[test]
fn an_api_key_is_stored_as_it_is_and_updated_in_place() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = Home::at(&sandbox).with_keyring(&session);
    for key in [sandbox.api_key("ada").unwrap(), sandbox.new_api_key("ada").unwrap()] {
        let outcome = home.log_in(&key, NAME, &[]);
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""), "{outcome}");
        assert_eq!(session.lookup(NAME).as_deref(), Some(&*key));
        assert_eq!(count(&session, NAME), 1);
        assert!(!home.store().contains(&key), "{}", home.store());
        assert_eq!(home.run(&["auth", "token"]).stdout, format!("{key}\n"));
    }
    baseten_testing::assert_outcome!(home, home.run(&["auth", "status"]));
}

#[test]
fn tokens_are_stored_as_compact_json_and_updated_in_place() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = Home::at(&sandbox).with_keyring(&session);
    let mut earlier = String::new();
    for _ in 0..2 {
        let login = home.start(&["auth", "login", "--web", "--profile", NAME]);
        approve(&sandbox, "ada");
        let outcome = login.end();
        assert_eq!(outcome.status, 0, "{outcome}");
        let secret = session.lookup(NAME).unwrap();
        let json: Value = serde_json::from_str(&secret).unwrap();
        assert_eq!(json.to_string(), secret, "not compact");
        let members: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, ["access_token", "refresh_token", "expiry", "issued_at"]);
        let token = json["access_token"].as_str().unwrap().to_owned();
        assert_eq!(home.run(&["auth", "token"]).stdout, format!("{token}\n"));
        assert!(!home.store().contains(&token), "{}", home.store());
        assert_eq!(count(&session, NAME), 1);
        assert!(!sandbox.is_live(&earlier), "the session that was replaced goes on");
        earlier = token;
    }
}

#[test]
fn another_programs_secret_is_used_refreshed_in_place_and_removed() {
    for attributes in [&[][..], &["application", "another", "xdg:schema", "org.example.Any"]] {
        let (sandbox, session) = (sandbox(), KeyringSession::start());
        let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "oauth");
        let tokens = sandbox.new_session("ada").unwrap();
        let refresh_token = tokens.refresh_token.unwrap();
        let secret = |expiry: &str| {
            let token = &tokens.access_token;
            json!({"access_token": token, "refresh_token": refresh_token, "expiry": expiry})
        };
        session.store(NAME, &secret("2999-01-01T00:00:00Z").to_string(), attributes);
        let outcome = home.run(&["auth", "token"]);
        assert_eq!(outcome.stdout, format!("{}\n", tokens.access_token), "{outcome}");

        session.store(NAME, &secret("2020-01-01T00:00:00Z").to_string(), attributes);
        let outcome = home.run(&["auth", "token"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        let kept: Value = serde_json::from_str(&session.lookup(NAME).unwrap()).unwrap();
        assert_eq!(outcome.stdout.trim_end(), kept["access_token"].as_str().unwrap());
        assert_ne!(kept["refresh_token"], json!(refresh_token));
        assert_eq!(count(&session, NAME), 1);

        session.store("another", "other's", attributes);
        let outcome = home.run(&["auth", "logout"]);
        assert_eq!((outcome.status, &*outcome.stdout), (0, "Logged out bot\n"), "{outcome}");
        assert_eq!(count(&session, NAME), 0);
        assert_eq!(session.lookup("another").as_deref(), Some("other's"));
    }
}

#[test]
fn an_api_key_that_another_program_stored_is_used() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key");
    let key = sandbox.api_key("ada").unwrap();
    for secret in [key.clone(), json!({"api_key": key}).to_string()] {
        session.store(NAME, &secret, &["application", "another"]);
        let outcome = home.run(&["auth", "token", "--header"]);
        assert_eq!(outcome.stdout, format!("Authorization: Api-Key {key}\n"), "{outcome}");
        assert_eq!(home.run(&["whoami"]).status, 0);
    }
}

#[test]
fn a_profile_whose_secret_somebody_removed_can_be_logged_out() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key");
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!((outcome.status, &*outcome.stdout), (0, "Logged out bot\n"), "{outcome}");
    assert!(!home.store().contains(NAME), "{}", home.store());
}

/// Python's `keyring` and the Python SDK, in the environment that `cargo xtask test` creates.
fn python(session: &KeyringSession, arguments: &[&str]) -> Outcome {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let python = format!("{root}/counterparts/python/venv/bin/python");
    let is_there = std::path::Path::new(&python).exists();
    assert!(is_there, "Python's packages are missing: `cargo xtask test` installs them");
    let mut command = session.command("env", "coreutils");
    command.arg(&python).args(arguments).current_dir(format!("{root}/counterparts/python"));
    command.output().unwrap().into()
}

#[test]
fn pythons_keyring_and_sdk_use_what_we_stored() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = Home::at(&sandbox).with_keyring(&session);
    assert_eq!(home.log_in(sandbox.api_key("ada").unwrap(), NAME, &[]).status, 0);
    let login = home.start(&["auth", "login", "--web", "--profile", "grace"]);
    approve(&sandbox, "grace");
    assert_eq!(login.end().status, 0);
    let url = format!("http://127.0.0.1:{}", sandbox.port());
    for (profile, email) in [(NAME, "ada@example.com"), ("grace", "grace@example.com")] {
        let outcome = python(&session, &["sdk.py", profile, &url]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_eq!(outcome.json()["email"], json!(email), "{outcome}");
        assert!(outcome.stderr.contains("SecretService"), "{outcome}");
    }
    assert_eq!(home.run(&["auth", "logout", "--profile", NAME]).status, 0);
    assert_eq!(python(&session, &["sdk.py", NAME, &url]).status, 3);
}

#[test]
fn we_use_and_update_what_pythons_keyring_stored() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key");
    let key = sandbox.api_key("ada").unwrap();
    let script = "import keyring, sys; keyring.set_password('baseten-profile', *sys.argv[1:])";
    let outcome = python(&session, &["-c", script, NAME, &key]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(home.run(&["auth", "token"]).stdout, format!("{key}\n"));
    let newer = sandbox.new_api_key("ada").unwrap();
    assert_eq!(home.log_in(&newer, NAME, &[]).status, 0);
    assert_eq!(count(&session, NAME), 1);
    let script = "import keyring; print(keyring.get_password('baseten-profile', 'bot'))";
    assert_eq!(python(&session, &["-c", script]).stdout, format!("{newer}\n"));
}

// Keyrings that are unavailable, locked or frozen.

#[test]
fn missing_locked_unavailable_and_slow_keyrings_are_told_apart() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key");
    let mut shown = home.run(&["auth", "token"]).to_string();
    session.store(NAME, "key", &[]);
    session.lock();
    shown += &home.run(&["auth", "token"]).to_string();
    session.freeze();
    let home = home.with("BASETEN_KEYRING_TIMEOUT", "0.5");
    shown += &home.run(&["auth", "token"]).to_string();
    let away = KeyringSession::without_keyring();
    let bus = Home::at(&sandbox).with_keyring(&away);
    let bus = with_profile(bus, &sandbox, "api_key");
    shown += &bus.run(&["auth", "token"]).to_string();
    let nowhere = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    shown += &nowhere.run(&["auth", "token"]).to_string();
    baseten_testing::assert_outcome!(home, shown);
}

#[test]
fn a_login_without_a_keyring_goes_to_the_file_and_says_why() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    let home = Home::at(&sandbox);
    let outcome = home.log_in(&key, NAME, &[]);
    assert!(home.store().contains(&key), "{}", home.store());
    assert!(home.run(&["auth", "status"]).stdout.contains("Storage: file"));
    baseten_testing::assert_outcome!(home, outcome);

    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "keyring");
    let outcome = home.log_in(&key, NAME, &[]);
    assert_eq!(home.store(), "");
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn a_login_with_a_locked_keyring_goes_to_the_file_unless_that_is_forbidden() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    session.lock();
    let key = sandbox.api_key("ada").unwrap();
    let home =
        Home::at(&sandbox).with_keyring(&session).with("BASETEN_CREDENTIAL_STORE", "keyring");
    let outcome = home.log_in(&key, NAME, &[]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("is locked"), "{outcome}");
    assert_eq!(home.store(), "");
    let home = home.with("BASETEN_CREDENTIAL_STORE", "auto");
    let outcome = home.log_in(&key, NAME, &[]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stderr.contains("is locked, so"), "{outcome}");
    assert!(home.store().contains(&key));
}

fn gives_up_in(home: &Home, expected: Duration, before: &str) {
    for arguments in [&["auth", "token"][..], &["whoami"], &["auth", "logout"]] {
        let (outcome, elapsed) = timed(home, arguments);
        assert_eq!(outcome.status, 1, "{arguments:?} {outcome}");
        assert!(outcome.stderr.contains("did not answer within"), "{outcome}");
        assert_eq!(outcome.stdout, "", "{outcome}");
        assert!(elapsed >= expected, "{arguments:?}: {elapsed:?}");
        assert!(elapsed < expected + SLACK, "{arguments:?}: {elapsed:?}");
    }
    assert_eq!(home.store(), before, "a logout that failed removes nothing");
}

#[test]
fn a_login_with_a_frozen_keyring_goes_to_the_file_in_time() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    session.freeze();
    let home = Home::at(&sandbox).with_keyring(&session);
    let key = sandbox.api_key("ada").unwrap();
    let start = Instant::now();
    let outcome = home.log_in(&key, NAME, &[]);
    assert!(start.elapsed() < DEFAULT_TIMEOUT + SLACK, "{:?}", start.elapsed());
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stderr.contains("did not answer within 3 s, so"), "{outcome}");
    assert!(home.store().contains(&key));
    session.thaw();
    assert_eq!(session.lookup(NAME), None);
}

#[test]
fn a_keyring_that_dies_in_the_middle_of_a_call_is_not_waited_for() {
    let (sandbox, session) = (sandbox(), KeyringSession::start());
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key")
        .with("BASETEN_KEYRING_TIMEOUT", "30");
    session.freeze();
    let start = Instant::now();
    let running = home.start(&["auth", "token"]);
    std::thread::sleep(Duration::from_millis(500));
    session.keyring().signal(Signal::KILL);
    let outcome = running.end();
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("system keyring"), "{outcome}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

// Whose bus it is.

#[test]
fn nothing_is_sent_to_a_bus_of_another_user() {
    if !is_root("a socket of another user") {
        return;
    }
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    let home = Home::at(&sandbox);
    let path = home.path().join("bus");
    let path = path.to_str().unwrap();
    for (variable, value, address) in [
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={path}"), SocketAddrUnix::new(path)),
        (
            "DBUS_SESSION_BUS_ADDRESS",
            format!("autolaunch:;unix:abstract={path},guid=00"),
            SocketAddrUnix::new_abstract_name(path.as_bytes()),
        ),
        ("XDG_RUNTIME_DIR", home.path().to_str().unwrap().to_owned(), SocketAddrUnix::new(path)),
    ] {
        let _ = std::fs::remove_file(path);
        let bus = ForeignSocket::listen(&address.unwrap());
        let says = "the system keyring is not available: the D-Bus session bus is another user's";
        let home = Home::at(&sandbox).with(variable, &value);
        let outcome = home.log_in(&key, "new", &[]);
        assert!(outcome.status == 0 && outcome.stderr.contains(says), "{value}: {outcome}");
        assert!(home.store().contains(&key), "{}", home.store());
        let home =
            with_profile(home, &sandbox, "api_key").with("BASETEN_CREDENTIAL_STORE", "keyring");
        for outcome in [home.run(&["auth", "token"]), home.log_in(&key, NAME, &[])] {
            assert!(outcome.status == 1 && outcome.stderr.contains(says), "{value}: {outcome}");
        }
        assert_eq!(String::from_utf8(bus.received()).unwrap(), "", "{value}");
    }
}

#[test]
fn only_a_socket_of_this_machine_is_a_bus() {
    let (sandbox, session) = (sandbox(), KeyringSession::start_abstract());
    session.store(NAME, "theirs", &[]);
    let network = TcpListener::bind("127.0.0.1:0").unwrap();
    network.set_nonblocking(true).unwrap();
    let port = network.local_addr().unwrap().port();
    let elsewhere = format!("tcp:host=127.0.0.1,port={port}");
    let home = with_profile(Home::at(&sandbox).with_keyring(&session), &sandbox, "api_key");
    let home = home.with("DBUS_SESSION_BUS_ADDRESS", &elsewhere);
    let outcome = home.run(&["auth", "token"]);
    assert!(outcome.stderr.contains("there is no D-Bus session bus"), "{outcome}");
    let addresses = format!("{elsewhere};{}", session.address());
    let outcome = home.with("DBUS_SESSION_BUS_ADDRESS", addresses).run(&["auth", "token"]);
    assert_eq!(outcome, Outcome::done("theirs\n"));
    assert_eq!(network.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_frozen_keyring_delays_no_command_beyond_the_timeout() {
        let (sandbox, session) = (sandbox(), KeyringSession::start());
        let home = Home::at(&sandbox).with_keyring(&session);
        let key = sandbox.api_key("ada").unwrap();
        assert_eq!(home.log_in(&key, NAME, &[]).status, 0);
        let before = home.store();
        session.freeze();

        // These never use the keyring.
        for arguments in [
            &["auth", "status"][..],
            &["auth", "status", "-o", "json"],
            &["auth", "list"],
            &["auth", "switch", "--profile", NAME],
            &["auth", "status", "--profile", "nobody"],
        ] {
            let (outcome, elapsed) = timed(&home, arguments);
            assert!([0, 4].contains(&outcome.status), "{outcome}");
            assert!(elapsed < Duration::from_secs(2), "{arguments:?}: {elapsed:?}");
        }

        // These do, and time out.
        gives_up_in(&home, DEFAULT_TIMEOUT, &before);
        let home = home.with("BASETEN_KEYRING_TIMEOUT", "0.5");
        gives_up_in(&home, Duration::from_millis(500), &before);
        session.thaw();
        assert_eq!(session.lookup(NAME).as_deref(), Some(&*key));
    }
}
