//! `auth serve`: one login, lent to other programs, containers and machines.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use baseten_sandbox::{Request, Sandbox};
use baseten_testing::assert_outcome;
use baseten_testing::counterparts::Issuer;
use baseten_testing::faults::{STRANGER, command_as, is_root, mode};
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::lender::{Lender, ask, say};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::stored::{
    elsewhere, ends_in, in_file, name, only_profile, profile, session, store, tokens, tokens_of,
    with_key,
};
use baseten_testing::wait::{self, PATIENCE};
use rustix::process::Signal;
use serde_json::{Value, json};

const REMOTE: &str = "https://app.example.com";

/// A home with a session that ends in so many seconds, and its profile.
fn with_session(sandbox: &Sandbox, seconds: i64) -> (Home, String) {
    let home = Home::at(sandbox);
    let profile = in_file(&sandbox.remote_url(), &session(sandbox, "ada", seconds));
    let name = only_profile(&home, "lent", profile);
    (home, name)
}

/// A home with two profiles, of which no request is made.
fn with_two() -> Home {
    let session = in_file(REMOTE, &tokens("the-token", "canary-refresh", &ends_in(3600)));
    Home::with_store(&store([("session", session), ("key", with_key(REMOTE, "the-key"))]))
}

/// A failure of a client, and nothing on stdout.
#[track_caller]
fn failed(outcome: &Outcome, status: i32, part: &str) {
    assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
    assert!(outcome.stderr.contains(part), "{part}: {outcome}");
}

/// A request for a token.
fn token() -> Value {
    json!({"v": 1, "op": "token"})
}

/// The exit status in a failure of the protocol.
fn exit(answer: &Value) -> Option<i64> {
    answer["error"]["exit"].as_i64()
}

fn ends(running: Running, signal: Signal) -> Outcome {
    running.signal(signal);
    running.end()
}

#[test]
fn every_command_works_with_a_login_that_is_lent_and_writes_nothing() {
    let sandbox = sandbox();
    let (home, name) = with_session(&sandbox, 3600);
    let lender = Lender::start(&home, &[]);
    let client = lender.client();
    let access = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| client.run(arguments).succeeded();
    assert_eq!(run(&["auth", "token"]), Outcome::done(&format!("{access}\n")));
    let status = run(&["auth", "status", "-o", "json"]).json();
    assert_eq!(
        (&status["profile"], &status["storage"], &status["selected_by"], &status["remote_url"]),
        (&json!(name), &json!("socket"), &json!("BASETEN_AUTH_SOCK"), &json!(sandbox.remote_url()))
    );
    assert_eq!(status["storage_path"], json!(lender.socket()));
    assert_eq!(run(&["auth", "status", "--check", "-o", "json"]).json()["valid"], true);
    let list = run(&["auth", "list", "-o", "json"]).json();
    let listed = json!([{"profile": name, "remote_url": sandbox.remote_url(),
        "auth_type": "oauth", "storage": "socket", "current": true}]);
    assert_eq!(list, listed);
    assert!(run(&["whoami"]).stdout.contains("ada@example.com"));
    let exec = run(&["auth", "exec", "--", "sh", "-c", "echo $BASETEN_TRUSS_AUTH_API_KEY"]);
    assert_eq!(exec.stdout.trim(), access);
    // What is started there selects the same.
    let inner = run(&["auth", "exec", "--", baseten(), "auth", "status", "-o", "json"]).json();
    assert_eq!((&inner["profile"], &inner["storage"]), (&json!(name), &json!("socket")));
    assert_eq!(fs::read_dir(client.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn what_is_lent_is_shown_as_such() {
    let home = with_two();
    let lender = Lender::start(&home, &["--all", "--socket", "auth.sock"]);
    let client = Home::new().with("BASETEN_AUTH_SOCK", "auth.sock");
    assert_eq!(lender.socket(), home.path().join("auth.sock"));
    std::os::unix::fs::symlink(lender.socket(), client.path().join("auth.sock")).unwrap();
    assert_outcome!(client, client.run(&["auth", "status"]));
    assert_outcome!(client, client.run(&["auth", "status", "--profile", "key"]));
    assert_outcome!(client, client.run(&["auth", "list"]));
    assert_outcome!(client, client.run(&["auth", "token", "--profile", "kye"]));
}

#[test]
fn commands_that_keep_a_login_are_refused() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let client = lender.client();
    for command in ["login", "logout", "switch", "serve"] {
        let outcome = client.run(&["auth", command]);
        failed(&outcome, 2, "the login is lent by whoever listens at");
        assert!(outcome.stderr.contains("where the login is kept"), "{outcome}");
    }
}

#[test]
fn an_api_key_of_the_environment_is_used_and_nobody_is_asked() {
    let client = Home::new().with("BASETEN_AUTH_SOCK", "/nobody").with("BASETEN_API_KEY", "own");
    assert_eq!(client.run(&["auth", "token"]), Outcome::done("own\n"));
    failed(&client.run(&["auth", "token", "--profile", "a"]), 6, "/nobody");
}

#[test]
fn a_lender_that_is_gone_is_named_and_no_other_source_is_used() {
    let home = with_two().with("BASETEN_AUTH_SOCK", "/nobody/auth.sock");
    for arguments in [&["auth", "token"][..], &["auth", "status"], &["auth", "list"], &["whoami"]] {
        failed(&home.run(arguments), 6, "nobody answers at the socket /nobody/auth.sock");
    }
}

#[test]
fn what_answers_and_is_no_lender_is_not_believed() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n\n", "{\"v\":2,\"ok\":{\"profiles\":[]}}\n", ""]
    {
        let home = Home::new();
        let path = home.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        });
        let client = home.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
        let part = if answer.is_empty() { "nobody answers" } else { "is not a lender" };
        failed(&client.run(&["auth", "token"]), 6, part);
    }
}

#[test]
fn a_profile_that_is_replaced_between_two_questions_is_not_used() {
    let home = Home::new();
    let path = home.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let profile = json!({"profile": "a", "remote_url": REMOTE, "auth_type": "oauth"});
        let listing = json!({"v": 1, "ok": {"current": "a", "profiles": [profile]}});
        let grant = json!({"v": 1, "ok": {"profile": "a", "auth_type": "oauth",
            "remote_url": "https://app.elsewhere.example", "token": "t", "token_type": "Bearer"}});
        for answer in [listing, grant] {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, format!("{answer}\n").as_bytes()).unwrap();
        }
    });
    let client = home.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
    failed(&client.run(&["auth", "token"]), 6, "has replaced the profile meanwhile");
}

#[test]
fn text_of_a_lender_is_not_trusted() {
    let home = Home::new();
    let path = home.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let answer = json!({"v": 1, "error":
            {"exit": 130, "message": "bad\u{1b}[2J\u{202e}", "hint": "\u{7}beep"}});
        std::io::Write::write_all(&mut stream, format!("{answer}\n").as_bytes()).unwrap();
    });
    let client = home.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
    let outcome = client.run(&["auth", "token"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(!outcome.stderr.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{outcome}");
}

// What is lent.

#[test]
fn only_what_is_offered_is_lent() {
    let home = with_two();
    let of = |profile: &str| json!({"v": 1, "op": "token", "profile": profile});
    let lent = |arguments: &[&str]| {
        let home = Home::with_store(&home.store());
        let lender = Lender::start(&home, arguments);
        let listing = lender.ask(&json!({"v": 1, "op": "profiles"}));
        let exits = [
            exit(&lender.ask(&token())),
            exit(&lender.ask(&of("session"))),
            exit(&lender.ask(&of("key"))),
            exit(&lender.ask(&of("none"))),
        ];
        let names = listing["ok"]["profiles"].as_array().unwrap();
        let names: Vec<_> = names.iter().map(|lent| lent["profile"].as_str().unwrap()).collect();
        (listing["ok"]["current"].clone(), names.join(" "), exits)
    };
    let expected = |current: Value, names: &str, exits| (current, names.to_owned(), exits);
    assert_eq!(lent(&[]), expected(json!("session"), "session", [None, None, Some(4), Some(4)]));
    assert_eq!(
        lent(&["--all"]),
        expected(json!("session"), "key session", [None, None, None, Some(4)])
    );
    assert_eq!(
        lent(&["--profile", "key"]),
        expected(json!("key"), "key", [None, Some(4), None, Some(4)])
    );
    assert_eq!(
        lent(&["--profile", "key", "--profile", "none"]),
        expected(Value::Null, "key", [Some(3), Some(4), None, Some(4)])
    );
}

#[test]
fn a_lender_starts_with_nobody_logged_in_and_lends_what_comes() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let lender = Lender::start(&home, &[]);
    assert_eq!(lender.records()[0]["profiles"], json!([]));
    let client = lender.client();
    failed(&client.run(&["auth", "token"]), 3, "no profile was named");
    assert_eq!(exit(&lender.ask(&token())), Some(3));
    home.log_in_with_key(&sandbox, "ada", "first");
    home.log_in_with_key(&sandbox, "grace", "second");
    let second = sandbox.api_key("grace").unwrap();
    assert_eq!(client.run(&["auth", "token"]), Outcome::done(&format!("{second}\n")));
    home.run(&["auth", "switch", "--profile", "first"]).succeeded();
    let first = sandbox.api_key("ada").unwrap();
    assert_eq!(client.run(&["auth", "token"]), Outcome::done(&format!("{first}\n")));
    home.run(&["auth", "logout"]).succeeded();
    assert_eq!(exit(&lender.ask(&token())), Some(3));
    // Replaced by another kind of login.
    home.write_store(&store([("first", with_key(REMOTE, "another-key"))]));
    assert_eq!(client.run(&["auth", "token"]), Outcome::done("another-key\n"));
}

#[test]
fn a_credential_of_the_lenders_environment_has_no_name() {
    let home = with_two().with("BASETEN_API_KEY", "of-env").with("BASETEN_REMOTE_URL", REMOTE);
    let lender = Lender::start(&home, &[]);
    let entry = json!({"profile": "", "remote_url": REMOTE, "auth_type": "api_key"});
    let listing = lender.ask(&json!({"v": 1, "op": "profiles"}));
    assert_eq!(listing["ok"], json!({"current": "", "profiles": [entry]}));
    let client = lender.client();
    assert_eq!(client.run(&["auth", "token"]), Outcome::done("of-env\n"));
    let status = client.run(&["auth", "status", "-o", "json"]).succeeded().json();
    assert_eq!((&status["profile"], &status["auth_type"]), (&json!(""), &json!("api_key")));
    assert_eq!(client.run(&["auth", "token", "--profile", "key"]).status, 4);
}

#[test]
fn a_token_is_lent_for_no_longer_than_allowed() {
    let sandbox = sandbox();
    let (home, _) = with_session(&sandbox, 3600);
    let lender = Lender::start(&home, &["--max-ttl", "5m"]);
    let granted = lender.ask(&json!({"v": 1, "op": "token", "min_ttl": 7200}));
    let end: jiff::Timestamp = granted["ok"]["expires_at"].as_str().unwrap().parse().unwrap();
    let left = end.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((280..=300).contains(&left), "{left}");
    assert_eq!(sandbox.refresh_count(), 0, "more than 5 minutes cannot be asked for");
    // The client is told that it got less than it wanted.
    let outcome = lender.client().run(&["auth", "token", "--min-ttl", "1h"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stderr.contains("--min-ttl asks for 3600 s"), "{outcome}");
}

#[test]
fn what_is_told_has_the_client_and_no_secret() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let client = lender.client().start(&["auth", "token"]);
    let process = client.0.id();
    client.end().succeeded();
    wait::until("both records are there", || lender.records().len() == 2);
    let records = lender.records();
    assert_eq!(records[0], json!({"socket": lender.socket(), "profiles": ["session"]}));
    let stored: jiff::Timestamp =
        tokens_of(&home, "session")["expiry"].as_str().unwrap().parse().unwrap();
    let end: jiff::Timestamp = records[1]["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(end, stored);
    let keys: Vec<_> = records[1].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["time", "uid", "pid", "profile", "expires_at"]);
    assert_eq!((&records[1]["pid"], &records[1]["profile"]), (&json!(process), &json!("session")));
    let outcome = ends(lender.running, Signal::TERM);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
}

#[test]
fn no_refresh_token_leaves_the_lender() {
    let home = with_two();
    let lender = Lender::start(&home, &["--all"]);
    let requests = [
        json!({"v": 1, "op": "profiles"}),
        token(),
        json!({"v": 1, "op": "token", "profile": "key"}),
        json!({"v": 1, "op": "refresh_token"}),
    ];
    for request in requests {
        let answer = lender.ask(&request).to_string();
        assert!(!answer.contains("canary-refresh"), "{answer}");
    }
}

#[test]
fn people_are_told_on_stderr() {
    let home = with_two();
    let socket = home.path().join("s");
    let arguments = ["auth", "serve", "-v", "--socket", socket.to_str().unwrap()];
    let running = home.start(&arguments);
    wait::until("it listens", || UnixStream::connect(&socket).is_ok());
    ask(&socket, &token());
    assert_eq!(exit(&ask(&socket, &json!({"v": 1, "op": "canary"}))), Some(2));
    let outcome = ends(running, Signal::INT);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, ""), "{outcome}");
    for part in ["Lending profile 'session' at ", "got a token of profile 'session'", "got none: "]
    {
        assert!(outcome.stderr.contains(part), "{part}: {outcome}");
    }
    for secret in ["the-token", "canary"] {
        assert!(!outcome.stderr.contains(secret), "{secret}: {outcome}");
    }
    assert!(!socket.exists());
}

// One refresh.

/// A client that has nothing of this machine but the program, its libraries and the directory of the
/// socket, in namespaces of its own.
fn contained(directory: &Path, arguments: &[&str]) -> Running {
    let mut command = std::process::Command::new(find("bwrap", "bubblewrap"));
    command.args(["--unshare-all", "--die-with-parent", "--clearenv", "--ro-bind", "/usr", "/usr"]);
    for library in ["lib", "lib64"] {
        command.args(["--symlink", &format!("usr/{library}"), &format!("/{library}")]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--ro-bind", baseten(), "/baseten"]);
    command.arg("--bind").arg(directory).arg("/run/b");
    command.args(["--setenv", "BASETEN_AUTH_SOCK", "/run/b/auth.sock", "/baseten"]);
    command.args(arguments);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Running::start(&mut command)
}

#[test]
fn sixty_four_containers_get_the_token_of_one_refresh() {
    let sandbox = sandbox();
    let (home, name) = with_session(&sandbox, -1);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("auth.sock");
    let lender = Lender::start(&home, &["--socket", socket.to_str().unwrap()]);
    let clients: Vec<_> =
        (0..64).map(|_| contained(directory.path(), &["auth", "token"])).collect();
    let tokens: Vec<_> = clients.into_iter().map(|it| it.end().succeeded().stdout).collect();
    let stored = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(tokens, vec![format!("{stored}\n"); 64]);
    assert_eq!(sandbox.refresh_count(), 1);
    // A new lender has a new socket, and containers see it: the directory is bound, not the socket.
    ends(lender.running, Signal::TERM);
    let _lender = Lender::start(&home, &["--socket", socket.to_str().unwrap()]);
    let outcome = contained(directory.path(), &["auth", "token"]).end().succeeded();
    assert_eq!(outcome.stdout.trim(), stored);
}

#[test]
fn a_token_that_a_server_refuses_is_replaced_once_for_all() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let mut tokens = session(&sandbox, "ada", 3600);
    tokens["issued_at"] = json!(ends_in(-600));
    let name = only_profile(&home, "lent", in_file(&sandbox.remote_url(), &tokens));
    let lender = Lender::start(&home, &[]);
    let refused = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    let clients: Vec<_> = (0..16).map(|_| lender.client()).collect();
    let arguments = ["auth", "token", "--refused-stdin"];
    let running: Vec<_> = clients
        .iter()
        .map(|client| Running::with_input(&mut client.command(&arguments), &refused))
        .collect();
    let new: Vec<_> = running.into_iter().map(|it| it.end().succeeded().stdout).collect();
    assert!(new.iter().all(|token| *token == new[0] && token.trim() != refused), "{new:?}");
    assert_eq!(sandbox.refresh_count(), 1);
    // A server that refuses everything does not have tokens rotated in a loop.
    let outcome = clients[0].run_with_input(&arguments, &new[0]);
    failed(&outcome, 3, "refused");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn a_revoked_token_is_replaced_in_the_middle_of_a_command() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let mut tokens = session(&sandbox, "ada", 3600);
    tokens["issued_at"] = json!(ends_in(-600));
    only_profile(&home, "lent", in_file(&sandbox.remote_url(), &tokens));
    sandbox.expire_access_tokens();
    let lender = Lender::start(&home, &[]);
    let outcome = lender.client().run(&["whoami"]).succeeded();
    assert!(outcome.stdout.contains("ada@example.com"), "{outcome}");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn an_api_key_that_a_server_refuses_is_not_given_out_again() {
    let home = with_two();
    let lender = Lender::start(&home, &["--profile", "key"]);
    let outcome = lender.client().run_with_input(&["auth", "token", "--refused-stdin"], "the-key");
    failed(&outcome, 3, "the server refused the API key");
}

#[test]
fn a_lender_that_is_stopped_finishes_what_it_is_answering() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(1500));
        let (home, name) = with_session(&sandbox, -1);
        let lender = Lender::start(&home, &[]);
        let client = lender.client().start(&["auth", "token"]);
        sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
        let ended = ends(lender.running, signal);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{ended}");
        let stored = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
        assert_eq!(client.end(), Outcome::done(&format!("{stored}\n")));
        assert!(sandbox.is_live(&stored));
    }
}

#[test]
fn a_lender_that_is_killed_in_a_refresh_leaves_the_store_whole() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(1500));
    let (home, name) = with_session(&sandbox, -1);
    let before = home.store();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket().to_owned();
    let client = lender.client().start(&["auth", "token"]);
    sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
    lender.running.signal(Signal::KILL);
    failed(&client.end(), 6, socket.to_str().unwrap());
    assert_eq!(home.store(), before);
    assert!(!profile(&home, &name).is_null());
    // Its socket is still there, and the next one replaces it.
    assert!(socket.exists());
    let next = Lender::start(&home, &[]);
    assert_eq!(next.socket(), socket);
    assert!(next.ask(&json!({"v": 1, "op": "profiles"}))["ok"].is_object());
}

#[test]
fn a_locked_keyring_is_the_clients_answer() {
    let keyring = KeyringSession::start();
    let home = Home::new().with_patient_keyring(&keyring);
    let name = name("lent");
    home.write_store(&store([(&*name, elsewhere(REMOTE, "api_key"))]));
    keyring.store(&name, "kept-key", &[]);
    let lender = Lender::start(&home, &[]);
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("kept-key\n"));
    keyring.lock();
    failed(&lender.client().run(&["auth", "token"]), 1, "the system keyring is locked");
}

#[test]
fn a_workload_exchanges_its_identity_token_once_for_all() {
    let issuer = Issuer::start(&[]);
    let rule = issuer.trust_rule();
    let sandbox = sandbox_with(move |config| {
        config.trust_rules = vec![rule];
        config.access_token_lifetime = Duration::from_secs(64);
    });
    let exchanges =
        || sandbox.requests().iter().filter(|request| request.path == "/v1/auth/token").count();
    let home = Home::at(&sandbox)
        .with("BASETEN_TRUST_RULE", "ci")
        .with("BASETEN_IDENTITY_TOKEN", issuer.token(Issuer::SUBJECT, "baseten"));
    let lender = Lender::start(&home, &[]);
    let all = || {
        let clients: Vec<_> = (0..16).map(|_| lender.client().start(&["auth", "token"])).collect();
        clients.into_iter().map(|it| it.end().succeeded().stdout).collect::<Vec<_>>()
    };
    let first = all();
    assert!(first.iter().all(|token| *token == first[0]), "{first:?}");
    assert_eq!(exchanges(), 1);
    // Less than a minute is left.
    std::thread::sleep(Duration::from_secs(5));
    let second = all();
    assert!(second.iter().all(|token| *token == second[0] && *token != first[0]), "{second:?}");
    assert_eq!(exchanges(), 2);
    let status = lender.client().run(&["auth", "status", "-o", "json"]).succeeded().json();
    assert_eq!((&status["profile"], &status["auth_type"]), (&json!(""), &json!("workload")));
}

/// An SSH server on loopback, for the account that runs the tests.
struct Ssh {
    directory: tempfile::TempDir,
    port: u16,
    _server: Running,
}

impl Ssh {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for key in ["host", "client"] {
            let mut command = std::process::Command::new(find("ssh-keygen", "openssh-client"));
            command.args(["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]);
            assert!(command.status().unwrap().success());
        }
        fs::copy(file("client.pub"), file("authorized_keys")).unwrap();
        // Where sshd looks for it, which a package's service would make.
        let _ = fs::create_dir("/run/sshd");
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        fs::write(
            file("config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n",
                file("host"),
                file("authorized_keys")
            ),
        )
        .unwrap();
        let program =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|it| Path::new(it).exists());
        let program = program.unwrap_or_else(|| panic!("install the package openssh-server"));
        let mut command = std::process::Command::new(program);
        command.args(["-D", "-e", "-f", &file("config")]);
        command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let server = Running::start(&mut command);
        wait::until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { directory, port, _server: server }
    }

    /// Runs a command there, with a socket there that leads to one here.
    fn run(&self, there: &Path, here: &Path, command: &str) -> Outcome {
        let key = self.directory.path().join("client");
        let mut ssh = std::process::Command::new(find("ssh", "openssh-client"));
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "ExitOnForwardFailure=yes", "-p", &self.port.to_string()]);
        ssh.arg("-i").arg(key);
        ssh.arg("-R").arg(format!("{}:{}", there.display(), here.display()));
        ssh.args(["127.0.0.1", command]);
        ssh.stdin(std::process::Stdio::null());
        Outcome::from(ssh.output().unwrap())
    }
}

#[test]
fn a_login_is_lent_to_another_host_over_ssh() {
    let sandbox = sandbox();
    let (home, name) = with_session(&sandbox, -1);
    let lender = Lender::start(&home, &[]);
    let (ssh, host) = (Ssh::start(), Home::new());
    let there = host.path().join("baseten.sock");
    let variables = format!(
        "env -i HOME={} BASETEN_AUTH_SOCK={} {} auth",
        host.path().display(),
        there.display(),
        baseten()
    );
    let outcome = ssh.run(&there, lender.socket(), &format!("{variables} token")).succeeded();
    assert_eq!(outcome.stdout.trim(), tokens_of(&home, &name)["access_token"]);
    assert_eq!(sandbox.refresh_count(), 1);
    // The socket stays behind when the session ends, and is in the way of the next one.
    assert!(there.exists());
    assert_eq!(host.run(&["auth", "token"]).status, 3, "without the variable, nobody is logged in");
    let again = ssh.run(&there, lender.socket(), "true");
    assert_ne!(again.status, 0, "{again}");
    fs::remove_file(&there).unwrap();
    let list = ssh.run(&there, lender.socket(), &format!("{variables} list -o json")).succeeded();
    assert_eq!(list.json()[0]["storage"], "socket");
}

// Who may ask, and how.

#[test]
fn users_who_are_not_allowed_are_refused() {
    if !is_root("other users") {
        return;
    }
    let home = with_two();
    let socket = home.path().join("lend/auth.sock");
    let client = Home::new().with("BASETEN_AUTH_SOCK", socket.to_str().unwrap());
    let ask_as =
        |user: u32| Running::start(&mut command_as(user, &client, &["auth", "token"])).end();
    let arguments = ["--socket", socket.to_str().unwrap()];
    let lender = Lender::start(&home, &arguments);
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    failed(&ask_as(STRANGER), 6, "Permission denied");
    ends(lender.running, Signal::TERM);
    fs::remove_dir(socket.parent().unwrap()).unwrap();

    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let allowed = STRANGER.to_string();
    let lender = Lender::start(&home, &[&arguments[..], &["--allow-uid", &allowed]].concat());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o666, 0o711));
    assert_eq!(ask_as(STRANGER), Outcome::done("the-token\n"));
    wait::until("the token is told", || lender.records().len() == 2);
    assert_eq!(lender.records()[1]["uid"], STRANGER);
    let other = ask_as(STRANGER + 1);
    failed(&other, 3, &format!("user {} may not ask", STRANGER + 1));
    assert!(other.stderr.contains("--allow-uid"), "{other}");
    let outcome = ends(lender.running, Signal::TERM);
    assert!(outcome.stderr.contains(&format!("user {} got none", STRANGER + 1)), "{outcome}");
}

#[test]
fn a_client_that_misbehaves_is_told_so_and_costs_nobody_else_anything() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket();
    let long = vec![b'x'; 1024 * 1024];
    for bad in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", &long] {
        assert_eq!(exit(&say(socket, bad)), Some(2), "{} bytes", bad.len());
    }
    let silent = UnixStream::connect(socket).unwrap();
    let half = UnixStream::connect(socket).unwrap();
    std::io::Write::write_all(&mut &half, b"{\"v\":1,").unwrap();
    let cut = UnixStream::connect(socket).unwrap();
    std::io::Write::write_all(&mut &cut, b"{\"v\":1,").unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    let deaf: Vec<_> = (0..40)
        .map(|_| {
            let stream = UnixStream::connect(socket).unwrap();
            std::io::Write::write_all(&mut &stream, format!("{}\n", token()).as_bytes()).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    assert!(started.elapsed() < Duration::from_secs(4), "it waited for the others");
    for (mut stream, answer) in
        [(half, "not arrive in time"), (silent, "in time"), (cut, "not end")]
    {
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.contains(answer) && told.contains("\"exit\":2"), "{answer}: {told}");
    }
    drop(deaf);
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
}

#[test]
fn a_thousand_silent_connections_do_not_keep_others_out() {
    let home = with_two();
    // Nobody reads what it says of them on stderr, which is more than a pipe holds.
    let lender = Lender::start(&home, &[]);
    let silent: Vec<_> =
        (0..1000).filter_map(|_| UnixStream::connect(lender.socket()).ok()).collect();
    assert_eq!(silent.len(), 1000);
    let started = Instant::now();
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    drop(silent);
    let process = lender.running.0.id();
    let threads = || fs::read_dir(format!("/proc/{process}/task")).unwrap().count();
    wait::until("their threads have ended", || threads() < 5);
}

#[test]
fn the_protocol_is_the_one_of_the_reference() {
    let home = with_two();
    let lender = Lender::start(&home, &["--all"]);
    let granted = lender.ask(&json!({"v": 1, "op": "token", "profile": "key", "unknown": [1]}));
    let key = json!({"profile": "key", "remote_url": REMOTE, "auth_type": "api_key",
        "token": "the-key", "token_type": "Api-Key"});
    assert_eq!(granted, json!({"v": 1, "ok": key}));
    for bad in [
        json!({"v": 2, "op": "token"}),
        json!({"v": 1, "op": "refresh"}),
        json!({"op": "token"}),
        json!([]),
        json!({"v": 1, "op": "token", "min_ttl": "10m"}),
    ] {
        let answer = lender.ask(&bad);
        assert_eq!(exit(&answer), Some(2), "{bad}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["hint"].is_string());
        assert!(answer["ok"].is_null());
    }
}

// The socket.

#[test]
fn the_usual_socket_is_in_the_runtime_directory_or_beside_the_store() {
    let home = with_two();
    let beside = Lender::start(&home, &[]);
    assert_eq!(beside.socket(), home.auth_json().with_file_name("auth.sock"));
    let run = home.path().join("run");
    fs::create_dir(&run).unwrap();
    let home = home.with("XDG_RUNTIME_DIR", run.to_str().unwrap());
    let lender = Lender::start(&home, &[]);
    assert_eq!(lender.socket(), run.join("baseten/auth.sock"));
    assert_eq!((mode(lender.socket()), mode(&run.join("baseten"))), (0o600, 0o700));
    // A directory that is there keeps its mode.
    ends(lender.running, Signal::TERM);
    fs::set_permissions(run.join("baseten"), fs::Permissions::from_mode(0o750)).unwrap();
    let lender = Lender::start(&home, &[]);
    assert_eq!(mode(&run.join("baseten")), 0o750);
    assert!(lender.socket().exists());
}

#[test]
fn nothing_that_is_alive_or_no_socket_is_replaced() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let again = home.run(&["auth", "serve"]);
    failed(&again, 1, "another lender already listens at");
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    let file = home.path().join("file");
    fs::write(&file, "precious").unwrap();
    failed(&home.run(&["auth", "serve", "--socket", file.to_str().unwrap()]), 1, "is not a socket");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let long = home.path().join("x".repeat(120));
    failed(
        &home.run(&["auth", "serve", "--socket", long.to_str().unwrap()]),
        1,
        "cannot listen at",
    );
    failed(&home.run(&["auth", "serve", "-o", "json"]), 2, "json");
}

#[test]
fn a_socket_that_was_replaced_meanwhile_is_not_removed() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket().to_owned();
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    ends(lender.running, Signal::TERM);
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
}

#[test]
fn systemd_hands_a_socket_over_and_is_told_when_it_is_ready() {
    let home = with_two();
    let (socket, notify) = (home.path().join("s"), home.path().join("notify"));
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let program = find("systemd-socket-activate", "systemd");
    let mut command = home.command_of(program, &["-E", "HOME", "-E", "NOTIFY_SOCKET", "-l"]);
    command.arg(&socket).args([baseten(), "auth", "serve", "-o", "jsonl"]);
    command.env("NOTIFY_SOCKET", &notify);
    let running = Running::start(&mut command);
    wait::until("it listens", || UnixStream::connect(&socket).is_ok());
    // The first connection has started the lender.
    assert_eq!(ask(&socket, &token())["ok"]["token"], "the-token");
    let mut message = [0; 100];
    let length = told.recv(&mut message).unwrap();
    assert_eq!(String::from_utf8_lossy(&message[..length]).trim(), "READY=1");
    let outcome = ends(running, Signal::TERM);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stdout.contains("\"profiles\":[\"session\"]"), "{outcome}");
    assert!(socket.exists(), "a socket that was handed over is not removed");
}

#[test]
fn the_units_of_the_package_are_sound() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let home = Home::new().with("XDG_RUNTIME_DIR", "/tmp");
    let mut verify = home.command_of(find("systemd-analyze", "systemd"), &["--user", "--man=no"]);
    verify.arg("verify");
    for unit in ["baseten-auth.socket", "baseten-auth.service"] {
        let text = fs::read_to_string(directory.join(unit)).unwrap();
        let copy = home.path().join(unit);
        fs::write(&copy, text.replace("/usr/bin/baseten", baseten())).unwrap();
        verify.arg(copy);
    }
    assert_eq!(Outcome::from(verify.output().unwrap()), Outcome::done(""));
}

#[test]
fn a_hang_up_is_ignored_without_a_terminal() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    lender.running.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lender.ask(&token())["ok"]["token"], "the-token");
}

/// The memory of a process in kilobytes: what it has of its own.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are for docs/performance.md")]
fn ten_thousand_tokens_to_thirty_two_clients_are_all_right_and_memory_stays_flat() {
    const CLIENTS: usize = 32;
    let home = with_two();
    let lender = Lender::start(&home, &["--all"]);
    let (socket, process) = (lender.socket(), lender.running.0.id());
    let take = |number: usize| {
        let started = Instant::now();
        let (profile, token) = [("session", "the-token"), ("key", "the-key")][number % 2];
        let granted = ask(socket, &json!({"v": 1, "op": "token", "profile": profile}));
        assert_eq!(granted["ok"]["token"], token, "{granted}");
        started.elapsed()
    };
    let burst = |each: usize| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || (0..each).map(|_| take(client)).collect()))
                .collect();
            let times = clients.into_iter().map(|it| it.join().unwrap());
            times.collect::<Vec<Vec<Duration>>>().concat()
        })
    };
    burst(10);
    let before = memory(process);
    let mut times = burst(10_000 / CLIENTS + 1);
    let after = memory(process);
    times.sort();
    let share = |percent: usize| times[times.len() * percent / 100];
    eprintln!(
        "{} tokens to {CLIENTS} clients: p50 {:?}, p99 {:?}; memory {before} kB, then {after} kB",
        times.len(),
        share(50),
        share(99)
    );
    assert!(times.len() >= 10_000);
    assert!(after < before + 2048, "{before} kB, then {after} kB");
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_lender_that_needs_too_long_says_so_and_one_that_is_silent_is_left() {
        let silent = Home::new();
        let path = silent.path().join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let silent = silent.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
        let keyring = KeyringSession::start();
        let home = Home::new().with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "50");
        let name = name("lent");
        home.write_store(&store([(&*name, elsewhere(REMOTE, "api_key"))]));
        keyring.store(&name, "kept-key", &[]);
        let lender = Lender::start(&home, &[]);
        keyring.freeze();
        let started = Instant::now();
        let (late, silent) =
            (lender.client().start(&["auth", "token"]), silent.start(&["auth", "token"]));
        failed(&late.end(), 6, "the token could not be had within 35 s");
        let waited = started.elapsed().as_secs();
        assert!((34..40).contains(&waited), "{waited}");
        failed(&silent.end(), 6, "did not answer within 40 s");
        keyring.thaw();
    }
}
