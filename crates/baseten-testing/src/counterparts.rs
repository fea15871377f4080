//! Programs by other people, as `counterparts/README.md` describes them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use baseten_sandbox::TrustRule;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::home::Home;
use crate::program::find;
use crate::wait::PATIENCE;

/// A file or directory of the counterparts.
pub(crate) fn counterpart(path: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.join("../../counterparts").join(path)
}

/// Fails early, and says what to install.
fn need_packages(directory: &str) {
    let installed = counterpart(directory).join("node_modules").is_dir();
    assert!(
        installed,
        "counterparts/{directory} has no node_modules: \
         `cargo xtask test counterparts` installs them"
    );
}

/// The Node version that the counterparts are tested with, whatever the machine has installed.
fn node() -> PathBuf {
    let node = counterpart("python/venv/bin/node");
    assert!(node.exists(), "Node is missing: `cargo xtask test counterparts` installs it");
    node
}

/// Starts a server of the counterparts, and returns what it prints when it is ready.
fn start_node(script: &str, options: &[&str]) -> (Daemon, Value) {
    need_packages("oidc");
    let mut command = Command::new(node());
    command.arg(counterpart(script)).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut daemon = Daemon::start(&mut command);
    let mut lines = BufReader::new(daemon.process.0.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(lines.next()));
    let line = receiver.recv_timeout(PATIENCE).expect("oidc-provider does not start in time");
    let line = line.expect("oidc-provider ends at once").unwrap();
    (daemon, serde_json::from_str(&line).unwrap())
}

/// The whole answer of a server on this machine to a request with a form.
fn ask(port: u16, request: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = form.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    )
    .unwrap();
    std::io::read_to_string(stream).unwrap()
}

/// An issuer of identity tokens that is npm's oidc-provider. Dropping it stops it.
pub struct Issuer {
    _daemon: Daemon,
    /// The `iss` of its tokens.
    pub url: String,
}

impl Issuer {
    /// The `sub` of the workload in the tests.
    pub const SUBJECT: &str = "repo:acme/models:ref:refs/heads/main";
    /// The `sub` of another workload.
    pub const OTHER_SUBJECT: &str = "repo:acme/other:ref:refs/heads/main";

    /// Starts it with these options of its command line.
    pub fn start(options: &[&str]) -> Self {
        let (daemon, ready) = start_node("oidc/issuer.mjs", options);
        Self { _daemon: daemon, url: ready["issuer"].as_str().unwrap().to_owned() }
    }

    /// A new token of this workload for this audience.
    pub fn token(&self, subject: &str, audience: &str) -> String {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        let form = format!(
            "grant_type=client_credentials&client_secret=workload&client_id={subject}\
             &resource=urn:audience:{audience}"
        );
        let answer = ask(port.parse().unwrap(), "POST /token", &form);
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        body["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The trust rule `ci`: with it, a sandbox accepts its tokens for the audience `baseten`, as
    /// the user grace.
    pub fn trust_rule(&self) -> TrustRule {
        TrustRule {
            id: "ci".to_owned(),
            issuer: self.url.clone(),
            audience: "baseten".to_owned(),
            subject: Self::SUBJECT.to_owned(),
            user: "grace".to_owned(),
        }
    }
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
        let (daemon, ready) = start_node("oidc/server.mjs", options);
        let remote_url = ready["remote_url"].as_str().unwrap().to_owned();
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        Self { _daemon: daemon, remote_url, port }
    }

    /// A home whose remote this is.
    pub fn home(&self) -> Home {
        Home::at_remote(&self.remote_url)
    }

    /// The API requests so far: the grant type, or else the last part of the path, and the status
    /// with the error in the answer.
    pub fn requests(&self) -> Vec<String> {
        let text = ask(self.port, "GET /_log", "");
        let start = text.find('[').unwrap();
        let end = text.rfind(']').unwrap();
        let log: Vec<Value> = serde_json::from_str(&text[start..=end]).unwrap();
        let text =
            |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned).unwrap_or_default();
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

/// Sets this home's browser to a script that acts as a person in Chromium, with these options.
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
