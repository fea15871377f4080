//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

mod approval_page;
mod counterparts;
mod independent_server;
mod login;
mod support;
