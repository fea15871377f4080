//! `auth serve`: what is lent, and what its clients see.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use baseten_testing::assert_outcome;
use baseten_testing::home::Home;
use baseten_testing::lender::{
    Lender, ask, ends, exit_of, failed, token_request, with_session, with_two,
};
use baseten_testing::outcome::Outcome;
use baseten_testing::program::baseten;
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{REMOTE, store, tokens_of, with_key};
use baseten_testing::wait::{self};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::Signal;
use serde_json::{Value, json};

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
    // A program that is started there selects the same profile.
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
        failed(&outcome, 2, "the login is lent by the program that listens at");
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

/// The home of a client whose lender gives these answers, one for each connection.
fn with_false_lender(answers: impl IntoIterator<Item = String>) -> Home {
    let home = Home::new();
    let path = home.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answers: Vec<_> = answers.into_iter().collect();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    home.with("BASETEN_AUTH_SOCK", path.to_str().unwrap())
}

#[test]
fn an_answer_that_is_not_a_lenders_is_refused() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n\n", "{\"v\":2,\"ok\":{\"profiles\":[]}}\n", ""]
    {
        let client = with_false_lender([answer.to_owned()]);
        let part = if answer.is_empty() { "nobody answers" } else { "is not a lender" };
        failed(&client.run(&["auth", "token"]), 6, part);
    }
}

#[test]
fn a_client_waits_while_the_queue_of_the_socket_is_full_and_can_be_interrupted() {
    let home = Home::new();
    let path = home.path().join("sock");
    let listener = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&listener, 0).unwrap();
    let listener = UnixListener::from(listener);
    let filler = UnixStream::connect(&path).unwrap();
    let home = home.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
    let (patient, mut interrupted) =
        (home.start(&["auth", "token"]), home.start(&["auth", "token"]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!interrupted.has_ended());
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.end().status, 130);
    drop((listener.accept().unwrap(), filler));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"{\"v\":1,\"error\":{\"exit\":3,\"message\":\"nobody\"}}\n").unwrap();
    drop((stream, listener));
    failed(&patient.end(), 3, "nobody");
}

#[test]
fn a_profile_that_is_replaced_between_two_questions_is_not_used() {
    let profile = json!({"profile": "a", "remote_url": REMOTE, "auth_type": "oauth"});
    let listing = json!({"v": 1, "ok": {"current": "a", "profiles": [profile]}});
    let grant = json!({"v": 1, "ok": {"profile": "a", "auth_type": "oauth",
        "remote_url": "https://app.elsewhere.example", "token": "t", "token_type": "Bearer"}});
    let client = with_false_lender([listing, grant].map(|answer| format!("{answer}\n")));
    failed(&client.run(&["auth", "status", "--check"]), 6, "has replaced the profile meanwhile");
}

#[test]
fn a_token_is_one_request_and_of_the_named_profile() {
    let grant = json!({"v": 1, "ok": {"profile": "a", "auth_type": "oauth",
        "remote_url": REMOTE, "token": "t", "token_type": "Bearer"}});
    let client = || with_false_lender([format!("{grant}\n")]);
    for arguments in [&["auth", "token"][..], &["auth", "token", "--profile", "a"]] {
        assert_eq!(client().run(arguments).succeeded().stdout, "t\n");
    }
    failed(&client().run(&["auth", "token", "--profile", "b"]), 6, "is not a lender");
    let elsewhere = ["auth", "token", "--expect-remote", "https://app.elsewhere.example"];
    assert_eq!(client().run(&elsewhere).stdout, "");
}

#[test]
fn text_of_a_lender_is_not_trusted() {
    let answer = json!({"v": 1, "error":
        {"exit": 130, "message": "bad\u{1b}[2J\u{202e}", "hint": "\u{7}beep"}});
    let outcome = with_false_lender([format!("{answer}\n")]).run(&["auth", "token"]);
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
            exit_of(&lender.ask(&token_request())),
            exit_of(&lender.ask(&of("session"))),
            exit_of(&lender.ask(&of("key"))),
            exit_of(&lender.ask(&of("none"))),
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
    assert_eq!(exit_of(&lender.ask(&token_request())), Some(3));
    home.log_in_with_key(&sandbox, "ada", "first");
    home.log_in_with_key(&sandbox, "grace", "second");
    let second = sandbox.api_key("grace").unwrap();
    assert_eq!(client.run(&["auth", "token"]), Outcome::done(&format!("{second}\n")));
    home.run(&["auth", "switch", "--profile", "first"]).succeeded();
    let first = sandbox.api_key("ada").unwrap();
    assert_eq!(client.run(&["auth", "token"]), Outcome::done(&format!("{first}\n")));
    home.run(&["auth", "logout"]).succeeded();
    assert_eq!(exit_of(&lender.ask(&token_request())), Some(3));
    // The profile is replaced by another kind of login.
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
    // The client warns that it got less than it wanted.
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
        token_request(),
        json!({"v": 1, "op": "token", "profile": "key"}),
        json!({"v": 1, "op": "refresh_token"}),
    ];
    for request in requests {
        let answer = lender.ask(&request).to_string();
        assert!(!answer.contains("canary-refresh"), "{answer}");
    }
}

#[test]
fn messages_for_people_go_to_stderr() {
    let home = with_two();
    let socket = home.path().join("s");
    let arguments = ["auth", "serve", "-v", "--socket", socket.to_str().unwrap()];
    let running = home.start(&arguments);
    wait::until("it listens", || UnixStream::connect(&socket).is_ok());
    ask(&socket, &token_request());
    assert_eq!(exit_of(&ask(&socket, &json!({"v": 1, "op": "canary"}))), Some(2));
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
