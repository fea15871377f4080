//! Help, version, and what is wrong with a command line.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::outputs::{self, Output};
use crate::render;

/// Prints what the parser stopped for: help and version to stdout, mistakes to stderr.
pub(crate) fn show(mut stop: clap::Error, arguments: &[OsString]) -> Exit {
    match stop.kind() {
        ErrorKind::DisplayHelp if has_option(arguments, args::HELP_OUTPUT) => {
            render::help(&(full_help(arguments) + &output(arguments)))
        }
        ErrorKind::DisplayHelp if has_option(arguments, "help") => {
            render::help(&full_help(arguments))
        }
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            render::help(&stop.render().ansi().to_string())
        }
        _ => {
            if let Some(error) = careful(&stop) {
                return render::failure(&error);
            }
            suggest(&mut stop, arguments);
            // It quotes the arguments, which somebody may have been talked into.
            let plain = stop.render().to_string();
            let shown = if render::visible(&plain) == plain {
                stop.render().ansi().to_string()
            } else {
                render::visible(&plain)
            };
            render::talk(shown.trim_end());
            Exit::Usage
        }
    }
}

fn has_option(arguments: &[OsString], option: &str) -> bool {
    let mut names = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
    names.any(|name| name == option)
}

/// A command's whole description, above the options in the same compact form as `-h` has it.
fn full_help(arguments: &[OsString]) -> String {
    let mut root = args::command();
    root.build();
    let command = args::named(&root, arguments).0.clone();
    let description = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    command.about(description).render_help().ansi().to_string()
}

/// What a command prints, and how it ends.
fn output(arguments: &[OsString]) -> String {
    let root = args::command();
    let (command, path) = args::named(&root, arguments);
    let header = *command.get_styles().get_header();
    let mut text = String::new();
    if let Some(output) = outputs::of(&path.join(" ")) {
        let _ = write!(text, "\n{header}Output:{header:#}\n{}", described(output));
    }
    let _ = writeln!(text, "\n{header}Exit statuses:{header:#}");
    for (status, meaning) in outputs::exit_statuses() {
        let _ = writeln!(text, "  {status:>3}  {meaning}");
    }
    text
}

fn described(output: &Output) -> String {
    const WIDTH: usize = 80;
    let mut text = wrapped(&format!("text: {}", output.text), WIDTH);
    for record in output.records {
        let schema = serde_json::to_string_pretty(&(record.schema)()).unwrap_or_default();
        text += &wrapped(&format!("json: {}", record.what), WIDTH);
        for line in schema.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// A paragraph in lines of at most `width` columns, indented by two, or by four where it goes on.
fn wrapped(paragraph: &str, width: usize) -> String {
    let mut text = String::from(" ");
    let mut used = 1;
    for word in paragraph.split(' ') {
        let length = word.chars().count() + 1;
        if used + length > width {
            text += "\n   ";
            used = 3;
        }
        text.push(' ');
        text += word;
        used += length;
    }
    text.push('\n');
    text
}

/// A mistake that the parser would quote although it may be a secret: an API key given as an
/// argument is as exposed as it needs to be.
fn careful(stop: &clap::Error) -> Option<CliError> {
    let argument = invalid_argument(stop);
    match stop.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => Some(CliError::usage(
            "this command takes options only, and there is another word",
            "give an API key on standard input, never as an argument; see --help for the options",
        )),
        ErrorKind::TooManyValues => Some(CliError::usage(
            format!("{} takes no value", argument.split(['=', ' ']).next().unwrap_or_default()),
            "give an API key on standard input, never as an argument",
        )),
        _ => None,
    }
}

fn invalid_argument(stop: &clap::Error) -> &str {
    match stop.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument,
        _ => "",
    }
}

/// Names the option that was meant, where the parser itself has no idea: it finds the beginning
/// of a long name, but not two letters of a short one that changed places.
fn suggest(stop: &mut clap::Error, arguments: &[OsString]) {
    const CLOSE: usize = 2;
    if stop.kind() != ErrorKind::UnknownArgument || stop.get(ContextKind::SuggestedArg).is_some() {
        return;
    }
    let Some(typed) = invalid_argument(stop).strip_prefix("--") else { return };
    let root = args::command();
    let (command, _) = args::named(&root, arguments);
    let options = command.get_arguments().filter_map(|argument| argument.get_long());
    let closest = options.map(|option| (distance(typed, option), option)).min();
    if let Some((distance, option)) = closest
        && distance <= CLOSE
        && distance < typed.chars().count()
    {
        let option = ContextValue::String(format!("--{option}"));
        stop.insert(ContextKind::SuggestedArg, option);
    }
}

/// How many letters have to be added, dropped, changed, or swapped with the next one (optimal
/// string alignment).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (row, letter) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let changed = above[column] + usize::from(letter != *other);
            let mut least = changed.min(above[column + 1] + 1).min(current[column] + 1);
            if column > 0 && previous == Some(*other) && to[column - 1] == letter {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
        previous = Some(letter);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("web", "web", 0),
            ("wbe", "web", 1),
            ("wev", "web", 1),
            ("profil", "profile", 1),
            ("", "web", 3),
            ("outptu", "output", 1),
            ("no-swich", "no-switch", 1),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
