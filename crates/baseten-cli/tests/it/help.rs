//! Help of every command, the format of its output, and suggestions for mistyped options.

use baseten_testing::home::Home;

const LEAVES: &[&[&str]] = &[
    &["auth", "login"],
    &["auth", "logout"],
    &["auth", "switch"],
    &["auth", "status"],
    &["auth", "list"],
    &["auth", "token"],
    &["whoami"],
    &["version"],
    &["completion"],
];

#[test]
fn every_command_describes_its_output_and_how_it_ends() {
    let home = Home::new();
    for words in LEAVES {
        let outcome = home.run(&[words, &["--help-output"][..]].concat());
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{words:?}");
        let usage = format!("Usage: baseten {}", words.join(" "));
        for part in [&usage, "Common options:", "\nOutput:\n", "\nExit statuses:\n    0  done\n"] {
            assert!(outcome.stdout.contains(part), "{words:?}: {part}: {outcome}");
        }
        assert!(!outcome.stdout.contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn contradicting_options_do_not_prevent_help() {
    let outcome = Home::new().run(&["auth", "login", "--no-wait", "--resume", "--help-output"]);
    assert_eq!(outcome.status, 0, "{outcome}");
}

#[test]
fn the_schema_describes_what_is_printed() {
    let home = Home::new();
    let help = home.run(&["version", "--help-output"]).stdout;
    let schema = &help[help.find("    {").unwrap()..];
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let record = home.run(&["version", "--output", "json"]).json();
    let described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(described, record.as_object().unwrap().keys().collect::<Vec<_>>());
}

#[test]
fn help_of_a_command() {
    let home = Home::new().with("COLUMNS", "80");
    insta::assert_snapshot!(home.run(&["auth", "login", "--help"]));
}

#[test]
fn help_is_a_command_too() {
    let home = Home::new();
    let help = home.run(&["help", "auth", "login"]);
    assert_eq!(help, home.run(&["auth", "login", "--help"]));
    assert_eq!(home.run(&["help"]), home.run(&["--help"]));
}

#[test]
fn help_in_a_narrow_window() {
    let home = Home::new().with("COLUMNS", "40");
    let outcome = home.run(&["auth", "status", "-h"]);
    for line in outcome.stdout.lines() {
        assert!(line.chars().count() <= 40, "{line}");
    }
    let outcome = home.run(&["auth", "status", "--help-output"]);
    let output = outcome.stdout.split("\nOutput:\n").nth(1).unwrap();
    let text = output.lines().take_while(|line| !line.contains("json: ")).collect::<Vec<_>>();
    assert!(text.len() > 3 && text.iter().all(|line| line.chars().count() <= 40), "{text:?}");
}

#[test]
fn a_mistyped_option_is_answered_with_the_one_that_was_meant() {
    let home = Home::new();
    for (typed, meant) in [
        ("--wbe", "--web"),
        ("--no-swich", "--no-switch"),
        ("--with-api", "--with-api-key"),
        ("--profil", "--profile"),
        ("--outptu", "--output"),
        ("--json", "-o json"),
        ("--json=name", "-o json"),
        ("--url", "--remote-url"),
    ] {
        let outcome = home.run(&["auth", "login", typed]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.ends_with(&format!("\nhint: did you mean {meant}?\n")), "{outcome}");
    }
    let outcome = home.run(&["auth", "logni"]);
    assert!(outcome.stderr.ends_with("\nhint: did you mean login?\n"), "{outcome}");
    let outcome = home.run(&["login", "--web"]);
    assert!(outcome.stderr.ends_with("\nhint: did you mean baseten auth login?\n"), "{outcome}");
    let outcome = home.run(&["auth", "login", "--output", "jsno"]);
    assert!(outcome.stderr.ends_with("\nhint: did you mean json?\n"), "{outcome}");
    let outcome = home.run(&["auth", "login", "--quite-another"]);
    let hint = "\nhint: see the options with: baseten auth login --help\n";
    assert!(outcome.stderr.ends_with(hint), "{outcome}");
}

#[test]
fn the_version_stands_behind_the_word_version() {
    let home = Home::new();
    let version = home.run(&["--version"]);
    let start = concat!("baseten version ", env!("CARGO_PKG_VERSION"), " (");
    assert!(version.stdout.starts_with(start), "{version}");
    assert_eq!(version, home.run(&["version"]));
}
