//! A password store of `pass` with its own `gpg` key.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::home::Home;
use crate::program::find;

/// A home with a password store. Dropping it stops the `gpg` agent.
pub struct Pass {
    /// The home.
    pub home: Home,
}

impl Pass {
    /// Creates a key and a store in this home.
    pub fn start(home: Home) -> Self {
        Self::with_passphrase(home, "")
    }

    /// The same with a passphrase for the key, which `pinentry-curses` asks for.
    pub fn with_passphrase(home: Home, passphrase: &str) -> Self {
        let pass = Self { home };
        pass.run("mkdir", "coreutils", &["-m", "700", ".gnupg"]);
        let agent = pass.home.path().join(".gnupg/gpg-agent.conf");
        std::fs::write(agent, "pinentry-program /usr/bin/pinentry-curses\n").unwrap();
        let quietly = ["--batch", "--pinentry-mode", "loopback", "--passphrase", passphrase];
        let key = ["--quick-gen-key", "test", "future-default", "default", "never"];
        pass.run("gpg", "gnupg", &[&quietly[..], &key].concat());
        // The agent remembers the passphrase. It must not.
        pass.run("gpgconf", "gnupg", &["--kill", "gpg-agent"]);
        pass.run("pass", "pass", &["init", "test"]);
        pass
    }

    /// Runs a program that has to succeed.
    pub fn run(&self, program: &str, package: &str, arguments: &[&str]) {
        let output = self.command(program, package).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The variables of a program that uses the store.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("HOME", self.home.path()), ("PATH", Path::new("/usr/bin:/bin"))]
    }

    fn command(&self, program: &str, package: &str) -> Command {
        let mut command = Command::new(find(program, package));
        command.env_clear().envs(self.environment()).current_dir(self.home.path());
        command
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let _ = self.command("gpgconf", "gnupg").args(["--kill", "gpg-agent"]).status();
    }
}
