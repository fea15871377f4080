//! Command lines that the parser would not accept as they are.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Args as _};

use super::options::SelectArgs;
use super::{command, lazy_command};

/// The arguments in the order in which they are parsed: `baseten help auth login` becomes `baseten
/// auth login --help`, and common options before the command move behind it.
pub(crate) fn in_order(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    let is_common = |word: &OsString| word.to_str().and_then(common_option).is_some();
    if arguments.iter().skip(1).take(2).any(is_common) {
        options_last(arguments)
    } else {
        arguments
    }
}

/// Moves options that stand before a command behind it.
fn options_last(arguments: Vec<OsString>) -> Vec<OsString> {
    let root = lazy_command();
    let (mut command, mut ordered, mut options) = (&root, Vec::new(), Vec::new());
    let mut rest = arguments.into_iter().peekable();
    ordered.extend(rest.next());
    while command.has_subcommands() {
        let Some(word) = rest.peek().and_then(|word| word.to_str()) else { break };
        if let Some(next) = command.find_subcommand(word) {
            command = next;
            ordered.extend(rest.next());
        } else if let Some(takes_value) = common_option(word) {
            options.extend(rest.next());
            options.extend(rest.next_if(|_| takes_value));
        } else {
            break;
        }
    }
    // A command that only has subcommands does not take these options.
    if !command.has_subcommands() {
        ordered.append(&mut options);
    }
    ordered.extend(rest);
    ordered
}

/// Whether a word is one of the options that may stand before a command, and if so, whether the next
/// word is its value.
fn common_option(word: &str) -> Option<bool> {
    // Only then, and not for the `--` of a completion: creating the options takes time.
    let may_be_one = word.starts_with('-') && word != "--";
    let name = may_be_one.then(|| word.split('=').next()).flatten()?;
    let options = SelectArgs::augment_args(clap::Command::new(""));
    let option = options.get_arguments().find(|option| {
        // Combined flags, or a value without a separator: -vr, -ojson.
        let is_in = |short| name.strip_prefix('-').is_some_and(|name| name.starts_with(short));
        names(option).iter().any(|known| known == name) || option.get_short().is_some_and(is_in)
    })?;
    Some(option.get_action().takes_values() && names(option).iter().any(|known| known == word))
}

/// Accepts `--web=true` and `--web=false`, as some other command lines do. The last one wins, so
/// `false` removes earlier ones. The arguments of a program that `auth exec` runs are left alone.
pub(crate) fn plain_flags(arguments: &[OsString]) -> Vec<OsString> {
    let mut plain: Vec<OsString> = Vec::new();
    let mut options = true;
    for argument in arguments {
        options = options && *argument != "--" && !plain.ends_with(&["auth".into(), "exec".into()]);
        let given = argument.to_str().filter(|_| options).and_then(|text| text.split_once('='));
        match given
            .and_then(|(name, value)| truth(value).and_then(|truth| Some((flag(name)?, truth))))
        {
            Some((names, true)) => plain.extend(names.into_iter().take(1).map(OsString::from)),
            Some((names, false)) => {
                plain.retain(|earlier| !names.iter().any(|name| earlier == name.as_str()));
            }
            None => plain.push(argument.clone()),
        }
    }
    plain
}

/// The names of a flag; `None` for other options.
fn flag(name: &str) -> Option<Vec<String>> {
    fn find(command: &clap::Command, name: &str) -> Option<Vec<String>> {
        let mut flags = command
            .get_arguments()
            .filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
            .map(names);
        flags
            .find(|names| names.iter().any(|known| known == name))
            .or_else(|| command.get_subcommands().find_map(|command| find(command, name)))
    }
    find(&command(), name)
}

/// The names of an option, such as `--verbose` and `-v`.
fn names(option: &Arg) -> Vec<String> {
    let long = option.get_long().map(|long| format!("--{long}"));
    let short = option.get_short().map(|short| format!("-{short}"));
    long.into_iter().chain(short).collect()
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{AuthCommand, Command, parse};

    fn parse_words(words: &[&str]) -> Result<Command, clap::Error> {
        parse(plain_flags(&words.iter().map(OsString::from).collect::<Vec<_>>()))
    }

    #[test]
    fn flags_take_truth_values_and_the_last_wins() {
        for (words, web) in [
            (&["--web"][..], true),
            (&["--web=true"], true),
            (&["--web=0"], false),
            (&["--web", "--web=false"], false),
            (&["--web=false", "--web"], true),
            (&["--no-wait=true", "--no-wait=false", "--web=true"], true),
        ] {
            let command = parse_words(&[&["baseten", "auth", "login"], words].concat()).unwrap();
            let Command::Auth { command: AuthCommand::Login(args) } = command else { panic!() };
            assert_eq!(args.web, web, "{words:?}");
        }
    }

    #[test]
    fn a_flag_and_its_short_form_are_one() {
        for (words, verbose) in [
            (&["--verbose", "-v=false"][..], false),
            (&["-v", "--verbose=false"], false),
            (&["-v=false", "--verbose=true"], true),
        ] {
            let command = parse_words(&[&["baseten", "auth", "status"], words].concat()).unwrap();
            let Command::Auth { command: AuthCommand::Status(args) } = command else { panic!() };
            assert_eq!(args.common.verbose, verbose, "{words:?}");
        }
    }
}
