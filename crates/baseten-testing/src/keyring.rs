//! A D-Bus session of its own with a gnome-keyring of its own, for tests.
//!
//! Nothing of it touches the session, the home directory or the keyring of whoever runs the
//! tests.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::program::find;

/// Where the programs of a session find others.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session bus in a private directory, with or without a keyring. It ends when dropped.
pub struct KeyringSession {
    directory: tempfile::TempDir,
    bus: Child,
    keyring: Option<Child>,
}

impl KeyringSession {
    /// A session whose keyring is unlocked and has a login collection.
    pub fn start() -> Self {
        let mut session = Self::without_keyring();
        let mut keyring = session
            .command("gnome-keyring-daemon", "gnome-keyring")
            .args(["--unlock", "--components=secrets", "--foreground"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon starts");
        // An empty password would make no login collection.
        let password = keyring.stdin.take().expect("a pipe").write_all(b"password");
        password.expect("gnome-keyring-daemon reads its password");
        session.keyring = Some(keyring);
        session.wait_until("gnome-keyring owns its name", Self::has_keyring);
        session
    }

    /// A session in which nobody keeps secrets.
    pub fn without_keyring() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["run", "data", "config", "cache"] {
            let path = directory.path().join(name);
            std::fs::DirBuilder::new().mode(0o700).create(path).expect("a directory");
        }
        let address = address(directory.path());
        let bus = command(directory.path(), "dbus-daemon", "dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile"])
            .arg(format!("--address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        let session = Self { directory, bus, keyring: None };
        session.wait_until("dbus-daemon listens", |session| {
            // Its socket is there a moment before anybody may connect.
            UnixStream::connect(session.directory.path().join("run/bus")).is_ok()
        });
        session
    }

    /// The variables of a program that runs in this session.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        environment(self.directory.path())
    }

    /// A program that runs in this session and has nothing of the tests' own environment.
    pub fn command(&self, program: &str, package: &str) -> Command {
        command(self.directory.path(), program, package)
    }

    /// Whether a service on the bus keeps secrets.
    pub fn has_keyring(&self) -> bool {
        let name = "string:org.freedesktop.secrets";
        let call = "org.freedesktop.DBus.NameHasOwner";
        self.call("org.freedesktop.DBus", "/", &[call, name]).contains("boolean true")
    }

    /// What `secret-tool` finds for a profile.
    pub fn lookup(&self, profile: &str) -> Option<String> {
        let attributes = ["lookup", "service", "baseten-profile", "username", profile];
        let output = self.secret_tool(&attributes, "");
        let secret = String::from_utf8(output.stdout).expect("text");
        output.status.success().then_some(secret)
    }

    /// Stores a secret as `secret-tool` does, which adds an attribute of its own.
    pub fn store(&self, profile: &str, secret: &str, options: &[&str]) {
        let mut arguments = vec!["store", "--label=another program's"];
        let (flags, attributes): (Vec<&str>, _) =
            options.iter().partition(|option| option.starts_with("--"));
        arguments.extend(flags);
        arguments.extend(["service", "baseten-profile", "username", profile]);
        arguments.extend(attributes);
        let output = self.secret_tool(&arguments, secret);
        assert!(output.status.success(), "{output:?}");
    }

    /// Runs `secret-tool` with this input.
    pub fn secret_tool(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command("secret-tool", "libsecret-tools")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("secret-tool starts");
        let written = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        written.expect("secret-tool reads its input");
        child.wait_with_output().expect("secret-tool ends")
    }

    /// Locks the login collection.
    pub fn lock(&self) {
        self.call(
            "org.freedesktop.secrets",
            "/org/freedesktop/secrets",
            &[
                "org.freedesktop.Secret.Service.Lock",
                "array:objpath:/org/freedesktop/secrets/collection/login",
            ],
        );
    }

    /// Freezes the keyring's process, so that it never answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let keyring = self.keyring.as_ref().expect("a keyring").id().to_string();
        let status = self.command("kill", "procps").args([signal, &keyring]).status();
        assert!(status.expect("kill starts").success());
    }

    /// Calls a method over the session bus and gives what `dbus-send` prints.
    pub fn call(&self, destination: &str, path: &str, method: &[&str]) -> String {
        let output = self
            .command("dbus-send", "dbus-bin")
            .args(["--session", "--print-reply", "--reply-timeout=5000"])
            .arg(format!("--dest={destination}"))
            .arg(path)
            .args(method)
            .output()
            .expect("dbus-send starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "timed out: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for KeyringSession {
    fn drop(&mut self) {
        for child in self.keyring.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn address(directory: &Path) -> String {
    format!("unix:path={}", directory.join("run/bus").display())
}

fn environment(directory: &Path) -> Vec<(&'static str, OsString)> {
    let inside = |name: &str| directory.join(name).into_os_string();
    vec![
        ("PATH", PATH.into()),
        ("HOME", directory.into()),
        ("LANG", "C.UTF-8".into()),
        ("DBUS_SESSION_BUS_ADDRESS", address(directory).into()),
        ("XDG_RUNTIME_DIR", inside("run")),
        ("XDG_DATA_HOME", inside("data")),
        ("XDG_CONFIG_HOME", inside("config")),
        ("XDG_CACHE_HOME", inside("cache")),
    ]
}

fn command(directory: &Path, program: &str, package: &str) -> Command {
    let mut command = Command::new(find(program, package));
    command.env_clear().envs(environment(directory)).current_dir(directory);
    command
}
