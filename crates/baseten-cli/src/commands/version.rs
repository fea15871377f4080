//! `baseten version`

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::Report;

/// The version, the commit it was built from, and what it was built for, after the program's name.
/// Other programs read the number behind the word `version`.
pub(crate) const LINE: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILD_COMMIT"),
    ", ",
    env!("BUILD_TARGET"),
    ")"
);

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
    Report::one(format!("baseten {LINE}\n"), record)
}
