//! Text from servers, files, helpers and arguments is sanitized: nothing that moves the cursor, sets
//! the title, is invisible or reorders other text reaches stdout or stderr.

#![cfg(unix)]

use std::time::Duration;

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::Outcome;
use baseten_testing::server::{Act, answer, ok};
use baseten_testing::stored::{EXPIRED, LIVES, elsewhere, in_file, store, tokens};
use baseten_testing::wait;
use serde_json::{Value, json};

/// Clears the screen, hides text, sets the title, in 7 and 8 bits; backspace, delete, carriage
/// return; zero width, right to left, isolate, tag, filler.
const EVIL: &str = "no\u{1b}[2J\u{1b}[8m\u{1b}]0;title\u{7}\u{9b}2J\u{9d}0;t\u{9c}\u{8}\u{7f}\r\u{200b}\
                    \u{202e}\u{2066}\u{feff}\u{e0041}\u{3164}pe";

/// Every output mode. The raw results and the errors of a filter must be sanitized as well.
const MODES: &[&[&str]] = &[
    &[],
    &["-v"],
    &["-o", "json"],
    &["-o", "jsonl"],
    &["-q", ".. | strings", "-r"],
    &["-q", "(.[]?, .) | tonumber"],
];

/// Checks that there are no control or invisible characters except the styles of this program.
#[track_caller]
fn assert_harmless(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        let mut plain = text.clone();
        for style in ["0", "1", "2", "4", "31", "32", "33", "36"] {
            plain = plain.replace(&format!("\u{1b}[{style}m"), "");
        }
        let bad = plain.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(*c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{3164}' | '\u{feff}')
                || matches!(*c, '\u{200b}' | '\u{200e}' | '\u{200f}')
                || ('\u{2028}'..='\u{202e}').contains(c)
                || ('\u{2060}'..='\u{206f}').contains(c)
                || ('\u{e0000}'..='\u{e0fff}').contains(c)
        });
        assert_eq!(bad, None, "{outcome}\n{text:?}");
    }
}

/// Runs a command in every mode, with and without colours, each time in a new home. Runs without
/// colours alone would prove little, because they remove all escape sequences.
fn in_every_mode(command: &[&str], home: impl Fn() -> Home) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for mode in MODES {
        for colour in [false, true] {
            let mut home = home();
            if colour {
                home.set("CLICOLOR_FORCE", "1");
            }
            let outcome = home.run_with_input(&[command, mode].concat(), "key\n");
            assert_harmless(&outcome);
            outcomes.push(outcome);
        }
    }
    outcomes
}

/// An answer of 200 with this body.
fn json_answer(body: &Value) -> Act {
    ok(&body.to_string())
}

fn oauth(expiry: &str) -> Value {
    in_file("https://app.baseten.co", &tokens("a", "r", expiry))
}

#[test]
fn errors_of_the_server_are_sanitized() {
    for status in [200, 400, 401, 404, 500] {
        for body in [
            json!({"code": EVIL, "message": EVIL}).to_string(),
            json!({"error": EVIL, "error_description": EVIL}).to_string(),
            json!({"error": "invalid_grant", "error_description": EVIL}).to_string(),
            EVIL.to_owned(),
        ] {
            let act = || answer(status, &format!("Location: {}\r\n", "\u{9b}2J"), &body);
            for (command, expiry) in [
                (["whoami", "-v"], LIVES),
                (["auth", "token"], EXPIRED),
                (["auth", "logout"], LIVES),
            ] {
                let home = Home::with_script([act(), act(), act()]).with("CLICOLOR_FORCE", "1");
                home.write_store(&store([("work", oauth(expiry))]));
                assert_harmless(&home.run(&command));
            }
            let home = Home::with_script([act(), act(), act(), act()]).with("CLICOLOR_FORCE", "1");
            // Errors of 500 and more are retried, which takes time.
            if status < 500 {
                assert_harmless(&home.run(WEB_LOGIN));
            }
        }
    }
}

#[test]
fn everything_the_server_says_about_a_user_is_sanitized() {
    let me = || {
        json_answer(&json!({"user_id": EVIL, "email": EVIL, "name": EVIL, "workspace_name": EVIL}))
    };
    let home = || {
        let home = Home::with_script([me(), me()]);
        home.write_store(&store([("work", oauth(LIVES))]));
        home
    };
    for command in [&["whoami"][..], &["auth", "status", "--check"]] {
        let outcomes = in_every_mode(command, home);
        // The text is shown sanitized, and JSON has it unchanged.
        assert!(outcomes[0].stdout.contains("no"), "{}", outcomes[0]);
        assert_eq!(outcomes[4].json()["email"], EVIL);
    }
    let key = ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", "bot"];
    let outcomes = in_every_mode(&key, || Home::with_script([me()]));
    assert_eq!(outcomes[0].status, 0, "{}", outcomes[0]);
}

#[test]
fn a_user_name_that_becomes_a_profile_name_is_sanitized() {
    let started = || {
        json_answer(&json!({"device_code": "d", "user_code": EVIL, "expires_in": 60, "interval": 1,
            "verification_uri": "https://app.baseten.co/device"}))
    };
    let tokens =
        || json_answer(&json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600}));
    let hidden = "no\u{202e}\u{200b}pe";
    for email in [EVIL, hidden] {
        let me = json_answer(&json!({"user_id": EVIL, "email": email, "workspace_name": EVIL}));
        let home = Home::with_script([started(), tokens(), me]).with("CLICOLOR_FORCE", "1");
        let outcome = home.run(&[WEB_LOGIN, &["-v"]].concat());
        assert_harmless(&outcome);
        // A name with control characters is refused; one with only invisible characters is sanitized.
        assert_eq!(outcome.status == 0, email == hidden, "{outcome}");
        for command in [&["auth", "list"][..], &["auth", "status"], &["auth", "switch"]] {
            assert_harmless(&home.run(command));
        }
    }
}

#[test]
fn everything_in_the_file_is_sanitized() {
    let helped = json!({
        "remote_url": EVIL, "auth_type": "api_key", "credential_helper": EVIL, "user_id": EVIL,
        "email": EVIL, "workspace_name": EVIL,
    });
    let tokens = json!({
        "remote_url": "https://app.baseten.co", "auth_type": "oauth", "email": EVIL,
        "oauth_credential": {"access_token": EVIL, "refresh_token": EVIL, "expiry": LIVES},
    });
    let broken = json!({"remote_url": "https://app.baseten.co", "auth_type": EVIL});
    for members in [&helped, &tokens, &broken, &oauth(EXPIRED)] {
        for command in [
            &["auth", "list"][..],
            &["auth", "status"],
            &["auth", "token"],
            &["auth", "token", "--header"],
            &["auth", "logout"],
            &["auth", "switch"],
            &["whoami"],
        ] {
            in_every_mode(command, || {
                let home = Home::with_script([answer(400, "", "")]);
                home.write_store(&store([(EVIL, members.clone())]));
                home
            });
        }
    }
    let home = Home::with_store(&json!({"version": EVIL, EVIL: EVIL}).to_string());
    assert_harmless(&home.run(&["auth", "list"]));
    home.write_store(&json!({"current": EVIL, "profiles": {}}).to_string());
    assert_harmless(&home.run(&["auth", "status"]));
}

#[test]
fn what_a_credential_helper_prints_is_sanitized() {
    let answer = json!({"ServerURL": EVIL, "Username": EVIL, "Secret": EVIL}).to_string();
    for script in [
        "cat >/dev/null; cat \"$HOME/said\"; exit 1",
        "cat >/dev/null; cat \"$HOME/said\" >&2; exit 1",
        "cat >/dev/null; cat \"$HOME/said\"",
        "cat >/dev/null; cat \"$HOME/answer\"",
    ] {
        for command in [&["auth", "token"][..], &["auth", "logout"], &["whoami"]] {
            in_every_mode(command, || {
                let home = Home::with_script([json_answer(&json!({"user_id": "u"}))]);
                std::fs::write(home.path().join("said"), EVIL).unwrap();
                std::fs::write(home.path().join("answer"), &answer).unwrap();
                home.install("docker-credential-evil", script);
                let mut profile = elsewhere("https://app.baseten.co", "api_key");
                profile["credential_helper"] = json!("evil");
                home.write_store(&store([("work", profile)]));
                home
            });
        }
    }
}

#[test]
fn arguments_and_variables_are_sanitized() {
    let dashed = format!("--{EVIL}");
    for arguments in [
        &["auth", "status", "--profile", EVIL][..],
        &["auth", "status", "--output", EVIL],
        &["auth", "status", &dashed],
        &["auth", "status", EVIL],
        &["auth", EVIL],
        &["auth", "list", "--jq", EVIL],
        &["auth", "login", "--web", "--remote-url", EVIL],
        &["auth", "switch", "--profile", "no\u{202e}pe"],
    ] {
        for colour in ["0", "1"] {
            assert_harmless(&Home::new().with("CLICOLOR_FORCE", colour).run(arguments));
        }
    }
    for variable in [
        "BASETEN_PROFILE",
        "BASETEN_API_KEY",
        "BASETEN_REMOTE_URL",
        "BASETEN_MANAGEMENT_API_URL_OVERRIDE",
        "BASETEN_CREDENTIAL_STORE",
        "BASETEN_KEYRING_TIMEOUT",
        "BASETEN_CONFIG_DIR",
        "HTTPS_PROXY",
        "SSL_CERT_FILE",
    ] {
        let home = Home::new().with("CLICOLOR_FORCE", "1");
        home.write_store(&store([("work", oauth(EXPIRED))]));
        let home = home.with(variable, EVIL);
        for command in
            [&["auth", "status"][..], &["auth", "list"], &["auth", "token"], &["auth", "switch"]]
        {
            assert_harmless(&home.run(command));
        }
    }
}

#[test]
fn only_pages_that_may_be_opened_are_shown_and_opened() {
    let refused = [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://evil.example/device",
        "https://app.baseten.co@evil.example/",
        "data:text/html,evil",
        "evil.example/device",
        "--help",
    ];
    for page in refused {
        // As the only page, and together with a valid one.
        let (outcome, opened) = login_with_pages(page, None);
        assert_eq!(outcome.status, 6, "{outcome}");
        assert!(!outcome.stderr.contains("evil") && !outcome.stderr.contains("alert"), "{outcome}");
        assert_eq!(opened, None, "{page}");
        let (outcome, opened) = login_with_pages("https://good.example/device", Some(page));
        assert!(!outcome.stderr.contains(page), "{outcome}");
        assert_eq!(opened.as_deref(), Some("https://good.example/device"), "{page}");
    }
    let (outcome, opened) = login_with_pages("https://good.example/\u{1b}[2J\u{202e}x", None);
    assert_harmless(&outcome);
    assert!(opened.unwrap().bytes().all(|byte| byte.is_ascii_graphic()));
    for page in ["https://good.example/device?code=1", "http://localhost:8000/device"] {
        let (outcome, opened) = login_with_pages("https://other.example/", Some(page));
        assert!(outcome.stderr.contains(page), "{outcome}");
        assert_eq!(opened.as_deref(), Some(page));
    }
}

/// Starts a login that is denied at once, and returns the page that the browser was started with.
fn login_with_pages(page: &str, complete: Option<&str>) -> (Outcome, Option<String>) {
    let started = json_answer(&json!({
        "device_code": "d", "user_code": "ABCD", "expires_in": 60, "interval": 1,
        "verification_uri": page, "verification_uri_complete": complete,
    }));
    let denied = answer(400, "", r#"{"error": "access_denied"}"#);
    let home = Home::with_script([started, denied]);
    let opened = home.path().join("opened");
    let script = "printf %s \"$*\" > \"$HOME/opening\"; mv \"$HOME/opening\" \"$HOME/opened\"";
    let browser = home.install("browser", script);
    let home = home.with("BROWSER", browser);
    let outcome = home.run(WEB_LOGIN);
    // The program does not wait for the browser, but this test does.
    if outcome.stderr.contains("Open this page") {
        wait::within(Duration::from_secs(10), || opened.exists());
    }
    (outcome, std::fs::read_to_string(&opened).ok())
}
