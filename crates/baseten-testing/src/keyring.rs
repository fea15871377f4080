//! A private D-Bus session with a private gnome-keyring.
//!
//! It does not touch the session, the home directory or the keyring of the user who runs the tests.

#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::outcome::Running;
use crate::program::find;
use crate::wait;

/// `PATH` of the programs in a session.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A session bus in a private directory, with or without a keyring. It ends when dropped.
pub struct KeyringSession {
    directory: tempfile::TempDir,
    address: String,
    keyring: Option<Daemon>,
    _bus: Daemon,
}

impl KeyringSession {
    /// A session whose keyring is unlocked and has a login collection.
    pub fn start() -> Self {
        Self::without_keyring().with_keyring()
    }

    /// The same, but its bus has an abstract socket, which is not a file.
    pub fn start_abstract() -> Self {
        Self::at("abstract").with_keyring()
    }

    fn with_keyring(mut self) -> Self {
        let mut keyring = self.command("gnome-keyring-daemon", "gnome-keyring");
        keyring.args(["--unlock", "--components=secrets", "--foreground"]).stdout(Stdio::null());
        // With an empty password, there would be no login collection.
        self.keyring = Some(Daemon::with_input(&mut keyring, "password"));
        wait::until("gnome-keyring owns its name", || self.has_keyring());
        self
    }

    /// A session without a keyring.
    pub fn without_keyring() -> Self {
        Self::at("path")
    }

    /// A session whose bus has this kind of address.
    fn at(kind: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["run", "data", "config", "cache"] {
            let path = directory.path().join(name);
            std::fs::DirBuilder::new().mode(0o700).create(path).expect("a directory");
        }
        let address = format!("unix:{kind}={}", directory.path().join("run/bus").display());
        let mut bus = command(directory.path(), &address, "dbus-daemon", "dbus-daemon");
        bus.args(["--session", "--nofork", "--nopidfile"])
            .arg(format!("--address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let bus = Daemon::start(&mut bus);
        let session = Self { directory, address, keyring: None, _bus: bus };
        wait::until("dbus-daemon listens", || {
            let mut list = session.command("dbus-send", "dbus-bin");
            list.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
            list.arg("org.freedesktop.DBus.ListNames").output().unwrap().status.success()
        });
        session
    }

    /// Where its bus listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The variables of a program that runs in this session.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        environment(self.directory.path(), &self.address)
    }

    /// A program in this session, without any variable of the tests' own environment.
    pub fn command(&self, program: &str, package: &str) -> Command {
        command(self.directory.path(), &self.address, program, package)
    }

    /// Whether there is a Secret Service on the bus.
    pub fn has_keyring(&self) -> bool {
        let name = "string:org.freedesktop.secrets";
        let call = "org.freedesktop.DBus.NameHasOwner";
        self.call("org.freedesktop.DBus", "/", &[call, name]).contains("boolean true")
    }

    /// What `secret-tool` finds for a profile.
    pub fn lookup(&self, profile: &str) -> Option<String> {
        self.lookup_bytes(profile).map(|secret| String::from_utf8(secret).expect("text"))
    }

    /// The same as bytes, because it may not be text.
    pub fn lookup_bytes(&self, profile: &str) -> Option<Vec<u8>> {
        let attributes = ["lookup", "service", "baseten-profile", "username", profile];
        let output = self.secret_tool(&attributes, "");
        output.status.success().then_some(output.stdout)
    }

    /// Stores a secret with `secret-tool`, which adds its own attribute.
    pub fn store(&self, profile: &str, secret: &str, options: &[&str]) {
        self.store_bytes(profile, secret.as_bytes(), options);
    }

    /// The same with a secret that may not be text.
    pub fn store_bytes(&self, profile: &str, secret: &[u8], options: &[&str]) {
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
    pub fn secret_tool(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut child = self
            .command("secret-tool", "libsecret-tools")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("secret-tool starts");
        let written = child.stdin.take().expect("a pipe").write_all(input.as_ref());
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
        self.keyring().signal(Signal::STOP);
    }

    /// Lets it continue.
    pub fn thaw(&self) {
        self.keyring().signal(Signal::CONT);
    }

    /// The process of the keyring.
    pub fn keyring(&self) -> &Running {
        &self.keyring.as_ref().expect("a keyring").process
    }

    /// Calls a method over the session bus and returns what `dbus-send` prints.
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
}

fn environment(directory: &Path, address: &str) -> Vec<(&'static str, OsString)> {
    let inside = |name: &str| directory.join(name).into_os_string();
    vec![
        ("PATH", PATH.into()),
        ("HOME", directory.into()),
        ("LANG", "C.UTF-8".into()),
        ("DBUS_SESSION_BUS_ADDRESS", address.into()),
        ("XDG_RUNTIME_DIR", inside("run")),
        ("XDG_DATA_HOME", inside("data")),
        ("XDG_CONFIG_HOME", inside("config")),
        ("XDG_CACHE_HOME", inside("cache")),
    ]
}

fn command(directory: &Path, address: &str, program: &str, package: &str) -> Command {
    let mut command = Command::new(find(program, package));
    command.env_clear().envs(environment(directory, address)).current_dir(directory);
    command
}
