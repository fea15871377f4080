//! `cargo xtask release`: makes a version of the tree, and rehearses everything that follows.

use std::path::Path;

use fs_err as fs;

use crate::build::target_directory;
use crate::dist::Target;
use crate::process::{Outcome, cargo, command, output, root, run as run_command};

/// Set a version and its date, commit and tag; the push of the tag publishes
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do it in a clone, and make there all that would be published
    #[arg(long)]
    dry_run: bool,

    /// Only see whether the tree is this version, with a date
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,

    /// Such as 0.4.0
    version: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let version = args.version.as_str();
    if version.split('.').filter(|part| part.parse::<u32>().is_ok()).count() != 3 {
        return Err(format!("{version} is not a version such as 0.4.0").into());
    }
    if args.check {
        return check(version);
    }
    clean_tree()?;
    if !args.dry_run {
        return prepare(&root(), version);
    }
    let clone = target_directory()?.join("rehearsal");
    clone_to(&clone)?;
    for (key, value) in [("user.name", "rehearsal"), ("user.email", "rehearsal@example.com")] {
        run_command(&mut command("git", ["-C", &clone.to_string_lossy(), "config", key, value]))?;
    }
    prepare(&clone, version)?;
    let here = |mut command: std::process::Command| -> Outcome {
        // Existing build results can be used there too.
        command.env("CARGO_TARGET_DIR", target_directory()?);
        run_command(command.current_dir(&clone))
    };
    here(cargo(["xtask", "release", "--check", version]))?;
    let mut dist = cargo(["xtask", "dist"]);
    dist.args(Target::ALL.iter().flat_map(|target| ["--processor", target.processor()]));
    here(dist)?;
    here(publish())?;
    let notes = fs::read_to_string(clone.join("dist/NOTES.md"))?;
    println!("The notes of {version}:\n\n{notes}");
    println!(
        "All of it is in {}. Only the hosted workflow makes programs for macOS and Windows.",
        clone.join("dist").display()
    );
    Ok(())
}

/// Packs the crates, and compiles what was packed.
fn publish() -> std::process::Command {
    let crates = ["--package", "baseten-auth", "--package", "baseten-cli"];
    let mut publish = cargo(["publish", "--dry-run", "--locked"]);
    publish.args(crates);
    publish
}

/// The crates as they would be published, also compiled with the oldest supported Rust.
pub(crate) fn crates(_: &[&str]) -> Outcome {
    run_command(publish().arg("--allow-dirty"))?;
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    let current = output(&mut command("rustc", ["--version"]))?;
    let check = ["check", "--locked", "--package", "baseten-auth", "--package", "baseten-cli"];
    if current.starts_with(&format!("rustc {oldest}.")) {
        return run_command(&mut cargo(check));
    }
    let mut rustup = command("rustup", ["run", "--install", oldest, "cargo"]);
    run_command(rustup.args(check).env_remove("RUSTUP_TOOLCHAIN"))
}

/// The packages, made in another directory and another time zone, have the same bytes.
pub(crate) fn reproducible(_: &[&str]) -> Outcome {
    clean_tree()?;
    crate::dist::make(&[Target::HERE])?;
    let elsewhere = target_directory()?.join("elsewhere");
    clone_to(&elsewhere)?;
    let target = elsewhere.join("built");
    fs::create_dir_all(&target)?;
    // Both use the same tools, which are not compared.
    let tools = target_directory()?.join("tools");
    run_command(command("ln", ["-s"]).arg(tools).arg(&target))?;
    let mut dist = command(std::env::current_exe()?, ["dist"]);
    dist.current_dir(&elsewhere)
        .env("CARGO_MANIFEST_DIR", elsewhere.join("xtask"))
        .env("CARGO_TARGET_DIR", &target)
        .env("TZ", "Pacific/Kiritimati");
    run_command(&mut dist)?;
    let sums = |directory: &Path| fs::read_to_string(directory.join("dist/SHA256SUMS"));
    let (here, there) = (sums(&root())?, sums(&elsewhere)?);
    if here != there {
        return Err(format!("not the same bytes:\n{here}\n{there}").into());
    }
    Ok(fs::remove_dir_all(elsewhere)?)
}

fn clean_tree() -> Outcome {
    let changes = output(&mut command("git", ["status", "--porcelain"]))?;
    if changes.is_empty() { Ok(()) } else { Err(format!("not committed:\n{changes}").into()) }
}

fn clone_to(directory: &Path) -> Outcome {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    run_command(command("git", ["clone", "--quiet"]).arg(root()).arg(directory))
}

/// Writes the version and today's date, commits and tags.
fn prepare(tree: &Path, version: &str) -> Outcome {
    let file = tree.join("CHANGELOG.md");
    let changelog = fs::read_to_string(&file)?;
    if !changelog.contains(&format!("\n## {version} - ")) {
        return Err(format!("CHANGELOG.md has no part {version}").into());
    }
    let date = output(&mut command("date", ["-u", "+%F"]))?;
    let dated = format!("\n## {version} - {}\n", date.trim());
    let undated = format!("\n## {version} - not yet released\n");
    fs::write(&file, changelog.replace(&undated, &dated))?;
    let file = tree.join("Cargo.toml");
    let manifest = fs::read_to_string(&file)?;
    let old = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    fs::write(&file, manifest.replace(&old, &format!("version = \"{version}\"")))?;
    run_command(cargo(["update", "--workspace", "--offline", "--quiet"]).current_dir(tree))?;
    let subject = format!("Release {version}");
    let commit = ["commit", "--quiet", "--allow-empty", "--all", "--message", &subject];
    run_command(command("git", commit).current_dir(tree))?;
    let tag = ["tag", "--annotate", &format!("v{version}"), "--message", &subject];
    run_command(command("git", tag).current_dir(tree))
}

fn check(version: &str) -> Outcome {
    if version != env!("CARGO_PKG_VERSION") {
        return Err(format!("Cargo.toml has version {}", env!("CARGO_PKG_VERSION")).into());
    }
    let changelog = fs::read_to_string(root().join("CHANGELOG.md"))?;
    let date = changelog.lines().find_map(|line| line.strip_prefix(&format!("## {version} - ")));
    let date = date.ok_or_else(|| format!("CHANGELOG.md has no part {version}"))?;
    if date.starts_with("20") { Ok(()) } else { Err(format!("{version} is {date}").into()) }
}
