//! The running sandbox, over plain HTTP.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod api;
mod binary;
mod exchange;
mod issuer;
mod pages;
mod support;
