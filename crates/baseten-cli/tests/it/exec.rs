//! `auth exec`: a program replaces this one, with the credential in its environment.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use baseten_testing::home::Home;
use baseten_testing::identity::{claims, jwt};
use baseten_testing::outcome::Outcome;
use baseten_testing::program::baseten;
use baseten_testing::sandbox::sandbox;
use baseten_testing::server::{Server, ok};
use baseten_testing::stored::{ends_in, in_file, session, store, tokens, with_key};
use serde_json::Value;

const REMOTE: &str = "https://app.example.com";

/// A home with a session and a key, and variables of another login.
fn home() -> Home {
    let session = in_file(REMOTE, &tokens("the-token", "r", &ends_in(3600)));
    let home = Home::new()
        .with("BASETEN_TRUSS_AUTH_API_KEY", "old")
        .with("BASETEN_TRUSS_AUTH_ELSE", "old")
        .with("ANTHROPIC_API_KEY", "old");
    home.write_store(&store([("session", session), ("key", with_key(REMOTE, "the-key"))]));
    home
}

/// The variables of a program that is run like this, without those that every home has.
#[track_caller]
fn environment(home: &Home, arguments: &[&str]) -> BTreeMap<String, String> {
    let outcome = home.run(&[&["auth", "exec"], arguments, &["--", "env", "-0"]].concat());
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    let variables = outcome.stdout.split('\0').filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    variables.filter(|(name, _)| name != "HOME" && name != "PATH").collect()
}

fn variables<'a>(
    all: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    all.into_iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_session_is_given_as_the_clients_want_it() {
    let home = home()
        .with("BASETEN_API_KEY", "old")
        .with("BASETEN_REMOTE_URL", "https://app.old.example.com")
        .with("BASETEN_TRUST_RULE", "old");
    let always = [
        ("BASETEN_PROFILE", "session"),
        ("BASETEN_TRUSS_AUTH_REMOTE_URL", REMOTE),
        ("BASETEN_TRUSS_AUTH_API_KEY", "the-token"),
    ];
    let openai =
        [("OPENAI_API_KEY", "the-token"), ("OPENAI_BASE_URL", "https://inference.example.com/v1")];
    let anthropic = [
        ("ANTHROPIC_AUTH_TOKEN", "the-token"),
        ("ANTHROPIC_BASE_URL", "https://inference.example.com"),
    ];
    let untouched = [("ANTHROPIC_API_KEY", "old")];
    let selected = ["--profile", "session"];
    let of = |clients: &[&str]| environment(&home, &[&selected[..], clients].concat());
    assert_eq!(of(&[]), variables(always.iter().chain(&untouched)));
    assert_eq!(of(&["--for", "truss"]), variables(always.iter().chain(&untouched)));
    let with_openai = always.iter().chain(&openai).chain(&untouched);
    assert_eq!(of(&["--for", "openai"]), variables(with_openai));
    let with_both = always.iter().chain(&openai).chain(&anthropic);
    assert_eq!(of(&["--for", "openai", "--for=anthropic"]), variables(with_both));
}

#[test]
fn a_key_is_given_to_this_program_too() {
    let key = |key| {
        [
            ("ANTHROPIC_API_KEY", "old"),
            ("BASETEN_API_KEY", key),
            ("BASETEN_REMOTE_URL", REMOTE),
            ("BASETEN_TRUSS_AUTH_REMOTE_URL", REMOTE),
            ("BASETEN_TRUSS_AUTH_API_KEY", key),
        ]
    };
    let stored = environment(&home(), &["--profile", "key"]);
    assert_eq!(stored, variables(key("the-key").iter().chain(&[("BASETEN_PROFILE", "key")])));
    let given = home().with("BASETEN_API_KEY", "given").with("BASETEN_REMOTE_URL", REMOTE);
    let given = given.with("BASETEN_AUTH_SOCK", "/old");
    assert_eq!(environment(&given, &[]), variables(&key("given")));
}

#[test]
fn a_workload_stays_one() {
    let answer = r#"{"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}"#;
    let server = Server::start([ok(answer)]);
    let token = jwt(&claims(), "s");
    let home = Home::served_by(&server)
        .with("BASETEN_TRUST_RULE", "ci")
        .with("BASETEN_IDENTITY_TOKEN", token.as_str())
        .with("BASETEN_REMOTE_URL", REMOTE);
    let given = environment(&home, &[]);
    let api = server.url("localhost", "");
    assert_eq!(
        given,
        variables(&[
            ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", api.as_str()),
            ("BASETEN_TRUST_RULE", "ci"),
            ("BASETEN_IDENTITY_TOKEN", token.as_str()),
            ("BASETEN_REMOTE_URL", REMOTE),
            ("BASETEN_TRUSS_AUTH_REMOTE_URL", REMOTE),
            ("BASETEN_TRUSS_AUTH_API_KEY", "the-token"),
        ])
    );
}

#[test]
fn tokens_that_have_ended_are_refreshed_first() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let old = session(&sandbox, "ada", -1);
    home.write_store(&store([("session", in_file(&sandbox.remote_url(), &old))]));
    let token = |home: &Home| {
        let given = environment(home, &["--profile", "session", "--min-ttl", "10m"]);
        given.get("BASETEN_TRUSS_AUTH_API_KEY").unwrap().clone()
    };
    let first = token(&home);
    assert!(sandbox.is_live(&first));
    assert_eq!(token(&home), first);
    assert_eq!(sandbox.refresh_count(), 1);
}

fn exec(arguments: &[&str]) -> Outcome {
    home().run(&[&["auth", "exec", "--profile", "key"], arguments].concat())
}

#[test]
fn the_process_becomes_the_program() {
    let home = home();
    let script = "echo $$; kill -TERM $$";
    let running = home.start(&["auth", "exec", "--profile", "key", "sh", "-c", script]);
    let process = running.0.id();
    let outcome = running.end();
    assert_eq!((outcome.status, outcome.stdout.trim()), (143, process.to_string().as_str()));
    assert_eq!(exec(&["sh", "-c", "exit 7"]).status, 7);
    assert_eq!(exec(&["--", "sh", "-c", "exit 3"]).status, 3);
}

#[test]
fn arguments_after_the_program_are_its_own() {
    let its_own = ["--no-input=true", "--web=false", "--", "-v", "--help", "--profile", "x", "é"];
    for before in [&[][..], &["--"], &["--no-input", "--"]] {
        let outcome = exec(&[before, &["printf", "%s\n"], &its_own].concat());
        assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), its_own, "{before:?}: {outcome}");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    }
}

#[test]
fn a_program_that_cannot_be_started_ends_like_in_a_shell() {
    let home = home();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    for (program, status, words) in [
        ("no-such-program", 127, "error: there is no program no-such-program\n"),
        (file.to_str().unwrap(), 126, "Permission denied"),
        (home.path().to_str().unwrap(), 126, "Permission denied"),
    ] {
        let outcome = home.run(&["auth", "exec", "--profile", "key", "--", program]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
        assert!(outcome.stderr.contains(words), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 2, "{outcome}");
        assert!(!outcome.stderr.contains("the-key"), "{outcome}");
    }
}

#[test]
fn without_a_credential_nothing_is_started() {
    let server = Server::start([]);
    let home = Home::served_by(&server);
    let marker = home.path().join("started");
    let start = ["--", "touch", marker.to_str().unwrap()];
    let expired = tokens("t", "r", &ends_in(-1));
    for (profile, arguments, status) in [
        (None, &[][..], 3),
        (None, &["--profile", "x"], 4),
        // Found out before the refresh token is used.
        (Some(in_file("https://127.0.0.1", &expired)), &["--profile", "it", "--for", "openai"], 2),
    ] {
        let profiles: Vec<(&str, Value)> = profile.into_iter().map(|it| ("it", it)).collect();
        home.write_store(&store(profiles));
        let arguments = [&["auth", "exec"][..], arguments, &start];
        let outcome = home.run(&arguments.concat());
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
        assert!(!marker.exists(), "{outcome}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn verbose_output_tells_names_and_the_end_and_no_value() {
    let outcome = home().run(&["auth", "exec", "-v", "--profile", "session", "--", "true"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, ""), "{outcome}");
    let line = "set BASETEN_PROFILE, BASETEN_TRUSS_AUTH_REMOTE_URL, BASETEN_TRUSS_AUTH_API_KEY; \
                the token ends at ";
    assert!(outcome.stderr.contains(line), "{outcome}");
    assert!(!outcome.stderr.contains("the-token"), "{outcome}");
}

/// What a program inherits: limits, open files, signals. The standard library unblocks all signals.
const LOOK: &str = "ulimit -S -a; ls /proc/$$/fd; grep -E '^Sig(Ign|Cgt)' /proc/$$/status";

#[test]
fn limits_signals_and_open_files_are_as_they_were() {
    for before in ["", "ulimit -S -c 1;", "trap '' HUP INT XFSZ;", "ulimit -S -f 100;"] {
        let look = |program: &[&str]| {
            let script = format!("{before} exec \"$@\"");
            let words = [&["-c", &script, "sh"], program, &["sh", "-c", LOOK]].concat();
            baseten_testing::outcome::Running::start(&mut home().command_of("sh", &words)).end()
        };
        let ours = look(&[baseten(), "auth", "exec", "--profile", "key", "--"]);
        assert_eq!(ours, look(&["env"]), "{before}");
        assert!(ours.stdout.contains("SigIgn"), "{ours}");
    }
}
