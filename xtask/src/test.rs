//! `cargo xtask test`: runs all tests, against real counterparts.
//! A Rust test whose counterpart is missing fails and names the package; this command installs them
//! first.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::build;
use crate::clean;
use crate::fuzz;
use crate::guard;
use crate::needs::{self, Need, in_venv};
use crate::package;
use crate::platforms;
use crate::process::{Outcome, cargo, command, run as run_command};
use crate::python;
use crate::release;
use crate::system;
use crate::wheel;

/// Install what the tests need, then run them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the slow groups as well: hours
    #[arg(long)]
    all: bool,

    /// Leave out the slow groups that would not end within so many minutes
    #[arg(long, value_name = "NUMBER")]
    minutes: Option<u64>,

    /// Names of groups, or parts of the names of Rust tests
    filters: Vec<String>,
}

/// Tests that are started together, and what they need.
struct Group {
    name: &'static str,
    /// For a slow group: about how many minutes it takes on two cores if nothing is built yet. It
    /// runs only with `--all` or when named.
    slow: Option<u64>,
    needs: &'static [Need],
    /// An error says why this machine can't run it.
    possible: fn() -> Outcome,
    /// Gets the filters that are not names of groups.
    run: fn(&[&str]) -> Outcome,
}

impl Group {
    const fn new(name: &'static str, needs: &'static [Need], run: fn(&[&str]) -> Outcome) -> Self {
        Self { name, slow: None, needs, possible: || Ok(()), run }
    }

    const fn slow(self, minutes: u64) -> Self {
        Self { slow: Some(minutes), ..self }
    }

    const fn where_possible(self, possible: fn() -> Outcome) -> Self {
        Self { possible, ..self }
    }
}

/// The most important first: if time is short, the last ones are left out. A longer one has its
/// function in its own file.
const GROUPS: &[Group] = &[
    Group::new("counterparts", COUNTERPARTS, counterparts),
    Group::new("rust", COUNTERPARTS, rust),
    Group::new("doctests", &[], doctests),
    Group::new("clean", &[system::DEBOOTSTRAP], clean::run)
        .slow(15)
        .where_possible(system::possible),
    Group::new("guard", guard::NEEDS, guard::check).slow(5),
    Group::new("package", package::NEEDS, package::package)
        .slow(7)
        .where_possible(system::possible),
    Group::new("python", python::NEEDS, python::run).slow(5),
    Group::new("shared", SHARED, shared).slow(2).where_possible(can_share),
    Group::new("static", COUNTERPARTS, package::static_build).slow(8),
    Group::new("macos", &[], platforms::macos).slow(2),
    Group::new("windows", platforms::WINDOWS_NEEDS, platforms::windows).slow(7),
    Group::new("fuzz", FUZZ, fuzz::short).slow(3),
    Group::new("wheel", wheel::PROOF_NEEDS, wheel::prove).slow(5).where_possible(system::possible),
    Group::new("crates", &[], release::crates).slow(4),
    Group::new("reproducible", &[], release::reproducible).slow(8),
    Group::new("arm", COUNTERPARTS, platforms::arm).slow(10),
    // These run only without a time limit: a gate does not have the time or the space.
    Group::new("fleet", COUNTERPARTS, fleet).slow(20),
    Group::new("agents", AGENTS, agents).slow(50),
    Group::new("fuzz-long", FUZZ, fuzz::long).slow(180),
];

/// A network file system.
const SHARED: &[Need] = &[
    Need::Program("glusterd", "glusterfs-server"),
    Need::Program("unshare", "util-linux"),
    Need::Program("ip", "iproute2"),
];

/// The coding agents, which are native programs of hundreds of megabytes.
const AGENTS: &[Need] = &[
    Need::Pip("counterparts/python/requirements.txt", 142),
    Need::Npm("counterparts/agents", 810),
    Need::Program("unshare", "util-linux"),
    Need::Program("ip", "iproute2"),
];

/// The fuzzer is compiled from C++.
const FUZZ: &[Need] = &[Need::Program("c++", "g++")];

/// What the Rust tests start as counterparts.
const COUNTERPARTS: &[Need] = &[
    // Browsers, authorization servers, Python readers.
    Need::Program("chromium", "chromium"),
    Need::Pip("counterparts/python/requirements.txt", 142),
    Need::Npm("counterparts/oidc", 3),
    Need::Npm("counterparts/browser", 7),
    // Keyrings, and the prompts that they show.
    Need::Program("dbus-run-session", "dbus-daemon"),
    Need::Program("dbus-daemon", "dbus-daemon"),
    Need::Program("dbus-send", "dbus-bin"),
    Need::Program("gnome-keyring-daemon", "gnome-keyring"),
    Need::Program("/usr/libexec/gcr-prompter", "gcr"),
    Need::Program("secret-tool", "libsecret-tools"),
    Need::Program("keepassxc", "keepassxc"),
    Need::Program("/usr/lib/python3/dist-packages/dbusmock", "python3-dbusmock"),
    Need::Program("Xvfb", "xvfb"),
    Need::Program("xdotool", "xdotool"),
    // Credential helpers.
    Need::Program("pass", "pass"),
    Need::Program("gpg", "gnupg"),
    Need::Program("pinentry-curses", "pinentry-curses"),
    Need::Program("docker-credential-pass", "golang-docker-credential-helpers"),
    // Terminals and shells.
    Need::Program("tmux", "tmux"),
    Need::Program("bash", "bash"),
    Need::Program("/usr/share/bash-completion/bash_completion", "bash-completion"),
    Need::Program("zsh", "zsh"),
    Need::Program("fish", "fish"),
    Need::Program("zbarimg", "zbar-tools"),
    Need::Program("mandoc", "mandoc"),
    // Containers, other hosts, services.
    Need::Program("bwrap", "bubblewrap"),
    Need::Program("ssh", "openssh-client"),
    Need::Program("/usr/sbin/sshd", "openssh-server"),
    Need::Program("systemd-socket-activate", "systemd"),
    // Certificates, proxies, faults.
    Need::Program("openssl", "openssl"),
    Need::Program("tinyproxy", "tinyproxy-bin"),
    Need::Program("ip", "iproute2"),
    Need::Program("unshare", "util-linux"),
    Need::Program("strace", "strace"),
    Need::Program("ps", "procps"),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let (named, words): (Vec<&str>, Vec<&str>) = args
        .filters
        .iter()
        .map(String::as_str)
        .partition(|filter| GROUPS.iter().any(|group| group.name == *filter));
    let deadline = args.minutes.map(|minutes| Instant::now() + Duration::from_mins(minutes));
    let chosen = GROUPS.iter().filter(|group| is_chosen(group, args.all, &named, &words));
    let endings: Vec<(&str, Ending)> =
        chosen.map(|group| (group.name, ending(group, &words, deadline))).collect();
    let with = |wanted| -> Vec<&str> {
        endings.iter().filter(|(_, ending)| *ending == wanted).map(|(name, _)| *name).collect()
    };
    let (passed, failed) = (with(Ending::Passed), with(Ending::Failed));
    let (skipped, left_out) = (with(Ending::Skipped), with(Ending::LeftOut));
    if !left_out.is_empty() {
        println!("left out for lack of time: {}", left_out.join(", "));
    }
    let counts = [passed.len(), failed.len(), skipped.len()];
    println!("groups: {} passed, {} failed, {} skipped", counts[0], counts[1], counts[2]);
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Passed,
    Failed,
    /// This machine can't run it.
    Skipped,
    LeftOut,
}

/// Words that are not names of groups filter the Rust tests.
fn is_chosen(group: &Group, all: bool, named: &[&str], words: &[&str]) -> bool {
    if named.is_empty() && words.is_empty() {
        return all || group.slow.is_none();
    }
    named.contains(&group.name) || (group.name == "rust" && !words.is_empty())
}

fn ending(group: &Group, words: &[&str], deadline: Option<Instant>) -> Ending {
    println!("== {}", group.name);
    let started = Instant::now();
    let slow = Duration::from_mins(group.slow.unwrap_or_default());
    if group.slow.is_some() && deadline.is_some_and(|deadline| started + slow > deadline) {
        println!("== {}: left out, since it takes about {} min", group.name, slow.as_secs() / 60);
        return Ending::LeftOut;
    }
    let possible = (group.possible)();
    // In CI, a group that can't run must not go unnoticed.
    if let Err(problem) = &possible
        && !in_ci()
    {
        println!("== {}: skipped: {problem}", group.name);
        return Ending::Skipped;
    }
    let outcome = possible.and_then(|()| needs::meet(group.needs));
    let outcome = outcome.and_then(|()| (group.run)(words));
    let seconds = started.elapsed().as_secs_f32();
    match outcome {
        Ok(()) => {
            println!("== {}: passed in {seconds:.1} s", group.name);
            Ending::Passed
        }
        Err(problem) => {
            println!("== {}: FAILED in {seconds:.1} s: {problem}", group.name);
            Ending::Failed
        }
    }
}

/// Whether this runs in CI: nobody looks at what is left, and nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The counterparts on their own: a failure there is not the program's.
fn counterparts(_: &[&str]) -> Outcome {
    run_command(&mut command(
        in_venv(needs::COUNTERPARTS, "node"),
        ["counterparts/oidc/prove.mjs"],
    ))?;
    run_command(&mut command("counterparts/keyrings/prove.sh", [""; 0]))
}

/// Many hosts and a cluster whose nodes are killed. Prints the figures for the page about
/// performance.
fn fleet(_: &[&str]) -> Outcome {
    let test = ["test", "--package", "baseten-cli", "--test", "it", "--locked", "--"];
    let ignored = ["fleet_tests::", "--ignored", "--test-threads=1", "--nocapture"];
    run_command(cargo(test).args(ignored))
}

/// Coding agents that ask for a token, and can reach only this machine.
fn agents(_: &[&str]) -> Outcome {
    const PROVE: &str = "ip link set lo up && exec \"$@\"";
    let mut prove = command("unshare", ["--map-root-user", "--net", "sh", "-c", PROVE, "sh"]);
    prove.arg(in_venv(needs::COUNTERPARTS, "python")).arg("counterparts/agents/prove.py");
    run_command(prove.args(programs()?))
}

/// One login on a network file system that two hosts have mounted.
fn shared(_: &[&str]) -> Outcome {
    let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut prove = command("unshare", namespaces);
    prove.args(["python3", "counterparts/shared/prove.py"]);
    run_command(prove.args(programs()?))
}

/// Whether FUSE file systems can be mounted; an error says why not.
fn can_share() -> Outcome {
    system::possible()?;
    let fuse = std::path::Path::new("/dev/fuse");
    if fuse.exists() { Ok(()) } else { Err("there is no /dev/fuse".into()) }
}

/// The paths of the program and its sandbox.
fn programs() -> Outcome<[PathBuf; 2]> {
    let packages = ["--package", "baseten-cli", "--package", "baseten-sandbox"];
    let programs = build::build(cargo(["build", "--locked"]).args(packages))?;
    Ok([programs.path("baseten")?, programs.path("baseten-sandbox")?])
}

fn rust(words: &[&str]) -> Outcome {
    // Examples too: a test runs one, and `cargo test --examples` would only build them as tests.
    run_command(&mut cargo(["build", "--workspace", "--locked", "--bins", "--examples"]))?;
    // The library without its optional features.
    let bare = ["check", "--package", "baseten-auth", "--no-default-features", "--locked"];
    run_command(&mut cargo(bare))?;
    // Not the doc tests, which are their own group.
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    let mut test = cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
    run_command(test.args(targets).arg("--").args(words))
}

/// The examples in comments, and the links in the library's documentation.
fn doctests(_: &[&str]) -> Outcome {
    run_command(&mut cargo(["test", "--workspace", "--locked", "--doc"]))?;
    let mut page = cargo(["doc", "--locked", "--no-deps", "--package", "baseten-auth"]);
    run_command(page.env("RUSTDOCFLAGS", "-D warnings"))
}
