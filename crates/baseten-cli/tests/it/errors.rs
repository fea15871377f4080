//! Every error that is easy to provoke, in one snapshot, so that they can be read together.

#![cfg(target_os = "linux")]

use std::fmt::Write as _;

use baseten_testing::home::Home;
use baseten_testing::identity::jwt;
use baseten_testing::outcome::regex_quote;
use baseten_testing::server::{Act, Server, answer, ok};

/// A home with an OAuth profile that has expired, an API key that is missing, and one that is
/// broken. Nothing listens at its remote.
fn four_profiles() -> Home {
    let home = Home::with_api("http://localhost:1");
    home.write_store(
        r#"{"version": 1, "current": "work", "profiles": {
            "work": {"remote_url": "https://app.baseten.co", "auth_type": "oauth",
                "oauth_credential": {"access_token": "access", "refresh_token": "refresh",
                    "expiry": "2020-01-01T00:00:00Z"}},
            "bot": {"remote_url": "https://app.baseten.co", "auth_type": "api_key"},
            "path": {"remote_url": "https://app.baseten.co/path", "auth_type": "api_key",
                "api_key": "key"},
            "broken": {"remote_url": "https://app.baseten.co", "auth_type": "magic"}}}"#,
    );
    home
}

/// The same, with a server that has this script.
fn at(script: impl IntoIterator<Item = Act>) -> Home {
    let server = Server::start(script);
    four_profiles().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", ""))
}

fn error(code: &str) -> Act {
    answer(400, "", &format!(r#"{{"error": "{code}", "error_description": "Some words."}}"#))
}

const WEB: &[&str] = &["auth", "login", "--web"];
const KEY: &[&str] = &["auth", "login", "--with-api-key", "--profile", "bot"];
const TOKEN: &[&str] = &["auth", "token"];
const STATUS: &[&str] = &["auth", "status"];
const WHOAMI: &[&str] = &["whoami"];

/// Runs a command and adds its status and its errors to the notes.
fn note(notes: &mut String, home: &Home, arguments: &[&str]) {
    let outcome = home.run(arguments);
    assert_ne!(outcome.status, 0, "{outcome}");
    assert_eq!(outcome.stdout, "");
    let path = home.path().to_str().unwrap();
    let errors = outcome.stderr.replace(path, "[HOME]");
    let status = outcome.status;
    writeln!(notes, "$ baseten {}\n[{status}] {errors}", arguments.join(" ")).unwrap();
}

/// A hint for logging in again names the remote of the stored profile, whatever the default is: at
/// another remote, the login would replace the profile.
#[test]
fn no_hint_replaces_a_profile_by_one_of_another_remote() {
    let secret = r#""access_token": "access", "refresh_token": "refresh""#;
    let old = format!(r#"{secret}, "expiry": "2020-01-01T00:00:00Z""#);
    let key = r#""auth_type": "api_key", "api_key": "key""#;
    let troubles = [
        format!(r#""auth_type": "oauth", "oauth_credential": {{{secret}, "expiry": "soon"}}"#),
        format!(r#""auth_type": "oauth", "oauth_credential": {{{old}}}"#),
        format!(r#""auth_type": "oauth", {}"#, r#""api_key": "key""#),
        r#""auth_type": "magic""#.to_owned(),
        r#""auth_type": "api_key""#.to_owned(),
        r#""auth_type": "api_key", "api_key": "two words""#.to_owned(),
        key.to_owned(),
    ];
    for remote in ["https://app.baseten.co", "https://app.example.com"] {
        for trouble in &troubles {
            let server = Server::start([error("invalid_grant"), error("invalid_grant")]);
            let home = Home::served_by(&server).with("BASETEN_REMOTE_URL", "https://third.example");
            home.install(
                "docker-credential-empty",
                "echo credentials not found in native keychain; exit 1",
            );
            let home = home.with("BASETEN_CREDENTIAL_STORE", "helper:empty");
            home.write_store(&format!(
                r#"{{"current": "o", "profiles": {{"o": {{"remote_url": "{remote}", {trouble}}}}}}}"#
            ));
            let outcome = home.run(&["whoami"]);
            let hint = outcome.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap();
            assert!(hint.contains("--profile o"), "{trouble}: {outcome}");
            assert!(hint.contains(&format!(" --remote-url {remote}")), "{trouble}: {outcome}");
        }
    }
    let broken =
        r#"{"current": "o", "profiles": {"o": {"remote_url": 5, "auth_type": "api_key"}}}"#;
    let outcome = Home::with_store(broken).run(STATUS);
    assert!(outcome.stderr.ends_with("--profile o --remote-url <url>\n"), "{outcome}");
}

#[test]
fn every_error_can_be_read_here() {
    let mut notes = String::new();
    let mut show = |home: Home, arguments: &[&str]| note(&mut notes, &home, arguments);

    // The command line.
    show(four_profiles(), &["auth", "frobnicate"]);
    show(four_profiles(), &["auth", "status", "--frobnicate"]);
    show(four_profiles(), &["auth", "status", "word"]);
    show(four_profiles(), &["auth", "status", "--output", "yaml"]);
    show(four_profiles(), &["auth", "status", "--profile", ""]);
    show(four_profiles(), &["auth", "status", "--jq", ".", "--output", "none"]);
    show(four_profiles(), &["auth", "status", "--raw-output"]);
    show(four_profiles(), &["auth", "token", "--header", "--output", "json"]);
    show(four_profiles(), &["auth", "login"]);
    show(four_profiles(), &["auth", "login", "--with-api-key"]);
    show(four_profiles(), &["auth", "login", "--web", "--with-api-key"]);
    show(four_profiles(), &["auth", "login", "--with-api-key=key", "--profile", "bot"]);
    show(four_profiles(), KEY);
    for url in ["", "app.baseten.co", "http://app.baseten.co", "https://app.baseten.co/a"] {
        show(four_profiles(), &[WEB, &["--remote-url", url]].concat());
    }
    show(four_profiles(), &["auth", "switch"]);

    // Variables.
    let remote = Home::new().with("BASETEN_REMOTE_URL", "app.baseten.co");
    show(remote, WEB);
    show(Home::new().with("BASETEN_REMOTE_URL", "https://127.0.0.1"), WEB);
    show(Home::new().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "nowhere"), WEB);
    show(Home::new().with("BASETEN_CREDENTIAL_STORE", "paper"), WEB);
    show(Home::new().with("BASETEN_CREDENTIAL_STORE", "helper:../a"), WEB);
    show(
        four_profiles().with("BASETEN_KEYRING_TIMEOUT", "soon"),
        &["auth", "token", "--profile", "bot"],
    );
    show(four_profiles().with("BASETEN_PROFILE", "tab\t"), STATUS);
    show(four_profiles().with("BASETEN_API_KEY", "two words"), STATUS);
    let mut homeless = Home::new();
    homeless.unset("HOME");
    show(homeless, STATUS);
    show(Home::new().with("XDG_CONFIG_HOME", "relative"), STATUS);

    // Profiles.
    show(Home::new(), STATUS);
    show(Home::new(), &["auth", "switch"]);
    show(Home::with_store(r#"{"profiles": {"a": {}}}"#), STATUS);
    show(Home::with_store(r#"{"current": "gone"}"#), STATUS);
    show(four_profiles(), &["auth", "status", "--profile", "gone"]);
    show(four_profiles().with("BASETEN_PROFILE", "gone"), STATUS);
    show(four_profiles(), &["auth", "status", "--profile", "broken"]);
    show(four_profiles(), &["auth", "token", "--profile", "path"]);
    show(Home::new(), &["auth", "login", "--resume"]);

    // A workload.
    let workload = || Home::new().with("BASETEN_TRUST_RULE", "ci");
    show(workload().with("BASETEN_TRUST_RULE", "two words"), WHOAMI);
    show(workload(), WHOAMI);
    for ci in ["GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE"] {
        show(workload().with(ci, "true"), WHOAMI);
    }
    let expired = jwt(&serde_json::json!({ "iss": "https://example.com", "exp": 1 }), "signature");
    for (variable, value) in [
        ("BASETEN_IDENTITY_TOKEN", "garbage"),
        ("BASETEN_IDENTITY_TOKEN", &expired),
        ("BASETEN_IDENTITY_TOKEN_FILE", "missing"),
        ("BASETEN_IDENTITY_TOKEN_COMMAND", "false"),
        ("BASETEN_IDENTITY_TOKEN_COMMAND", "'"),
    ] {
        show(workload().with(variable, value), WHOAMI);
    }

    // The store.
    show(Home::with_store("not JSON"), STATUS);
    show(Home::with_store("{"), STATUS);
    show(Home::with_store(r#"{"version": 2}"#), STATUS);
    let directory = Home::new();
    std::fs::create_dir_all(directory.auth_json()).unwrap();
    show(directory, STATUS);
    let blocked = Home::new();
    std::fs::write(blocked.path().join(".config"), "").unwrap();
    show(blocked, WEB);

    // The keyring, and what is used instead of it.
    show(four_profiles(), &["auth", "token", "--profile", "bot"]);
    let helper = four_profiles().with("BASETEN_CREDENTIAL_STORE", "helper:none");
    show(helper, &["auth", "token", "--profile", "bot"]);

    // The server.
    show(four_profiles(), TOKEN);
    show(at([error("invalid_grant")]), TOKEN);
    show(at([error("invalid_client")]), TOKEN);
    show(at([answer(503, "", "")]), TOKEN);
    show(at([error("access_denied")]), WEB);
    show(at([error("invalid_request")]), WEB);
    show(at([answer(403, "", "")]), WEB);
    show(at([ok("<html>")]), WEB);
    let page =
        r#"{"device_code": "d", "user_code": "U", "verification_uri": "http://example.com"}"#;
    show(at([ok(page)]), WEB);
    let message = r#"{"code": "CODE", "message": "Some words."}"#;
    for status in [401, 404, 422, 500, 302, 407] {
        let script = [answer(status, "", message)];
        show(at(script).with("BASETEN_API_KEY", "key"), WHOAMI);
    }
    show(at([Act::Close]).with("BASETEN_API_KEY", "key"), WHOAMI);
    show(at([Act::Answer(b"SSH-2.0\r\n".to_vec())]).with("BASETEN_API_KEY", "key"), WHOAMI);

    let version = regex_quote(env!("CARGO_PKG_VERSION"));
    insta::with_settings!({filters => vec![
        (r"localhost:\d{5}", "localhost:[PORT]"),
        (version.as_str(), "[VERSION]"),
    ]}, { insta::assert_snapshot!(notes) });
}
