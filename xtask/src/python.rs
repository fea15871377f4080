//! Tests of the Python module: its style, its types, and its tests, which can reach only this
//! machine.

use crate::build;
use crate::needs::{Need, in_venv};
use crate::process::{Outcome, cargo, command, root, run as run_command};

pub(crate) const NEEDS: &[Need] = &[
    Need::Pip("python/requirements.txt", 370),
    Need::Program("unshare", "util-linux"),
    Need::Program("ip", "iproute2"),
];

/// Runs its arguments in their own network, in which truss finds the API of a remote on this
/// machine. The hosts file is mounted, so its name is no longer needed.
const ALONE: &str = "\
set -e
ip link set lo up
hosts=$(mktemp)
echo 127.0.0.1 localhost api.localhost >\"$hosts\"
mount --bind \"$hosts\" /etc/hosts
rm \"$hosts\"
exec \"$@\"
";

/// Run in parallel, because most tests wait for a login.
const SPREAD: [&str; 4] = ["--quiet", "--numprocesses=4", "--dist=loadfile", "--durations=3"];

pub(crate) fn run(_: &[&str]) -> Outcome {
    let inside = |program| {
        let mut inside = command(in_venv("python", program), [""; 0]);
        inside.current_dir(root().join("python"));
        inside
    };
    run_command(inside("ruff").arg("check"))?;
    run_command(inside("ruff").args(["format", "--check"]))?;
    run_command(&mut inside("mypy"))?;
    let packages = ["--package", "baseten-cli", "--package", "baseten-sandbox"];
    let programs = build::build(cargo(["build", "--locked"]).args(packages))?;
    let mut alone = command("unshare", ["--map-root-user", "--net", "--mount", "sh", "-c", ALONE]);
    alone.arg("sh").arg(in_venv("python", "pytest")).args(SPREAD);
    alone.current_dir(root().join("python"));
    alone.env("BASETEN_TEST_BINARY", programs.path("baseten")?);
    alone.env("BASETEN_TEST_SANDBOX", programs.path("baseten-sandbox")?);
    run_command(&mut alone)
}
