//! Other programs write the store in place and without a lock: none of their changes is lost.

#![cfg(target_os = "linux")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use baseten_sandbox::{Request, Sandbox};
use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{
    current, in_file, name, names, profile, session, store, tokens_of, with_key,
};
use baseten_testing::wait;

/// Longer than a reader waits, and shorter than a writer does.
const HELD_UP: Duration = Duration::from_secs(1);

fn fifty(remote: &str) -> Vec<(String, serde_json::Value)> {
    (0..50).map(|number| (format!("bot-{number:02}"), with_key(remote, "key"))).collect()
}

fn text(profiles: &[(String, serde_json::Value)]) -> String {
    store(profiles.iter().map(|(name, profile)| (name.as_str(), profile.clone())))
}

/// Runs a command while another program has emptied the store, or has written only a part of it.
fn beside_a_writer(home: &Home, text: &str, part: usize, run: impl FnOnce() -> Outcome) -> Outcome {
    fs::write(home.auth_json(), &text[..part]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(HELD_UP);
            fs::write(home.auth_json(), text).unwrap();
        });
        run()
    })
}

#[test]
fn a_writer_that_is_held_up_loses_nothing() {
    let sandbox = sandbox();
    let remote = sandbox.remote_url();
    let session_name = name("session");
    let mut profiles = fifty(&remote);
    for part in [0, 1000] {
        profiles.retain(|(name, _)| name.starts_with("bot"));
        profiles.push((session_name.clone(), in_file(&remote, &session(&sandbox, "ada", -1))));
        let text = text(&profiles);
        let home = || {
            let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
            home.write_store(&text);
            home
        };
        let login = home();
        let key = sandbox.api_key("ada").unwrap();
        beside_a_writer(&login, &text, part, || {
            login.log_in(key, "new", &["--insecure-storage"]).succeeded()
        });
        assert_eq!(names(&login).len(), 52);
        assert_eq!(current(&login), "new");

        let switch = home();
        beside_a_writer(&switch, &text, part, || {
            switch.run(&["auth", "switch", "--profile", "bot-07"]).succeeded()
        });
        assert_eq!((names(&switch).len(), current(&switch)), (51, "bot-07".into()));

        let logout = home();
        beside_a_writer(&logout, &text, part, || {
            logout.run(&["auth", "logout", "--profile", "bot-07"]).succeeded()
        });
        assert_eq!(names(&logout).len(), 50);
    }
}

#[test]
fn a_login_replaces_no_profile_that_it_has_not_seen() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
    // The same name, and another user.
    let mut theirs = in_file(&sandbox.remote_url(), &session(&sandbox, "grace", 3600));
    theirs["user_id"] = "somebody-else".into();
    let name = "ada@example.com:localhost";
    let text = store([(name, theirs.clone())]);
    home.write_store(&text);
    let running = home.start(&["auth", "login", "--web"]);
    fs::write(home.auth_json(), "").unwrap();
    baseten_testing::sandbox::approve(&sandbox, "ada");
    wait::until("it asks whose the tokens are", || {
        sandbox.requests().iter().any(|request| request.path.ends_with("/users/me"))
    });
    beside_a_writer(&home, &text, 0, || running.end().succeeded());
    assert_eq!(profile(&home, name), theirs);
    assert_eq!(names(&home).len(), 2);
    assert_eq!(sandbox.session_count("grace"), 1);
}

#[test]
fn a_writer_that_is_held_up_during_a_refresh_does_not_end_the_session() {
    let sandbox = sandbox_that_takes_its_time();
    let remote = sandbox.remote_url();
    let name = name("session");
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
    let profile = in_file(&remote, &session(&sandbox, "ada", -1));
    let text = store([(name.as_str(), profile), ("bot", with_key(&remote, "key"))]);
    home.write_store(&text);
    let running = home.start(&["auth", "token"]);
    wait::until("the refresh is sent", || sandbox.requests().iter().any(Request::is_refresh));
    beside_a_writer(&home, &text, 0, || running.end().succeeded());
    let stored = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    assert!(sandbox.is_live(&stored));
    assert_eq!(names(&home).len(), 2);
}

fn sandbox_that_takes_its_time() -> Sandbox {
    baseten_testing::sandbox::sandbox_with(|config| config.latency = Duration::from_millis(300))
}

/// Starts the command so that it waits for a second before the n-th of a system call. Also returns
/// a function that says whether it is waiting.
fn slow(
    home: &Home,
    (call, number): (&str, usize),
    arguments: &[&str],
    input: &str,
) -> (Running, impl Fn() -> bool + use<>) {
    let trace = home.path().join("trace");
    let mut command = home.command_of(find("strace", "strace"), &[]);
    command
        .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:delay_enter=1000000:when={number}")])
        .arg(baseten())
        .args(arguments);
    let waits =
        move || fs::read_to_string(&trace).is_ok_and(|it| it.matches('(').count() == number);
    (Running::with_input(&mut command, input), waits)
}

const SWITCH: &[&str] = &["auth", "switch", "--profile", "other"];
const SWITCH_BACK: &[&str] = &["auth", "switch", "--profile", "p"];

/// When the new store is about to be flushed, and when it is about to be renamed.
const MOMENTS: [(&str, usize); 2] = [("fsync", 1), ("rename,renameat,renameat2", 1)];

#[test]
fn what_another_program_wrote_meanwhile_is_kept() {
    let remote = "https://app.baseten.co";
    let key = |key| with_key(remote, key);
    let before = store([("first", key("old")), ("other", key("old"))]);
    for moment in MOMENTS {
        // As long as before, and longer.
        for theirs in [
            store([("first", key("new")), ("other", key("old"))]),
            store([("first", key("old")), ("other", key("old")), ("third", key("new"))]),
        ] {
            let home = Home::with_store(&before);
            let (running, waits) = slow(&home, moment, SWITCH, "");
            wait::until("it is about to replace the store", waits);
            fs::write(home.auth_json(), &theirs).unwrap();
            assert_eq!(running.end().succeeded().stderr, "");
            let expected = theirs.replace(r#""current": "first""#, r#""current": "other""#);
            assert_eq!(home.store(), expected, "{moment:?}");
        }
    }
}

#[test]
fn a_profile_that_another_program_removed_stays_removed() {
    let key = || with_key("https://app.baseten.co", "key");
    for moment in MOMENTS {
        let home = Home::with_store(&store([("first", key()), ("other", key())]));
        let (running, waits) = slow(&home, moment, SWITCH, "");
        wait::until("it is about to replace the store", waits);
        fs::write(home.auth_json(), store([("first", key())])).unwrap();
        let outcome = running.end();
        assert_eq!(outcome.status, 4, "{moment:?}: {outcome}");
        assert_eq!(current(&home), "first");
        assert_eq!(profile(&home, "other"), serde_json::Value::Null);
    }
}

#[test]
fn a_store_that_another_program_made_meanwhile_is_kept() {
    let sandbox = sandbox();
    let login = ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", "new"];
    // The rehearsal flushes a file too.
    for moment in [("fsync", 2), ("renameat2", 1)] {
        let home = Home::at(&sandbox);
        let (running, waits) = slow(&home, moment, &login, &sandbox.api_key("ada").unwrap());
        wait::until("it is about to make the store", waits);
        let theirs = store([("first", with_key("https://app.baseten.co", "key"))]);
        fs::write(home.auth_json(), &theirs).unwrap();
        running.end().succeeded();
        assert_eq!(names(&home), ["first", "new"], "{moment:?}");
    }
}

#[test]
fn a_store_that_grows_while_it_is_read_is_read_again() {
    let key = |key| with_key("https://app.baseten.co", key);
    let home = Home::with_store(&store([("other", key("old"))]));
    let theirs = store([("first", key("new")), ("other", key("new"))]);
    let file = home.auth_json();
    // The first read returns everything, and the second finds the end.
    let mut command = home.command_of(find("strace", "strace"), &[]);
    let trace = home.path().join("trace");
    command
        .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-P", file.to_str().unwrap()])
        .args(["-e", "trace=read", "-e", "inject=read:delay_enter=1000000:when=2"])
        .arg(baseten())
        .args(SWITCH);
    let running = Running::start(&mut command);
    let waits = || fs::read_to_string(&trace).is_ok_and(|it| it.matches('(').count() == 2);
    wait::until("it looks for the end of the store", waits);
    fs::write(&file, &theirs).unwrap();
    assert_eq!(running.end().succeeded().stderr, "");
    let expected = theirs.replace(r#""current": "first""#, r#""current": "other""#);
    assert_eq!(home.store(), expected);
}

mod slow_tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[test]
    fn a_file_that_stays_empty_counts_as_new() {
        let sandbox = sandbox();
        for empty in ["", " \n"] {
            let home = Home::at(&sandbox);
            home.write_store(empty);
            assert_eq!(home.run(&["auth", "list", "-o", "json"]).succeeded().stdout, "[]\n");
            assert_eq!(home.run(&["auth", "status"]).status, 3);
            assert_eq!(home.store(), empty, "reading changes nothing");
            let start = Instant::now();
            home.log_in_with_key(&sandbox, "ada", "new");
            assert!(start.elapsed() > PATIENCE);
            assert_eq!(names(&home), ["new"]);
        }
    }

    #[test]
    fn a_file_that_stays_incomplete_is_an_error() {
        let sandbox = sandbox();
        let home = Home::at(&sandbox);
        let whole = text(&fifty(&sandbox.remote_url()));
        let cut = &whole[..whole.len() / 2];
        home.write_store(cut);
        for (arguments, waits) in [
            (&["auth", "list"][..], false),
            (&["auth", "token"], false),
            (&["auth", "logout", "--profile", "bot-00"], true),
            (&["auth", "switch", "--profile", "bot-00"], true),
            (&["auth", "login", "--web", "--insecure-storage"], true),
        ] {
            let start = Instant::now();
            let outcome = home.run(arguments);
            assert_eq!(start.elapsed() > PATIENCE, waits, "{arguments:?} {outcome}");
            assert_eq!((outcome.status, home.store().as_str()), (1, cut), "{outcome}");
            assert!(outcome.stderr.contains("auth.json is not a valid "), "{outcome}");
            assert!(outcome.stderr.contains("it ends too early"), "{outcome}");
        }
        assert!(sandbox.requests().is_empty());
    }
}

/// The system call that opens a file; the C library decides which of the two.
const OPEN: &str = "/^open(at)?$";

/// Runs the program while a system call fails as it does after another host has replaced the file.
fn stale(home: &Home, call: &str, times: &str, arguments: &[&str]) -> Outcome {
    let mut command = home.command_of(find("strace", "strace"), &[]);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-P", home.auth_json().to_str().unwrap()])
        .args([
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:error=ESTALE:{times}"),
        ])
        .arg(baseten())
        .args(arguments);
    Running::start(&mut command).end()
}

#[test]
fn a_file_that_another_host_has_replaced_is_read_again() {
    let home = Home::new();
    let remote = "https://app.baseten.co";
    home.write_store(&store([("p", with_key(remote, "a-key")), ("other", with_key(remote, "b"))]));
    let outcome = stale(&home, OPEN, "when=1..3", &["auth", "token"]);
    assert_eq!(outcome, Outcome::done("a-key\n"));
    // Before a change, the file is read under a second name, so that the server is asked.
    let outcome = stale(&home, "linkat", "when=1..3", SWITCH);
    assert_eq!(outcome, Outcome::done("Switched to other\n"));
    let before = fs::read(home.auth_json()).unwrap();
    for (call, arguments) in [(OPEN, &["auth", "token"][..]), ("linkat", SWITCH_BACK)] {
        let outcome = stale(&home, call, "when=1+", arguments);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
        assert!(outcome.stderr.contains("another host keeps replacing it"), "{outcome}");
        assert_eq!(fs::read(home.auth_json()).unwrap(), before);
    }
}

#[test]
fn a_file_system_without_hard_links_works() {
    let home = Home::new();
    let key = |key| with_key("https://app.baseten.co", key);
    home.write_store(&store([("p", key("a-key")), ("other", key("b"))]));
    for error in ["EPERM", "EOPNOTSUPP", "EMLINK", "EXDEV"] {
        let mut command = home.command_of(find("strace", "strace"), &[]);
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat"])
            .args(["-e", &format!("inject=linkat:error={error}")])
            .arg(baseten())
            .args(SWITCH);
        let outcome = Running::start(&mut command).end();
        assert_eq!(outcome, Outcome::done("Switched to other\n"), "{error}");
    }
}
