//! `cargo xtask dist`: builds what is shipped for Linux, into `dist/`: a static program as a tar
//! archive and as packages for Debian, RPM and Python, with a list of its dependencies and
//! checksums; and what other package managers make packages from. The same commit gives the same
//! bytes.

mod debian;
mod program;
mod rpm;
mod sbom;
mod target;

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::man;
use crate::needs::{self, Need};
use crate::process::{Outcome, command, output, root, run as run_command};
use crate::wheel::{self, Wheel};

pub(crate) use program::{build, cargo_for};
pub(crate) use target::Target;

/// Build the static program, its archive and its packages
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Instead of this machine's processor; may be repeated
    #[arg(long = "processor", value_name = "NAME")]
    targets: Vec<Target>,
}

const NEEDS: &[Need] = &[
    Need::Program("dpkg-deb", "dpkg"),
    Need::Program("rpmbuild", "rpm"),
    Need::Program("gzip", "gzip"),
    Need::Program("tar", "tar"),
    Need::Program("git", "git"),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let targets = if args.targets.is_empty() { vec![Target::HERE] } else { args.targets.clone() };
    make(&targets)
}

/// Creates `dist/` again.
pub(crate) fn make(targets: &[Target]) -> Outcome {
    needs::meet(&[NEEDS, wheel::NEEDS].concat())?;
    let (directory, epoch) = (root().join("dist"), epoch()?);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&directory)?,
    }
    for target in targets {
        Shipment {
            directory: directory.clone(),
            target: *target,
            program: build(*target)?,
            epoch: epoch.clone(),
        }
        .make()?;
    }
    wheel::source(&directory, &epoch)?;
    let repository = std::env::var("GITHUB_REPOSITORY").unwrap_or("OWNER/REPOSITORY".into());
    let mut finish = command("packaging/finish", [VERSION, &repository]);
    run_command(finish.arg(&directory))?;
    print!("{}", fs::read_to_string(directory.join("SHA256SUMS"))?);
    Ok(())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time of the commit, which becomes the time of everything that is shipped.
fn epoch() -> Outcome<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    Ok(output(&mut command("git", ["log", "-1", "--format=%ct"]))?.trim_end().to_owned())
}

/// What is shipped, and where it is assembled.
struct Shipment {
    directory: PathBuf,
    target: Target,
    program: PathBuf,
    /// Seconds since 1970.
    epoch: String,
}

/// A shell's name, and where a package has its completion script.
const COMPLETIONS: [(&str, &str, &str); 3] = [
    ("bash", "baseten", "usr/share/bash-completion/completions"),
    ("zsh", "_baseten", "usr/share/zsh/vendor-completions"),
    ("fish", "baseten.fish", "usr/share/fish/vendor_completions.d"),
];

impl Shipment {
    fn make(&self) -> Outcome {
        self.documents()?;
        self.archive()?;
        self.debian_package()?;
        self.rpm_package()?;
        let sbom =
            self.directory.join(format!("baseten-{VERSION}-{}.cdx.json", self.target.triple()));
        fs::write(&sbom, sbom::document(self.target)?)?;
        let target = self.target.triple();
        let Self { directory, program, epoch, .. } = self;
        Wheel { program, target, sbom: &sbom, epoch, directory }.make()?;
        Ok(fs::remove_dir_all(self.work(""))?)
    }

    fn work(&self, name: &str) -> PathBuf {
        self.directory.join("work").join(name)
    }

    /// Man pages and completion scripts, from the program itself.
    fn documents(&self) -> Outcome {
        man::write(&self.work("man"))?;
        let scripts = self.work("completions");
        fs::create_dir_all(&scripts)?;
        for (shell, file, _) in COMPLETIONS {
            let script = output(self.target.start(&self.program).args(["completion", shell]))?;
            fs::write(scripts.join(file), script)?;
        }
        Ok(())
    }

    fn archive(&self) -> Outcome {
        let name = format!("baseten-{VERSION}-{}", self.target.triple());
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
        for unit in files(&root().join("packaging/systemd"))? {
            install(&unit, &stage.join("systemd").join(name_of(&unit)), "644")?;
        }
        let time = format!("--mtime=@{}", self.epoch);
        let mut tar = command("tar", ["--create", "--gzip", "--sort=name", "--format=gnu"]);
        tar.args(["--owner=0", "--group=0", "--numeric-owner", &time]).env("GZIP", "-n");
        tar.arg("--file").arg(self.directory.join(format!("{name}.tar.gz")));
        run_command(tar.arg("--directory").arg(self.work("")).arg(&name))
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
