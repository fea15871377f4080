//! Prints help and the version, which the parser returns as errors.

use std::ffi::OsString;
use std::fmt::Write as _;

use anstyle::Style;
use clap::builder::StyledStr;
use clap::error::ErrorKind;

use crate::exit::Exit;
use crate::outputs::{self, Output, Record};
use crate::{args, mistake, render};

/// Prints what the parser returned: help and version to stdout, mistakes to stderr.
pub(crate) fn show(stop: &clap::Error, arguments: &[OsString]) -> Exit {
    match stop.kind() {
        ErrorKind::DisplayHelp if has_option(arguments, args::HELP_OUTPUT) => {
            render::help(&full_help(arguments, true))
        }
        ErrorKind::DisplayHelp if has_option(arguments, "help") => {
            render::help(&full_help(arguments, false))
        }
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            render::help(&styled(&stop.render()))
        }
        _ => render::failure(&mistake::explain(stop, arguments)),
    }
}

fn has_option(arguments: &[OsString], option: &str) -> bool {
    let mut names = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
    names.any(|name| name == option)
}

/// A command's long description, with its options in the short form of `-h`; with `with_output`,
/// also its exit statuses and its output.
fn full_help(arguments: &[OsString], with_output: bool) -> String {
    let root = args::command();
    let (command, path) = args::named(&root, arguments);
    let description = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    let mut whole = command.clone().about(description);
    if path == ["auth"] {
        whole = whole.after_help(surroundings(*command.get_styles().get_header()));
    }
    if !with_output {
        return styled(&whole.render_help());
    }
    let examples = whole.get_after_help().cloned().unwrap_or_default();
    let header = *command.get_styles().get_header();
    let output = outputs::of(&path.join(" "));
    let prose = format!("{}\n{}", examples.ansi(), endings(header, output));
    // Added after the text is wrapped: wrapping would break the JSON.
    let schemas: String = output.iter().flat_map(|output| output.records).map(schema).collect();
    whole = whole.after_help(prose);
    styled(&whole.render_help()) + &schemas
}

/// The help, with the heading of its examples styled like the others.
fn styled(help: &StyledStr) -> String {
    let header = *args::command().get_styles().get_header();
    help.ansi().to_string().replace("\nExamples:\n", &format!("\n{header}Examples:{header:#}\n"))
}

/// The variables that the program reads, and the paths of its file.
fn surroundings(header: Style) -> String {
    let mut text = String::new();
    let sections = [("Environment variables", outputs::VARIABLES), ("Profiles", outputs::FILES)];
    for (title, rows) in sections {
        let _ = writeln!(text, "{header}{title}:{header:#}");
        for (name, what) in rows {
            let _ = writeln!(text, "  {name}\n    {what}");
        }
        text.push('\n');
    }
    text
}

/// The exit statuses, and a command's text output.
fn endings(header: Style, output: Option<&Output>) -> String {
    let mut text = format!("{header}Exit statuses:{header:#}\n");
    for (status, meaning) in outputs::exit_statuses() {
        let _ = writeln!(text, "  {status:>3}  {meaning}");
    }
    if let Some(output) = output {
        let _ = writeln!(text, "\n{header}Output:{header:#}\n  text: {}", output.text);
    }
    text
}

fn schema(record: &Record) -> String {
    let schema = serde_json::to_string_pretty(&(record.schema)()).unwrap_or_default();
    format!("  json: {}\n    {}\n", record.what, schema.replace('\n', "\n    "))
}
