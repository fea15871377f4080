//! What the tests need beside Rust: installed where that can be done, named where it can't.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::process::{command, has_program, root, run};

/// Something that has to be there before a group of tests can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A program (a name in `PATH` or a whole path), and the Debian package that has it.
    Program(&'static str, &'static str),
    /// A directory with a `package-lock.json`, relative to the workspace.
    Npm(&'static str),
    /// A file of Python packages, relative to the workspace, for the environment in [`VENV`].
    Pip(&'static str),
}

/// The virtual environment of the tests' Python packages, relative to the workspace.
pub(crate) const VENV: &str = "target/python";

/// Sees to everything in `needs`, or says what is missing.
pub(crate) fn meet(needs: &BTreeSet<Need>) -> Outcome {
    programs(needs)?;
    for need in needs {
        match need {
            Need::Program(..) => {}
            Need::Npm(directory) => npm(&root().join(directory))?,
            Need::Pip(requirements) => pip(&root().join(requirements))?,
        }
    }
    Ok(())
}

fn programs(needs: &BTreeSet<Need>) -> Outcome {
    if !missing(needs).is_empty() && can_install() {
        let packages: BTreeSet<&str> = missing(needs).iter().map(|(_, package)| *package).collect();
        run(&mut apt(["update", "-qq"]))?;
        run(apt(["install", "-qq", "-y", "--no-install-recommends"]).args(packages))?;
    }
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package) in &missing {
        eprintln!("missing: {program} (Debian package {package})");
    }
    Err(format!("{} missing; a run as root on Debian installs them", programs_in_words(&missing))
        .into())
}

fn missing(needs: &BTreeSet<Need>) -> Vec<(&'static str, &'static str)> {
    let absent = needs.iter().filter_map(|need| match need {
        Need::Program(program, package) => (!has_program(program)).then_some((*program, *package)),
        Need::Pip(_) => (!can_make_venv()).then_some(("python3 -m venv", "python3-venv")),
        Need::Npm(_) => None,
    });
    absent.collect()
}

/// Debian's `python3` comes without what its own `venv` module needs.
fn can_make_venv() -> bool {
    let import = ["-c", "import ensurepip, venv"];
    let status = command("python3", import).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn programs_in_words(missing: &[(&str, &str)]) -> String {
    match missing.len() {
        1 => "one program is".into(),
        several => format!("{several} programs are"),
    }
}

/// Packages are installed by root on Debian only: nobody's machine is changed by `sudo` in a test.
fn can_install() -> bool {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    let is_root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && has_program("apt-get") && has_program("/etc/debian_version")
}

fn apt<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut apt = command("apt-get", ["-o", "DPkg::Lock::Timeout=300"]);
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn npm(directory: &Path) -> Outcome {
    let lock = directory.join("package-lock.json");
    once(&lock, &directory.join("node_modules/.installed"), || {
        run(command("npm", ["ci", "--no-audit", "--no-fund"]).current_dir(directory))
    })
}

fn pip(requirements: &Path) -> Outcome {
    let venv = root().join(VENV);
    once(requirements, &venv.join("installed"), || {
        run(command("python3", ["-m", "venv"]).arg(&venv))?;
        let python = venv.join("bin/python").to_string_lossy().into_owned();
        run(command(&python, ["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(requirements))
    })
}

/// Installs unless what was installed last came from the very same list.
fn once(list: &Path, installed: &Path, install: impl FnOnce() -> Outcome) -> Outcome {
    let wanted = fs::read(list).map_err(|error| format!("{}: {error}", list.display()))?;
    if fs::read(installed).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(installed, wanted).map_err(|error| format!("{}: {error}", installed.display()).into())
}
