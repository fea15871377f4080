//! Sandboxes for tests.

use std::time::Duration;

use baseten_sandbox::{Config, Sandbox};

/// How long a test waits for a login.
const PATIENCE: Duration = Duration::from_mins(1);

/// Allows the login that waits in the sandbox.
pub fn approve(sandbox: &Sandbox, user: &str) {
    let code = sandbox.wait_for_user_code(PATIENCE).expect("no login waits");
    sandbox.approve(&code, user).unwrap();
}

/// A sandbox on a free port that is polled every second.
pub fn sandbox() -> Sandbox {
    sandbox_with(|_| ())
}

/// The same, with other settings.
pub fn sandbox_with(change: impl FnOnce(&mut Config)) -> Sandbox {
    let mut config = Config { device_interval: 1, ..Config::default() };
    change(&mut config);
    Sandbox::start(config).unwrap()
}
