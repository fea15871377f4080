//! Sandboxes for tests.

use baseten_sandbox::{Config, Sandbox};

use crate::wait::PATIENCE;

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

/// Approves the login that waits in the sandbox.
pub fn approve(sandbox: &Sandbox, user: &str) {
    sandbox.approve(&waiting_code(sandbox), user).unwrap();
}

/// Denies the login that waits in the sandbox.
pub fn deny(sandbox: &Sandbox) {
    sandbox.deny(&waiting_code(sandbox)).unwrap();
}

fn waiting_code(sandbox: &Sandbox) -> String {
    sandbox.wait_for_user_code(PATIENCE).expect("no login waits")
}
