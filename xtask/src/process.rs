//! Starts other programs in the workspace's root.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The result of a chore: if it fails, an error with its own sentence.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Variables that `cargo run` sets for this program, and that another cargo would apply to itself:
/// build scripts that watch them would run again, and half of the workspace would be compiled
/// twice.
const OF_THE_CARGO_THAT_STARTED_US: &[&str] =
    &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The workspace's root, as cargo names it at run time: if several work trees share a target
/// directory, this binary may have been built in another one.
pub(crate) fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// A program, run in the workspace's root and without standard input.
pub(crate) fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Cargo, as if called from a shell.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = command("cargo", arguments);
    cargo.env_remove("LD_LIBRARY_PATH");
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if OF_THE_CARGO_THAT_STARTED_US.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Prints a command, runs it with our output, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Outcome {
    show(command);
    let status = spawn(command)?.wait()?;
    succeeded(command, status)
}

/// Starts a command.
#[expect(clippy::disallowed_methods, reason = "this is what names the program in its error")]
pub(crate) fn spawn(command: &mut Command) -> Outcome<Child> {
    command.spawn().map_err(|error| format!("{}: {error}", shown(command)).into())
}

/// Waits for a child, and kills it after this time.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Outcome<ExitStatus> {
    if let Some(status) = poll(limit, || child.try_wait().transpose()) {
        return Ok(status?);
    }
    child.kill()?;
    child.wait()?;
    Err(format!("did not end within {} s", limit.as_secs()).into())
}

/// Checks for a result again and again; `None` if there is none within this time.
pub(crate) fn poll<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let result = check();
        if result.is_some() || started.elapsed() >= limit {
            return result;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command and returns what it printed; the error contains its stderr.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output =
        spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}: {}", shown(command), output.status, stderr.trim_end()).into())
}

/// Prints a command, as `run` does.
pub(crate) fn show(command: &Command) {
    println!("  $ {}", shown(command));
}

/// An error that names the command, unless it succeeded.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Outcome {
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command)).into()) }
}

/// Whether a program exists: a name in `PATH`, or a full path.
pub(crate) fn has_program(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
