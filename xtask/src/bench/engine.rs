//! A server of `OpenBao`, and a profile whose secret it keeps.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::measure::Invocation;
use crate::needs::{COUNTERPARTS, in_venv};
use crate::process::{Outcome, command, output, poll, spawn};

/// The program that reads the same secret.
pub(super) const CURL: &str = "/usr/bin/curl";

/// An in-memory server, which ends with this value.
pub(super) struct Engine {
    server: Child,
    address: String,
}

impl Engine {
    /// Starts it at a free port.
    pub(super) fn start() -> Outcome<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut bao =
            command(in_venv(COUNTERPARTS, "bao"), ["server", "-dev", "-dev-no-store-token"]);
        bao.args(["-dev-root-token-id=root", &format!("-dev-listen-address=127.0.0.1:{port}")]);
        let server = spawn(bao.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let engine = Self { server, address: format!("http://127.0.0.1:{port}") };
        let url = format!("{}/v1/secret/config", engine.address);
        let read = || output(&mut command(CURL, ["-sf", "-H", "X-Vault-Token:root", &url])).ok();
        poll(Duration::from_secs(10), read).ok_or("OpenBao does not start")?;
        Ok(engine)
    }

    /// Makes a command of ours keep its secrets there.
    pub(super) fn used_by(&self, ours: Invocation) -> Invocation {
        ours.with("BASETEN_CREDENTIAL_STORE", "openbao:secret/fleet")
            .with("BAO_ADDR", &self.address)
            .with("BAO_TOKEN", "root")
    }

    /// The URL of the secret of the profile `bot` of this remote.
    pub(super) fn url(&self, remote: &str) -> String {
        let (_, host) = remote.split_once("://").unwrap_or(("", remote));
        let host = host.replace(':', "%253A");
        format!("{}/v1/secret/data/fleet/{host}/bot", self.address)
    }

    /// Reads that URL with `curl`.
    pub(super) fn read(
        &self,
        remote: &str,
        invocation: impl Fn(&Path, &str) -> Invocation,
    ) -> Invocation {
        let arguments = format!("-sf -H X-Vault-Token:root {}", self.url(remote));
        invocation(Path::new(CURL), &arguments)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have already ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
