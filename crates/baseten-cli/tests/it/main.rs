//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

mod exit_status;
#[cfg(unix)]
mod hostile_text;
mod login;
#[path = "../../../baseten-auth/tests/http/server.rs"]
mod server;
mod support;
