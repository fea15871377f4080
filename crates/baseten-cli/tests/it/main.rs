//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests, too, fail at once, wait, and look for programs"
)]

#[cfg(unix)]
mod approval_page;
#[path = "../../../baseten-auth/tests/support/certificates.rs"]
mod certificates;
#[cfg(unix)]
mod counterparts;
mod exit_status;
#[cfg(unix)]
mod independent_server;
mod login;
#[cfg(unix)]
mod networks;
#[path = "../../../baseten-auth/tests/http/server.rs"]
mod server;
mod support;
mod wire;
