//! Disks that are read-only or full, system calls that fail, and other users.

#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::Home;
use crate::outcome::{Outcome, Running};
use crate::program::{baseten, find};

/// Whether the tests run as root. If not, prints which part is skipped.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
pub fn is_root(what: &str) -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
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

/// A mount. Dropping it unmounts it.
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

    /// Mounts a file system of 64 KiB there.
    pub fn tiny(directory: &Path) -> Self {
        Self::disk(directory, "size=64k")
    }

    /// Mounts a disk with these limits there.
    pub fn disk(directory: &Path, options: &str) -> Self {
        fs::create_dir_all(directory).unwrap();
        let options = format!("mode=0700,{options}");
        must("mount", &["-t", "tmpfs", "-o", &options, "tiny", directory.to_str().unwrap()]);
        Self(directory.to_owned())
    }

    /// Mounts a file over another one, as a container engine does for a single file.
    pub fn file(from: &Path, to: &Path) -> Self {
        fs::write(to, "").unwrap();
        must("mount", &["--bind", from.to_str().unwrap(), to.to_str().unwrap()]);
        Self(to.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs the program under `strace`, with this fault (if any) and this stdin. The file `trace` in
/// the home gets its system calls.
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

/// A user id without an account on this system.
pub const STRANGER: u32 = 60_123;

/// The program with these arguments as another user, who may read it in the home.
pub fn command_as(user: u32, home: &Home, arguments: &[&str]) -> Command {
    let program = home.path().join("baseten");
    if !program.exists() {
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        // Don't copy it in this process: a child that another test starts meanwhile would inherit
        // the open file, and a program that is open for writing can't be started.
        must("cp", &[baseten(), program.to_str().unwrap()]);
    }
    let mut command = home.command_of(find("setpriv", "util-linux"), &[]);
    command
        .args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()])
        .arg(program)
        .args(arguments)
        .current_dir("/");
    command
}

/// Runs it as that user, with this on stdin.
pub fn run_as(user: u32, home: &Home, arguments: &[&str], input: &str) -> Outcome {
    Running::with_input(&mut command_as(user, home, arguments), input).end()
}

/// Gives a file or a directory, and everything in it, to another user.
pub fn give(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// The mode of a file or a directory.
pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Sets that mode.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whether a text contains the message of EIO, from glibc or musl.
pub fn says_io_error(text: &str) -> bool {
    text.contains("Input/output error") || text.contains("I/O error")
}

/// Has the programs of a home find that the machine was asleep for 100 s when they connect to this
/// port: the wall clock went on, and the other one did not. False, and says so, if the program that is
/// tested has its C library in itself.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
pub fn falls_asleep_before(home: &mut Home, port: u16) -> bool {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <netinet/in.h>
        #include <stdlib.h>
        #include <sys/socket.h>
        #include <time.h>

        static int slept;

        int connect(int fd, const struct sockaddr *to, socklen_t size) {
            int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
            int is_ip = to->sa_family == AF_INET || to->sa_family == AF_INET6;
            /* The port is at the same place in both. */
            int port = is_ip ? ntohs(((const struct sockaddr_in *)to)->sin_port) : 0;
            if (port == atoi(getenv("SLEEP_BEFORE_PORT"))) slept = 1;
            return real(fd, to, size);
        }

        int clock_gettime(clockid_t clock, struct timespec *time) {
            int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
            int result = real(clock, time);
            if (slept && clock == CLOCK_REALTIME) time->tv_sec += 100;
            return result;
        }
    "#;
    let program = fs::read(baseten()).unwrap();
    if !program.windows(9).any(|part| part == b"libc.so.6") {
        eprintln!("NOT TESTED, since the program is static: a machine that was asleep");
        return false;
    }
    let (source, library) = (home.path().join("asleep.c"), home.path().join("asleep.so"));
    fs::write(&source, SOURCE).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    must("cc", &["-shared", "-fPIC", "-o", &path(&library), &path(&source), "-ldl"]);
    home.set("LD_PRELOAD", path(&library));
    home.set("SLEEP_BEFORE_PORT", port.to_string());
    true
}
