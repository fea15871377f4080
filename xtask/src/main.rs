//! The project's own chores; `cargo xtask --help` lists them. A chore is a file with an `Args` and
//! a `run`, and a variant of [`Chore`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "chores talk to the person who runs them"
)]

mod bench;
mod build;
mod clean;
mod demo;
mod describe;
mod dist;
mod docs;
mod fuzz;
mod guard;
mod man;
mod measure;
mod needs;
mod package;
mod picture;
mod platforms;
mod process;
mod python;
mod release;
mod system;
mod test;
mod toolchain;
mod wheel;

use std::process::ExitCode;

use clap::Parser;

/// The project's own chores
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    Bench(bench::Args),
    Demo(demo::Args),
    Dist(dist::Args),
    Docs(docs::Args),
    Guard(guard::Args),
    Release(release::Args),
    Test(test::Args),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Bench(args) => bench::run(&args),
        Chore::Demo(args) => demo::run(&args),
        Chore::Dist(args) => dist::run(&args),
        Chore::Docs(args) => docs::run(&args),
        Chore::Guard(args) => guard::run(&args),
        Chore::Release(args) => release::run(&args),
        Chore::Test(args) => test::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
