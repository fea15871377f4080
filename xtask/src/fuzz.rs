//! Runs every fuzz target, for seconds or for long. It builds them as `cargo fuzz` does, so that
//! nothing has to be installed; a single one is `cargo fuzz run <target> --sanitizer none
//! fuzz/corpus/<target> fuzz/seeds/<target>`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fs_err as fs;

use crate::build::build;
use crate::process::{Outcome, cargo, command, root, spawn};

const TARGETS: &[&str] = &[
    "api_key",
    "auth_json",
    "device_answer",
    "identity_token",
    "keyring_secret",
    "lent_line",
    "remote_url",
    "token_answer",
];

/// Makes the compiler count the branches that an input takes.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Cllvm-args=-sanitizer-coverage-stack-depth -Ccodegen-units=1";

/// The target is named, because otherwise the flags would apply to build scripts too.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Fuzzes each target for ten seconds.
pub(crate) fn short(_: &[&str]) -> Outcome {
    run(Duration::from_secs(10))
}

/// Fuzzes each target for half an hour.
pub(crate) fn long(_: &[&str]) -> Outcome {
    run(Duration::from_mins(30))
}

/// Fuzzes each target from its seeds. A finding stays in `fuzz/artifacts`.
fn run(time: Duration) -> Outcome {
    let mut cargo =
        cargo(["build", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", PLATFORM]);
    cargo.args(["--release", "--config", "profile.release.debug=\"line-tables-only\"", "--bins"]);
    let programs = build(cargo.env("RUSTFLAGS", FLAGS))?;
    for target in TARGETS {
        fuzz(target, &programs.path(target)?, time)?;
    }
    Ok(())
}

fn fuzz(target: &str, program: &Path, time: Duration) -> Outcome {
    let directory = |kind: &str| root().join("fuzz").join(kind).join(target);
    // New inputs are written to the first of the input directories.
    let (corpus, artifacts) = (directory("corpus"), directory("artifacts"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut fuzzer = command(program, ["-max_len=4096", "-print_final_stats=1"]);
    fuzzer
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([corpus, directory("seeds")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = spawn(&mut fuzzer)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{said}\n{target}: {}", output.status).into());
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("  {target}: {} inputs", runs.unwrap_or_default().trim());
    Ok(())
}
