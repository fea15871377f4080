//! `baseten version`

use schemars::JsonSchema;
use serde::Serialize;

use crate::args::VERSION_LINE;
use crate::report::Report;

/// The JSON of the version.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VersionRecord {
    /// The version's number.
    version: &'static str,
    /// The commit it was built from, or `unknown`.
    commit: &'static str,
    /// The target it was built for.
    target: &'static str,
}

pub(crate) fn run() -> Report {
    let record = VersionRecord {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("BUILD_COMMIT"),
        target: env!("BUILD_TARGET"),
    };
    Report::one(format!("baseten {VERSION_LINE}\n"), record)
}
