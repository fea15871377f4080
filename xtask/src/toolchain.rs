//! Rust for systems other than this one.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::build::target_directory;
use crate::outcome::Outcome;
use crate::process::{cargo, command, output, run};

/// How to build for a target.
pub(crate) struct Toolchain {
    target: &'static str,
    /// Where rustup has no standard library for the target: Debian's compiler, which builds one
    /// from its source.
    debian: Option<PathBuf>,
}

/// Debian's compiler, its standard library and the source of that, unpacked beside the system's.
const DEBIAN_PACKAGES: &[&str] =
    &["rustc-web", "rust-web-src", "libstd-rust-web-dev", "libstd-rust-web-1.96", "libllvm22"];

impl Toolchain {
    /// Sees to it that programs for `target` can be built.
    pub(crate) fn for_target(target: &'static str) -> Outcome<Self> {
        if has_standard_library(target)? {
            return Ok(Self { target, debian: None });
        }
        // Waiting for a network that is not there ends by itself, but not soon.
        let added = run(&mut command("timeout", ["120", "rustup", "target", "add", target]));
        if added.is_ok() && has_standard_library(target)? {
            return Ok(Self { target, debian: None });
        }
        let debian = unpack_debian().map_err(|problem| {
            format!(
                "no Rust for {target}: neither `rustup target add {target}` nor Debian's packages {} could be had ({problem})",
                DEBIAN_PACKAGES.join(", ")
            )
        })?;
        Ok(Self { target, debian: Some(debian) })
    }

    /// Whether there are rustup's components, such as clippy, and not only a compiler.
    pub(crate) fn has_components(&self) -> bool {
        self.debian.is_none()
    }

    /// Cargo's subcommand for the target.
    pub(crate) fn cargo(&self, subcommand: &str) -> std::process::Command {
        let mut cargo = cargo([subcommand, "--locked", "--target", self.target]);
        if let Some(debian) = &self.debian {
            let libraries = debian.join("usr/lib");
            let multiarch = libraries.join("x86_64-linux-gnu");
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", debian.join("usr/bin/rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), multiarch.display()))
                // Another compiler: what the usual one made would be thrown away each time.
                .env("CARGO_TARGET_DIR", debian.with_file_name("debian"));
        }
        cargo
    }
}

fn has_standard_library(target: &str) -> Outcome<bool> {
    let directory =
        output(&mut command("rustc", ["--print", "target-libdir", "--target", target]))?;
    let Ok(mut entries) = fs::read_dir(directory.trim()) else { return Ok(false) };
    Ok(entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    }))
}

fn unpack_debian() -> Outcome<PathBuf> {
    let directory = target_directory()?.join("debian-rust");
    if directory.join("usr/bin/rustc").exists() {
        return Ok(directory);
    }
    let packages = target_directory()?.join("debian-packages");
    fs::create_dir_all(&packages)?;
    run(command("apt-get", ["download", "-qq"]).args(DEBIAN_PACKAGES).current_dir(&packages))?;
    for entry in fs::read_dir(&packages)? {
        unpack(&entry?.path(), &directory)?;
    }
    Ok(directory)
}

fn unpack(package: &Path, directory: &Path) -> Outcome {
    run(command("dpkg", ["-x"]).arg(package).arg(directory))
}
