//! The only place that prints: reports to stdout, talk to stderr.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use baseten_auth::{is_harmful, is_hidden};
use serde_json::Value;

use crate::args::{Common, Format};
use crate::error::CliError;
use crate::exit::Exit;
use crate::jq::{Filter, FilterError};
use crate::report::{Records, Report};

/// How the reports of a run are printed.
pub(crate) struct Output {
    format: Option<Format>,
    filter: Option<Filter>,
    raw: bool,
}

impl Output {
    /// Makes sense of the output options; a filter is compiled here and now.
    pub(crate) fn new(common: &Common) -> Result<Self, CliError> {
        let filter = common.jq.as_deref().map(Filter::compile).transpose()?;
        match (&filter, common.output) {
            (Some(_), Some(Format::Text | Format::None)) => Err(CliError::usage(
                "--jq filters JSON, so it cannot go with --output text or none",
                "use --output json or jsonl, or leave --output out",
            )),
            (None, _) if common.raw_output => Err(CliError::usage(
                "--raw-output prints what --jq finds, and there is no --jq",
                "add a filter, such as --jq .profile",
            )),
            (_, format) => Ok(Self { format, filter, raw: common.raw_output }),
        }
    }

    /// The text of a report as it goes to stdout.
    fn print(&self, report: &Report) -> Result<String, CliError> {
        let records = match (&self.filter, self.format) {
            (None, None | Some(Format::Text)) => return Ok(report.text()),
            (None, Some(Format::None)) => return Ok(String::new()),
            _ => report.records(),
        };
        let print = match (self.format, &records) {
            (Some(Format::Jsonl), _) | (None, Records::List(_)) => one_line,
            _ => indented,
        };
        let Some(filter) = &self.filter else {
            return Ok(match records {
                Records::List(records) if self.format == Some(Format::Json) => {
                    indented(&Value::Array(records))
                }
                records => records.iter().map(print).collect(),
            });
        };
        let mut text = String::new();
        for record in records.iter() {
            let found = filter.apply(record);
            let found =
                if report.quotable { found } else { found.map_err(FilterError::without_quotes) };
            for found in found? {
                match found {
                    Value::String(string) if self.raw => text.push_str(&bare(&string)),
                    found => text.push_str(&print(&found)),
                }
            }
        }
        Ok(text)
    }
}

impl Records {
    fn iter(&self) -> impl Iterator<Item = &Value> {
        match self {
            Self::One(record) => std::slice::from_ref(record).iter(),
            Self::List(records) => records.iter(),
        }
    }
}

fn indented(value: &Value) -> String {
    harmless(&serde_json::to_string_pretty(value).unwrap_or_default())
}

fn one_line(value: &Value) -> String {
    harmless(&value.to_string())
}

/// JSON text whose strings show no control characters and turn no text around: they are written as
/// escapes, which mean the same to every program. Ends in a newline.
fn harmless(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character == '\n' || !is_hidden(character) {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('\n');
    out
}

/// A string without quotes. What is harmful on a terminal is dropped, for that is where it ends up
/// sooner or later; JSON output has all of it, as escapes.
fn bare(string: &str) -> String {
    tame(string) + "\n"
}

/// The text without what is harmful on a terminal. Lines and columns stay.
pub(crate) fn tame(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_harmful(*c)).collect()
}

/// Prints a report, and the failure that it carries. The exit status is the failure's.
pub(crate) fn success(output: &Output, report: Report) -> Result<Exit, CliError> {
    let text = output.print(&report)?;
    match write_out(&text) {
        // Whoever read our output has seen enough.
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
/// No colour: none of them can be read on every background.
const BOLD: Style = Style::new().bold();

/// Prints an error, and gives its exit status.
pub(crate) fn failure(error: &CliError) -> Exit {
    let told = error.explain();
    if matches!(told.exit, Exit::Interrupted | Exit::Terminated) {
        talk(&told.message);
        return told.exit;
    }
    talk(&format!("{RED}error{RED:#}: {}", tame(&told.message)));
    if let Some(hint) = told.hint {
        talk(&format!("{BOLD}hint{BOLD:#}: {}", tame(&hint)));
    }
    told.exit
}

/// Prints a warning.
pub(crate) fn warning(message: &str) {
    talk(&format!("{YELLOW}warning{YELLOW:#}: {}", tame(message)));
}

/// Whether what is printed to stderr keeps its colours.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Prints a line, or several, to stderr. Nobody can be told that this failed.
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
        Common { jq: jq.map(str::to_owned), output, raw_output, verbose: false }
    }

    fn print(jq: Option<&str>, format: Option<Format>, raw: bool, list: bool) -> String {
        let record = json!({"profile": "b", "a": 1});
        let text = "text\n".to_owned();
        let report = if list {
            Report::list(vec![record.clone(), record], |_| "text\n".to_owned())
        } else {
            Report::one(text, record)
        };
        Output::new(&common(jq, format, raw)).unwrap().print(&report).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(print(None, None, false, false), "text\n");
        assert_eq!(print(None, Some(Format::None), false, false), "");
        let json = "{\n  \"profile\": \"b\",\n  \"a\": 1\n}\n";
        assert_eq!(print(None, Some(Format::Json), false, false), json);
        let line = "{\"profile\":\"b\",\"a\":1}\n";
        assert_eq!(print(None, Some(Format::Jsonl), false, false), line);
        assert_eq!(print(None, Some(Format::Jsonl), false, true), line.repeat(2));
        assert!(print(None, Some(Format::Json), false, true).starts_with("[\n  {\n    \"prof"));
    }

    #[test]
    fn a_filter_sees_each_record_and_prints_json() {
        assert_eq!(print(Some(".profile"), None, false, false), "\"b\"\n");
        assert_eq!(print(Some(".profile"), None, true, false), "b\n");
        assert_eq!(
            print(Some("."), None, false, false),
            print(None, Some(Format::Json), false, false)
        );
        assert_eq!(
            print(Some("."), None, false, true),
            print(None, Some(Format::Jsonl), false, true)
        );
        assert_eq!(print(Some("[.a]"), Some(Format::Json), false, true), "[\n  1\n]\n".repeat(2));
    }

    #[test]
    fn contradicting_options_are_usage_errors() {
        for common in [
            common(Some("."), Some(Format::Text), false),
            common(Some("."), Some(Format::None), false),
            common(Some(".["), None, false),
            common(None, None, true),
        ] {
            let Err(error) = Output::new(&common) else { panic!("{common:?}") };
            assert_eq!(error.explain().exit, Exit::Usage);
        }
    }

    #[test]
    fn json_shows_no_control_characters() {
        let text = one_line(&json!("a\u{1b}[2J\u{9b}\u{202e}é"));
        assert_eq!(text, "\"a\\u001b[2J\\u009b\\u202eé\"\n");
    }
}
