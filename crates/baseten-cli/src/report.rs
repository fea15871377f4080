//! The result of a command: text for people, records for programs.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::error::CliError;

/// The result of a command, not printed yet. Its text and its records are created when needed.
pub(crate) struct Report {
    content: Box<dyn Content>,
    /// An error that is reported in addition to the output.
    pub(crate) failure: Option<CliError>,
    /// Whether an error may quote the records.
    pub(crate) quotable: bool,
}

/// The records of a report.
#[derive(Debug)]
pub(crate) enum Records {
    /// A command that reports one thing.
    One(Value),
    /// A command that prints a list.
    List(Vec<Value>),
}

trait Content {
    fn text(&self) -> String;
    fn records(&self) -> Records;
}

impl Report {
    /// A report of one thing.
    pub(crate) fn one(text: String, record: impl Serialize + 'static) -> Self {
        Self { content: Box::new(One { text, record }), failure: None, quotable: true }
    }

    /// A report of a list, and the function that makes its text.
    pub(crate) fn list<R: Serialize + 'static>(records: Vec<R>, text: fn(&[R]) -> String) -> Self {
        Self { content: Box::new(List { records, text }), failure: None, quotable: true }
    }

    /// The same report, marked as containing a secret that no error may quote.
    pub(crate) fn unquotable(self) -> Self {
        Self { quotable: false, ..self }
    }

    /// The same report, with an error that is printed after it.
    pub(crate) fn failing(self, failure: Option<CliError>) -> Self {
        Self { failure, ..self }
    }

    /// What `--output text` prints.
    pub(crate) fn text(&self) -> String {
        self.content.text()
    }

    /// What the other formats print.
    pub(crate) fn records(&self) -> Records {
        self.content.records()
    }
}

/// Without the content, which may be a token.
impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Report").field("failure", &self.failure).finish_non_exhaustive()
    }
}

struct One<R> {
    text: String,
    record: R,
}

impl<R: Serialize> Content for One<R> {
    fn text(&self) -> String {
        self.text.clone()
    }

    fn records(&self) -> Records {
        Records::One(value(&self.record))
    }
}

struct List<R> {
    records: Vec<R>,
    text: fn(&[R]) -> String,
}

impl<R: Serialize> Content for List<R> {
    fn text(&self) -> String {
        (self.text)(&self.records)
    }

    fn records(&self) -> Records {
        Records::List(self.records.iter().map(value).collect())
    }
}

/// Records are structs of strings, numbers and booleans, which always have a JSON form.
fn value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}
