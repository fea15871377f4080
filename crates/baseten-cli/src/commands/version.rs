//! `baseten version`

use serde::Serialize;

use crate::report::Report;

/// The version, the commit it was built from, and what it was built for.
pub(crate) const LINE: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ", ", env!("BUILD_TARGET"), ")");

/// The JSON of the version.
#[derive(Debug, Serialize)]
pub(crate) struct VersionRecord {
    version: &'static str,
    commit: &'static str,
    target: &'static str,
}

pub(crate) fn run() -> Report {
    let record = VersionRecord {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("BUILD_COMMIT"),
        target: env!("BUILD_TARGET"),
    };
    Report::one(format!("baseten {LINE}\n"), &record)
}
