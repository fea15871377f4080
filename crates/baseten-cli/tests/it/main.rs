//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

mod exit_status;
mod login;
mod reference;
mod selection;
#[path = "../../../baseten-auth/tests/http/server.rs"]
mod server;
mod store_formats;
mod support;
