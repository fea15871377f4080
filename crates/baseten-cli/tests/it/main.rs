//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests, too, fail at once, wait, and look for programs"
)]

mod exit_status;
#[cfg(target_os = "linux")]
mod keyring;
#[cfg(target_os = "linux")]
#[path = "../../../baseten-auth/tests/support/keyring_session.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared")]
mod keyring_session;
mod login;
#[cfg(unix)]
mod pty;
#[path = "../../../baseten-auth/tests/http/server.rs"]
mod server;
mod support;
#[cfg(unix)]
mod terminal;
