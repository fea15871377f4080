//! The options of the reference: names, short forms, types, defaults.

/// An option: its command, its name, its short form, whether it takes a value, its default.
type Fact = (&'static str, &'static str, Option<char>, Kind, Option<&'static str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Text,
}

use Kind::{Bool, Text};

#[rustfmt::skip]
const FACTS: &[Fact] = &[
    ("login", "insecure-storage", None, Bool, None),
    ("login", "jq", Some('q'), Text, None),
    ("login", "no-switch", None, Bool, None),
    ("login", "output", Some('o'), Text, Some("text")),
    ("login", "profile", None, Text, None),
    ("login", "remote-url", None, Text, Some("https://app.baseten.co")),
    ("login", "verbose", Some('v'), Bool, None),
    ("login", "web", None, Bool, None),
    ("login", "with-api-key", None, Bool, None),
    ("logout", "jq", Some('q'), Text, None),
    ("logout", "output", Some('o'), Text, Some("text")),
    ("logout", "profile", None, Text, None),
    ("logout", "verbose", Some('v'), Bool, None),
    ("switch", "jq", Some('q'), Text, None),
    ("switch", "output", Some('o'), Text, Some("text")),
    ("switch", "profile", None, Text, None),
    ("switch", "verbose", Some('v'), Bool, None),
    ("status", "jq", Some('q'), Text, None),
    ("status", "output", Some('o'), Text, Some("text")),
    ("status", "profile", None, Text, None),
    ("status", "verbose", Some('v'), Bool, None),
];

/// Options that are not in the reference.
#[rustfmt::skip]
const OURS: &[(&str, &str)] = &[
    ("login", "no-browser"), ("login", "no-wait"), ("login", "resume"), ("status", "check"),
];
const EVERYWHERE: &[&str] = &["help", "help-output", "no-input", "raw-output"];

fn command(name: &str) -> clap::Command {
    let root = baseten_cli::command();
    root.find_subcommand("auth").unwrap().find_subcommand(name).unwrap().clone()
}

fn default(option: &clap::Arg) -> Option<String> {
    let help = option.get_help().unwrap().to_string();
    let (_, default) = help.split_once("[default: ")?;
    Some(default.trim_end_matches(']').to_owned())
}

#[test]
fn every_option_of_the_reference_is_there() {
    for (name, long, short, kind, expected) in FACTS {
        let command = command(name);
        let option = command.get_arguments().find(|option| option.get_long() == Some(*long));
        let option = option.unwrap_or_else(|| panic!("{name} has no --{long}"));
        assert_eq!(option.get_short(), *short, "{name} --{long}");
        let takes_value = matches!(option.get_action(), clap::ArgAction::Set);
        assert_eq!(if takes_value { Text } else { Bool }, *kind, "{name} --{long}");
        assert_eq!(default(option).as_deref(), *expected, "{name} --{long}");
    }
}

#[test]
fn every_other_option_is_known_to_be_ours() {
    for name in ["login", "logout", "switch", "status"] {
        for option in command(name).get_arguments().filter_map(clap::Arg::get_long) {
            let documented = FACTS.iter().any(|fact| (fact.0, fact.1) == (name, option));
            let ours = EVERYWHERE.contains(&option) || OURS.contains(&(name, option));
            assert!(documented != ours, "{name} --{option}");
        }
    }
}

#[test]
fn the_output_formats_are_those_of_the_reference() {
    let command = command("status");
    let output = command.get_arguments().find(|option| option.get_long() == Some("output"));
    let formats = output.unwrap().get_possible_values();
    let names: Vec<_> = formats.iter().map(clap::builder::PossibleValue::get_name).collect();
    assert_eq!(names, ["text", "json", "jsonl", "none"]);
}
