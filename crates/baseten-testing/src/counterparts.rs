//! Programs by other people, as `counterparts/README.md` describes them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::daemon::Daemon;
use crate::home::Home;
use crate::program::find;
use crate::wait::PATIENCE;

/// A file or directory of the counterparts.
fn counterpart(path: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.join("../../counterparts").join(path)
}

/// Fails early with what to install.
fn need_packages(directory: &str) {
    let installed = counterpart(directory).join("node_modules").is_dir();
    assert!(
        installed,
        "counterparts/{directory} has no node_modules: \
         `cargo xtask test counterparts` installs them"
    );
}

/// Node of the version that the counterparts are tested with, whichever the machine has.
fn node() -> PathBuf {
    let node = counterpart("python/venv/bin/node");
    assert!(node.exists(), "Node is missing: `cargo xtask test counterparts` installs it");
    node
}

/// A remote whose OAuth server is npm's oidc-provider. Dropping it stops it.
pub struct OidcServer {
    _daemon: Daemon,
    /// Its remote URL.
    pub remote_url: String,
    port: u16,
}

impl OidcServer {
    /// Starts it with these options of its command line.
    pub fn start(options: &[&str]) -> Self {
        need_packages("oidc");
        let mut command = Command::new(node());
        command
            .arg(counterpart("oidc/server.mjs"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut daemon = Daemon::start(&mut command);
        let mut lines = BufReader::new(daemon.process.0.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(lines.next()));
        let line = receiver.recv_timeout(PATIENCE).expect("oidc-provider does not start in time");
        let line = line.expect("oidc-provider ends at once").unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let remote_url = ready["remote_url"].as_str().unwrap().to_owned();
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        Self { _daemon: daemon, remote_url, port }
    }

    /// A home whose remote this is.
    pub fn home(&self) -> Home {
        Home::at_remote(&self.remote_url)
    }

    /// The API's requests so far: the grant type, or else the last part of the path, and the
    /// status with the error that was answered.
    pub fn requests(&self) -> Vec<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /_log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let text = std::io::read_to_string(stream).unwrap();
        let start = text.find('[').unwrap();
        let end = text.rfind(']').unwrap();
        let log: Vec<serde_json::Value> = serde_json::from_str(&text[start..=end]).unwrap();
        let text = |entry: &serde_json::Value, name: &str| {
            entry[name].as_str().map(str::to_owned).unwrap_or_default()
        };
        log.iter()
            .filter(|entry| text(entry, "path").starts_with("/v1/"))
            .map(|entry| {
                let grant = text(entry, "grant_type");
                let path = text(entry, "path");
                let what = if grant.is_empty() { path } else { grant };
                let what = what.rsplit(['/', ':']).next().unwrap_or_default();
                format!("{what} {} {}", entry["status"], text(entry, "error")).trim().to_owned()
            })
            .collect()
    }
}

/// Makes the browser of this home a script that acts as a person in Chromium, with these options.
pub fn with_person(mut home: Home, options: &str) -> Home {
    node();
    find("chromium", "chromium");
    need_packages("browser");
    let log = home.path().join("person.log");
    home.set("BROWSER", counterpart("browser/person").to_str().unwrap());
    home.set("PERSON_OPTIONS", options);
    home.set("PERSON_LOG", log.to_str().unwrap());
    home
}

/// The log of that script.
pub fn person_log(home: &Home) -> String {
    fs::read_to_string(home.path().join("person.log")).unwrap_or_default()
}
