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

fn run(store: &str, sandbox: &Sandbox) -> Output {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("auth.json"), store).unwrap();
    assert!(example().exists(), "cargo builds the examples with --examples");
    Command::new(example())
        .env_clear()
        .env("BASETEN_CONFIG_DIR", home.path())
        // The example's own client asks the system for `api.localhost`, which not all know.
        .env("BASETEN_MANAGEMENT_API_URL_OVERRIDE", sandbox.remote_url())
        .output()
        .unwrap()
}

fn sandbox() -> Sandbox {
    Sandbox::start(Config::default()).unwrap()
}

fn store(sandbox: &Sandbox, api_key: &str) -> String {
    let profile = serde_json::json!({
        "remote_url": sandbox.remote_url(), "auth_type": "api_key", "api_key": api_key,
    });
    serde_json::json!({"version": 1, "current": "bot", "profiles": {"bot": profile}}).to_string()
}

#[test]
fn makes_a_request_with_the_users_profile() {
    let sandbox = sandbox();
    let output = run(&store(&sandbox, &sandbox.api_key("ada").unwrap()), &sandbox);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("ada@example.com"), "{stdout}");
}

#[test]
fn fails_where_the_server_refuses_the_credential() {
    let sandbox = sandbox();
    let output = run(&store(&sandbox, "wrong"), &sandbox);
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("401"), "{stderr}");
}

#[test]
fn fails_where_nobody_is_logged_in() {
    assert!(!run("", &sandbox()).status.success());
}
