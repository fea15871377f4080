//! `cargo xtask dist`: what is shipped for Linux, into `dist/`: a static program as a tar archive, as a
//! Debian package and as a Python wheel, with their checksums. The same commit gives the same bytes.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::build::{build as build_programs, cargo_home, target_directory};
use crate::man;
use crate::needs::{self, Need};
use crate::outcome::Outcome;
use crate::process::{command, output, root, run as run_command};
use crate::toolchain::Toolchain;
use crate::wheel::{self, Wheel};

/// Build the static program, its archive, its Debian package and its wheel
#[derive(clap::Args)]
pub(crate) struct Args {}

/// What a static program is built with.
const PROGRAM_NEEDS: &[Need] = &[Need::Program("musl-gcc", "musl-tools")];

const PACKAGE_NEEDS: &[Need] = &[
    Need::Program("dpkg-deb", "dpkg"),
    Need::Program("gzip", "gzip"),
    Need::Program("tar", "tar"),
    Need::Program("git", "git"),
];

pub(crate) fn run(_: &Args) -> Outcome {
    needs::meet(&[PROGRAM_NEEDS, PACKAGE_NEEDS, wheel::NEEDS].concat())?;
    let program = build()?;
    let directory = root().join("dist");
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&directory)?,
    }
    let shipment = Shipment { directory, program, epoch: epoch()? };
    shipment.documents()?;
    shipment.archive()?;
    shipment.debian_package()?;
    shipment.python()?;
    shipment.checksums()
}

#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-musl";
#[cfg(not(target_arch = "aarch64"))]
const TARGET: &str = "x86_64-unknown-linux-musl";

#[cfg(target_arch = "aarch64")]
const DEBIAN_ARCHITECTURE: &str = "arm64";
#[cfg(not(target_arch = "aarch64"))]
const DEBIAN_ARCHITECTURE: &str = "amd64";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The static program.
pub(crate) fn build() -> Outcome<PathBuf> {
    needs::meet(PROGRAM_NEEDS)?;
    let rust = Toolchain::for_target(TARGET)?;
    let mut build = rust.cargo("build");
    build.args(["--release", "--package", "baseten-cli"]);
    // No path of this machine gets into the program, from Rust or from C.
    let hidden =
        [(root(), "/baseten"), (target_directory()?, "/baseten/target"), (cargo_home(), "/cargo")];
    let mut rust_flags = rust.static_flags()?;
    let script = root().join("packaging/no-unwind-tables.ld");
    rust_flags.push(format!("-Clink-arg=-Wl,-T,{},--no-eh-frame-hdr", script.display()));
    rust_flags.push("-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned());
    rust_flags.extend(
        hidden
            .each_ref()
            .map(|(path, shown)| format!("--remap-path-prefix={}={shown}", path.display())),
    );
    let c_flags = hidden
        .each_ref()
        .map(|(path, shown)| format!("-ffile-prefix-map={}={shown}", path.display()));
    let target = TARGET.replace('-', "_");
    build
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\u{1f}"))
        .env(format!("CFLAGS_{target}"), c_flags.join(" "))
        .env(format!("CC_{target}"), "musl-gcc");
    let program = build_programs(&mut build)?.path("baseten")?;
    names_no_path(&program, &hidden.map(|(path, _)| path))?;
    Ok(program)
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

/// When the commit was made: the time of everything that is shipped.
fn epoch() -> Outcome<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    Ok(output(&mut command("git", ["log", "-1", "--format=%ct"]))?.trim_end().to_owned())
}

/// What is shipped, and where it is put together.
struct Shipment {
    directory: PathBuf,
    program: PathBuf,
    /// Seconds since 1970.
    epoch: String,
}

/// Where a package has the completion script of a shell, and how the shell is called.
const COMPLETIONS: [(&str, &str, &str); 3] = [
    ("bash", "baseten", "usr/share/bash-completion/completions"),
    ("zsh", "_baseten", "usr/share/zsh/vendor-completions"),
    ("fish", "baseten.fish", "usr/share/fish/vendor_completions.d"),
];

impl Shipment {
    fn work(&self, name: &str) -> PathBuf {
        self.directory.join("work").join(name)
    }

    /// Man pages and completion scripts, from the program itself.
    fn documents(&self) -> Outcome {
        man::write(&self.work("man"))?;
        let scripts = self.work("completions");
        fs::create_dir_all(&scripts)?;
        for (shell, file, _) in COMPLETIONS {
            let script = output(&mut command(&self.program, ["completion", shell]))?;
            fs::write(scripts.join(file), script)?;
        }
        Ok(())
    }

    fn archive(&self) -> Outcome {
        let name = format!("baseten-{VERSION}-{TARGET}");
        let stage = self.work(&name);
        install(&self.program, &stage.join("baseten"), "755")?;
        for document in ["LICENSE", "README.md", "CHANGELOG.md"] {
            install(&root().join(document), &stage.join(document), "644")?;
        }
        for directory in ["man", "completions"] {
            for file in files(&self.work(directory))? {
                install(&file, &stage.join(directory).join(name_of(&file)), "644")?;
            }
        }
        let time = format!("--mtime=@{}", self.epoch);
        let mut tar = command("tar", ["--create", "--gzip", "--sort=name", "--format=gnu"]);
        tar.args(["--owner=0", "--group=0", "--numeric-owner", &time]).env("GZIP", "-n");
        tar.arg("--file").arg(self.directory.join(format!("{name}.tar.gz")));
        run_command(tar.arg("--directory").arg(self.work("")).arg(&name))
    }

    fn debian_package(&self) -> Outcome {
        let stage = self.work("debian");
        install(&self.program, &stage.join("usr/bin/baseten"), "755")?;
        let documents = stage.join("usr/share/doc/baseten");
        install(&root().join("packaging/debian/copyright"), &documents.join("copyright"), "644")?;
        let template = fs::read_to_string(root().join("packaging/debian/control"))?;
        fs::write(documents.join("changelog"), self.debian_changelog(&template)?)?;
        let overrides = stage.join("usr/share/lintian/overrides/baseten");
        install(&root().join("packaging/debian/lintian-overrides"), &overrides, "644")?;
        run_command(command("gzip", ["-9n"]).arg(documents.join("changelog")))?;
        for page in files(&self.work("man"))? {
            let installed = stage.join("usr/share/man/man1").join(name_of(&page));
            install(&page, &installed, "644")?;
            run_command(command("gzip", ["-9n"]).arg(&installed))?;
        }
        for (_, file, directory) in COMPLETIONS {
            let script = self.work("completions").join(file);
            install(&script, &stage.join(directory).join(file), "644")?;
        }
        for unit in files(&root().join("packaging/systemd"))? {
            install(&unit, &stage.join("usr/lib/systemd/user").join(name_of(&unit)), "644")?;
        }
        self.control(&stage, &template)?;
        let file = format!("baseten_{VERSION}_{DEBIAN_ARCHITECTURE}.deb");
        let mut build = command("dpkg-deb", ["--build", "--root-owner-group", "-Zxz"]);
        build.arg(&stage).arg(self.directory.join(&file)).env("SOURCE_DATE_EPOCH", &self.epoch);
        run_command(&mut build)
    }

    /// This version's part of the changelog, in Debian's form.
    fn debian_changelog(&self, control: &str) -> Outcome<String> {
        let changelog = fs::read_to_string(root().join("CHANGELOG.md"))?;
        let version = changelog.split("\n## ").find(|part| part.starts_with(VERSION));
        let version = version.ok_or_else(|| format!("CHANGELOG.md has no part {VERSION}"))?;
        let changes = version.split("\n- ").skip(1);
        let changes = changes.map(|change| man::wrapped(change, 74).join("\n    "));
        let changes = changes.map(|change| format!("  * {change}")).collect::<Vec<_>>().join("\n");
        let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
        let maintainer = maintainer.ok_or("the control file names no maintainer")?;
        let date = output(&mut command("date", ["-Ru", "-d", &format!("@{}", self.epoch)]))?;
        let head = format!("baseten ({VERSION}) unstable; urgency=medium");
        Ok(format!("{head}\n\n{changes}\n\n -- {maintainer}  {date}"))
    }

    fn control(&self, stage: &Path, template: &str) -> Outcome {
        let size = fs::metadata(&self.program)?.len().div_ceil(1024) + 64;
        let control = template
            .replace("@VERSION@", VERSION)
            .replace("@ARCHITECTURE@", DEBIAN_ARCHITECTURE)
            .replace("@SIZE@", &size.to_string());
        fs::create_dir_all(stage.join("DEBIAN"))?;
        fs::write(stage.join("DEBIAN/control"), control)?;
        let sums = "cd \"$1\" && find usr -type f -print0 | sort -z | xargs -0 md5sum";
        let sums = output(command("sh", ["-c", sums, "sh"]).arg(stage))?;
        fs::write(stage.join("DEBIAN/md5sums"), sums)?;
        run_command(command("chmod", ["-R", "u=rwX,go=rX"]).arg(stage))
    }

    fn python(&self) -> Outcome {
        let sbom = self.directory.join(format!("baseten-{VERSION}-{TARGET}.cdx.json"));
        let wheel = Wheel {
            program: &self.program,
            target: TARGET,
            sbom: Some(sbom.as_path()).filter(|sbom| sbom.exists()),
            epoch: &self.epoch,
            directory: &self.directory,
        };
        wheel.make()?;
        wheel::source(&self.directory, &self.epoch)
    }

    fn checksums(&self) -> Outcome {
        fs::remove_dir_all(self.work(""))?;
        let names: Vec<String> = files(&self.directory)?.iter().map(|file| name_of(file)).collect();
        let sums = output(command("sha256sum", names).current_dir(&self.directory))?;
        print!("{sums}");
        fs::write(self.directory.join("SHA256SUMS"), sums)?;
        Ok(())
    }
}

fn install(from: &Path, to: &Path, mode: &str) -> Outcome {
    run_command(command("install", ["-D", "-m", mode]).arg(from).arg(to))
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let entries: Result<Vec<_>, _> = fs::read_dir(directory)?.collect();
    let mut files: Vec<PathBuf> = entries?.iter().map(fs::DirEntry::path).collect();
    files.sort();
    Ok(files)
}
