//! `cargo xtask guard`: notices a slower start or a heavy new dependency, without measuring time.
//! It counts the instructions that a command executes beyond a hello-world. Their number is the
//! same on a busy machine, and on any machine with the same compiler and C library.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;
use serde_json::{Map, Value};

use crate::bench::cases::store;
use crate::build;
use crate::measure::Invocation;
use crate::needs::{self, Need};
use crate::process::{Outcome, cargo, output, root};

/// Count instructions and crates, and compare with the committed figures
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the figures of this machine down instead of comparing with them
    #[arg(long)]
    update: bool,
}

pub(crate) const NEEDS: &[Need] = &[Need::Program("valgrind", "valgrind")];

/// How many more instructions than the committed figure are allowed, in percent.
const ROOM: u64 = 3;

/// The figures, relative to the workspace.
const FIGURES: &str = "xtask/guard.json";

const STORE: &str = r#"{"version": 1, "current": "alice@example.com", "profiles": {
    "alice@example.com": {"remote_url": "https://app.baseten.co", "auth_type": "oauth",
        "oauth_credential": {"access_token": "an-access-token", "refresh_token": "a-refresh-token",
            "expiry": "2126-01-01T00:00:00Z"}},
    "bot": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "a-key"}
}}
"#;

pub(crate) fn run(args: &Args) -> Outcome {
    needs::meet(NEEDS)?;
    let path = root().join(FIGURES);
    let now = figures()?;
    if args.update {
        fs::write(&path, serde_json::to_string_pretty(&now)? + "\n")?;
        println!("{FIGURES} is up to date");
        return Ok(());
    }
    let committed: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let (table, exceeded) = compare(&committed, &now);
    print!("{table}");
    if exceeded.is_empty() {
        return Ok(());
    }
    let exceeded = exceeded.join(", ");
    Err(format!("too much: {exceeded}. If it is worth it, run cargo xtask guard --update").into())
}

/// The same, as a group of the tests.
pub(crate) fn check(_: &[&str]) -> Outcome {
    run(&Args { update: false })
}

/// The current figures: instructions beyond the hello-world's, and the number of crates.
fn figures() -> Outcome<Map<String, Value>> {
    let programs = build::release(&["hello", "baseten-cli"])?;
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("auth.json"), STORE)?;
    let many = tempfile::tempdir()?;
    fs::write(many.path().join("auth.json"), store(1_000)?)?;
    let hello = fewest_instructions(&invocation(&programs.path("hello")?, "", home.path()))?;
    let mut figures = Map::new();
    for (name, invocation) in commands(&programs.path("baseten")?, home.path(), many.path()) {
        figures.insert(
            name.to_owned(),
            fewest_instructions(&invocation)?.saturating_sub(hello).into(),
        );
    }
    figures.insert(CRATES.to_owned(), crates()?.into());
    Ok(figures)
}

const CRATES: &str = "crates";

/// The commands that people wait for most often: at the prompt, in scripts, when pressing Tab.
fn commands(baseten: &Path, home: &Path, many: &Path) -> [(&'static str, Invocation); 4] {
    let completion = invocation(baseten, "-- baseten auth status --profile a", home)
        .with("BASETEN_COMPLETE", "bash")
        .with("_CLAP_COMPLETE_INDEX", "4");
    [
        ("auth list, 1,000 profiles", invocation(baseten, "auth list", many)),
        ("auth status", invocation(baseten, "auth status", home)),
        ("auth token", invocation(baseten, "auth token", home)),
        ("completion of a profile", completion),
    ]
}

fn invocation(program: &Path, arguments: &str, home: &Path) -> Invocation {
    Invocation::new(program, arguments).with("HOME", home).with("BASETEN_CONFIG_DIR", home)
}

/// Hash tables start from random numbers, so two runs differ slightly.
fn fewest_instructions(invocation: &Invocation) -> Outcome<u64> {
    let runs: Outcome<Vec<u64>> = (0..3).map(|_| invocation.instructions()).collect();
    Ok(runs?.into_iter().min().unwrap_or(0))
}

/// How many crates the command consists of on this system, including itself.
fn crates() -> Outcome<usize> {
    let arguments = ["tree", "--locked", "-p", "baseten-cli", "-e", "normal", "--prefix", "none"];
    let tree = output(&mut cargo(arguments))?;
    let names = tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|l| !l.is_empty());
    Ok(names.collect::<BTreeSet<_>>().len())
}

/// A table, and the names of the figures that grew too much.
fn compare(committed: &Map<String, Value>, now: &Map<String, Value>) -> (String, Vec<String>) {
    let mut table = String::new();
    let mut exceeded = Vec::new();
    for (name, now) in now {
        let now = now.as_u64().unwrap_or(0);
        let before = committed.get(name).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(table, "{name:24} {now:>10}   committed {before:>10}");
        let room = if name == CRATES { 0 } else { before * ROOM / 100 };
        if now > before + room {
            exceeded.push(name.clone());
        } else if now < before - room {
            let _ =
                writeln!(table, "  better than before: keep it with cargo xtask guard --update");
        }
    }
    (table, exceeded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instructions_have_some_room_and_crates_have_none() {
        let figures = |instructions: u64, crates: u64| {
            let Value::Object(figures) = json!({"auth status": instructions, CRATES: crates})
            else {
                unreachable!()
            };
            figures
        };
        let exceeded = |now| compare(&figures(100_000, 150), &now).1;
        assert_eq!(exceeded(figures(103_000, 150)), [""; 0]);
        assert_eq!(exceeded(figures(103_001, 150)), ["auth status"]);
        assert_eq!(exceeded(figures(90_000, 151)), [CRATES]);
    }
}
