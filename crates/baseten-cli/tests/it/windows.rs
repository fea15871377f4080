//! What is different on Windows: the paths of files, how open files are replaced, and the
//! Credential Manager, which is always available and takes up to 2,560 bytes.

#![cfg(windows)]

use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::time::Duration;

use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::sandbox;
use baseten_testing::server::ok;
use baseten_testing::stored::{REMOTE, elsewhere, name, store};

const TWO_PROFILES: &str = r#"{"version": 1, "current": "one", "profiles": {
    "one": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "first"},
    "two": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "second"}}}"#;

#[test]
fn profiles_are_kept_under_the_users_application_data() {
    let sandbox = sandbox();
    let mut home = Home::at(&sandbox);
    let roaming = home.path().join("AppData").join("Roaming");
    home.set("APPDATA", roaming.to_str().unwrap());
    home.log_in_with_key(&sandbox, "ada", "bot");
    let stored = std::fs::read_to_string(roaming.join("baseten").join("auth.json")).unwrap();
    assert!(stored.contains("\"bot\""), "{stored}");
}

#[test]
fn a_login_is_neither_lent_nor_borrowed_without_unix_sockets() {
    let mut home = Home::new();
    home.write_store(TWO_PROFILES);
    let refused = |outcome: Outcome| {
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{outcome}");
        assert!(outcome.stderr.contains("needs Unix sockets"), "{outcome}");
    };
    refused(home.run(&["auth", "serve"]));
    home.set("BASETEN_AUTH_SOCK", "C:\\lend\\auth.sock");
    for command in ["token", "status", "list"] {
        refused(home.run(&["auth", command]));
    }
}

#[test]
fn a_secret_is_kept_in_the_credential_manager() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let (profile, key) = (name("kept"), sandbox.api_key("ada").unwrap());
    let outcome = home.log_in(&key, &profile, &[]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert!(home.store().contains(&profile) && !home.store().contains(&key));
    assert_eq!(home.run(&["auth", "token"]).stdout, format!("{key}\n"));

    assert_eq!(home.run(&["auth", "logout"]).status, 0);
    home.write_store(&store([(&*profile, elsewhere(REMOTE, "api_key"))]));
    assert_eq!(home.run(&["auth", "token"]).status, 3, "logout left the secret behind");
}

#[test]
fn a_secret_too_large_for_the_credential_manager_goes_to_the_file() {
    let home = Home::with_script([ok(r#"{"user_id": "u", "email": "ada@example.com"}"#)]);
    let key = "k".repeat(2561);
    let outcome = home.log_in(&key, "large", &[]);
    assert!(home.store().contains(&key), "{outcome}");
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn a_file_that_others_hold_open_for_a_moment_is_replaced_all_the_same() {
    let home = Home::with_store(TWO_PROFILES);
    let mut alone = OpenOptions::new();
    let held = alone.read(true).write(true).share_mode(1).open(home.auth_json()).unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(held);
    });
    let outcome = home.run(&["auth", "switch", "--profile", "two"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(release.is_finished(), "the file was replaced while it could not be");
    assert!(home.store().contains(r#""current": "two""#), "{}", home.store());
}

#[test]
fn a_file_that_stays_open_is_an_error_and_stays_as_it_was() {
    let home = Home::with_store(TWO_PROFILES);
    let mut alone = OpenOptions::new();
    let held = alone.read(true).write(true).share_mode(1).open(home.auth_json()).unwrap();
    let outcome = home.run(&["auth", "switch", "--profile", "two"]);
    drop(held);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("auth.json"), "{outcome}");
    assert_eq!(home.store(), TWO_PROFILES);
}

#[test]
fn logins_at_the_same_time_lose_nothing() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (home, sandbox) = (&home, &sandbox);
            scope.spawn(move || home.log_in_with_key(sandbox, "ada", &format!("bot-{number}")));
        }
    });
    for number in 0..8 {
        assert!(home.store().contains(&format!("\"bot-{number}\"")), "{}", home.store());
    }
}
