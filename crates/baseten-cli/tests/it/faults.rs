//! Disks, processes and servers that misbehave.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use baseten_sandbox::Sandbox;

use crate::keyring_session::{KeyringSession, find};
use crate::server::{Act, Server, read_request};
use crate::support::{BASETEN, Home, Outcome, Running};

/// Whether the tests run as root. Where not, says which part is left out.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
pub(crate) fn is_root(what: &str) -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("NOT TESTED, since it needs root: {what}");
    }
    root
}

/// Runs a program that has to succeed.
pub(crate) fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Something mounted on a directory, until it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Makes a directory read-only, for root too.
    pub(crate) fn read_only(directory: &Path) -> Self {
        let path = directory.to_str().unwrap();
        must("mount", &["--bind", path, path]);
        let mount = Self(directory.to_owned());
        must("mount", &["-o", "remount,bind,ro", path]);
        mount
    }

    /// Puts a disk of 64 KiB there.
    pub(crate) fn tiny(directory: &Path) -> Self {
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

/// Sends a signal to a process of ours.
pub(crate) fn signal(name: &str, process: u32) {
    must("kill", &[&format!("-{name}"), &process.to_string()]);
}

/// A home in this keyring's session, whose remote is this sandbox.
pub(crate) fn home_in(session: &KeyringSession, sandbox: &Sandbox) -> Home {
    with_keyring(Home::at(sandbox), session).with("BASETEN_KEYRING_TIMEOUT", "30")
}

/// The same home, in this keyring's session.
pub(crate) fn with_keyring(mut home: Home, session: &KeyringSession) -> Home {
    for (variable, value) in session.environment() {
        if matches!(variable, "DBUS_SESSION_BUS_ADDRESS" | "XDG_RUNTIME_DIR") {
            home.set(variable, value.to_str().unwrap());
        }
    }
    home
}

/// Where a scripted server's profiles belong. No request goes there, see [`home_at`].
pub(crate) const REMOTE: &str = "https://app.example.com";

/// A home whose every request goes to a scripted server.
pub(crate) fn home_at(server: &Server) -> Home {
    let url = format!("http://127.0.0.1:{}", server.address.port());
    Home::new().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)
}

/// An answer of the token endpoint.
pub(crate) fn token_answer(access: &str, refresh: Option<&str>) -> Vec<u8> {
    let refresh = refresh.map_or(String::new(), |token| format!(r#","refresh_token":"{token}""#));
    http(200, &format!(r#"{{"access_token":"{access}"{refresh},"expires_in":3600}}"#))
}

/// A whole HTTP answer.
pub(crate) fn http(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Reads a request, says so, and never answers.
pub(crate) fn silence() -> (Act, Receiver<()>) {
    let (sender, arrived) = channel();
    let act = Act::Custom(Box::new(move |mut stream| {
        read_request(&mut stream);
        let _ = sender.send(());
        std::thread::spawn(move || stream.peek(&mut [0]).map(|_| std::thread::park()));
    }));
    (act, arrived)
}

/// Runs the program with this injected into its system calls, if anything, and this on stdin.
/// Leaves the `trace` in the home.
pub(crate) fn straced(home: &Home, inject: &str, arguments: &[&str], input: &str) -> Outcome {
    let trace = home.path().join("trace");
    let mut command = Command::new(find("strace", "strace"));
    command
        .args(["-f", "-qq", "-s", "8", "-o", trace.to_str().unwrap()])
        .args((!inject.is_empty()).then(|| format!("--inject={inject}")))
        .arg(BASETEN)
        .args(arguments);
    let plain = home.command(&[]);
    command.env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may be killed before it has read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Running(child).end()
}

/// Whether an error is EIO, in the words of either C library.
pub(crate) fn says_io_error(text: &str) -> bool {
    text.contains("Input/output error") || text.contains("I/O error")
}
