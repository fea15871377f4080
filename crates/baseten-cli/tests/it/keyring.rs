//! Secrets in real keyrings: shared with other programs, and in keyrings that are unavailable,
//! locked, frozen or broken. No command waits longer than its timeout.

#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use baseten_sandbox::Sandbox;
use baseten_testing::faults::is_root;
use baseten_testing::foreign_socket::ForeignSocket;
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::outcome::Outcome;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::stored::{elsewhere, store};
use baseten_testing::terminal::{CONTROL_C, OnTerminal, Terminal};
use rustix::net::SocketAddrUnix;
use rustix::process::Signal;
use serde_json::{Value, json};

/// How much longer than its keyring timeout a command may take on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The keyring timeout of a command that cannot show a prompt.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

const NAME: &str = "bot";

/// A home with a profile whose secret is elsewhere.
fn with_profile(home: Home, sandbox: &Sandbox, auth_type: &str) -> Home {
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

// Sessions of the counterparts' scripts: prompts, other keyrings, broken ones.

/// A script that starts a session, and its options.
struct Session {
    script: &'static str,
    options: Vec<String>,
}

impl Session {
    fn gnome(options: &str) -> Self {
        find("gnome-keyring-daemon", "gnome-keyring");
        find("Xvfb", "xvfb");
        find("xdotool", "xdotool");
        let store = "printf the-key | secret-tool store --label=theirs \
                     service baseten-profile username bot";
        let options = options.split_whitespace().chain(["--prepare", store]);
        Self { script: "gnome.sh", options: options.map(str::to_owned).collect() }
    }

    fn keepassxc(options: &str) -> Self {
        find("keepassxc", "keepassxc");
        Self::new("keepassxc.sh", options)
    }

    fn mock(options: &str) -> Self {
        let template = std::path::Path::new("/usr/lib/python3/dist-packages/dbusmock");
        assert!(template.exists(), "this test needs `apt-get install python3-dbusmock`");
        Self::new("mock.sh", options)
    }

    fn new(script: &'static str, options: &str) -> Self {
        Self { script, options: options.split_whitespace().map(str::to_owned).collect() }
    }

    /// A shell script in the session, in which `baseten` is a function that logs its milliseconds.
    fn command(&self, home: &Home, wrapper: &[&str], script: &str) -> Command {
        let program =
            format!("{}/../../counterparts/keyrings/{}", env!("CARGO_MANIFEST_DIR"), self.script);
        let function = "baseten() { local start=$(date +%s%N) status=0; \"$BASETEN\" \"$@\" || \
                        status=$?; echo $((($(date +%s%N) - start) / 1000000)) >>\"$ELAPSED\"; \
                        return $status; }";
        let words = [wrapper, &[&program]].concat();
        let mut command = home.command_of(words[0], &words[1..]);
        command
            .args(&self.options)
            .args(["--", "bash", "-c", &format!("{function}\n{script}")])
            .env("BASETEN", baseten())
            .env("ELAPSED", home.path().join("elapsed"))
            .env("TMPDIR", home.path())
            // The session has its own home.
            .env("BASETEN_CONFIG_DIR", home.auth_json().parent().unwrap());
        command
    }

    /// Runs the script without a terminal.
    fn run(&self, home: &Home, script: &str) -> Outcome {
        self.command(home, &[], script).output().unwrap().into()
    }

    /// Starts the script on a terminal.
    fn start<'a>(&self, terminal: &'a Terminal, home: &Home, script: &str) -> OnTerminal<'a> {
        terminal.spawn_command(self.command(home, &["setsid", "--ctty"], script))
    }
}

/// How long each run of `baseten` took in a session.
fn elapsed(home: &Home) -> Vec<Duration> {
    let text = home.read("elapsed");
    text.lines().map(|line| Duration::from_millis(line.parse().unwrap())).collect()
}

const UNLOCKING: &str = "waiting for the system keyring to be unlocked";

#[test]
fn a_prompt_that_somebody_answers_unlocks_the_keyring() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    let session = Session::gnome("--locked --prompt answer");
    let ended = session.start(&terminal, &home, "baseten auth token >token").end();
    assert_eq!(ended.status, 0, "{ended}");
    assert_eq!(ended.screen, format!("{UNLOCKING}\n"));
    assert_eq!(home.read("token"), "the-key\n");
    // A display is enough; stdin does not matter.
    let home = home.with("KEY", sandbox.api_key("ada").unwrap());
    let script = "echo $KEY | baseten auth login --with-api-key --profile bot";
    let outcome = session.run(&home, script);
    assert_eq!((outcome.status, outcome.stderr), (0, format!("{UNLOCKING}\n")));
    assert!(!home.store().contains("api_key\":"), "{}", home.store());
}

#[test]
fn a_prompt_that_is_closed_is_not_a_missing_secret() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    let session = Session::gnome("--locked --prompt cancel");
    let ended = session.start(&terminal, &home, "baseten auth token").end();
    assert_eq!(ended.status, 1, "{ended}");
    assert!(ended.screen.contains("hint: unlock the keyring"), "{ended}");
}

#[test]
fn a_prompt_that_nobody_answers_is_given_up() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home =
        with_profile(Home::at(&sandbox), &sandbox, "api_key").with("BASETEN_KEYRING_TIMEOUT", "3");
    let session = Session::gnome("--locked --prompt ignore");
    let ended = session.start(&terminal, &home, "baseten auth token").end();
    assert_eq!(ended.status, 1, "{ended}");
    assert!(ended.screen.contains(UNLOCKING), "{ended}");
    assert!(ended.screen.contains("did not answer within 3 s"), "{ended}");
    assert!(elapsed(&home)[0] < DEFAULT_TIMEOUT + SLACK);
}

#[test]
fn control_c_ends_the_wait_for_a_prompt() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    let before = home.store();
    let session = Session::gnome("--locked --prompt ignore");
    let script = "trap : INT; baseten auth token; first=$?; baseten auth logout; echo $first $?";
    let mut running = session.start(&terminal, &home, script);
    running.shows(UNLOCKING);
    terminal.press(CONTROL_C);
    running
        .until("the next one waits", |terminal| terminal.screen().matches(UNLOCKING).count() == 2);
    terminal.press(CONTROL_C);
    running.shows("130 130");
    assert_eq!(terminal.screen().matches("Canceled.").count(), 2, "{}", terminal.screen());
    assert_eq!(home.store(), before);
}

#[test]
fn a_locked_keyring_that_cannot_prompt_fails_at_once() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    // A display that must not be used: an agent opens no windows.
    let session = Session::gnome("--locked --prompt ignore");
    let outcome = session.run(&home, "baseten auth token --no-input");
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("the system keyring is locked"), "{outcome}");
    // A terminal and no display.
    let session = Session::gnome("--locked");
    let ended = session.start(&terminal, &home, "baseten auth token").end();
    assert_eq!(ended.status, 1, "{ended}");
    assert!(ended.screen.contains("the system keyring is locked"), "{ended}");
    for elapsed in elapsed(&home) {
        assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    }
}

#[test]
fn keepassxc_keeps_secrets_too() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("KEY", sandbox.api_key("ada").unwrap());
    let script = "
        set -e
        LOOKUP='secret-tool lookup service baseten-profile username bot'
        echo $KEY | baseten auth login --with-api-key --profile bot
        [ \"$($LOOKUP)\" = $KEY ]
        [ \"$(baseten auth token)\" = $KEY ]
        echo $KEY | baseten auth login --with-api-key --profile bot
        [ $(secret-tool search --all username bot 2>&1 | grep -c '^secret = ') = 1 ]
        baseten auth logout
        ! $LOOKUP";
    let outcome = Session::keepassxc("").run(&home, script);
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn a_service_that_denies_access_is_not_an_empty_one() {
    let sandbox = sandbox();
    let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
    for options in ["deny", "deny --at GetSecret"] {
        let outcome = Session::mock(options).run(&home, "baseten auth token");
        assert_eq!(outcome.status, 1, "{options} {outcome}");
        let denied = "the system keyring is not available: denied";
        assert!(outcome.stderr.contains(denied), "{options} {outcome}");
    }
    let home = Home::at(&sandbox).with("KEY", sandbox.api_key("ada").unwrap());
    let script = "echo $KEY | baseten auth login --with-api-key --profile bot";
    let outcome = Session::mock("deny --at SetSecret").run(&home, script);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stderr.contains("so the credential is stored in plain text"), "{outcome}");
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

    #[test]
    fn a_locked_keepassxc_fails_at_once_and_opens_no_window() {
        let (sandbox, terminal) = (sandbox(), Terminal::new());
        let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
        let session = Session::keepassxc("--locked");
        // KeePassXC would open its window even for a search, and answer once the window is closed.
        let script = "export BASETEN_NO_INPUT=1; baseten auth token; baseten auth logout";
        let outcome = session.run(&home, script);
        assert_eq!(outcome.stderr.matches("the system keyring is locked").count(), 2, "{outcome}");
        for elapsed in elapsed(&home) {
            assert!(elapsed < DEFAULT_TIMEOUT + SLACK, "{elapsed:?}");
        }
        // On a terminal, a user may see the window.
        let home = home.with("BASETEN_KEYRING_TIMEOUT", "2");
        let ended = session.start(&terminal, &home, "baseten auth token").end();
        assert_eq!(ended.status, 1, "{ended}");
        assert!(ended.screen.contains(UNLOCKING), "{ended}");
        assert!(ended.screen.contains("did not answer within 2 s"), "{ended}");
    }

    #[test]
    fn a_slow_service_is_waited_for_up_to_the_timeout() {
        let sandbox = sandbox();
        let home = with_profile(Home::at(&sandbox), &sandbox, "api_key");
        let outcome = Session::mock("slow:0.3").run(&home, "baseten auth token");
        assert_eq!((outcome.status, &*outcome.stdout), (0, "s3cret\n"), "{outcome}");
        let script = "BASETEN_KEYRING_TIMEOUT=1 baseten auth token";
        for options in ["slow:0.6", "slow:5 --at GetSecret", "hang", "hang --at OpenSession"] {
            let outcome = Session::mock(options).run(&home, script);
            assert_eq!(outcome.status, 1, "{options} {outcome}");
            assert!(outcome.stderr.contains("did not answer within 1 s"), "{options} {outcome}");
        }
        for elapsed in elapsed(&home).iter().skip(1) {
            assert!(*elapsed < Duration::from_secs(1) + SLACK, "{elapsed:?}");
        }
    }
}
