//! The Python package: a wheel around a static program, and the source for systems without one.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::build::target_directory;
use crate::dist::{self, Target};
use crate::needs::{Need, in_venv};
use crate::process::{Outcome, command, output, root, run as run_command};
use crate::system::{DEBOOTSTRAP, System};

/// The tools that build it.
const TOOLS: Need = Need::Pip("packaging/python/requirements.txt", 91);

pub(crate) const NEEDS: &[Need] = &[TOOLS];
pub(crate) const PROOF_NEEDS: &[Need] = &[TOOLS, DEBOOTSTRAP];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a wheel is made from, and its directory.
pub(crate) struct Wheel<'a> {
    pub(crate) program: &'a Path,
    /// Rust's name for the program's target.
    pub(crate) target: &'a str,
    /// The list of the program's dependencies.
    pub(crate) sbom: &'a Path,
    /// Seconds since 1970: the time of all files in it.
    pub(crate) epoch: &'a str,
    pub(crate) directory: &'a Path,
}

impl Wheel<'_> {
    /// Makes the wheel from the program that is shipped in the other packages too: maturin only
    /// writes the metadata, and does not build a program.
    pub(crate) fn make(&self) -> Outcome {
        let stage = tempfile::tempdir()?;
        let part = |name: &str| stage.path().join(format!("baseten_auth-{VERSION}.{name}"));
        let metadata = part("dist-info");
        self.metadata(stage.path(), &metadata)?;
        install(self.program, &part("data").join("scripts/baseten"), "755")?;
        install(self.sbom, &metadata.join("sboms/baseten.cdx.json"), "644")?;
        for entry in fs::read_dir(root().join("python/src/baseten_auth"))? {
            let file = entry?.path();
            if file.is_file() {
                let inside = stage.path().join("baseten_auth");
                install(&file, &inside.join(file.file_name().unwrap_or_default()), "644")?;
            }
        }
        let mut pack = command(in_venv("packaging/python", "python"), ["-m", "wheel", "pack"]);
        pack.arg(stage.path()).arg("--dest-dir").arg(self.directory);
        run_command(pack.env("SOURCE_DATE_EPOCH", self.epoch))
    }

    fn metadata(&self, stage: &Path, metadata: &Path) -> Outcome {
        let mut write = maturin(&["pep517", "write-dist-info", "--metadata-directory"]);
        write.arg(stage).arg("--interpreter").arg(in_venv("packaging/python", "python"));
        output(&mut write)?;
        let file = metadata.join("WHEEL");
        let wheel = fs::read_to_string(&file)?;
        // It uses no library of the system, so any version of glibc and of musl works.
        let (processor, _) = self.target.split_once('-').unwrap_or((self.target, ""));
        let platforms = ["manylinux_2_17", "musllinux_1_1"];
        let tags = platforms.map(|platform| format!("Tag: py3-none-{platform}_{processor}\n"));
        let rest = wheel.lines().filter(|line| !line.is_empty() && !line.starts_with("Tag: "));
        let rest: String = rest.flat_map(|line| [line, "\n"]).collect();
        Ok(fs::write(file, rest + &tags.concat())?)
    }
}

/// Makes the source distribution, which builds on machines with Rust.
pub(crate) fn source(directory: &Path, epoch: &str) -> Outcome {
    let mut sdist = maturin(&["sdist", "--out"]);
    output(sdist.arg(directory).env("SOURCE_DATE_EPOCH", epoch)).map(|_| ())
}

/// maturin, for the Python package.
fn maturin(arguments: &[&str]) -> std::process::Command {
    let mut maturin = command(in_venv("packaging/python", "maturin"), arguments);
    maturin.current_dir(root().join("python"));
    maturin
}

fn install(from: &Path, to: &Path, mode: &str) -> Outcome {
    output(command("install", ["-D", "-m", mode]).arg(from).arg(to)).map(|_| ())
}

/// Installs and uses the wheel in each way that the module's page names, and on a clean Debian with
/// Python, as a user would.
pub(crate) fn prove(_: &[&str]) -> Outcome {
    dist::make(&[Target::HERE])?;
    let (wheel, source) = (shipped(".whl")?, shipped(".tar.gz")?);
    let mut prove = command("packaging/python/prove.sh", [&wheel, &source]);
    // Building from source reuses what our own build has compiled.
    prove.arg(VERSION).arg(root().join("packaging/python/venv"));
    run_command(prove.env("CARGO_TARGET_DIR", target_directory()?))?;
    let system = System::make("wheel", &["python3-venv"])?;
    let name = wheel.file_name().unwrap_or_default();
    fs::copy(&wheel, system.root().join(name))?;
    let script = format!(
        "set -e; cd /root; python3 -m venv v; v/bin/pip install --quiet --no-index /{}; \
         v/bin/baseten --version; \
         BASETEN_API_KEY=a-key v/bin/python -c 'import baseten_auth as b; print(b.get_token())'",
        name.to_string_lossy()
    );
    let mut shell = command("chroot", [system.root()]);
    shell.args(["/bin/sh", "-c", &script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let said = output(shell.env("HOME", "/root"))?;
    let is_it = said.starts_with(&format!("baseten version {VERSION}"));
    if !is_it || !said.ends_with("\na-key\n") {
        return Err(format!("on Debian with Python: {said}").into());
    }
    system.remove()
}

/// The shipped file of the Python package that ends in this.
fn shipped(end: &str) -> Outcome<PathBuf> {
    let mut entries = fs::read_dir(root().join("dist"))?.flatten().map(|entry| entry.path());
    let found = entries.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("baseten_auth-") && name.ends_with(end)
    });
    found.ok_or_else(|| format!("no baseten_auth-…{end} in dist/").into())
}
