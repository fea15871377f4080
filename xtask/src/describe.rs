//! Parts of the command line's own descriptions, for the pages that are generated from it.

use clap::{Arg, ArgAction, Command};

/// The subcommands that help shows.
pub(crate) fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// A command's description, without its one-line summary.
pub(crate) fn paragraphs(command: &Command) -> String {
    let text = command.get_long_about().or(command.get_about());
    let text = text.map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let body = if let [_, body @ ..] = paragraphs.as_slice()
        && !body.is_empty()
    {
        body
    } else {
        &paragraphs
    };
    body.iter().map(|paragraph| paragraph.replace('\n', " ") + "\n").collect::<Vec<_>>().join("\n")
}

/// The name of an argument's value.
pub(crate) fn argument_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map(ToString::to_string).unwrap_or_default()
}

/// Whether an option has a value, and so is not a switch.
pub(crate) fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The examples of a command's help: a sentence, and a command line below it.
pub(crate) fn examples(command: &Command) -> Vec<(String, String)> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}
