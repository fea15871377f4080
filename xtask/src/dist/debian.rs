//! The Debian package.

use std::path::Path;

use fs_err as fs;

use super::{COMPLETIONS, Shipment, VERSION, files, install, name_of};
use crate::man;
use crate::process::{Outcome, command, output, root, run as run_command};

impl Shipment {
    pub(super) fn debian_package(&self) -> Outcome {
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
        let file = format!("baseten_{VERSION}_{}.deb", self.target.debian());
        let mut build = command("dpkg-deb", ["--build", "--root-owner-group", "-Zxz"]);
        build.arg(&stage).arg(self.directory.join(&file)).env("SOURCE_DATE_EPOCH", &self.epoch);
        run_command(&mut build)
    }

    /// This version's part of the changelog, in Debian's format.
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
            .replace("@ARCHITECTURE@", self.target.debian())
            .replace("@SIZE@", &size.to_string());
        fs::create_dir_all(stage.join("DEBIAN"))?;
        fs::write(stage.join("DEBIAN/control"), control)?;
        let sums = "cd \"$1\" && find usr -type f -print0 | sort -z | xargs -0 md5sum";
        let sums = output(command("sh", ["-c", sums, "sh"]).arg(stage))?;
        fs::write(stage.join("DEBIAN/md5sums"), sums)?;
        run_command(command("chmod", ["-R", "u=rwX,go=rX"]).arg(stage))
    }
}
