//! The RPM package, made from the archive.

use super::{Shipment, VERSION};
use crate::process::{Outcome, command, root, run};

impl Shipment {
    pub(super) fn rpm_package(&self) -> Outcome {
        let top = self.work("rpm");
        let processor = self.target.processor();
        let mut build = command("rpmbuild", ["-bb", "--quiet", "--target", processor]);
        for (name, value) in [
            ("release_version", VERSION),
            ("_topdir", &top.to_string_lossy()),
            ("_sourcedir", &self.directory.to_string_lossy()),
            ("_rpmdir", &self.directory.to_string_lossy()),
            ("_rpmfilename", "%{name}-%{version}-%{release}.%{arch}.rpm"),
        ] {
            build.args(["--define", &format!("{name} {value}")]);
        }
        build.arg(root().join("packaging/rpm/baseten.spec"));
        run(build.env("SOURCE_DATE_EPOCH", &self.epoch))
    }
}
