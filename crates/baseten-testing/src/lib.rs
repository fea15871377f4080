//! What the tests of all crates share. It does not depend on `baseten-auth`, so that the unit tests
//! of that crate can use it too.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "for tests, where a panic is how to fail and time is allowed to pass"
)]

pub mod bao;
pub mod certificates;
pub mod counterparts;
pub mod daemon;
pub mod docs;
pub mod fake_service;
pub mod faults;
pub mod foreign_socket;
pub mod home;
pub mod identity;
pub mod keyring;
pub mod lender;
pub mod outcome;
pub mod pass;
pub mod program;
pub mod sandbox;
pub mod server;
pub mod stored;
pub mod terminal;
pub mod wait;

#[doc(hidden)]
pub use insta;
