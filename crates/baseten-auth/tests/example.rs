//! Runs the example in the crate's documentation, unchanged.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may say so by panicking")]

use std::path::PathBuf;

use baseten_sandbox::Sandbox;
use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{store, with_key};

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

fn run(sandbox: &Sandbox, api_key: &str) -> Outcome {
    // The example's own client asks the system for `api.localhost`, which not all systems resolve.
    let home = Home::with_api(sandbox.remote_url());
    home.write_store(&store([("bot", with_key(&sandbox.remote_url(), api_key))]));
    example_in(&home)
}

fn example_in(home: &Home) -> Outcome {
    assert!(example().exists(), "cargo builds the examples with --examples");
    Running::start(&mut home.command_of(example(), &[])).end()
}

#[test]
fn makes_a_request_with_the_users_profile() {
    let sandbox = sandbox();
    let outcome = run(&sandbox, &sandbox.api_key("ada").unwrap()).succeeded();
    assert!(outcome.stdout.contains("ada@example.com"), "{outcome}");
}

#[test]
fn fails_if_the_server_refuses_the_credential() {
    let outcome = run(&sandbox(), "wrong");
    assert_ne!(outcome.status, 0, "{outcome}");
    assert!(outcome.stderr.contains("401"), "{outcome}");
}

#[test]
fn fails_if_nobody_is_logged_in() {
    assert_ne!(example_in(&Home::new()).status, 0);
}
