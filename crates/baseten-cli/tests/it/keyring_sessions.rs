//! Keyrings in sessions that the counterparts' scripts start: prompts to unlock them, other keyrings,
//! broken ones.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::sandbox;
use baseten_testing::terminal::{CONTROL_C, OnTerminal, Terminal};

use crate::keyring::{DEFAULT_TIMEOUT, SLACK, with_profile};

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
