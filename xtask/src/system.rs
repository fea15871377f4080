//! A Debian 12 in a directory: its essential packages, and a few others.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::build::target_directory;
use crate::needs::{Need, can_install};
use crate::process::{Outcome, command, output, run};

pub(crate) const DEBOOTSTRAP: Need = Need::Program("/usr/sbin/debootstrap", "debootstrap");

const RELEASE: &str = "bookworm";

/// Whether this machine can create one; an error says why not.
pub(crate) fn possible() -> Outcome {
    if !can_install() {
        return Err("a Debian in a directory needs root on Debian".into());
    }
    output(&mut command("unshare", ["--mount", "--pid", "--fork", "true"])).map(|_| ())
}

/// A system in the target directory. It is kept if a test fails, so that one can look at it.
pub(crate) struct System {
    root: PathBuf,
}

impl System {
    /// Creates it again, with these packages in addition to the essential ones.
    pub(crate) fn make(name: &str, packages: &[&str]) -> Outcome<Self> {
        let directory = target_directory()?.join("systems");
        let system = Self { root: directory.join(name) };
        system.clear()?;
        let template = directory.join(format!("{name}.tar"));
        if !template.exists() {
            bootstrap(&system.root, packages, &template)?;
            system.clear()?;
        }
        fs::create_dir_all(&system.root)?;
        let mut unpack = command("tar", ["--extract", "--file"]);
        run(unpack.arg(&template).arg("--directory").arg(&system.root))?;
        Ok(system)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file in the system, given without a leading slash.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    pub(crate) fn remove(self) -> Outcome {
        self.clear()
    }

    fn clear(&self) -> Outcome {
        if self.root.exists() { Ok(fs::remove_dir_all(&self.root)?) } else { Ok(()) }
    }
}

fn bootstrap(directory: &Path, packages: &[&str], template: &Path) -> Outcome {
    let mut bootstrap = command("/usr/sbin/debootstrap", ["--variant=minbase"]);
    if !packages.is_empty() {
        bootstrap.arg(format!("--include={}", packages.join(",")));
    }
    fs::create_dir_all(directory)?;
    run(bootstrap.arg(RELEASE).arg(directory).args(sources()?.first().map(|source| &source.uri)))?;
    // An incomplete archive must not be taken for a complete one.
    let part = template.with_extension("part");
    let mut pack = command("tar", ["--create", "--file"]);
    run(pack.arg(&part).arg("--directory").arg(directory).arg("."))?;
    Ok(fs::rename(part, template)?)
}

/// A source of the release's packages, as this machine uses it.
pub(crate) struct Source {
    uri: String,
    suite: String,
}

impl Source {
    /// The line of a `sources.list`.
    pub(crate) fn line(&self) -> String {
        format!("deb {} {} main\n", self.uri, self.suite)
    }
}

/// This machine's sources of Debian packages, the release itself first; empty if this is another
/// system, for which debootstrap knows a source.
pub(crate) fn sources() -> Outcome<Vec<Source>> {
    let list = ["indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"];
    let only = ["Created-By: Packages", "Origin: Debian"];
    let targets = output(command("apt-get", list).args(only))?;
    let mut sources: Vec<Source> = targets
        .lines()
        .filter_map(|line| line.strip_suffix(" main")?.split_once(' '))
        .filter(|(_, suite)| suite.starts_with(RELEASE))
        .map(|(uri, suite)| Source { uri: uri.into(), suite: suite.into() })
        .collect();
    sources.sort_by(|a, b| a.suite.cmp(&b.suite));
    Ok(sources)
}
