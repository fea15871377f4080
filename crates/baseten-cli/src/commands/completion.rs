//! `baseten completion`, and the candidates that its scripts request.
//! Each time Tab is pressed, a script runs this program with [`VARIABLE`] set. That reads at most
//! the names of the profiles: no keyring, no network, no waiting.

use std::ffi::{OsStr, OsString};

use baseten_auth::internal::variable::AUTH_SOCK;
use baseten_auth::internal::{Cancel, Env, ProfileName, Store, StoreError, Wait};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{Bash, EnvCompleter, Fish, Powershell, Zsh};

use crate::args;
use crate::args::options::Shell;
use crate::exit::Exit;
use crate::render;

/// Names the shell that asks. We do not use `COMPLETE`, the usual name: it may be set for another
/// program.
const VARIABLE: &str = "BASETEN_COMPLETE";

const BASH: &str = include_str!("../completion/baseten.bash");
const ZSH: &str = include_str!("../completion/baseten.zsh");
/// After `--` comes another program; fish completes its file name.
const FISH_PROGRAMS: &str =
    "complete --command baseten --condition 'contains -- -- (commandline -opc)' --force-files\n";

/// Prints a shell's completion script.
pub(crate) fn run(shell: Shell) -> Exit {
    render::help(&match shell {
        // The generic scripts fail on email addresses in bash, and need a second press of Tab in zsh
        // if they are loaded from a file.
        Shell::Bash => BASH.to_owned(),
        Shell::Zsh => ZSH.to_owned(),
        Shell::Fish => registration(&Fish) + FISH_PROGRAMS,
        Shell::Powershell => registration(&Powershell),
    })
}

fn registration(shell: &dyn EnvCompleter) -> String {
    let mut script = Vec::new();
    // Writing to memory does not fail.
    let _ = shell.write_registration(VARIABLE, "baseten", "baseten", "baseten", &mut script);
    String::from_utf8(script).unwrap_or_default()
}

/// The candidates, if a script requests them. On any error there are none: a message would end up
/// in the middle of what the user types.
pub(crate) fn answer(arguments: &[OsString], env: &Env) -> Option<Exit> {
    let shell: &dyn EnvCompleter = match env.os(VARIABLE)?.to_str()? {
        "bash" => &Bash,
        "zsh" => &Zsh,
        "fish" => &Fish,
        "powershell" => &Powershell,
        _ => return None,
    };
    let words = arguments.iter().skip_while(|argument| *argument != "--").skip(1).cloned();
    let words: Vec<OsString> = words.collect();
    let ordered = args::rewrite::in_order(words.clone());
    // The shells give the position of the word to complete, and that is the last one.
    let is_in_place = ordered.len() == words.len() && ordered.last() == words.last();
    let words = if is_in_place { ordered } else { words };
    let mut candidates = Vec::new();
    if !words.is_empty() {
        let mut command = knowing_profiles(args::command_for(&words), env);
        let _ = shell.write_complete(&mut command, words, None, &mut candidates);
    }
    Some(render::help(&String::from_utf8_lossy(&candidates)))
}

/// The command tree, with the stored names as values of `--profile`.
fn knowing_profiles(command: clap::Command, env: &Env) -> clap::Command {
    let command = if command.get_arguments().any(|argument| argument.get_id() == "profile") {
        let env = env.clone();
        let candidates = move |typed: &OsStr| candidates(&env, typed);
        command.mut_arg("profile", |arg| arg.add(ArgValueCompleter::new(candidates)))
    } else {
        command
    };
    command.mut_subcommands(|subcommand| knowing_profiles(subcommand, env))
}

fn candidates(env: &Env, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    // The names would come from a lender, which may be slow.
    if env.has(AUTH_SOCK) {
        return Vec::new();
    }
    // Another program may be writing the store. Pressing Tab should not wait for that.
    let cancel = Cancel::default();
    cancel.cancel();
    let wait = Wait::default().with_cancel(cancel);
    let names = Store::locate(env, wait).and_then(|store| {
        store.read(|profiles| Ok::<_, StoreError>(profiles.names().collect::<Vec<_>>()))
    });
    let names = names.unwrap_or_default();
    let matching = names.iter().map(ProfileName::as_str).filter(|name| name.starts_with(typed));
    // A line break would turn one candidate into two.
    let harmless = matching.filter(|name| !name.contains(char::is_control));
    harmless.map(CompletionCandidate::new).collect()
}
