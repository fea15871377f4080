//! Who is asked, and where: credential helpers that ask the user at the terminal, who can answer a
//! prompt at all, and `--no-input`, which forbids prompts.
//! Every [`OnTerminal::end`] also checks that the terminal is as it was before.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use baseten_sandbox::Sandbox;
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::outcome::Outcome;
use baseten_testing::pass::Pass;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{elsewhere, name, session, store};
use baseten_testing::terminal::{CONTROL_C, CONTROL_Z, ENTER, OnTerminal, Terminal};
use baseten_testing::wait;
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::json;

const PIN: &str = "4711";

/// Asks for a PIN on the alternate screen, without showing what is typed.
const ASKING: &str = r#"
[ $1 = get ] || exit 1
cat >/dev/null
echo $$ >pids
exchange='OPTION ttyname=/dev/tty\nOPTION ttytype=xterm\nSETPROMPT PIN:\nGETPIN\n'
printf "$exchange" | pinentry-curses >answer & echo $! >>pids; wait $!
grep -q '^D 4711$' answer || { echo 'not unlocked'; exit 1; }
echo '{"ServerURL":"","Username":"bot","Secret":"the-key"}'
"#;

/// Asks for a PIN on one line.
const PLAIN: &str = r"
cat >/dev/null
echo $$ >pids
stty -echo </dev/tty
printf 'PIN: ' >/dev/tty
IFS= read -r pin </dev/tty
stty echo </dev/tty
";

/// A home with the profile `bot`, whose secret this helper keeps.
fn with_helper(script: &str) -> Home {
    find("pinentry-curses", "pinentry-curses");
    let home = Home::new().with("BASETEN_CREDENTIAL_STORE", "helper:asking");
    home.install("docker-credential-asking", script);
    home.write_store(&store([("bot", elsewhere("https://app.example.com", "api_key"))]));
    home
}

/// An interactive shell, with the program as `$BASETEN`.
fn shell(terminal: &Terminal, home: Home) -> (Home, OnTerminal<'_>) {
    let home = home.with("BASETEN", baseten()).with("PS1", "ready>");
    let mut shell = terminal.spawn(&home, &["bash", "--norc", "--noprofile", "-i"]);
    shell.shows("ready>");
    (home, shell)
}

/// Whether all processes that a helper wrote down are gone.
fn is_gone(home: &Home) -> bool {
    let pids = home.read("pids");
    let mut pids = pids.lines().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap());
    pids.all(|pid| wait::within(Duration::from_secs(5), || test_kill_process(pid).is_err()))
}

/// We may say what we are waiting for before a prompt is shown, but not afterwards.
fn assert_not_written_over(terminal: &Terminal, prompt: &str) {
    let bytes = terminal.bytes();
    let (_, after) = bytes.split_once(prompt).unwrap();
    assert!(!after.contains("waiting for"), "{bytes:?}");
}

// At the terminal.

#[test]
fn a_helper_asks_at_the_terminal_and_gets_the_answer() {
    let terminal = Terminal::new();
    let (_home, mut shell) = shell(&terminal, with_helper(ASKING));
    terminal.press(&format!("\"$BASETEN\" auth token; echo status $?{ENTER}"));
    shell.asks("PIN:");
    // Long enough that we would say what we are waiting for.
    std::thread::sleep(Duration::from_millis(1500));
    terminal.press(&format!("{PIN}{ENTER}"));
    shell.shows("status 0");
    terminal.press(&format!("exit{ENTER}"));
    let ended = shell.end();
    assert!(ended.screen.contains("the-key\n"), "{ended}");
    assert!(!terminal.bytes().contains(PIN), "{ended}");
    assert_not_written_over(&terminal, "PIN:");
}

#[test]
fn a_helper_that_is_stopped_with_us_goes_on_with_us() {
    let terminal = Terminal::new();
    let asking = format!("{PLAIN}echo '{{\"Username\":\"bot\",\"Secret\":\"'$pin'\"}}'");
    let (_home, mut shell) = shell(&terminal, with_helper(&asking));
    terminal.press(&format!("\"$BASETEN\" auth token{ENTER}"));
    shell.asks("PIN:");
    terminal.press(CONTROL_Z);
    shell.shows("Stopped");
    terminal.press(&format!("fg{ENTER}"));
    // The shell shows the command again, right before it continues.
    shell.until("it goes on", |terminal| terminal.screen().matches("auth token").count() == 3);
    std::thread::sleep(Duration::from_millis(500));
    terminal.press(&format!("the-pin{ENTER}"));
    shell.shows("the-pin");
    terminal.press(&format!("exit{ENTER}"));
    shell.end();
}

#[test]
fn a_helper_in_the_background_gets_no_terminal_and_stops_nobody() {
    let terminal = Terminal::new();
    let (_home, mut shell) = shell(&terminal, with_helper(ASKING));
    terminal.press(&format!("\"$BASETEN\" auth token & wait $!; echo status $?{ENTER}"));
    shell.shows("status 1");
    terminal.press(&format!("exit{ENTER}"));
    let ended = shell.end();
    assert!(ended.screen.contains("error: docker-credential-asking failed"), "{ended}");
}

#[test]
fn a_prompt_that_nobody_answers_is_taken_away_with_what_was_typed() {
    // One helper that can be ended, and one that ignores SIGTERM.
    for script in [ASKING, &format!("trap '' TERM\n{PLAIN}")] {
        let terminal = Terminal::new();
        let home = with_helper(script).with("BASETEN_KEYRING_TIMEOUT", "2");
        let script = r#""$0" auth token; echo status $?; IFS= read -r next; echo "[$next]""#;
        let mut running = terminal.start_script(&home, script);
        running.asks("PIN:");
        terminal.press("47");
        running.shows("status 1");
        terminal.press(&format!("next{ENTER}"));
        let ended = running.end();
        assert!(ended.screen.contains("did not answer within 2 s"), "{ended}");
        assert!(ended.screen.ends_with("[next]\n"), "{ended}");
        assert!(is_gone(&home), "{}", home.read("pids"));
    }
}

#[test]
fn control_c_at_the_prompt_of_a_helper_ends_both() {
    let terminal = Terminal::new();
    let home = with_helper(ASKING);
    for signal in [None, Some(Signal::TERM)] {
        let mut running = terminal.start(&home, &["auth", "token"]);
        running.asks("PIN:");
        match signal {
            None => terminal.press(CONTROL_C),
            Some(signal) => running.signal(signal),
        }
        let ended = running.end();
        assert_eq!(ended.status, if signal.is_none() { 130 } else { 143 }, "{ended}");
        assert!(ended.screen.ends_with("Canceled.\n"), "{ended}");
        assert!(is_gone(&home), "{}", home.read("pids"));
    }
}

#[test]
fn control_c_does_not_end_a_helper_that_stores_a_new_token() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let (home, name) = with_session(&sandbox, "touch storing; sleep 2; cat >kept");
    let mut running = terminal.start(&home, &["auth", "token"]);
    running.until("the helper stores", |_| home.path().join("storing").exists());
    terminal.press(CONTROL_C);
    let ended = running.end();
    assert_eq!(ended.status, 130, "{ended}");
    let kept = home.read("kept");
    assert!(kept.contains("ServerURL") && kept.contains(&name), "{kept}");
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, sandbox.refresh_count()), (0, 1), "{outcome}");
}

#[test]
fn a_helper_may_ask_while_it_stores() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let ask = "printf 'PIN: ' >/dev/tty; read -r pin </dev/tty; [ $pin = 4711 ] && cat >kept";
    let (home, _) = with_session(&sandbox, ask);
    let mut running = terminal.start(&home, &["auth", "token"]);
    running.shows("PIN:");
    std::thread::sleep(Duration::from_millis(1500));
    terminal.press(&format!("{PIN}{ENTER}"));
    let ended = running.end();
    assert_eq!(ended.status, 0, "{ended}");
    // Its prompt shows what is typed, and nothing was written over it.
    assert!(ended.screen.starts_with(&format!("PIN: {PIN}\n")), "{ended}");
    assert!(home.read("kept").contains("ServerURL"));
}

/// A home with a session that has to be refreshed, and a helper with this script for storing.
fn with_session(sandbox: &Sandbox, stores: &str) -> (Home, String) {
    let home = Home::at(sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:slow");
    let script = format!("case $1 in\nget) cat kept ;;\nstore)\n{stores} ;;\nesac");
    home.install("docker-credential-slow", &script);
    let name = name("asking");
    home.write_store(&store([(name.as_str(), elsewhere(&sandbox.remote_url(), "oauth"))]));
    let secret = session(sandbox, "ada", -60).to_string();
    let item = json!({ "Username": name, "Secret": secret });
    fs::write(home.path().join("kept"), item.to_string()).unwrap();
    (home, name)
}

#[test]
fn the_prompt_of_a_real_agent_is_not_written_over() {
    let terminal = Terminal::new();
    let home = Home::new().with("BASETEN_CREDENTIAL_STORE", "helper:pass");
    let pass = Pass::with_passphrase(home.with("TERM", "xterm"), PIN);
    pass.run("sh", "dash", &["-c", &format!(
        "printf '{}' | docker-credential-pass store",
        json!({ "ServerURL": "https://app.example.com/cli/bot", "Username": "bot", "Secret": "the-key" }),
    )]);
    pass.home.write_store(&store([("bot", elsewhere("https://app.example.com", "api_key"))]));
    let script = r#"GPG_TTY=$(tty) exec "$0" auth token"#;
    let mut running = terminal.start_script(&pass.home, script);
    running.asks("Passphrase:");
    std::thread::sleep(Duration::from_millis(1500));
    terminal.press(&format!("{PIN}{ENTER}"));
    let ended = running.end();
    assert!(ended.screen.ends_with("the-key\n"), "{ended}");
    assert_not_written_over(&terminal, "Passphrase:");
}

// Who can answer.

#[test]
fn the_terminal_decides_who_can_answer_and_stdin_does_not() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    // Slower than the timeout on a machine without a user.
    let slow =
        "case $1 in get) [ -e kept ] && cat kept || { sleep 4; echo '{}'; };; *) cat >kept;; esac";
    let home = Home::at(&sandbox).with("KEY", sandbox.api_key("ada").unwrap());
    let home = home.with("BASETEN_CREDENTIAL_STORE", "helper:slow");
    home.install("docker-credential-slow", slow);
    let script = r#"echo $KEY | "$0" auth login --with-api-key --profile bot >out"#;
    let ended = terminal.start_script(&home, script).end();
    assert_eq!(ended.screen, "waiting for docker-credential-slow to answer\n");
    assert_eq!(
        home.read("out"),
        "Logged in as ada@example.com (Analytical Engines) as profile bot\n"
    );
}

// Nobody.

#[test]
fn nobody_is_asked_where_that_is_forbidden() {
    let terminal = Terminal::new();
    let home = with_helper(ASKING);
    let display = with_helper(ASKING).with("DISPLAY", ":0").with("GPG_TTY", "/dev/pts/0");
    display.install("docker-credential-asking", "env >seen; exit 1");
    for (variable, arguments) in [
        (None, &["auth", "token", "--no-input"][..]),
        (None, &["--no-input", "auth", "token"]),
        (Some("1"), &["auth", "token"]),
        (Some("yes"), &["whoami"]),
    ] {
        let set = |home: &Home| match variable {
            Some(value) => format!("BASETEN_NO_INPUT={value} exec \"$0\" {}", arguments.join(" ")),
            None => format!("exec \"$0\" {}; : {}", arguments.join(" "), home.path().display()),
        };
        let start = Instant::now();
        let ended = terminal.start_script(&home, &set(&home)).end();
        assert_eq!(ended.status, 1, "{arguments:?} {ended}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(!terminal.bytes().contains("PIN"), "{arguments:?}: {}", terminal.bytes());
        assert!(ended.screen.contains("docker-credential-asking"), "{ended}");
        terminal.start_script(&display, &set(&display)).end();
        let seen = display.read("seen");
        assert!(!seen.contains("DISPLAY=") && !seen.contains("GPG_TTY="), "{seen}");
    }
    for off in ["", "0", "false"] {
        let script = format!("BASETEN_NO_INPUT={off} exec \"$0\" auth token");
        let mut running = terminal.start_script(&home, &script);
        running.answer("PIN:", &format!("{PIN}{ENTER}"));
        assert_eq!(running.end().status, 0, "{off}");
    }
}

#[test]
fn prompts_of_our_own_are_forbidden_too() {
    let (sandbox, terminal) = (sandbox(), Terminal::new());
    let home = Home::at(&sandbox);
    home.log_in_with_key(&sandbox, "ada", "bot");
    for arguments in [
        &["auth", "login", "--no-input"][..],
        &["auth", "login", "--no-input", "--with-api-key", "--profile", "new"],
        &["auth", "login", "--no-input", "--with-api-key"],
        &["auth", "switch", "--no-input"],
    ] {
        assert_eq!(terminal.start(&home, arguments).end().status, 2, "{arguments:?}");
    }
    baseten_testing::assert_outcome!(home, terminal.screen());
    let outcome = home.log_in(
        sandbox.api_key("ada").unwrap(),
        "piped",
        &["--no-input", "--insecure-storage"],
    );
    assert_eq!(outcome.status, 0, "{outcome}");
    home.log_in_by_browser(&sandbox, "ada", &["--no-input"]);
}

#[test]
fn a_locked_keyring_is_locked_at_once_where_nobody_may_be_asked() {
    let (sandbox, keyring, terminal) = (sandbox(), KeyringSession::start(), Terminal::new());
    let home = Home::at(&sandbox).with_keyring(&keyring);
    home.write_store(&store([("bot", elsewhere(&sandbox.remote_url(), "api_key"))]));
    keyring.store("bot", "key", &[]);
    keyring.lock();
    let start = Instant::now();
    let ended = terminal.start(&home, &["auth", "token", "--no-input"]).end();
    assert!(ended.screen.contains("the system keyring is locked"), "{ended}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // A keyring that does not answer gets no more time than on a machine without a user.
    keyring.freeze();
    let ended = terminal.start(&home, &["auth", "token", "--no-input"]).end();
    assert!(ended.screen.contains("did not answer within 3 s"), "{ended}");
}

// Answers to prompts.

#[test]
fn a_helper_that_has_answered_and_exited_has_answered() {
    let home = with_helper(
        "sleep 30 & echo '{\"ServerURL\":\"\",\"Username\":\"bot\",\"Secret\":\"the-key\"}'",
    );
    let start = Instant::now();
    assert_eq!(home.run(&["auth", "token"]), Outcome::done("the-key\n"));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // A terminal makes no difference.
    let terminal = Terminal::new();
    let start = Instant::now();
    let ended = terminal.start(&home, &["auth", "token"]).end();
    assert_eq!(ended.screen, "the-key\n");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn an_answer_counts_however_late_we_get_to_read_it() {
    let answer = "echo '{\"ServerURL\":\"\",\"Username\":\"bot\",\"Secret\":\"the-key\"}'";
    let home = with_helper(&format!("touch started; sleep 1; {answer}; touch answered"));
    let running = home.start(&["auth", "token"]);
    wait::until("the helper starts", || home.path().join("started").exists());
    running.signal(Signal::STOP);
    wait::until("the helper answers", || home.path().join("answered").exists());
    std::thread::sleep(Duration::from_secs(4));
    running.signal(Signal::CONT);
    assert_eq!(running.end(), Outcome::done("the-key\n"));
}
