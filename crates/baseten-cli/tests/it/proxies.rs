//! A login through tinyproxy with a password.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use baseten_testing::certificates::{Authority, serve_answer};
use baseten_testing::daemon::Daemon;
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::identity::{claims, jwt};
use baseten_testing::program::find;
use baseten_testing::server::{ADA, STARTED, Server, TOKENS, http};
use baseten_testing::wait;

use crate::networks::assert_no_secret;

/// `tinyproxy` with a login. It ends when this is dropped.
struct Tinyproxy {
    _daemon: Daemon,
    port: u16,
    directory: tempfile::TempDir,
}

impl Tinyproxy {
    fn start() -> Self {
        let program = find("tinyproxy", "tinyproxy-bin");
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\nLogLevel Connect\n\
             LogFile \"{}\"\nBasicAuth ada canary-word\n",
            directory.path().join("log").display()
        );
        let file = directory.path().join("tinyproxy.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program);
        command.args(["-d", "-c"]).arg(file).stdout(Stdio::null());
        let daemon = Daemon::start(&mut command);
        wait::until("tinyproxy starts", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { _daemon: daemon, port, directory }
    }

    fn url(&self, login: &str) -> String {
        format!("http://{login}127.0.0.1:{}", self.port)
    }

    /// How many connections were requested, granted or not.
    fn requests(&self) -> usize {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("Request") && line.contains("CONNECT")).count()
    }
}

/// An address of this machine that is not a loopback address.
const HERE: &str = "0.0.0.0";

#[test]
fn a_login_goes_through_a_proxy_with_a_password() {
    let proxy = Tinyproxy::start();
    let authority = Authority::new("Private authority");
    let identity = Arc::new(authority.issue(HERE));
    let start = |bodies: &[&str], login: &str| {
        let acts: Vec<_> =
            bodies.iter().map(|body| serve_answer(&identity, http(200, "", body))).collect();
        let server = Server::start(acts);
        let url = format!("https://{HERE}:{}", server.address.port());
        let home = Home::with_api(url)
            .with("SSL_CERT_FILE", authority.file())
            .with("HTTPS_PROXY", proxy.url(login));
        (server, home)
    };
    let (_server, home) = start(&[STARTED, TOKENS, ADA], "ada:canary%2Dword@");
    let outcome = home.run(&[WEB_LOGIN, &["-v"]].concat());
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_no_secret(&outcome);
    assert_eq!(proxy.requests(), 3);

    // So does a workload's exchange.
    let (_server, home) = start(&[TOKENS, ADA], "ada:canary%2Dword@");
    let home = home
        .with("BASETEN_TRUST_RULE", "ci")
        .with("BASETEN_IDENTITY_TOKEN", jwt(&claims(), "canary-signature"));
    let outcome = home.run(&["whoami", "-v"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_no_secret(&outcome);
    assert_eq!(proxy.requests(), 5);

    // The password is wrong, or there is none.
    for (name, login) in [("wrong", "ada:canary-wrong@"), ("none", "")] {
        let (_server, home) = start(&[], login);
        let outcome = home.run(&[WEB_LOGIN, &["-v"]].concat());
        assert_eq!(outcome.status, 6, "{name}: {outcome}");
        assert_no_secret(&outcome);
        let start = outcome.stderr.find("error").unwrap();
        let text = outcome.stderr[start..].replace(&proxy.port.to_string(), "[PORT]");
        insta::assert_snapshot!(format!("a_proxy_with_a_password_that_is_{name}"), text);
    }

    // `NO_PROXY` goes around the proxy.
    for list in [HERE, "example.com, 0.0.0.0/32", "*"] {
        let before = proxy.requests();
        let (_server, mut home) = start(&[ADA], "ada:canary-wrong@");
        home.set("NO_PROXY", list);
        home.set("BASETEN_API_KEY", "canary-key");
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 0, "{list}: {outcome}");
        assert_eq!(proxy.requests(), before, "{list}");
    }
}
