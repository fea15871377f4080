//! The program on a real terminal: redirections, kinds of terminals, the waiting line, browsers.
//!
//! Every [`end`](baseten_testing::terminal::OnTerminal::end) also checks that the terminal is as it
//! was before.

#![cfg(target_os = "linux")]

use std::time::Duration;

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::sandbox::{approve, deny, sandbox, sandbox_with};
use baseten_testing::stored::current;
use baseten_testing::terminal::{CONTROL_C, DOWN, ENTER, Terminal};
use baseten_testing::wait;

use crate::prompts::{
    KEY, LOGIN, METHOD, SWITCH, WAITING, answer_with_key, assert_key_unseen, home_with_three,
    on_terminal,
};

// Redirected streams.

#[test]
fn prompts_are_on_stderr_and_data_on_stdout() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, key) = (on_terminal(&sandbox), sandbox.api_key("ada").unwrap());
    let mut login = terminal.start_redirected(&home, LOGIN, ">stdout");
    answer_with_key(&mut login, &key);
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert!(!ended.screen.contains("Logged in"), "{ended}");
    let stdout = home.read("stdout");
    assert_eq!(stdout, "Logged in as ada@example.com (Analytical Engines) as profile bot\n");

    let mut switch = terminal.start_redirected(&home, &["auth", "switch"], ">stdout");
    switch.answer(SWITCH, ENTER);
    let ended = switch.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert_eq!(home.read("stdout"), "Switched to bot\n");
}

#[test]
fn a_browser_login_writes_its_messages_to_stderr_only() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    let mut login = terminal.start_redirected(&home, WEB_LOGIN, ">stdout");
    login.shows(WAITING);
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    let stdout = home.read("stdout");
    assert!(stdout.starts_with("Logged in as ada@example.com"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

#[test]
fn messages_in_a_file_have_no_escape_sequences() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    let login = terminal.start_redirected(&home, WEB_LOGIN, "2>stderr");
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    let stderr = home.read("stderr");
    assert!(stderr.contains(WAITING), "{stderr}");
    assert!(!stderr.contains('\x1b') && !stderr.contains('\r'), "{stderr:?}");
    let ended = terminal.start_redirected(&home, &["auth", "status", "--profile", "x"], "2>stderr");
    assert_eq!(ended.end().status, 4);
    assert!(!home.read("stderr").contains('\x1b'));
}

#[test]
fn a_prompt_needs_a_terminal_on_stdin_and_on_stderr() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = home_with_three(&sandbox);
    for redirection in ["</dev/null", "<&-", "2>/dev/null", "2>&-", "<&- >&- 2>&-"] {
        for arguments in [LOGIN, &["auth", "switch"], &["auth", "login", "--with-api-key"]] {
            let ended = terminal.start_redirected(&home, arguments, redirection).end();
            assert_eq!(ended.status, 2, "{arguments:?} {redirection}\n{ended}");
            assert!(!terminal.screen().contains(METHOD), "{ended}");
        }
    }
}

#[test]
fn closed_streams_are_not_an_error() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = home_with_three(&sandbox);
    for redirection in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        for arguments in [&["auth", "status"][..], &["auth", "list"], &["whoami"], &["--help"]] {
            let ended = terminal.start_redirected(&home, arguments, redirection).end();
            assert_eq!(ended.status, 0, "{arguments:?} {redirection}\n{ended}");
            assert!(!ended.screen.contains("panicked"), "{ended}");
        }
        let ended =
            terminal.start_redirected(&home, &["auth", "token", "--profile", "x"], redirection);
        assert_eq!(ended.end().status, 4, "{redirection}");
        let login = terminal.start_redirected(&home, WEB_LOGIN, redirection);
        approve(&sandbox, "grace");
        let ended = login.end();
        assert_eq!(ended.status, 0, "{redirection}\n{ended}");
    }
}

#[test]
fn a_key_on_a_pipe_needs_no_terminal_around_it() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox).with("KEY", sandbox.api_key("ada").unwrap());
    let script = "echo $KEY | \"$0\" auth login --with-api-key --insecure-storage --profile bot";
    let ended = terminal.start_script(&home, script).end();
    baseten_testing::assert_outcome!(home, ended);
}

#[test]
fn an_empty_list_says_how_to_log_in() {
    let hint = "No profile is stored. Log in with: baseten auth login\n";
    for redirection in ["", ">stdout"] {
        let terminal = Terminal::new();
        let ended = terminal.start_redirected(&Home::new(), &["auth", "list"], redirection).end();
        assert_eq!(ended.status, 0, "{ended}");
        assert_eq!(ended.screen, hint, "{redirection}: {ended}");
    }
    let ended = Terminal::new().start_redirected(&Home::new(), &["auth", "list"], "2>stderr").end();
    assert_eq!(ended.screen, "", "{ended}");
}

// Kinds of terminals.

#[test]
fn every_heading_of_the_help_is_styled() {
    for (arguments, headings) in [
        (
            &["auth", "--help"][..],
            &["Usage:", "Commands:", "Environment variables:", "Profiles:"][..],
        ),
        (&["auth", "login", "-h"], &["Usage:", "Options:", "Common options:", "Examples:"]),
        (&["whoami", "--help-output"], &["Examples:", "Exit statuses:", "Output:"]),
    ] {
        let terminal = Terminal::of_size(80, 100);
        let ended = terminal.start(&Home::new().with("TERM", "xterm"), arguments).end();
        assert_eq!(ended.status, 0, "{ended}");
        for heading in headings {
            assert!(terminal.bytes().contains(&format!("m{heading}\x1b[0m")), "{heading}\n{ended}");
        }
    }
}

#[test]
fn a_dumb_terminal_gets_plain_text() {
    for term in [Some("dumb"), None] {
        let (sandbox, terminal) = (sandbox(), Terminal::new());
        let mut home = Home::at(&sandbox);
        if let Some(term) = term {
            home.set("TERM", term);
        }
        let mut login = terminal.start(&home, WEB_LOGIN);
        login.shows(WAITING);
        approve(&sandbox, "ada");
        let ended = login.end();
        assert_eq!(ended.status, 0, "{ended}");
        assert_eq!(terminal.start(&home, &["auth", "list"]).end().status, 0);
        assert_eq!(terminal.start(&home, &["auth", "status", "--profile", "x"]).end().status, 4);
        assert!(!terminal.bytes().contains('\x1b'), "{:?}", terminal.bytes());

        let terminal = Terminal::new();
        let mut login = terminal.start(&home, WEB_LOGIN);
        login.shows(WAITING);
        login.press(CONTROL_C);
        assert_eq!(login.end().status, 130);
        assert!(!terminal.bytes().contains('\x1b'), "{:?}", terminal.bytes());
    }
}

#[test]
fn a_dumb_terminal_can_still_show_prompts() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = Home::at(&sandbox).with("TERM", "dumb");
    let key = sandbox.api_key("ada").unwrap();
    let mut login = terminal.start(&home, LOGIN);
    answer_with_key(&mut login, &key);
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert_key_unseen(&terminal, &key);
}

#[test]
fn no_color_means_no_color() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox).with("NO_COLOR", "1");
    let mut login = terminal.start(&home, LOGIN);
    login.answer(METHOD, ENTER);
    login.shows(WAITING);
    approve(&sandbox, "ada");
    assert_eq!(login.end().status, 0);
    assert_eq!(terminal.start(&home, &["auth", "list"]).end().status, 0);
    assert_eq!(terminal.start(&home, &["auth", "status", "--profile", "x"]).end().status, 4);
    let bytes = terminal.bytes();
    let styles = bytes.split("\x1b[").skip(1).filter(|rest| {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        rest[end..].starts_with('m') && &rest[..end] != "0"
    });
    assert_eq!(styles.count(), 0, "{bytes:?}");
    assert!(!bytes.contains("\x1b]8"), "{bytes:?}");
}

#[test]
fn a_narrow_window_shows_everything() {
    let (sandbox, terminal) = (sandbox(), Terminal::of_size(20, 24));
    let home = home_with_three(&sandbox);
    let key = sandbox.api_key("ada").unwrap();
    let mut login = terminal.start(&home, &[LOGIN, &["--profile", "four"]].concat());
    login.asks("How do you want");
    login.shows("> Browser");
    terminal.press(&format!("{DOWN}{ENTER}"));
    login.answer(KEY, &format!("{key}{ENTER}"));
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert_key_unseen(&terminal, &key);

    let terminal = Terminal::of_size(20, 24);
    let mut switch = terminal.start(&home, &["auth", "switch"]);
    switch.asks("> four");
    terminal.press(&format!("{DOWN}{ENTER}"));
    let ended = switch.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert_eq!(current(&home), "one");

    let terminal = Terminal::of_size(20, 24);
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows(WAITING);
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    for part in ["/device?user_code=", "Approve it", "as profile"] {
        assert!(terminal.bytes().contains(part), "{part}\n{ended}");
    }
}

// The waiting line.

#[test]
fn the_waiting_line_counts_down_and_is_gone_at_the_end() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows("14:59");
    login.shows("14:58");
    assert_eq!(terminal.screen().matches(WAITING).count(), 1, "{}", terminal.screen());
    approve(&sandbox, "ada");
    let ended = login.end();
    assert!(!ended.screen.contains(WAITING), "{ended}");
    assert!(ended.screen.ends_with("as profile ada@example.com:localhost\n"), "{ended}");
}

#[test]
fn the_waiting_line_is_gone_after_a_refusal_and_after_the_expiry() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox);
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows(WAITING);
    deny(&sandbox);
    let ended = login.end();
    assert_eq!(ended.status, 3, "{ended}");
    assert!(!ended.screen.contains(WAITING), "{ended}");

    let (sandbox, terminal) = (
        sandbox_with(|config| config.device_code_lifetime = Duration::from_secs(2)),
        Terminal::new(),
    );
    let ended = terminal.start(&on_terminal(&sandbox), WEB_LOGIN).end();
    assert_eq!(ended.status, 3, "{ended}");
    assert!(!ended.screen.contains(WAITING), "{ended}");
}

// Browsers.

#[test]
fn a_browser_cannot_take_over_the_terminal() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let script = "read line; echo \"line=$line\" >heard; echo GARBAGE; echo GARBAGE >&2; \
                  stty raw -echo; echo done >started; cat; exec sleep 60";
    let home = on_terminal(&sandbox).with_browser(script);
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows(WAITING);
    let started = home.path().join("started");
    login.until("the browser has started", |_| started.exists());
    assert!(terminal.has_mode("icanon"));
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert!(!ended.screen.contains("GARBAGE"), "{ended}");
    assert_eq!(home.read("heard"), "line=\n");
}

#[test]
fn control_c_leaves_the_browser_alone() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home =
        on_terminal(&sandbox).with_browser("echo $$ >started; sleep 3; echo alive >survived");
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows(WAITING);
    let started = home.path().join("started");
    login.until("the browser has started", |_| started.exists());
    login.press(CONTROL_C);
    let ended = login.end();
    assert_eq!(ended.status, 130, "{ended}");
    wait::until("the browser goes on", || home.path().join("survived").exists());
}

#[test]
fn the_browser_gets_the_url_and_no_secret() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = on_terminal(&sandbox)
        .with_browser("env >environment; echo \"$1\" >url")
        .with("BASETEN_API_KEY", "secret-of-the-environment")
        .with("BAO_TOKEN", "secret-of-the-environment")
        .with("VAULT_TOKEN", "secret-of-the-environment");
    let mut login = terminal.start(&home, WEB_LOGIN);
    login.shows(WAITING);
    let url = home.path().join("url");
    login.until("the browser has started", |_| url.exists());
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert!(home.read("url").contains("/device?user_code="));
    assert!(!home.read("environment").contains("secret-of-the-environment"));
}

#[test]
fn a_browser_that_fails_does_not_fail_the_login() {
    for script in ["exit 1", "kill -SEGV $$", "exec /no/such/program"] {
        let (sandbox, terminal) = (sandbox(), Terminal::new());
        let home = on_terminal(&sandbox).with_browser(script);
        let mut login = terminal.start(&home, WEB_LOGIN);
        login.shows(WAITING);
        approve(&sandbox, "ada");
        let ended = login.end();
        assert_eq!(ended.status, 0, "{script}\n{ended}");
    }
}
