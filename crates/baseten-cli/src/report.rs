//! What a command has to say: text for people, records for programs.

use serde::Serialize;
use serde_json::Value;

use crate::error::CliError;

/// The outcome of a command. Nothing of it is printed yet.
#[derive(Debug)]
pub(crate) struct Report {
    /// What `--output text` prints.
    pub(crate) text: String,
    /// What the other formats print.
    pub(crate) records: Records,
    /// What went wrong although there is something to print.
    pub(crate) failure: Option<CliError>,
}

/// The records of a report.
#[derive(Debug)]
pub(crate) enum Records {
    /// A command that reports one thing.
    One(Value),
    /// A command that prints a list.
    List(Vec<Value>),
}

impl Report {
    /// A report of one thing.
    pub(crate) fn one(text: String, record: &impl Serialize) -> Self {
        Self { text, records: Records::One(value(record)), failure: None }
    }

    /// A report of a list.
    pub(crate) fn list<R: Serialize>(text: String, records: &[R]) -> Self {
        let records = Records::List(records.iter().map(value).collect());
        Self { text, records, failure: None }
    }
}

/// Our records are structs of strings, numbers and truth values, which always have a JSON form.
fn value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}
