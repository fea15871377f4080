//! Mistakes on the command line, as one sentence and a hint like every other error.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args;
use crate::error::CliError;

/// The parser's error as an explanation, with what was probably meant.
pub(crate) fn explain(stop: &clap::Error, arguments: &[OsString]) -> CliError {
    let argument = context(stop, ContextKind::InvalidArg).unwrap_or_default();
    match stop.kind() {
        // The parser would quote these, and they may be API keys.
        ErrorKind::UnknownArgument if !argument.starts_with('-') => CliError::usage(
            "unexpected argument: this command takes only options",
            hint_for_a_word(arguments),
        ),
        ErrorKind::TooManyValues => CliError::usage(
            format!("{} takes no value", argument.split(['=', ' ']).next().unwrap_or_default()),
            "give an API key on standard input, never as an argument",
        ),
        ErrorKind::InvalidSubcommand if !is_word(subcommand(stop)) => {
            CliError::usage("there is no such command", hint(stop, arguments))
        }
        _ => CliError::usage(sentence(stop), hint(stop, arguments)),
    }
}

/// A hint for a word that is not an option.
fn hint_for_a_word(arguments: &[OsString]) -> &'static str {
    let root = args::command();
    let (command, _) = args::named(&root, arguments);
    let has = |option: &str| command.get_arguments().any(|it| it.get_long() == Some(option));
    if has("with-api-key") {
        "give an API key on standard input, never as an argument; see --help for the options"
    } else if has("profile") {
        "name a profile with --profile <profile>"
    } else {
        "see --help for the options"
    }
}

fn subcommand(stop: &clap::Error) -> &str {
    context(stop, ContextKind::InvalidSubcommand).unwrap_or_default()
}

/// Whether a text could be meant as the name of a command.
fn is_word(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// The parser's message, without the usage below it.
fn sentence(stop: &clap::Error) -> String {
    let text = stop.render().to_string();
    let sentence = text.split("\n\n").next().unwrap_or_default();
    let lines = sentence.strip_prefix("error: ").unwrap_or(sentence).lines().map(str::trim);
    lines.collect::<Vec<_>>().join(" ")
}

fn hint(stop: &clap::Error, arguments: &[OsString]) -> String {
    let root = args::command();
    let (command, path) = args::named(&root, arguments);
    let suggestions =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggestions.into_iter().find_map(|kind| context(stop, kind));
    let meant = command_of_auth(&root, stop)
        .or_else(|| option_of_others(stop))
        .or_else(|| suggested.map(str::to_owned))
        .or_else(|| closest_option(stop, command));
    if let Some(meant) = meant {
        return format!("did you mean {meant}?");
    }
    let what = if command.has_subcommands() { "commands" } else { "options" };
    let words: Vec<_> = std::iter::once(root.get_name()).chain(path).collect();
    format!("see the {what} with: {} --help", words.join(" "))
}

/// `baseten login` means `baseten auth login`.
fn command_of_auth(root: &clap::Command, stop: &clap::Error) -> Option<String> {
    let name = root.find_subcommand("auth")?.find_subcommand(subcommand(stop))?.get_name();
    Some(format!("{} auth {name}", root.get_name()))
}

/// Our option for a name that other command lines use.
fn option_of_others(stop: &clap::Error) -> Option<String> {
    let meant = match context(stop, ContextKind::InvalidArg)? {
        "--json" => "-o json",
        "--jsonl" => "-o jsonl",
        "--format" => "--output",
        "--quiet" | "--silent" => "-o none",
        "--name" | "--user" | "--account" => "--profile",
        "--url" | "--host" | "--hostname" | "--remote" => "--remote-url",
        _ => return None,
    };
    Some(meant.to_owned()).filter(|_| stop.kind() == ErrorKind::UnknownArgument)
}

/// The parser's context of this kind; if it has several texts, the last one, which fits best.
fn context(stop: &clap::Error, kind: ContextKind) -> Option<&str> {
    match stop.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.last().map(String::as_str),
        _ => None,
    }
}

/// The option that was probably meant. The parser makes suggestions too, but not for two swapped
/// letters in a short name.
fn closest_option(stop: &clap::Error, command: &clap::Command) -> Option<String> {
    let argument = context(stop, ContextKind::InvalidArg)?;
    let typed =
        argument.strip_prefix("--").filter(|_| stop.kind() == ErrorKind::UnknownArgument)?;
    let options = command.get_arguments().filter_map(|argument| argument.get_long());
    closest(typed, options).map(|option| format!("--{option}"))
}

/// The name that was probably meant by a mistyped one.
pub(crate) fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    const CLOSE: usize = 2;
    let (distance, name) = names.map(|name| (strsim::osa_distance(typed, name), name)).min()?;
    (distance <= CLOSE && distance < typed.chars().count()).then_some(name)
}
