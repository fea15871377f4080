//! Builds, and where cargo puts their results. The user's `CARGO_TARGET_DIR`, `CARGO_BUILD_TARGET`
//! and configuration decide that, so cargo is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{self, Outcome, cargo};

/// The programs of a build, by name.
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// The path of a program.
    pub(crate) fn path(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.0.get(name).cloned();
        path.ok_or_else(|| format!("cargo does not say where it put the program {name}").into())
    }
}

/// Runs a build, whose output goes to the user.
pub(crate) fn build(cargo: &mut Command) -> Outcome<Programs> {
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    process::show(cargo);
    let mut child = process::spawn(cargo)?;
    let mut programs = BTreeMap::new();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let message: Value = serde_json::from_str(&line?)?;
        if let (Some(name), Some(path)) =
            (message.pointer("/target/name"), message.get("executable"))
            && let (Some(name), Some(path)) = (name.as_str(), path.as_str())
        {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    process::succeeded(cargo, child.wait()?)?;
    Ok(Programs(programs))
}

/// Makes release builds, each package separately: in one build, a package would get the features
/// that another one enables in a shared library.
pub(crate) fn release(packages: &[&str]) -> Outcome<Programs> {
    let mut programs = BTreeMap::new();
    for package in packages {
        let built = build(&mut cargo(["build", "--release", "--locked", "--package", package]))?;
        programs.extend(built.0);
    }
    Ok(Programs(programs))
}

/// The workspace's directory for everything that is built.
pub(crate) fn target_directory() -> Outcome<PathBuf> {
    let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let metadata: Value = serde_json::from_str(&process::output(&mut cargo(arguments))?)?;
    let directory = metadata.get("target_directory").and_then(Value::as_str);
    Ok(directory.ok_or("cargo does not say where its target directory is")?.into())
}

/// Cargo's own directory, with its configuration and its downloads.
pub(crate) fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}
