//! The example of the crate's documentation, run as it stands there.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may say so by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

use baseten_sandbox::{Config, Sandbox};

/// Examples are built with the tests, beside them.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/request")
        .with_extension(std::env::consts::EXE_EXTENSION)
}

fn run(store: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("auth.json"), store).unwrap();
    assert!(example().exists(), "cargo builds the examples with --examples");
    Command::new(example()).env_clear().env("BASETEN_CONFIG_DIR", home.path()).output().unwrap()
}

#[test]
fn makes_a_request_with_the_users_profile() {
    let sandbox = Sandbox::start(Config::default()).unwrap();
    let store = serde_json::json!({
        "version": 1,
        "current": "bot",
        "profiles": {"bot": {
            "remote_url": sandbox.remote_url(),
            "auth_type": "api_key",
            "api_key": sandbox.api_key("ada").unwrap(),
        }},
    });
    let output = run(&store.to_string());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("ada@example.com"), "{stdout}");
}

#[test]
fn fails_where_nobody_is_logged_in() {
    assert!(!run("").status.success());
}
