//! Runs the two commands of the README on a machine with only git, a C compiler and Rust: a fresh
//! clone of the commit, an empty home, empty caches. From this machine it uses the kernel, the
//! network, the compiler, and the settings for reaching packages: mirrors, proxies, certificates.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::build::cargo_home;
use crate::process::{Outcome, command, output, root, run as run_command, spawn, wait};
use crate::system::{Source, System, sources};
use crate::test::in_ci;

/// The README's commands, and how many minutes each may take.
const COMMANDS: [(&str, u64); 2] = [("cargo xtask demo", 30), ("cargo xtask test", 60)];

/// What the README asks for, except for Rust.
const PACKAGES: [&str; 4] = ["git", "ca-certificates", "gcc", "libc6-dev"];

/// The empty home, and the clone in it.
const HOME: &str = "home/user";
const CLONE: &str = "home/user/baseten";

/// Where the toolchain is, in addition to Debian's `PATH`.
const RUST: &str = "/usr/local/rust";
const PATH: &str =
    "/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the root a separate file system, which the namespaces of the tests need. Mounts what a
/// running system has, and then the given pairs of paths here and there. Runs the remaining
/// arguments there, without access to this machine's own file system. A simple `chroot` is not
/// enough: in it, the kernel refuses user namespaces, which containers need. Everything ends with
/// the namespaces in which it was started.
const ENTER: &str = "\
set -e
root=$1
shift
mount --bind \"$root\" \"$root\"
mount -t proc proc \"$root/proc\"
mount -t tmpfs tmpfs \"$root/run\"
mount -t tmpfs tmpfs \"$root/dev/shm\"
mount -t devpts -o newinstance,ptmxmode=0666 devpts \"$root/dev/pts\"
while [ \"$1\" != -- ]; do
    mount --bind \"$1\" \"$root$2\"
    mount -o remount,bind,ro \"$root$2\"
    shift 2
done
shift
cd \"$root\"
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt && exec \"$@\"' sh \"$@\"
";

pub(crate) fn run(_: &[&str]) -> Outcome {
    let machine = Machine::make()?;
    let outcome = readme_commands(&machine);
    // The root is kept after a failure so that one can look at it. That takes gigabytes, which a
    // hosted machine may not have.
    if outcome.is_ok() || in_ci() {
        machine.system.remove()?;
    }
    outcome
}

fn readme_commands(machine: &Machine) -> Outcome {
    machine.run("update-ca-certificates >/dev/null && apt-get update -qq", 5)?;
    let readme = fs::read_to_string(machine.system.path(CLONE).join("README.md"))?;
    for (command, minutes) in COMMANDS {
        if !readme.contains(command) {
            return Err(format!("README.md does not tell of `{command}`").into());
        }
        let started = Instant::now();
        machine.run(&format!("cd /{CLONE} && {command}"), minutes)?;
        println!("  # {command}: passed in {:.0} s there", started.elapsed().as_secs_f32());
    }
    Ok(())
}

/// The clean system, and the paths of this machine that it can use.
struct Machine {
    system: System,
    /// A path here, and its path there.
    lent: Vec<(PathBuf, PathBuf)>,
    variables: Vec<(OsString, OsString)>,
}

impl Machine {
    fn make() -> Outcome<Self> {
        let system = System::make("clean", &PACKAGES)?;
        clone(&system)?;
        let sources: String = sources()?.iter().map(Source::line).collect();
        if !sources.is_empty() {
            fs::write(system.path("etc/apt/sources.list"), sources)?;
        }
        fs::write(system.path("etc/apt/apt.conf.d/90lent"), apt_settings()?)?;
        let variables = variables();
        let mut lent = configuration();
        let toolchain = output(&mut command("rustc", ["--print", "sysroot"]))?;
        lent.push((toolchain.trim().into(), RUST.into()));
        for (_, value) in &variables {
            let named = Path::new(value);
            if named.is_absolute() && !inside(&system, named).exists() {
                lent.push((named.into(), named.into()));
            }
        }
        lent.retain(|(here, _)| here.exists());
        for (here, there) in &lent {
            mount_point(here, &inside(&system, there))?;
        }
        Ok(Self { system, lent, variables })
    }

    /// Runs a script there, in its empty home, for this many minutes at most.
    fn run(&self, script: &str, minutes: u64) -> Outcome {
        println!("  # in the clean root: {script}");
        // What it starts ends with it, and it ends with us.
        let mut enter = command("setpriv", ["--pdeathsig", "KILL"]);
        enter.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER]);
        enter.arg("sh").arg(self.system.root());
        for (here, there) in &self.lent {
            enter.arg(here).arg(there);
        }
        enter.args(["--", "sh", "-c", script]).env_clear();
        enter.envs(self.variables.iter().map(|(name, value)| (name, value)));
        enter.env("PATH", PATH).env("HOME", Path::new("/").join(HOME));
        // Nothing is built twice there, so incremental builds would only take space.
        enter.env("CARGO_INCREMENTAL", "0");
        let ended = wait(&mut spawn(&mut enter)?, Duration::from_mins(minutes));
        let problem = match ended {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(problem) => problem.to_string(),
        };
        Err(format!("{script}: {problem} (in {})", self.system.root().display()).into())
    }
}

/// The path, seen from here, of a path in the system.
fn inside(system: &System, path: &Path) -> PathBuf {
    system.path(path.to_string_lossy().trim_start_matches('/'))
}

/// Creates a mount point: a file for a file, a directory for a directory.
fn mount_point(here: &Path, there: &Path) -> Outcome {
    if here.is_dir() {
        return Ok(fs::create_dir_all(there)?);
    }
    fs::create_dir_all(there.parent().unwrap_or(there))?;
    if !there.exists() {
        fs::write(there, "")?;
    }
    Ok(())
}

/// Clones the commit, as anybody would get it.
fn clone(system: &System) -> Outcome {
    let commit = output(&mut command("git", ["rev-parse", "HEAD"]))?;
    let clone = system.path(CLONE);
    fs::create_dir_all(system.path(HOME))?;
    run_command(command("git", ["clone", "--quiet"]).arg(root()).arg(&clone))?;
    let mut checkout = command("git", ["checkout", "--quiet", "--detach", commit.trim()]);
    run_command(checkout.current_dir(&clone))
}

/// This machine's apt settings for reaching its mirrors.
fn apt_settings() -> Outcome<String> {
    let settings = output(&mut command("apt-config", ["dump"]))?;
    let lent =
        |line: &&str| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets");
    Ok(settings.lines().filter(lent).flat_map(|line| [line, "\n"]).collect())
}

/// Whether a variable is a setting for reaching packages.
fn is_lent(name: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "pip_",
        "npm_config_",
        "cargo_http_",
        "cargo_net_",
        "cargo_registr",
        "cargo_source_",
        "ssl_cert_",
    ];
    const NAMES: [&str; 4] =
        ["curl_ca_bundle", "git_ssl_cainfo", "node_extra_ca_certs", "requests_ca_bundle"];
    let name = name.to_lowercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NAMES.contains(&&*name)
        || name.ends_with("_proxy")
}

/// The variables with settings for reaching packages. The home there stays empty, so programs that
/// look for their configuration in the home are told where it is.
fn variables() -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> =
        std::env::vars_os().filter(|(name, _)| is_lent(&name.to_string_lossy())).collect();
    let files = [("PIP_CONFIG_FILE", ".config/pip/pip.conf"), ("NPM_CONFIG_USERCONFIG", ".npmrc")];
    for (name, file) in files {
        let file = home().join(file);
        if file.exists() && !variables.iter().any(|(lent, _)| lent == name) {
            variables.push((name.into(), file.into()));
        }
    }
    variables
}

/// Files with settings for reaching packages, and their paths there.
fn configuration() -> Vec<(PathBuf, PathBuf)> {
    let same =
        ["/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/usr/local/share/ca-certificates"];
    let mut files: Vec<_> = same.iter().map(|path| (path.into(), path.into())).collect();
    files.push((cargo_home().join("config.toml"), "/.cargo/config.toml".into()));
    files
}

fn home() -> PathBuf {
    std::env::var_os("HOME").unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_to_packages_is_lent() {
        for name in
            ["PIP_INDEX_URL", "npm_config_cafile", "CARGO_REGISTRIES_OURS_INDEX", "https_proxy"]
        {
            assert!(is_lent(name), "{name}");
        }
        for name in ["CI", "HOME", "CARGO_HOME", "CARGO_TARGET_DIR", "BASETEN_API_KEY"] {
            assert!(!is_lent(name), "{name}");
        }
    }
}
