//! The running sandbox, over plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod api;
mod binary;
mod pages;
mod support;
