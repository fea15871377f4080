//! The static program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use super::Target;
use crate::build::{build as build_programs, cargo_home, target_directory};
use crate::needs;
use crate::process::{Outcome, cargo, command, output, root, run};
use crate::toolchain::Toolchain;

/// The static program.
pub(crate) fn build(target: Target) -> Outcome<PathBuf> {
    let mut flags: Vec<String> = [
        // Relative to the workspace, so that no path of this machine gets into Cargo's hashes.
        "-Clink-arg=-Wl,-T,packaging/no-unwind-tables.ld,--no-eh-frame-hdr",
        "-Clink-arg=-Wl,-z,pack-relative-relocs",
    ]
    .map(str::to_owned)
    .into();
    // Keeps this machine's paths out of the program, both from Rust and from C.
    let hidden =
        [(root(), "/baseten"), (target_directory()?, "/baseten/target"), (cargo_home(), "/cargo")];
    flags.extend(
        hidden
            .each_ref()
            .map(|(path, shown)| format!("--remap-path-prefix={}={shown}", path.display())),
    );
    let mut c_flags: Vec<String> = hidden
        .each_ref()
        .map(|(path, shown)| format!("-ffile-prefix-map={}={shown}", path.display()))
        .into();
    c_flags.extend(target.c_flags().map(str::to_owned));
    let mut build = cargo_for(target, "auditable build", flags)?;
    build.args(["--release", "--package", "baseten-cli"]).env("PATH", path_with_auditable()?);
    build.env(format!("CFLAGS_{}", variable(target)), c_flags.join(" "));
    let program = build_programs(&mut build)?.path("baseten")?;
    names_no_path(&program, &hidden.map(|(path, _)| path))?;
    Ok(program)
}

/// Cargo, for static programs, with additional compiler flags.
pub(crate) fn cargo_for(target: Target, subcommand: &str, more: Vec<String>) -> Outcome<Command> {
    needs::meet(target.needs())?;
    let rust = Toolchain::for_target(target.triple())?;
    let compiler = c_compiler(target)?;
    let mut flags = rust.static_flags(&compiler)?;
    if target != Target::HERE && rust.has_components() {
        flags.push(format!("-Clinker={}", target.gnu("gcc")));
    }
    flags.extend(more);
    let mut cargo = rust.cargo(subcommand);
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env(format!("CC_{}", variable(target)), compiler)
        .env(format!("CFLAGS_{}", variable(target)), target.c_flags().unwrap_or_default())
        .env(format!("AR_{}", variable(target)), target.gnu("ar"));
    Ok(cargo)
}

/// A target, as the names of variables contain it.
fn variable(target: Target) -> String {
    target.triple().replace('-', "_")
}

fn names_no_path(program: &Path, paths: &[PathBuf]) -> Outcome {
    let bytes = fs::read(program)?;
    for path in paths {
        let needle = path.as_os_str().as_encoded_bytes();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            return Err(format!("{} contains {}", program.display(), path.display()).into());
        }
    }
    Ok(())
}

/// A C compiler for musl. Debian has one for its own processor. For another processor, it is
/// Debian's cross compiler with the files of musl for that processor.
fn c_compiler(target: Target) -> Outcome<PathBuf> {
    /// Package lists separate from the system's, which does not know the other processor. Relative
    /// paths would be in the system's directory.
    const FETCH: &str = "\
set -e
mkdir -p lists/partial
get() {
    apt-get -o APT::Architecture=\"$1\" -o APT::Architectures=\"$1\" -o APT::Sandbox::User=root \\
        -o Dir::State::Lists=\"$PWD/lists\" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -qq \"$2\" $3
}
get \"$1\" update
get \"$1\" download musl-dev
dpkg -x musl-dev_*.deb .
sed -E \"s#/usr/(include|lib)/#$PWD&#g\" \"usr/lib/$2-linux-musl/musl-gcc.specs\" >specs
printf '#!/bin/sh\\nexec %s-linux-gnu-gcc \"$@\" -specs %s/specs\\n' \"$2\" \"$PWD\" >part
chmod 755 part
mv part musl-gcc
";
    if target == Target::HERE {
        return Ok("musl-gcc".into());
    }
    let directory = target_directory()?.join(format!("musl-{}", target.processor()));
    let compiler = directory.join("musl-gcc");
    if !compiler.exists() {
        fs::create_dir_all(&directory)?;
        let mut fetch = command("sh", ["-c", FETCH, "sh", target.debian(), target.processor()]);
        output(fetch.current_dir(&directory))?;
    }
    Ok(compiler)
}

/// The tool that puts the list of dependencies into the program, added to `PATH`.
fn path_with_auditable() -> Outcome<OsString> {
    const TOOL: &str = "cargo-auditable@0.7.7";
    let tools = target_directory()?.join("tools").join(TOOL);
    if !tools.join("bin/cargo-auditable").exists() {
        // A debug build: this is run rarely, so it should be quick to build.
        let mut install = cargo(["install", "--locked", "--debug", "--quiet", TOOL, "--root"]);
        run(install.arg(&tools))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [tools.join("bin")].into_iter().chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(paths)?)
}
