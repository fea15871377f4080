//! Prints reports to stdout, and errors, warnings and talk to stderr. Only `terminal`, which draws
//! prompts and the waiting line, writes to stderr itself.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::args::options::{Common, Format};
use crate::error::CliError;
use crate::exit::Exit;
use crate::jq::process::{Filter, Job};
use crate::json;
use crate::report::{Records, Report};
use crate::text::sanitize;

/// How the reports of a run are printed.
pub(crate) struct Output {
    format: Option<Format>,
    filter: Option<Filter>,
    raw: bool,
}

impl Output {
    /// Checks the output options, and has the filter compiled.
    pub(crate) fn new(common: &Common) -> Result<Self, CliError> {
        let filter = common.jq.as_deref().map(Filter::start).transpose()?;
        match (&filter, common.output) {
            (Some(_), Some(Format::Text | Format::None)) => Err(CliError::usage(
                "--jq cannot be combined with --output text or none",
                "use --output json or jsonl, or leave out --output",
            )),
            (None, _) if common.raw_output => Err(CliError::usage(
                "--raw-output needs --jq",
                "add a filter, such as --jq .profile",
            )),
            (_, format) => Ok(Self { format, filter, raw: common.raw_output }),
        }
    }

    /// The text of a report as it is written to stdout.
    fn print(self, report: &Report) -> Result<String, CliError> {
        let records = match (&self.filter, self.format) {
            (None, None | Some(Format::Text)) => return Ok(report.text()),
            (None, Some(Format::None)) => return Ok(String::new()),
            _ => report.records(),
        };
        let (records, indented, each) = match records {
            Records::One(record) => (vec![record], self.format != Some(Format::Jsonl), false),
            Records::List(list) if self.format == Some(Format::Json) => {
                (vec![Value::Array(list)], true, false)
            }
            Records::List(list) => (list, false, true),
        };
        let Some(filter) = self.filter else {
            let print = if indented { json::indented } else { json::one_line };
            return Ok(records.iter().map(print).collect());
        };
        filter.apply(&Job { records, raw: self.raw, indented }).map_err(|error| {
            let error = if report.quotable { error } else { error.without_quotes() };
            CliError::Filter { error, each }
        })
    }
}

/// Prints a report, and the failure that it carries. The exit status is the failure's.
pub(crate) fn success(output: Output, report: Report) -> Result<Exit, CliError> {
    let text = output.print(&report)?;
    match write_out(&text) {
        // The reader has closed the pipe, which is fine.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(CliError::Output(error)),
        Ok(()) => {}
    }
    Ok(report.failure.map_or(Exit::Done, |error| failure(&error)))
}

/// Prints help, or the version.
pub(crate) fn help(text: &str) -> Exit {
    match write_out(text) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => failure(&CliError::Output(error)),
    }
}

/// Prints a line of data while a command runs. If the reader has closed the pipe, the command goes
/// on.
pub(crate) fn line(text: &str) {
    let _ = write_out(text);
}

fn write_out(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = anstream::AutoStream::auto(io::stdout().lock());
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// Bold instead of a colour, because no colour is readable on every background.
const BOLD: Style = Style::new().bold();

/// Prints an error, and gives its exit status.
pub(crate) fn failure(error: &CliError) -> Exit {
    let told = error.explain();
    if told.exit.is_a_signal() {
        talk(&told.message);
        return told.exit;
    }
    talk(&format!("{RED}error{RED:#}: {}", sanitize(&told.message)));
    if let Some(hint) = told.hint {
        talk(&format!("{BOLD}hint{BOLD:#}: {}", sanitize(&hint)));
    }
    told.exit
}

/// Prints a warning.
pub(crate) fn warning(message: &str) {
    talk(&format!("{YELLOW}warning{YELLOW:#}: {}", sanitize(message)));
}

/// Whether what is printed to stderr keeps its colours.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Prints one or more lines to stderr. If that fails, there is nowhere to report it.
pub(crate) fn talk(text: &str) {
    let mut stderr = anstream::AutoStream::auto(io::stderr().lock());
    let _ = writeln!(stderr, "{text}");
    let _ = stderr.flush();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn common(jq: Option<&str>, output: Option<Format>, raw_output: bool) -> Common {
        Common { jq: jq.map(str::to_owned), no_input: false, output, raw_output, verbose: false }
    }

    fn print(format: Option<Format>, list: bool) -> String {
        let record = json!({"profile": "b", "a": 1});
        let text = "text\n".to_owned();
        let report = if list {
            Report::list(vec![record.clone(), record], |_| "text\n".to_owned())
        } else {
            Report::one(text, record)
        };
        Output::new(&common(None, format, false)).unwrap().print(&report).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(print(None, false), "text\n");
        assert_eq!(print(Some(Format::None), false), "");
        let json = "{\n  \"profile\": \"b\",\n  \"a\": 1\n}\n";
        assert_eq!(print(Some(Format::Json), false), json);
        let line = "{\"profile\":\"b\",\"a\":1}\n";
        assert_eq!(print(Some(Format::Jsonl), false), line);
        assert_eq!(print(Some(Format::Jsonl), true), line.repeat(2));
        assert!(print(Some(Format::Json), true).starts_with("[\n  {\n    \"prof"));
    }

    #[test]
    fn contradicting_options_are_usage_errors() {
        for common in [
            common(Some("."), Some(Format::Text), false),
            common(Some("."), Some(Format::None), false),
            common(None, None, true),
        ] {
            let Err(error) = Output::new(&common) else { panic!("{common:?}") };
            assert_eq!(error.explain().exit, Exit::Usage);
        }
    }
}
