//! `cargo xtask test`: every test there is, against real counterparts.
//!
//! A Rust test whose counterpart is missing fails and names the package; here they are installed
//! first.

use std::time::Instant;

use crate::Outcome;
use crate::guard;
use crate::needs::{self, Need, in_venv};
use crate::package;
use crate::platforms;
use crate::process::{cargo, command, run as run_command};

/// Install what the tests need, then run them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the slow groups as well
    #[arg(long)]
    all: bool,

    /// Names of groups, or parts of the names of Rust tests
    filters: Vec<String>,
}

/// Tests that are started together, and what they need.
struct Group {
    name: &'static str,
    /// Runs only with `--all` or when named.
    slow: bool,
    needs: &'static [Need],
    /// Gets the filters that name no group.
    run: fn(&[&str]) -> Outcome,
}

/// Add a group here; a longer one has its function in a file of its own.
const GROUPS: &[Group] = &[
    Group { name: "counterparts", slow: false, needs: COUNTERPARTS, run: counterparts },
    Group { name: "rust", slow: false, needs: COUNTERPARTS, run: rust },
    Group { name: "doctests", slow: false, needs: &[], run: doctests },
    Group { name: "guard", slow: true, needs: guard::NEEDS, run: guard::check },
    Group { name: "macos", slow: true, needs: &[], run: platforms::macos },
    Group { name: "windows", slow: true, needs: platforms::WINDOWS_NEEDS, run: platforms::windows },
    Group { name: "static", slow: true, needs: COUNTERPARTS, run: package::static_build },
    Group { name: "package", slow: true, needs: package::NEEDS, run: package::package },
    Group { name: "fuzz", slow: true, needs: FUZZ, run: crate::fuzz::run },
];

/// The fuzzer is compiled from C++.
const FUZZ: &[Need] = &[Need::Program("c++", "g++")];

/// What the Rust tests start as counterparts.
const COUNTERPARTS: &[Need] = &[
    // Browsers, authorization servers, Python readers.
    Need::Program("chromium", "chromium"),
    Need::Pip("counterparts/python/requirements.txt", 67),
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
    Need::Program("docker-credential-pass", "golang-docker-credential-helpers"),
    // Terminals and shells.
    Need::Program("tmux", "tmux"),
    Need::Program("bash", "bash"),
    Need::Program("zsh", "zsh"),
    Need::Program("fish", "fish"),
    Need::Program("zbarimg", "zbar-tools"),
    Need::Program("mandoc", "mandoc"),
    // Certificates, proxies, faults.
    Need::Program("openssl", "openssl"),
    Need::Program("tinyproxy", "tinyproxy-bin"),
    Need::Program("strace", "strace"),
    Need::Program("ps", "procps"),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let (named, words): (Vec<&str>, Vec<&str>) = args
        .filters
        .iter()
        .map(String::as_str)
        .partition(|filter| GROUPS.iter().any(|group| group.name == *filter));
    let chosen: Vec<&Group> =
        GROUPS.iter().filter(|group| is_chosen(group, args.all, &named, &words)).collect();
    let needed: Vec<Need> = chosen.iter().flat_map(|group| group.needs).copied().collect();
    needs::meet(&needed)?;
    let failed: Vec<&str> =
        chosen.iter().filter(|group| !passes(group, &words)).map(|group| group.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// Words that name no group are for Rust tests.
fn is_chosen(group: &Group, all: bool, named: &[&str], words: &[&str]) -> bool {
    if named.is_empty() && words.is_empty() {
        return all || !group.slow;
    }
    named.contains(&group.name) || (group.name == "rust" && !words.is_empty())
}

fn passes(group: &Group, words: &[&str]) -> bool {
    println!("== {}", group.name);
    let started = Instant::now();
    let outcome = (group.run)(words);
    let seconds = started.elapsed().as_secs_f32();
    match &outcome {
        Ok(()) => println!("== {}: passed in {seconds:.1} s", group.name),
        Err(problem) => println!("== {}: FAILED in {seconds:.1} s: {problem}", group.name),
    }
    outcome.is_ok()
}

/// The counterparts on their own, so that a failure there is not taken for the program's.
fn counterparts(_: &[&str]) -> Outcome {
    run_command(&mut command(in_venv("node"), ["counterparts/oidc/prove.mjs"]))?;
    run_command(&mut command("counterparts/keyrings/prove.sh", [""; 0]))
}

fn rust(words: &[&str]) -> Outcome {
    // Examples too: a test runs one, and `cargo test --examples` builds them as tests only.
    run_command(&mut cargo(["build", "--workspace", "--locked", "--bins", "--examples"]))?;
    // Not the doc tests, which are a group of their own.
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    let mut test = cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
    run_command(test.args(targets).arg("--").args(words))
}

fn doctests(_: &[&str]) -> Outcome {
    run_command(&mut cargo(["test", "--workspace", "--locked", "--doc"]))
}
