//! `cargo xtask bench`: what every command costs, as a ratio to a hello-world.
//! Everything is measured together, in rounds that run each command once: if the machine gets
//! slower or faster meanwhile, that affects all commands. It runs in its own keyring session,
//! against a sandbox, and touches nothing of the user's.

pub(crate) mod cases;
mod engine;
mod page;
mod results;
mod targets;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::build;
use crate::measure::Invocation;
use crate::needs::{self, Need};
use crate::process::{Outcome, command, run as run_command};

use cases::{Case, Cases, SECRET_TOOL, STATIC_HELLO};
use results::{Figures, Results};

/// Measure every command beside a hello-world, and write docs/performance.md
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only a few rounds, and only to the screen
    #[arg(long)]
    quick: bool,

    /// The statically linked program that `cargo xtask dist` makes, to be measured as well
    #[arg(long = "static", value_name = "PATH")]
    shipped: Option<PathBuf>,

    /// Set in the private keyring session that this command starts: where the programs are
    #[arg(long, hide = true)]
    in_session: Option<PathBuf>,
}

const NEEDS: &[Need] = &[
    Need::Program("valgrind", "valgrind"),
    Need::Program("time", "time"),
    Need::Program("dbus-daemon", "dbus-daemon"),
    Need::Program("dbus-send", "dbus-bin"),
    Need::Program("gnome-keyring-daemon", "gnome-keyring"),
    Need::Program(SECRET_TOOL, "libsecret-tools"),
    Need::Program(engine::CURL, "curl"),
    Need::Pip("counterparts/python/requirements.txt", 142),
];

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(programs) = &args.in_session {
        return measure(args, programs);
    }
    needs::meet(NEEDS)?;
    let hello = build::release(&["hello", "baseten-cli", "baseten-sandbox"])?.path("hello")?;
    let programs = hello.parent().ok_or("a program is in a directory")?;
    if args.shipped.is_some() {
        build_static_hello(programs)?;
    }
    let program = std::env::current_exe()?;
    let mut session = command("counterparts/keyrings/gnome.sh", ["--"]);
    session.arg(program).args(["bench", "--in-session"]).arg(programs);
    session.env("COMMAND_SECONDS", "3600");
    if args.quick {
        session.arg("--quick");
    }
    if let Some(shipped) = &args.shipped {
        let shipped = shipped.canonicalize();
        session.arg("--static").arg(shipped.map_err(|error| format!("--static: {error}"))?);
    }
    run_command(&mut session)
}

/// A hello-world that needs no dynamic loader, for comparison with the static program.
fn build_static_hello(programs: &Path) -> Outcome {
    let flags = ["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"];
    let mut rustc = command("rustc", flags);
    rustc.args(["-Ctarget-feature=+crt-static", "xtask/hello/src/main.rs", "-o"]);
    run_command(rustc.arg(programs.join(STATIC_HELLO)))
}

fn measure(args: &Args, programs: &Path) -> Outcome {
    let cases = Cases::prepare(programs, args.shipped.as_deref())?;
    let (rounds, slow_rounds) = if args.quick { (15, 3) } else { (200, 20) };
    let mut walls = walls(&cases.list, rounds, slow_rounds)?;
    let mut figures = BTreeMap::new();
    for case in &cases.list {
        let (instructions, memory) = counts(case)?;
        let wall = median(walls.remove(&case.name).unwrap_or_default());
        figures.insert(case.name.clone(), Figures { wall, instructions, memory });
    }
    let objects = [("hello-world", cases.hello()), ("auth status", cases.status())];
    let objects = objects.map(|(name, run)| Ok((name, run.instructions_by_object()?)));
    let objects = objects.into_iter().collect::<Outcome<_>>()?;
    let sizes = cases.sizes()?;
    let results = Results { figures, objects, sizes, rounds, slow_rounds };
    let page = page::page(&cases.list, &results)?;
    println!("{page}");
    if args.quick { Ok(()) } else { page::write(&page) }
}

/// The times of every command, from rounds that run each once; slow commands are only in a few
/// rounds.
fn walls(
    cases: &[Case],
    rounds: usize,
    slow_rounds: usize,
) -> Outcome<BTreeMap<String, Vec<Duration>>> {
    let mut walls: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    // The first round fills caches, and does not count.
    for round in 0..=rounds {
        for case in shuffled(cases, round) {
            if !case.slow || round % (rounds / slow_rounds) == 0 {
                let wall = case.wall()?;
                if round > 0 {
                    walls.entry(case.name.clone()).or_default().push(wall);
                }
            }
        }
    }
    Ok(walls)
}

/// A different order for each round: a command that runs after a large program finds its caches
/// cold.
fn shuffled(cases: &[Case], round: usize) -> Vec<&Case> {
    let mut cases: Vec<&Case> = cases.iter().collect();
    cases.sort_by_cached_key(|case| {
        let mut hasher = DefaultHasher::new();
        (round, &case.name).hash(&mut hasher);
        hasher.finish()
    });
    cases
}

/// Instructions and memory, if the case is one process.
fn counts(case: &Case) -> Outcome<(Option<u64>, Option<u64>)> {
    let instructions = if case.is_peer { None } else { case.count(Invocation::instructions)? };
    Ok((instructions, case.count(Invocation::peak_memory)?))
}

fn median(mut walls: Vec<Duration>) -> Duration {
    walls.sort();
    walls.get(walls.len() / 2).copied().unwrap_or_default()
}
