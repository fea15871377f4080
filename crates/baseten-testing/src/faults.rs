//! Disks that are read-only or full, and system calls that fail.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::Home;
use crate::outcome::{Outcome, Running};
use crate::program::{baseten, find};

/// Whether the tests run as root. Where not, says which part is left out.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
pub fn is_root(what: &str) -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("NOT TESTED, since it needs root: {what}");
    }
    root
}

/// Runs a program that has to succeed.
fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Something mounted on a directory, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Makes a directory read-only, for root too.
    pub fn read_only(directory: &Path) -> Self {
        let path = directory.to_str().unwrap();
        must("mount", &["--bind", path, path]);
        let mount = Self(directory.to_owned());
        must("mount", &["-o", "remount,bind,ro", path]);
        mount
    }

    /// Puts a disk of 64 KiB there.
    pub fn tiny(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let options = "size=64k,mode=0700";
        must("mount", &["-t", "tmpfs", "-o", options, "tiny", directory.to_str().unwrap()]);
        Self(directory.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs the program with this injected into its system calls, if anything, and this on stdin.
/// Leaves the `trace` in the home.
pub fn straced(home: &Home, inject: &str, arguments: &[&str], input: &str) -> Outcome {
    let trace = home.path().join("trace");
    let mut command = home.command_of(find("strace", "strace"), &[]);
    command
        .args(["-f", "-y", "-qq", "-s", "8", "-o", trace.to_str().unwrap()])
        .args((!inject.is_empty()).then(|| format!("--inject={inject}")))
        .arg(baseten())
        .args(arguments);
    Running::with_input(&mut command, input).end()
}

/// The program with these arguments as another user, who may read it in the home.
pub fn command_as(user: u32, home: &Home, arguments: &[&str]) -> Command {
    let program = home.path().join("baseten");
    if !program.exists() {
        std::fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::copy(baseten(), &program).unwrap();
    }
    let mut command = home.command_of(find("setpriv", "util-linux"), &[]);
    command
        .args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()])
        .arg(program)
        .args(arguments)
        .current_dir("/");
    command
}

/// Whether an error is EIO, in the words of either C library.
pub fn says_io_error(text: &str) -> bool {
    text.contains("Input/output error") || text.contains("I/O error")
}
