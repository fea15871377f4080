//! Every command and every variable is described.

use std::collections::BTreeSet;

use baseten_cli::outputs::{OUTPUTS, VARIABLES, of};
use fs_err as fs;

use crate::{root, rust_files};

#[test]
fn every_variable_is_described() {
    let sources = ["crates/baseten-auth/src", "crates/baseten-cli/src"];
    let files = sources.iter().flat_map(|directory| rust_files(&root().join(directory)));
    let mut read: BTreeSet<String> =
        files.flat_map(|path| variables_in(&fs::read_to_string(path).unwrap())).collect();
    // The shells' scripts set the first one; `auth exec` sets the others for the program that it
    // starts.
    let others =
        ["BASETEN_COMPLETE", "BASETEN_TRUSS_AUTH_REMOTE_URL", "BASETEN_TRUSS_AUTH_API_KEY"];
    read.retain(|name| !others.contains(&name.as_str()));
    let described = VARIABLES.iter().flat_map(|(names, _)| names.split(", "));
    let described = described.filter(|name| is_one_of_ours(name)).map(str::to_owned).collect();
    assert_eq!(read, described);
}

/// Whether a variable is the program's own, or one of `OpenBao` and Vault.
fn is_one_of_ours(name: &str) -> bool {
    ["BASETEN_", "BAO_", "VAULT_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The names of variables in quotes.
fn variables_in(source: &str) -> Vec<String> {
    let is_name = |text: &&str| {
        is_one_of_ours(text)
            && !text.ends_with('_')
            && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    source.split('"').filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_command_says_what_it_prints() {
    let mut commands = Vec::new();
    leaves(&baseten_cli::command(), "", &mut commands);
    assert_eq!(commands.len(), OUTPUTS.len());
    for command in commands {
        assert!(of(&command).is_some(), "{command}");
    }
}

fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let path = format!("{path} {}", subcommand.get_name()).trim_start().to_owned();
        if !subcommand.has_subcommands() {
            found.push(path.clone());
        }
        leaves(subcommand, &path, found);
    }
}
