//! Rust for systems other than this one.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::build::target_directory;
use crate::process::{Outcome, cargo, command, has_program, output, run};

/// How to build for a target.
pub(crate) struct Toolchain {
    target: &'static str,
    /// If rustup has no standard library for the target: Debian's compiler, which builds one from
    /// source.
    debian: Option<PathBuf>,
}

/// Debian's compiler, its standard library and the source of that, and what LLVM needs and a small
/// system may not have. They are unpacked in a separate directory, and take a hundred megabytes.
const DEBIAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "rust-web-src",
    "libstd-rust-web-dev",
    "libstd-rust-web-1.96",
    "libllvm22",
    "libbsd0",
    "libedit2",
    "libicu72",
    "libxml2",
    "libz3-4",
];

impl Toolchain {
    /// Makes it possible to build programs for `target`: with rustup's standard library, which
    /// takes seconds to install, or else with Debian's compiler.
    pub(crate) fn for_target(target: &'static str) -> Outcome<Self> {
        let rustup = Self { target, debian: None };
        if has_standard_library(target)? {
            return Ok(rustup);
        }
        if has_program("rustup") {
            // Without a network, rustup would wait for several minutes.
            let add = ["60", "rustup", "target", "add", target];
            let added = run(command("timeout", add).env("RUSTUP_MAX_RETRIES", "0"));
            if added.is_ok() && has_standard_library(target)? {
                return Ok(rustup);
            }
        }
        let missing = || {
            format!(
                "Rust has no standard library for {target}: `rustup target add {target}` installs it"
            )
        };
        if !has_program("apt-get") || !has_program("dpkg") {
            return Err(missing().into());
        }
        println!(
            "Debian's compiler is used instead, which builds the library first: some minutes."
        );
        let debian = unpack_debian().map_err(|problem| format!("{} ({problem})", missing()))?;
        Ok(Self { target, debian: Some(debian) })
    }

    /// Whether rustup's components, such as clippy, are installed too.
    pub(crate) fn has_components(&self) -> bool {
        self.debian.is_none()
    }

    /// Cargo's subcommand for the target; may have two words.
    pub(crate) fn cargo(&self, subcommand: &str) -> std::process::Command {
        let mut cargo = cargo(subcommand.split(' '));
        cargo.args(["--locked", "--target", self.target]);
        if let Some(debian) = &self.debian {
            let libraries = debian.join("usr/lib");
            let multiarch = libraries.join(format!("{ARCH}-linux-gnu"));
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", debian.join("usr/bin/rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), multiarch.display()))
                // A separate directory for another compiler: each would discard what the other one
                // has built.
                .env("CARGO_TARGET_DIR", debian.with_file_name("debian"));
        }
        cargo
    }

    /// The compiler's flags for a static program. Rust's own builds of the standard library include
    /// the start files and `libunwind`. Debian's includes neither: they come from musl and from the
    /// C compiler, and the latter needs one function of glibc that musl does not have.
    pub(crate) fn static_flags(&self, compiler: &Path) -> Outcome<Vec<String>> {
        let Some(debian) = &self.debian else { return Ok(Vec::new()) };
        let directory = debian.with_file_name("debian").join("unwind");
        fs::create_dir_all(&directory)?;
        let (source, object) = (directory.join("find.c"), directory.join("find.o"));
        fs::write(&source, "int _dl_find_object(void *pc, void *found) { return -1; }\n")?;
        run(command(compiler, ["-c", "-o"]).args([&object, &source]))?;
        let script = format!("INPUT ( {} -lgcc_eh )\n", object.display());
        fs::write(directory.join("libunwind.a"), script)?;
        let linker = format!("linker={}", compiler.display());
        let flags = [linker.as_str(), "link-self-contained=no", "relocation-model=static"];
        let mut flags: Vec<String> = flags.iter().map(|flag| format!("-C{flag}")).collect();
        flags.push(format!("-L{}", directory.display()));
        Ok(flags)
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
