//! Prompts on a real terminal: what is typed, and everything that ends them.
//!
//! Every [`OnTerminal::end`] also checks that the terminal is as it was before.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use baseten_sandbox::Sandbox;
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::stored::current;
use baseten_testing::terminal::{
    CONTROL_C, CONTROL_D, CONTROL_Z, DOWN, ENTER, ESCAPE, Ended, OnTerminal, Terminal,
};
use baseten_testing::wait;
use rustix::process::Signal;

pub(crate) const METHOD: &str = "How do you want to log in?";
pub(crate) const KEY: &str = "API key:";
const NAME: &str = "Name of the profile:";
pub(crate) const SWITCH: &str = "Switch to which profile?";
pub(crate) const WAITING: &str = "Waiting for ";

pub(crate) const LOGIN: &[&str] = &["auth", "login", "--insecure-storage"];
const KEY_LOGIN: &[&str] = &["auth", "login", "--insecure-storage", "--with-api-key"];

pub(crate) fn on_terminal(sandbox: &Sandbox) -> Home {
    Home::at(sandbox).with("TERM", "xterm-256color")
}

#[test]
fn the_first_choice_is_the_browser() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox).with_browser("exit 0");
    let mut login = terminal.start(&home, LOGIN);
    login.asks(METHOD);
    login.shows("> Browser");
    terminal.press(ENTER);
    approve(&sandbox, "ada");
    baseten_testing::assert_outcome!(home, login.end());
}

/// Answers all prompts of a login: with an API key, and as `bot`.
pub(crate) fn answer_with_key(login: &mut OnTerminal<'_>, key: &str) {
    login.answer(METHOD, &format!("{DOWN}{ENTER}"));
    login.answer(KEY, &format!("{key}{ENTER}"));
    login.answer(NAME, &format!("bot{ENTER}"));
}

#[test]
fn an_api_key_is_asked_for_without_being_shown() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start(&home, LOGIN);
    answer_with_key(&mut login, &key);
    let ended = login.end();
    assert_key_unseen(&terminal, &key);
    baseten_testing::assert_outcome!(home, ended);
    assert!(home.store().contains(&key));
}

#[test]
fn a_key_from_the_clipboard_may_end_in_a_new_line() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start(&home, &[KEY_LOGIN, &["--profile", "bot"]].concat());
    login.answer(KEY, &format!("\x1b[200~{key}\r\n\x1b[201~"));
    login.answer(KEY, ENTER);
    let ended = login.end();
    assert_key_unseen(&terminal, &key);
    assert_eq!(ended.status, 0, "{ended}");
    assert!(home.store().contains(&format!("\"{key}\"")), "{}", home.store());
}

/// Control and Alt with letters, as a terminal sends them; none of these cancels or suspends.
const CHORDS: &str = "\x16\x01\x0b\x05\x02\x06\x0e\x10\x12\x14\x17\x18\x19\x1bb\x1bf\x1bx";

#[test]
fn a_control_chord_types_nothing() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start(&home, KEY_LOGIN);
    login.answer(KEY, &format!("{CHORDS}{key}{CHORDS}{ENTER}"));
    login.answer(NAME, &format!("{CHORDS}bo{CHORDS}t{ENTER}"));
    let ended = login.end();
    assert!(ended.screen.ends_with("as profile bot\n"), "{ended}");
    let mut switch = terminal.start(&home, &["auth", "switch"]);
    switch.answer(SWITCH, &format!("{CHORDS}b{CHORDS}{ENTER}"));
    let ended = switch.end();
    assert!(ended.screen.ends_with("Switched to bot\n"), "{ended}");
}

#[test]
fn what_was_mistyped_can_be_erased() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start(&home, KEY_LOGIN);
    login.answer(KEY, &format!("wrong\x15{key}xé\x7f\x08{ENTER}"));
    login.answer(NAME, &format!("wrong\x15bot{ENTER}"));
    let ended = login.end();
    assert!(ended.screen.ends_with("as profile bot\n"), "{ended}");
}

#[test]
fn a_long_paste_arrives_in_a_moment() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    let key = "k".repeat(4_000);
    for keys in [key.clone(), format!("\x1b[200~{key}\x1b[201~")] {
        let terminal = Terminal::new();
        let mut login = terminal.start(&home, &[KEY_LOGIN, &["--profile", "bot"]].concat());
        login.asks(KEY);
        let start = Instant::now();
        terminal.press(&keys);
        terminal.press(ENTER);
        let ended = login.end();
        assert_eq!(ended.status, 3, "{ended}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(!terminal.bytes().contains("kkkk"), "{ended}");
    }
}

#[test]
fn control_z_suspends_a_prompt() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let script = "set -m; \"$0\" auth login --insecure-storage --with-api-key --profile bot; \
                  echo suspended; read line; echo \"got $line\"; fg";
    let mut login = terminal.start_script(&home, script);
    login.asks(KEY);
    terminal.press(&key[..10]);
    terminal.press(CONTROL_Z);
    login.shows("suspended");
    login.until("the terminal echoes again", Terminal::echoes);
    terminal.press("a line\r");
    login.shows("got a line");
    login.until("the prompt is back", |terminal| !terminal.echoes());
    terminal.press(&format!("{}{ENTER}", &key[10..]));
    let ended = login.end();
    assert!(ended.screen.ends_with("as profile bot\n"), "{ended}");
    assert_key_unseen(&terminal, &key);
}

#[test]
fn an_invalid_key_is_refused_without_being_shown() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    for (typed, status) in [("", 2), ("two words", 2), ("unheard-of-key", 3)] {
        let mut login = terminal.start(&home, &[KEY_LOGIN, &["--profile", "bot"]].concat());
        login.answer(KEY, &format!("{typed}{ENTER}"));
        let ended = login.end();
        assert_eq!(ended.status, status, "{ended}");
        assert!(typed.is_empty() || !terminal.bytes().contains(typed), "{ended}");
        assert_eq!(home.store(), "");
    }
}

#[test]
fn an_invalid_name_is_asked_for_again() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start(&home, KEY_LOGIN);
    login.answer(KEY, &format!("{key}{ENTER}"));
    login.answer(NAME, &format!(" {ENTER}"));
    login.shows("empty");
    terminal.press(&format!("bot{ENTER}"));
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert!(ended.screen.contains("as profile bot"), "{ended}");
}

#[test]
fn a_key_is_checked_before_its_profile_gets_a_name() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    let mut login = terminal.start(&home, KEY_LOGIN);
    login.shows(&format!("Create an API key at {}/settings/api_keys", sandbox.remote_url()));
    login.answer(KEY, &format!("unheard-of-key{ENTER}"));
    let ended = login.end();
    assert_eq!(ended.status, 3, "{ended}");
    assert!(ended.screen.contains("Baseten rejected this API key (HTTP 401)"), "{ended}");
    assert!(!terminal.bytes().contains(NAME), "{ended}");
}

#[test]
fn the_suggested_name_replaces_no_other_profile() {
    let sandbox = sandbox();
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    for name in ["ada@example.com:localhost", "ada@example.com:localhost:api-key"] {
        let terminal = Terminal::new();
        let mut login = terminal.start(&home, KEY_LOGIN);
        login.answer(KEY, &format!("{key}{ENTER}"));
        login.answer(NAME, ENTER);
        let ended = login.end();
        assert!(ended.screen.ends_with(&format!("as profile {name}\n")), "{ended}");
    }
}

#[test]
fn the_list_to_switch_in_starts_at_the_current_profile() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = home_with_three(&sandbox);
    let mut switch = terminal.start(&home, &["auth", "switch"]);
    switch.asks(SWITCH);
    switch.shows("> two");
    terminal.press(&format!("{DOWN}{ENTER}"));
    baseten_testing::assert_outcome!(home, switch.end());
    assert_eq!(current(&home), "zero");
}

pub(crate) fn home_with_three(sandbox: &Sandbox) -> Home {
    let home = on_terminal(sandbox);
    for name in ["one", "zero", "two"] {
        home.log_in_with_key(sandbox, "ada", name);
    }
    home
}

pub(crate) fn assert_key_unseen(terminal: &Terminal, key: &str) {
    let bytes = terminal.bytes();
    // Not even its first letters, which a terminal would echo before the prompt starts.
    assert!(!bytes.contains(&key[..8]), "the key is on the screen\n{}", terminal.screen());
}

// Canceling, at each place where a command waits for the user.

/// Where a command waits for the user.
#[derive(Debug, Clone, Copy)]
enum Place {
    Method,
    Key,
    Name,
    Switch,
    Approval,
}

impl Place {
    const PROMPTS: [Self; 4] = [Self::Method, Self::Key, Self::Name, Self::Switch];
    const ALL: [Self; 5] = [Self::Method, Self::Key, Self::Name, Self::Switch, Self::Approval];

    fn go<'a>(self, terminal: &'a Terminal, home: &Home, sandbox: &Sandbox) -> OnTerminal<'a> {
        let arguments = match self {
            Self::Method => LOGIN,
            Self::Key | Self::Name => KEY_LOGIN,
            Self::Switch => &["auth", "switch"],
            Self::Approval => WEB_LOGIN,
        };
        let mut command = terminal.start(home, arguments);
        match self {
            Self::Method => command.asks(METHOD),
            Self::Key => command.asks(KEY),
            Self::Switch => command.asks(SWITCH),
            Self::Approval => command.shows(WAITING),
            Self::Name => {
                let key = sandbox.api_key("ada").unwrap();
                command.answer(KEY, &format!("{key}{ENTER}"));
                command.asks(NAME);
            }
        }
        command
    }
}

#[test]
fn control_c_cancels_everywhere() {
    for place in Place::ALL {
        let ended = give_up(place, |command| command.press(CONTROL_C));
        assert_eq!(ended.status, 130, "{place:?}\n{ended}");
    }
}

#[test]
fn escape_and_the_end_of_input_cancel_every_prompt() {
    for place in Place::PROMPTS {
        for key in [ESCAPE, CONTROL_D] {
            let ended = give_up(place, |command| command.press(key));
            assert_eq!(ended.status, 130, "{place:?} {key:?}\n{ended}");
        }
    }
}

#[test]
fn sigterm_and_sigint_end_every_command_that_waits() {
    for place in Place::ALL {
        for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let ended = give_up(place, |command| command.signal(signal));
            assert_eq!(ended.status, status, "{place:?} {signal:?}\n{ended}");
            for choice in ["> Browser", "> two"] {
                assert!(!ended.screen.contains(choice), "{place:?} {signal:?}\n{ended}");
            }
        }
    }
}

/// Cancels at this place, and checks that the command says so and changes nothing.
fn give_up(place: Place, act: impl FnOnce(&OnTerminal<'_>)) -> Ended {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = home_with_three(&sandbox);
    let before = home.store();
    let command = place.go(&terminal, &home, &sandbox);
    act(&command);
    let ended = command.end();
    assert!(ended.screen.ends_with("Canceled.\n"), "{place:?}\n{ended}");
    assert!(!ended.screen.contains(WAITING), "{place:?}\n{ended}");
    assert_eq!(home.store(), before, "{place:?}");
    ended
}

#[test]
fn control_c_ends_a_request_that_is_not_answered() {
    let sandbox = sandbox();
    let home = home_with_three(&sandbox);
    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", slow.local_addr().unwrap());
    let home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url);
    for arguments in [&["whoami"][..], &["auth", "status", "--check"]] {
        let terminal = Terminal::new();
        let command = terminal.start(&home, arguments);
        let request = slow.accept().unwrap();
        command.press(CONTROL_C);
        let ended = command.end();
        assert_eq!(ended.status, 130, "{ended}");
        assert!(ended.screen.ends_with("Canceled.\n"), "{ended}");
        drop(request);
    }
}

#[test]
fn a_closed_terminal_ends_the_command() {
    for place in Place::ALL {
        for ignoring in ["", "trap '' HUP; "] {
            let (sandbox, terminal) = (sandbox(), Terminal::new());
            let home = home_with_three(&sandbox);
            let (arguments, prompt) = match place {
                Place::Method => (LOGIN, METHOD),
                Place::Key | Place::Name => (KEY_LOGIN, KEY),
                Place::Switch => (&["auth", "switch"][..], SWITCH),
                Place::Approval => (WEB_LOGIN, WAITING),
            };
            let script = format!("{ignoring}exec \"$0\" {}", arguments.join(" "));
            let mut command = terminal.start_script(&home, &script);
            command.shows(prompt);
            let mut child = command.detach();
            drop(terminal);
            // Prompts must end. Waiting for the approval may go on until the code expires.
            if let Place::Approval = place
                && !ignoring.is_empty()
            {
                let _ = child.0.kill();
            }
            wait::until(&format!("{place:?} {ignoring} ends"), || child.has_ended());
        }
    }
}
