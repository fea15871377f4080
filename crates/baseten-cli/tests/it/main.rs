//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may"
)]

mod approval_page;
#[path = "../../../baseten-auth/tests/support/certificates.rs"]
mod certificates;
#[cfg(unix)]
mod completion;
mod counterparts;
mod exit_status;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod freshness;
mod help;
mod independent_server;
#[cfg(target_os = "linux")]
#[path = "../../../baseten-auth/tests/support/keyring_session.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared")]
mod keyring_session;
mod login;
mod networks;
#[cfg(unix)]
mod pty;
mod reference_facts;
#[cfg(target_os = "linux")]
mod refresh;
#[path = "../../../baseten-auth/tests/http/server.rs"]
mod server;
#[cfg(target_os = "linux")]
mod stored;
mod support;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod waiting;
mod wire;
