//! What commands that only read must not do, checked by their system calls.

#![cfg(target_os = "linux")]

use std::path::Path;

use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::program::{baseten, find};

const STORE: &str = r#"{"version": 1, "current": "work", "profiles": {"work":
    {"remote_url": "https://app.baseten.co", "auth_type": "oauth"}}}"#;

/// Runs `baseten` with these arguments and returns its system calls.
fn trace(home: &Home, arguments: &[&str]) -> Vec<String> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let path = log.path().to_str().unwrap();
    // Paths are not shortened.
    let options = ["-f", "-y", "-s", "4096", "-o", path, baseten()];
    let strace = find("strace", "strace");
    let mut command = home.command_of(strace, &[&options, arguments].concat());
    Running::start(&mut command).end().succeeded();
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn calls<'a>(trace: &'a [String], names: &[&str]) -> Vec<&'a str> {
    // A line has the process, the call and its arguments.
    let is_one = |line: &&str| {
        let call = line.split_whitespace().nth(1).and_then(|call| call.split('(').next());
        call.is_some_and(|call| names.contains(&call))
    };
    trace.iter().map(String::as_str).filter(is_one).collect()
}

/// The calls that open something below a directory.
fn opened_below<'a>(trace: &'a [String], directory: &Path) -> Vec<&'a str> {
    let directory = format!("\"{}", directory.to_str().unwrap());
    let opened = calls(trace, &["open", "openat", "openat2", "creat"]);
    opened.into_iter().filter(|line| line.contains(&directory)).collect()
}

/// A home with variables that point to a keyring, a display and a proxy.
fn tempting_home() -> Home {
    let home = Home::with_store(STORE);
    let bus = format!("unix:path={}/bus", home.path().display());
    let directory = home.path().to_str().unwrap().to_owned();
    home.with("DBUS_SESSION_BUS_ADDRESS", bus)
        .with("XDG_RUNTIME_DIR", directory)
        .with("DISPLAY", ":0")
        .with("HTTPS_PROXY", "http://localhost:1")
}

#[test]
fn status_opens_no_socket_and_reads_one_file_below_the_home() {
    let home = tempting_home();
    for arguments in [&["auth", "status"][..], &["auth", "status", "-o", "json"]] {
        let trace = trace(&home, arguments);
        let none: [&str; 0] = [];
        assert_eq!(calls(&trace, &["socket", "connect", "socketpair", "bind"]), none);
        assert_eq!(calls(&trace, &["fork", "vfork"]), none);
        assert_eq!(calls(&trace, &["execve"]).len(), 1, "{trace:#?}");
        assert_eq!(calls(&trace, &["clone", "clone3"]), none);
        let opened = opened_below(&trace, home.path());
        assert_eq!(opened.len(), 1, "{opened:#?}");
        assert!(opened[0].contains("auth.json\", O_RDONLY"), "{opened:#?}");
        assert_eq!(calls(&trace, CHANGES), none);
        assert!(!trace.iter().any(|line| line.contains("/bus")), "{trace:#?}");
        assert!(!trace.iter().any(|line| line.contains("certs")), "{trace:#?}");
    }
}

/// The system calls that change a file or a directory.
const CHANGES: &[&str] = &[
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "ftruncate",
    "truncate",
    "flock",
    "fsync",
];

#[test]
fn a_list_changes_nothing_either() {
    let trace = trace(&tempting_home(), &["auth", "list"]);
    let none: [&str; 0] = [];
    assert_eq!(calls(&trace, &["socket", "connect"]), none);
    assert_eq!(calls(&trace, CHANGES), none);
}

#[test]
fn a_switch_opens_no_socket() {
    let home = tempting_home();
    let trace = trace(&home, &["auth", "switch", "--profile", "work"]);
    let none: [&str; 0] = [];
    assert_eq!(calls(&trace, &["socket", "connect"]), none);
    assert!(!calls(&trace, &["rename", "renameat", "renameat2"]).is_empty());
}

#[test]
fn the_version_reads_nothing_below_the_home() {
    let home = tempting_home();
    for arguments in [&["version"][..], &["--version"], &["--help"]] {
        let trace = trace(&home, arguments);
        let none: [&str; 0] = [];
        assert_eq!(opened_below(&trace, home.path()), none);
        assert_eq!(calls(&trace, &["socket", "connect"]), none);
    }
}
