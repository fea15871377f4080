//! Certificates, proxies, and servers that misbehave.

#![cfg(unix)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baseten_testing::assert_outcome;
use baseten_testing::certificates::{
    Authority, Identity, params, self_signed, serve, serve_answer,
};
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::Outcome;
#[cfg(target_os = "linux")]
use baseten_testing::program::find;
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::server::{ADA, Act, STARTED, Server, TOKENS, answer, http, ok};
use baseten_testing::stored::{in_file, store, tokens};
use rcgen::{CertificateParams, date_time_ymd};

/// The host of the API of the remote `https://localhost:…`.
const HOST: &str = "api.localhost";

/// A home with an API key in the environment, so that `whoami` makes one request.
fn with_key(remote: String) -> Home {
    Home::at_remote(remote).with("BASETEN_API_KEY", "canary-key")
}

/// These must never appear in the output.
pub(crate) fn assert_no_secret(outcome: &Outcome) {
    let text = outcome.to_string();
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_private_authority_is_trusted_by_file_and_by_directory() {
    let authority = Authority::new("Private authority");
    let identity = Arc::new(authority.issue(HOST));
    for (variable, value) in
        [("SSL_CERT_FILE", authority.file()), ("SSL_CERT_DIR", authority.directory())]
    {
        let answers =
            [STARTED, TOKENS, ADA].map(|body| serve_answer(&identity, http(200, "", body)));
        let server = Server::start(answers);
        let home = Home::at_remote(server.remote("https")).with(variable, value);
        let outcome = home.run(WEB_LOGIN);
        assert_eq!(outcome.status, 0, "{variable}: {outcome}");
        let expected = "Logged in as ada@example.com as profile ada@example.com:localhost\n";
        assert_eq!(outcome.stdout, expected);
    }
}

#[test]
fn a_bad_certificate_ends_a_login_at_once() {
    let authority = Authority::new("Private authority");
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = params(HOST);
        change(&mut params);
        authority.issue_with(&params)
    };
    let cases: [(&str, Identity); 6] = [
        ("expired", with(|params| params.not_after = date_time_ymd(2020, 1, 1))),
        (
            "not yet valid",
            with(|params| {
                params.not_before = date_time_ymd(2999, 1, 1);
                params.not_after = date_time_ymd(3000, 1, 1);
            }),
        ),
        ("another host", authority.issue("other.localhost")),
        ("self-signed", self_signed(HOST, false).0),
        ("self-signed as openssl makes it", self_signed(HOST, true).0),
        ("unknown authority", Authority::new("Somebody else").issue(HOST)),
    ];
    let mut all = String::new();
    let first = Home::new();
    for (name, identity) in cases {
        // A second try would report a failed connection instead of the certificate.
        let server = Server::start([serve(identity)]);
        let home = Home::at_remote(server.remote("https")).with("SSL_CERT_FILE", authority.file());
        let start = Instant::now();
        let outcome = home.run(WEB_LOGIN);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(outcome.status, 6, "{name}: {outcome}");
        assert_eq!(home.store(), "", "{name}");
        let _ = writeln!(all, "== {name}\n{outcome}");
    }
    assert_outcome!(first, all);
}

#[test]
fn a_certificate_that_goes_bad_ends_the_polling_at_once() {
    let authority = Authority::new("Private authority");
    let stranger = Authority::new("Somebody else").issue(HOST);
    let good = Arc::new(authority.issue(HOST));
    let server = Server::start([serve_answer(&good, http(200, "", STARTED)), serve(stranger)]);
    let home = Home::at_remote(server.remote("https")).with("SSL_CERT_FILE", authority.file());
    let start = Instant::now();
    let outcome = home.run(WEB_LOGIN);
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(outcome.status, 6, "{outcome}");
    assert_outcome!(home, outcome);
}

#[test]
fn this_machine_is_never_reached_through_a_proxy() {
    let proxy = Server::start([answer(502, "", "")]);
    let through = |mut home: Home| {
        for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"] {
            home.set(variable, proxy.url("127.0.0.1", ""));
        }
        home
    };
    let sandbox = sandbox();
    let home = through(Home::at(&sandbox));
    let running = home.start(WEB_LOGIN);
    approve(&sandbox, "ada");
    let outcome = running.end();
    assert_eq!(outcome.status, 0, "{outcome}");

    let authority = Authority::new("Private authority");
    for host in [HOST, "127.0.0.1", "localhost", "deep.under.localhost"] {
        let identity = Arc::new(authority.issue(host));
        let server = Server::start([serve_answer(&identity, http(200, "", ADA))]);
        let url = format!("https://{host}:{}", server.address.port());
        let home = through(with_key(server.remote("https")))
            .with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)
            .with("SSL_CERT_FILE", authority.file());
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 0, "{host}: {outcome}");
    }
    assert!(proxy.requests().is_empty());
}

#[test]
fn invalid_answers_are_told_apart() {
    let large = format!(r#"{{"user_id": "{}"}}"#, "x".repeat(2 * 1024 * 1024));
    let html = "<html><h1>Bad canary gateway</h1>";
    let cases = [
        ("closes without an answer", Act::Close),
        ("resets", Act::Reset),
        ("half an answer", Act::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_vec())),
        ("not HTTP", Act::Answer(b"SSH-2.0-canary\r\n\r\n".to_vec())),
        ("a page instead of an answer", answer(200, "Content-Type: text/html\r\n", html)),
        ("a page of a proxy", answer(502, "Content-Type: text/html\r\n", html)),
        ("2 MiB", ok(&large)),
        ("invalid JSON", ok(r#"{"user_id": "canary""#)),
        ("JSON of another kind", ok(r#"["canary"]"#)),
        ("no user", ok(r#"{"email": "canary@example.com"}"#)),
        ("a proxy's 407", answer(407, "", "")),
        ("404", answer(404, "", r#"{"code": "NOT_FOUND", "message": "no such path"}"#)),
        ("429", answer(429, "Retry-After: 7\r\n", "")),
        ("503", answer(503, "", "")),
        ("colours", answer(400, "", "{\"message\": \"\\u001b[31mred\\u202e\\nline\"}")),
        ("the key repeated", answer(400, "", r#"{"message": "canary-key is bad"}"#)),
    ];
    let mut all = String::new();
    let first = Home::new();
    for (name, act) in cases {
        let server = Server::start([act]);
        let home = with_key(server.remote("http"));
        let outcome = home.run(&["whoami"]);
        assert_no_secret(&outcome);
        assert!(outcome.stdout.is_empty());
        let _ = writeln!(all, "== {name}: {}\n{}", outcome.status, outcome.stderr);
    }
    let gone = Server::start([]);
    while TcpStream::connect(gone.address).is_ok() {}
    let outcome = with_key(gone.remote("http")).run(&["whoami"]);
    let _ = writeln!(all, "== nobody listens: {}\n{}", outcome.status, outcome.stderr);
    let server = Server::start([Act::Custom(Box::new(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nThis port wants TLS");
    }))]);
    let outcome = with_key(server.remote("https")).run(&["whoami"]);
    let _ = writeln!(all, "== no TLS: {}\n{}", outcome.status, outcome.stderr);
    assert_outcome!(first, all);
}

#[test]
fn a_logout_does_not_wait_for_a_server_that_hangs() {
    let server = Server::start([Act::Hang]);
    let home = with_session(&server);
    let start = Instant::now();
    let outcome = home.run(&["auth", "logout"]);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "Logged out ada\n"), "{outcome}");
    assert!(outcome.stderr.contains("could not be ended at the server"), "{outcome}");
    assert_no_secret(&outcome);
}

/// A home with a session at this server.
fn with_session(server: &Server) -> Home {
    let remote = server.remote("http");
    let tokens = tokens("canary-access", "canary-refresh", "0001-01-01T00:00:00Z");
    let home = Home::at_remote(&remote);
    home.write_store(&store([("ada", in_file(&remote, &tokens))]));
    home
}

#[test]
fn a_redirect_is_not_followed_with_a_credential() {
    for status in [301, 302, 303, 307, 308] {
        let other = Server::start([ok(ADA)]);
        let location = format!("Location: {}\r\n", other.url("127.0.0.1", "/v1/users/me"));
        let server = Server::start([answer(status, &location, "")]);
        let home = with_session(&server);
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 6, "{outcome}");
        assert_no_secret(&outcome);
        assert!(outcome.stderr.contains(&format!("HTTP {status}")), "{outcome}");
        assert!(other.requests().is_empty());
    }
    // Nor with a device code.
    let other = Server::start([ok(TOKENS)]);
    let location = format!("Location: {}\r\n", other.url("127.0.0.1", "/token"));
    let server = Server::start([ok(STARTED), answer(307, &location, "")]);
    let home = Home::at_remote(server.remote("http"));
    let outcome = home.run(WEB_LOGIN);
    assert_eq!(outcome.status, 6, "{outcome}");
    assert!(other.requests().is_empty());
    assert_outcome!(home, outcome);
}

/// The pauses in seconds must be at least this long. There is room above, because a busy machine
/// takes longer.
fn assert_pauses(server: &Server, expected: &[f32]) {
    let pauses: Vec<f32> = server.pauses().iter().map(Duration::as_secs_f32).collect();
    assert_eq!(pauses.len(), expected.len(), "{pauses:?}");
    for (pause, expected) in pauses.iter().zip(expected) {
        assert!((*expected - 0.02..*expected + 2.5).contains(pause), "{pauses:?} {expected}");
    }
}

#[test]
fn a_failure_is_reported_once_and_then_counted() {
    let server = Server::start([(); 4].map(|()| answer(503, "", "")));
    let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
    assert_eq!(outcome.status, 6, "{outcome}");
    let told = "SERVER answered HTTP 503; trying again in 1 s\n\
                trying again in 2 s (attempt 3)\n\
                trying again in 4 s (attempt 4)\n\
                error: SERVER answered HTTP 503\n";
    let name = format!("api.localhost:{}", server.address.port());
    assert!(outcome.stderr.starts_with(&told.replace("SERVER", &name)), "{outcome}");
}

/// Gives the process its own network: `dead.example.com` has an IPv6 address that leads nowhere,
/// and then the same IPv4 address that `alive.example.com` has as its only one.
#[cfg(target_os = "linux")]
const NETWORK: &str = r#"
set -e
ip link set lo up
ip link add dead type veth peer name nowhere
ip link set nowhere up
ip link set dead up
ip addr add 10.77.0.1/32 dev lo
ip addr add 2001:db8::1/64 dev dead nodad
ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev dead nud permanent
printf '%s\n' '2001:db8::2 dead.example.com' '10.77.0.1 dead.example.com alive.example.com' >hosts
mount --bind hosts /etc/hosts
exec "$@"
"#;

/// Set for the test that runs in that network.
#[cfg(target_os = "linux")]
const INSIDE: &str = "BASETEN_TEST_IN_NETWORK";

#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "figures, and what is left out, must be seen")]
fn a_dead_address_of_a_name_costs_one_head_start_a_run() {
    if std::env::var_os(INSIDE).is_some() {
        return in_a_network_with_a_dead_address();
    }
    find("ip", "iproute2");
    let directory = tempfile::tempdir().unwrap();
    let unshare = || {
        let mut command = Command::new(find("unshare", "util-linux"));
        command.args(["--map-root-user", "--net", "--mount"]).current_dir(directory.path());
        command
    };
    let possible = unshare().args(["sh", "-c", NETWORK, "sh", "true"]).output().unwrap();
    if !possible.status.success() {
        let reason = String::from_utf8_lossy(&possible.stderr);
        eprintln!("NOT TESTED, since no network namespace can be made here: {reason}");
        return;
    }
    let name = "networks::a_dead_address_of_a_name_costs_one_head_start_a_run";
    let output = unshare()
        .args(["sh", "-c", NETWORK, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    eprintln!("{text}");
    assert!(output.status.success() && text.contains("1 passed"));
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "the figures, for whoever asks with --nocapture")]
fn in_a_network_with_a_dead_address() {
    let authority = Authority::new("Private authority");
    let time = |host: &str| {
        let identity = Arc::new(authority.issue(host));
        let answers =
            [STARTED, TOKENS, ADA].map(|body| serve_answer(&identity, http(200, "", body)));
        let server = Server::start_on("10.77.0.1:0", answers);
        let url = format!("https://{host}:{}", server.address.port());
        let home = Home::with_api(url).with("SSL_CERT_FILE", authority.file());
        let start = Instant::now();
        home.run(WEB_LOGIN).succeeded();
        start.elapsed()
    };
    let (alive, dead) = (time("alive.example.com"), time("dead.example.com"));
    eprintln!("three requests of a login: {alive:?} without, {dead:?} with a dead address");
    // Leaves as much again for a busy machine.
    assert!(dead < alive + 2 * Duration::from_millis(300), "{dead:?} {alive:?}");

    // A proxy's name is looked up as well. Both proxies close the connection at once.
    for scheme in ["http", "socks5h"] {
        let hang_up = || Act::Custom(Box::new(drop));
        let proxy = Server::start_on("10.77.0.1:0", [hang_up(), hang_up()]);
        let url = format!("{scheme}://dead.example.com:{}", proxy.address.port());
        let home = Home::new().with("BASETEN_API_KEY", "canary-key").with("HTTPS_PROXY", url);
        let start = Instant::now();
        let outcome = home.run(&["whoami"]);
        assert!(outcome.stderr.contains("the proxy dead.example.com"), "{outcome}");
        assert!(start.elapsed() < Duration::from_secs(2), "{scheme}: {:?}", start.elapsed());
    }
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_server_that_dribbles_or_hangs_times_out() {
        let body = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec();
        // A byte every 50 ms, for longer than any limit.
        let acts = [Act::Dribble(body, vec![b' '; 2000]), Act::Hang];
        std::thread::scope(|scope| {
            for act in acts {
                scope.spawn(|| {
                    let server = Server::start([act]);
                    let start = Instant::now();
                    let outcome = with_key(server.remote("http")).run(&["whoami"]);
                    assert_eq!(outcome.status, 6, "{outcome}");
                    assert!(outcome.stderr.contains("did not answer within 30 s"), "{outcome}");
                    assert!(start.elapsed() < Duration::from_secs(40));
                });
            }
        });
    }

    #[test]
    fn the_first_request_of_a_login_is_not_repeated_after_a_time_out() {
        let server = Server::start([Act::Hang, Act::Hang]);
        let start = Instant::now();
        let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
        assert_eq!(outcome.status, 6, "{outcome}");
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        assert!(!outcome.stderr.contains("trying again"), "{outcome}");
    }

    #[test]
    fn polling_keeps_to_what_the_server_asks_for() {
        let pending = r#"{"error": "authorization_pending"}"#;
        let server = Server::start([
            ok(STARTED),
            answer(429, "Retry-After: 3\r\n", ""),
            answer(400, "", r#"{"error": "slow_down"}"#),
            answer(400, "", pending),
            ok(TOKENS),
            ok(ADA),
        ]);
        let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_pauses(&server, &[1.0, 3.0, 7.5, 7.5, 0.0]);
    }

    #[test]
    fn polling_goes_on_after_errors_of_the_server() {
        let server = Server::start([
            ok(STARTED),
            answer(503, "", "<html>"),
            Act::Close,
            answer(400, "", r#"{"error": "authorization_pending"}"#),
            ok(TOKENS),
            ok(ADA),
        ]);
        let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_pauses(&server, &[1.0, 2.0, 4.0, 1.0, 0.0]);
    }

    #[test]
    fn the_first_request_is_retried_three_times() {
        let server = Server::start([
            answer(503, "", ""),
            answer(429, "Retry-After: 3\r\n", ""),
            answer(500, "", ""),
            answer(502, "", "<html>"),
            ok(STARTED),
        ]);
        let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
        assert_eq!(outcome.status, 6, "{outcome}");
        // The user is told what the program waits for.
        let told = "SERVER answered HTTP 503; trying again in 1 s\n\
                SERVER answered HTTP 429; trying again in 3 s\n\
                SERVER answered HTTP 500; trying again in 4 s\n\
                error: SERVER answered HTTP 502\n";
        let name = format!("api.localhost:{}", server.address.port());
        assert!(outcome.stderr.starts_with(&told.replace("SERVER", &name)), "{outcome}");
        assert_pauses(&server, &[1.0, 3.0, 4.0]);

        // Failures that will not pass are not tried again.
        for (act, status) in [
            (answer(404, "", ""), 4),
            (answer(400, "", r#"{"error": "invalid_client"}"#), 3),
            (answer(400, "", r#"{"error": "invalid_request"}"#), 5),
            (ok("<html>"), 6),
            (ok(&STARTED.replace("https:", "http:")), 6),
        ] {
            let server = Server::start([act, ok(STARTED)]);
            let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
            assert_eq!((outcome.status, server.requests().len()), (status, 1), "{outcome}");
        }
    }
}
