//! Replaces `tls.rs` in a build without the feature `tls`: everything that needs TLS fails.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Cause, CertificateProblem, HttpError};
use super::stream::Stream;
use crate::env::Env;

/// There is no TLS configuration.
pub(super) type Config = Infallible;

pub(super) fn config(_: &Env, _: Option<&(&'static str, PathBuf)>) -> Result<Config, HttpError> {
    Err(HttpError::NoTrustedCertificates)
}

pub(super) fn secure(
    config: &Arc<Config>,
    _: &str,
    _: Box<dyn Stream>,
) -> io::Result<Box<dyn Stream>> {
    match **config {}
}

/// Without TLS, only the last one occurs.
#[expect(dead_code, reason = "the same type as with TLS")]
pub(super) enum Refusal {
    Certificate(CertificateProblem, Option<Cause>),
    Tls(Cause),
    Io(io::Error),
}

pub(super) fn refusal(error: io::Error) -> Refusal {
    Refusal::Io(error)
}
