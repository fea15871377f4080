//! A workload without any key: its identity token, from an issuer that others wrote, is exchanged
//! for an access token.

use std::fs;
use std::time::Duration;

use baseten_sandbox::{Config, Sandbox};
use baseten_testing::assert_outcome;
use baseten_testing::counterparts::Issuer;
use baseten_testing::home::Home;
use baseten_testing::identity::{GitHub, claims, jwt, jwt_with};
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::sandbox_with;
use baseten_testing::server::{Act, Server, answer, http, ok, respond};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A token of the workload that the sandbox accepts.
fn good(issuer: &Issuer) -> String {
    issuer.token(Issuer::SUBJECT, "baseten")
}

fn sandbox_of(issuer: &Issuer) -> Sandbox {
    let rule = issuer.trust_rule();
    sandbox_with(move |config: &mut Config| config.trust_rules = vec![rule])
}

/// A home of a workload at this sandbox.
fn workload(sandbox: &Sandbox) -> Home {
    Home::at(sandbox).with("BASETEN_TRUST_RULE", "ci")
}

/// A home with this identity token, whose requests go to a server with this script.
fn scripted(token: &str, script: impl IntoIterator<Item = Act>) -> (Server, Home) {
    let server = Server::start(script);
    let home = Home::served_by(&server)
        .with("BASETEN_TRUST_RULE", "ci")
        .with("BASETEN_IDENTITY_TOKEN", token);
    (server, home)
}

fn exchanged(token: &str) -> Act {
    let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token" });
    ok(&body.to_string())
}

fn grace() -> Act {
    ok(r#"{"user_id": "grace"}"#)
}

/// The JSON in a request.
fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn identity_file(home: &Home, text: &str) -> String {
    let path = home.path().join("identity-token");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A failure, and nothing on stdout.
#[track_caller]
fn failed(outcome: &Outcome, status: i32, parts: &[&str]) {
    assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part}: {outcome}");
    }
}

#[test]
fn an_identity_token_of_every_source_and_kind_is_exchanged() {
    for (algorithm, sources) in
        [("RS256", &["variable", "file", "command", "github"][..]), ("ES256", &["variable"])]
    {
        let issuer = Issuer::start(&["--algorithm", algorithm]);
        let sandbox = sandbox_of(&issuer);
        for source in sources {
            let mut home = workload(&sandbox);
            let token = good(&issuer);
            let github = GitHub::start(5, move |audience| {
                assert_eq!(audience, Some("baseten"));
                token.clone()
            });
            match *source {
                "variable" => home.set("BASETEN_IDENTITY_TOKEN", format!(" {}\n", good(&issuer))),
                "file" => {
                    let path = identity_file(&home, &format!("\n{}\r\n", good(&issuer)));
                    home.set("BASETEN_IDENTITY_TOKEN_FILE", path);
                }
                "command" => {
                    home.install(
                        "mint",
                        &format!("[ \"$2\" = 'a b' ] && echo '{}'", good(&issuer)),
                    );
                    home.set("BASETEN_IDENTITY_TOKEN_COMMAND", "mint --audience 'a b'");
                }
                _ => home = github.job(home).with("BASETEN_IDENTITY_AUDIENCE", "baseten"),
            }
            let before = sandbox.requests().len();
            let who = home.run(&["whoami"]);
            assert_eq!(who.stdout.lines().next(), Some("User ID:    grace"), "{source}: {who}");
            let requests = sandbox.requests();
            assert!(requests[before].is_exchange() && requests[before].authorization.is_none());

            let token = home.run(&["auth", "token", "-o", "json"]).succeeded().json();
            assert_eq!((&token["profile"], &token["token_type"]), (&json!(""), &json!("Bearer")));
            assert!(sandbox.is_live(token["token"].as_str().unwrap()), "{token}");
            assert!(token["expires_at"].is_string(), "{token}");
            let header = home.run(&["auth", "token", "--header"]).succeeded().stdout;
            assert!(header.starts_with("Authorization: Bearer "), "{header}");
            let status = home.run(&["auth", "status", "--check", "-o", "json"]).succeeded().json();
            assert_eq!((&status["valid"], &status["user_id"]), (&json!(true), &json!("grace")));
            // Known after the exchange, whatever the source is.
            assert_eq!(status["identity"]["subject"], Issuer::SUBJECT, "{source}: {status}");
            assert!(!home.auth_json().exists());
        }
    }
}

#[test]
fn the_commands_of_the_page_about_ci_print_a_token() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ci.md");
    let page = fs::read_to_string(page).unwrap();
    let values = page.lines().filter_map(|line| {
        let (_, value) = line.split_once("BASETEN_IDENTITY_TOKEN_COMMAND")?;
        // YAML has the value as it is; a shell line has it quoted.
        let quoted = || value.strip_prefix("='")?.strip_suffix('\'');
        value.strip_prefix(": ").or_else(quoted)
    });
    let issuer = Issuer::start(&[]);
    let sandbox = sandbox_of(&issuer);
    let mut home = workload(&sandbox);
    let given = home.path().join("given");
    let mut all = Vec::new();
    for value in values {
        let program = value.split(' ').next().unwrap();
        let note = format!("printf '%s\\n' {program} \"$@\" > {}", given.display());
        home.install(program, &format!("{note}; echo {}", good(&issuer)));
        home.set("BASETEN_IDENTITY_TOKEN_COMMAND", value);
        let token = home.run(&["auth", "token"]).succeeded().stdout;
        assert!(sandbox.is_live(token.trim()), "{value}");
        all.push(home.read("given"));
        fs::remove_file(home.path().join("bin").join(program)).unwrap();
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn status_shows_what_the_token_at_hand_says_and_asks_nobody() {
    let said = |end: i64| {
        let claims = json!({ "iss": "https://token.actions.githubusercontent.com", "exp": end,
            "sub": "repo:acme/models:ref:refs/heads/main", "aud": ["baseten", "other"] });
        jwt(&claims, "c2lnbmF0dXJl")
    };
    let now = Timestamp::now().as_second();
    let mut home = Home::new().with("BASETEN_TRUST_RULE", "ci");
    home.unset("HOME");
    let path = identity_file(&home, &said(now + 600 + 30));
    home.set("BASETEN_IDENTITY_TOKEN_FILE", path);
    assert_outcome!(home, home.run(&["auth", "status"]));
    identity_file(&home, &said(4_102_444_800));
    assert_outcome!(home, home.run(&["auth", "status", "-o", "json"]));
    // The first variable that is set is used.
    home.set("BASETEN_IDENTITY_TOKEN", jwt(&json!({ "exp": now - 3630 }), ""));
    assert_outcome!(home, home.run(&["auth", "status"]));
    home.unset("BASETEN_IDENTITY_TOKEN");
    home.unset("BASETEN_IDENTITY_TOKEN_FILE");

    let marker = home.path().join("was-run");
    home.install("mint", &format!("touch {}", marker.display()));
    home.set("BASETEN_IDENTITY_TOKEN_COMMAND", "mint --secret CANARY");
    let github = GitHub::start(1, |_| String::new());
    home = github.job(home);
    assert_outcome!(home, home.run(&["auth", "status"]));
    home.unset("BASETEN_IDENTITY_TOKEN_COMMAND");
    let status = home.run(&["auth", "status", "-o", "json"]).json();
    assert_eq!(status["identity"], json!({ "source": "GitHub Actions" }));
    assert!(!marker.exists() && github.0.requests().is_empty());
}

#[test]
fn verbose_output_names_the_source_and_the_claims() {
    let issuer = Issuer::start(&[]);
    let sandbox = sandbox_of(&issuer);
    let home = workload(&sandbox).with("BASETEN_IDENTITY_TOKEN", good(&issuer));
    let outcome = home.run(&["whoami", "-v"]).succeeded();
    let end = outcome.stderr.split(", exp ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let stderr = outcome.stderr.replace(&end, "[END]");
    assert_outcome!(home, Outcome { stderr, ..outcome });
}

#[test]
fn tokens_that_break_the_rule_are_refused_with_their_claims() {
    let issuer = Issuer::start(&[]);
    let other_issuer = Issuer::start(&[]);
    let early = Issuer::start(&["--not-before-seconds", "600"]);
    let sandbox = sandbox_of(&issuer);
    let sandbox_of_early = sandbox_of(&early);
    let unsigned = |issuer: &Issuer| {
        let claims = json!({ "iss": issuer.url, "sub": Issuer::SUBJECT, "aud": "baseten",
            "exp": 4_102_444_800_u64 });
        jwt_with(&json!({ "alg": "none" }), &claims, "")
    };
    let altered = |token: String| {
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        format!("{rest}.{other}{}", &signature[1..])
    };
    for (sandbox, token, refusal, said) in [
        (
            &sandbox,
            issuer.token(Issuer::SUBJECT, "other"),
            "its audience is another one",
            "aud other",
        ),
        (
            &sandbox,
            issuer.token(Issuer::OTHER_SUBJECT, "baseten"),
            "its subject is another one",
            "sub repo:acme/other:ref:refs/heads/main",
        ),
        (&sandbox, good(&other_issuer), "its signature is wrong", other_issuer.url.as_str()),
        (&sandbox, altered(good(&issuer)), "its signature is wrong", "aud baseten"),
        (&sandbox, unsigned(&issuer), "it is not a signed JWT", "exp 2100-01-01T00:00:00Z"),
        (&sandbox_of_early, good(&early), "it is not valid yet", "check this machine's clock"),
    ] {
        let home = workload(sandbox).with("BASETEN_IDENTITY_TOKEN", &token);
        let outcome = home.run(&["whoami"]);
        failed(&outcome, 3, &["invalid_grant", "trust rule 'ci'", "BASETEN_IDENTITY_TOKEN", said]);
        assert_eq!(sandbox.requests().last().unwrap().refusal, Some(refusal), "{outcome}");
        assert!(!outcome.stderr.contains(token.rsplit_once('.').unwrap().0), "{outcome}");
        let status = home.run(&["auth", "status", "--check", "-o", "json"]);
        assert_eq!((status.status, &status.json()["valid"]), (3, &json!(false)), "{status}");
        assert!(status.json()["identity"]["issuer"].is_string(), "{status}");
    }
    let home = workload(&sandbox).with("BASETEN_IDENTITY_TOKEN", good(&issuer));
    let home = home.with("BASETEN_TRUST_RULE", "another");
    failed(&home.run(&["whoami"]), 3, &["trust rule 'another'"]);
}

#[test]
fn a_refusal_is_explained() {
    let claims = json!({ "iss": "https://token.actions.githubusercontent.com", "exp": 4_102_444_800_u64,
        "sub": "repo:acme/models:ref:refs/heads/main", "aud": "https://github.com/acme" });
    let refused = || answer(400, "", r#"{"error": "invalid_grant"}"#);
    let (_server, mut home) = scripted(&jwt(&claims, "s"), [refused(), refused()]);
    assert_outcome!(home, home.run(&["whoami"]));
    home.unset("BASETEN_IDENTITY_TOKEN");
    let github = GitHub::start(1, move |_| jwt(&claims, "s"));
    let home = github.job(home);
    assert_outcome!(home, home.run(&["auth", "token"]));
}

#[test]
fn an_expired_token_is_not_sent() {
    let issuer = Issuer::start(&["--seconds", "1"]);
    let sandbox = sandbox_of(&issuer);
    let mut home = workload(&sandbox);
    let token = good(&issuer);
    std::thread::sleep(Duration::from_millis(2100));
    home.install("mint", &format!("echo {token}"));
    for (variable, value, hint) in [
        ("BASETEN_IDENTITY_TOKEN", token.clone(), "use BASETEN_IDENTITY_TOKEN_FILE=<path>"),
        ("BASETEN_IDENTITY_TOKEN_FILE", identity_file(&home, &token), "the file is renewed"),
        ("BASETEN_IDENTITY_TOKEN_COMMAND", "mint".to_owned(), "machine's clock"),
    ] {
        home.set(variable, value);
        let outcome = home.run(&["whoami"]);
        failed(&outcome, 3, &["has expired", variable, &issuer.url, Issuer::SUBJECT, hint]);
        home.unset(variable);
    }
    assert!(sandbox.requests().is_empty());
}

#[test]
fn without_a_source_the_line_to_add_is_named() {
    let home = || Home::new().with("BASETEN_TRUST_RULE", "ci");
    for (variable, line) in [
        ("GITHUB_ACTIONS", "permissions: { id-token: write, contents: read }"),
        ("GITLAB_CI", "id_tokens: { BASETEN_IDENTITY_TOKEN: { aud: <audience> } }"),
        ("BUILDKITE", "buildkite-agent oidc request-token --audience <audience>"),
        ("OTHER", "BASETEN_IDENTITY_TOKEN_FILE=<path>"),
    ] {
        for command in [&["auth", "token"][..], &["auth", "status"], &["whoami"]] {
            failed(&home().with(variable, "true").run(command), 2, &[line]);
        }
    }
    let half =
        home().with("GITHUB_ACTIONS", "true").with("ACTIONS_ID_TOKEN_REQUEST_URL", "https://x");
    failed(&half.run(&["whoami"]), 2, &["id-token: write"]);
}

#[test]
fn what_is_no_token_is_told_apart_and_not_sent() {
    let mut home = Home::new().with("BASETEN_TRUST_RULE", "ci");
    let directory = home.path().to_str().unwrap().to_owned();
    let missing = format!("{directory}/missing");
    let empty = identity_file(&home, " \n");
    let large = home.path().join("large");
    let large_token = jwt(&claims(), &"s".repeat(100_000));
    fs::write(&large, &large_token).unwrap();
    home.install("two-lines", &format!("echo {0}; echo {0}", jwt(&claims(), "s")));
    home.install("silent", "exit 0");
    home.install("endless", "yes");
    home.install("one-mebibyte", "head -c 1048576 /dev/zero");
    home.install("leaky", "echo eyJhbGciOiJub25lIn0.e30.CANARY | tee /dev/stderr; exit 3");
    home.install("shouting", "echo eyJhbGciOiJub25lIn0.e30.CANARY >&2; exit 3");
    home.install("failing", "echo 'no such role' >&2; exit 3");
    let encrypted = format!("{}.a.b", jwt(&claims(), "s"));
    for (variable, value, status, part) in [
        ("", "garbage", 2, "BASETEN_IDENTITY_TOKEN is not a JWT"),
        ("", "a.b.c", 2, "BASETEN_IDENTITY_TOKEN is not a JWT"),
        ("", encrypted.as_str(), 2, "BASETEN_IDENTITY_TOKEN is not a JWT"),
        ("", large_token.as_str(), 2, "BASETEN_IDENTITY_TOKEN is not a JWT"),
        ("", " ", 2, "BASETEN_IDENTITY_TOKEN is empty"),
        (
            "_FILE",
            missing.as_str(),
            2,
            "missing, which BASETEN_IDENTITY_TOKEN_FILE names: No such file",
        ),
        ("_FILE", directory.as_str(), 2, "Is a directory"),
        ("_FILE", empty.as_str(), 2, "is empty"),
        ("_FILE", large.to_str().unwrap(), 2, "is not a JWT"),
        ("_COMMAND", "two-lines", 2, "BASETEN_IDENTITY_TOKEN_COMMAND (two-lines) is not a JWT"),
        ("_COMMAND", "silent --now", 2, "BASETEN_IDENTITY_TOKEN_COMMAND (silent) is empty"),
        ("_COMMAND", "endless", 1, "it printed more than 64 KiB"),
        ("_COMMAND", "one-mebibyte", 1, "it printed more than 64 KiB"),
        ("_COMMAND", "leaky --password CANARY", 1, "it ended with exit status: 3"),
        ("_COMMAND", "shouting", 1, "it ended with exit status: 3"),
        ("_COMMAND", "failing", 1, "failing, the command of BASETEN_IDENTITY_TOKEN_COMMAND"),
        ("_COMMAND", "failing", 1, "no such role"),
        ("_COMMAND", "not-installed", 1, "it is not in PATH"),
        ("_COMMAND", "./not-here", 1, "No such file"),
        ("_COMMAND", "'unclosed", 2, "a quotation mark is missing"),
        ("_COMMAND", "'' mint", 2, "there is no word"),
    ] {
        let variable = format!("BASETEN_IDENTITY_TOKEN{variable}");
        home.set(&variable, value);
        let outcome = home.run(&["whoami", "-v"]);
        failed(&outcome, status, &[part, "\nhint: "]);
        assert!(!outcome.stderr.contains("CANARY"), "{outcome}");
        home.unset(&variable);
    }
    for rule in ["two words", "bell\u{7}", "é", " "] {
        home.set("BASETEN_TRUST_RULE", rule);
        failed(&home.run(&["whoami"]), 2, &["BASETEN_TRUST_RULE is not usable"]);
    }
}

#[test]
fn a_command_can_ask_github_itself() {
    let token = jwt(&claims(), "s");
    let (_server, home) = scripted("", [exchanged("access")]);
    home.install("ask", "printf '%s' \"$ACTIONS_ID_TOKEN_REQUEST_TOKEN\"");
    let home = home
        .with("BASETEN_IDENTITY_TOKEN_COMMAND", "ask")
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token);
    assert_eq!(home.run(&["auth", "token"]), Outcome::done("access\n"));
}

#[test]
fn a_401_causes_one_more_exchange_of_a_token_that_is_read_again() {
    let unauthorized = || answer(401, "", r#"{"code": "UNAUTHORIZED", "message": "revoked"}"#);
    let home = Home::new();
    let (first, second) = (jwt(&claims(), "first"), jwt(&claims(), "second"));
    let path = identity_file(&home, &first);
    let (file, rotated) = (path.clone(), second.clone());
    // The file is replaced between the two requests.
    let rotate = respond(move |_| {
        fs::write(&file, &rotated).unwrap();
        http(401, "", r#"{"code": "UNAUTHORIZED"}"#)
    });
    let script = [exchanged("one"), rotate, exchanged("two"), grace()];
    let server = Server::start(script);
    let mut home = home.with("BASETEN_TRUST_RULE", "ci").with("BASETEN_IDENTITY_TOKEN_FILE", path);
    home.set("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", ""));
    assert_eq!(home.run(&["whoami"]), Outcome::done("User ID:    grace\n"));
    let requests = server.requests();
    let sent = |number: usize| body(&requests[number])["subject_token"].clone();
    assert_eq!((sent(0), sent(2)), (json!(first), json!(second)));
    let authorization = "\r\nauthorization: bearer two\r\n";
    assert!(requests[3].to_ascii_lowercase().contains(authorization), "{}", requests[3]);

    // No more than that.
    let script = [exchanged("one"), unauthorized(), exchanged("two"), unauthorized()];
    let (server, home) = scripted(&first, script);
    let outcome = home.run(&["whoami"]);
    failed(&outcome, 3, &["rejected the access token of trust rule 'ci' (HTTP 401)"]);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn the_request_is_that_of_the_rfc_and_of_the_service() {
    let token = jwt(&claims(), "s");
    for (arguments, lifetime, warned) in [
        (&["auth", "token"][..], json!(null), false),
        (&["auth", "token", "--min-ttl", "10m"], json!(600), false),
        (&["auth", "token", "--min-ttl", "1s"], json!(60), false),
        (&["auth", "token", "--min-ttl", "1h"], json!(3600), false),
        (&["auth", "token", "--min-ttl", "2h"], json!(3600), true),
    ] {
        let (server, home) = scripted(&token, [exchanged("access")]);
        let outcome = home.run(arguments);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "access\n"), "{outcome}");
        let warning =
            "warning: the access token is valid for 3600 s, and --min-ttl asks for 7200 s";
        assert_eq!(outcome.stderr.starts_with(warning), warned, "{outcome}");
        let request = server.requests().remove(0);
        let head = request.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/auth/token http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
        let mut expected = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": "ci",
        });
        if !lifetime.is_null() {
            expected["access_token_lifetime_seconds"] = lifetime;
        }
        assert_eq!(body(&request), expected);
    }
}

#[test]
fn a_refused_token_is_exchanged_for_another_one() {
    let issuer = Issuer::start(&[]);
    let sandbox = sandbox_of(&issuer);
    let home = workload(&sandbox).with("BASETEN_IDENTITY_TOKEN", good(&issuer));
    let first = home.run(&["auth", "token"]).succeeded().stdout;
    let second = home.run_with_input(&["auth", "token", "--refused-stdin"], &first).succeeded();
    assert!(sandbox.is_live(second.stdout.trim()) && second.stdout != first, "{second}");
}

#[test]
fn answers_outside_the_protocol_and_failures_have_their_own_errors() {
    let token = jwt(&claims(), "s");
    for (act, status, part) in [
        (ok(r#"{"access_token": "a", "token_type": "DPoP"}"#), 6, "not one that this program"),
        (ok(r#"{"access_token": "a", "token_type": "N_A"}"#), 6, "not one that this program"),
        (ok(r#"{"access_token": "two words"}"#), 6, "not one that this program"),
        (ok("<html>"), 6, "not one that this program"),
        (answer(302, "Location: https://evil.example.com\r\n", ""), 6, "HTTP 302"),
        (answer(404, "", "no such page"), 4, "private preview"),
        (answer(413, "", ""), 5, "HTTP 413"),
        (answer(400, "", r#"{"error": "invalid_request"}"#), 5, "invalid_request"),
        (answer(401, "", r#"{"error": "invalid_client"}"#), 3, "invalid_client"),
        (answer(503, "Retry-After: 300\r\n", ""), 6, "HTTP 503"),
        (answer(429, "Retry-After: 300\r\n", ""), 5, "HTTP 429"),
        (Act::Close, 6, "was lost"),
    ] {
        let (server, home) = scripted(&token, [act]);
        let outcome = home.run(&["auth", "token"]);
        failed(&outcome, status, &[part, "trust rule 'ci'"]);
        assert!(server.requests().len() <= 1);
    }
    // A missing lifetime is not an error, and neither is a token type that is missing or in lower
    // case.
    for body in [r#"{"access_token": "a"}"#, r#"{"access_token": "a", "token_type": "bearer"}"#] {
        let (_server, home) = scripted(&token, [ok(body)]);
        let json = home.run(&["auth", "token", "-o", "json"]).succeeded().json();
        assert_eq!((&json["token"], json.get("expires_at")), (&json!("a"), None));
    }
}

#[test]
fn an_exchange_is_tried_again_if_that_may_help() {
    let token = jwt(&claims(), "s");
    for act in [answer(503, "", ""), answer(429, "Retry-After: 1\r\n", "")] {
        let (server, home) = scripted(&token, [act, exchanged("access")]);
        let outcome = home.run(&["auth", "token"]);
        assert_eq!(outcome.stdout, "access\n", "{outcome}");
        assert!(outcome.stderr.contains("trying again in 1 s"), "{outcome}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[test]
fn github_is_asked_as_it_wants_to_be() {
    let audiences = ["https://api.baseten.co/?a=b&c=d", ""];
    let encoded = [Some("https%3A%2F%2Fapi.baseten.co%2F%3Fa%3Db%26c%3Dd"), None];
    for (audience, expected) in audiences.into_iter().zip(encoded) {
        let github = GitHub::start(1, move |asked| {
            assert_eq!(asked, expected);
            jwt(&claims(), "s")
        });
        let server = Server::start([exchanged("access")]);
        let home = github.job(Home::served_by(&server)).with("BASETEN_TRUST_RULE", "ci");
        let outcome = home.with("BASETEN_IDENTITY_AUDIENCE", audience).run(&["auth", "token"]);
        assert_eq!(outcome, Outcome::done("access\n"));
    }

    let retried = [answer(500, "", ""), ok(&json!({ "value": jwt(&claims(), "s") }).to_string())];
    for (script, status, part) in [
        (vec![answer(401, "", "{}")], 3, "id-token: write"),
        (vec![answer(403, "", "<html>")], 3, "id-token: write"),
        (vec![answer(404, "", "")], 4, "GitHub Actions gave no identity token"),
        (vec![ok("<html>")], 6, "not one that this program understands"),
        (vec![ok(r#"{"count": 1}"#)], 6, "not one that this program understands"),
        (vec![ok(r#"{"value": "garbage"}"#)], 6, "not one that this program understands"),
        (vec![answer(302, "Location: https://evil.example.com\r\n", "")], 6, "HTTP 302"),
        (retried.into(), 6, "cannot exchange the identity token"),
    ] {
        let github = GitHub(Server::start(script));
        let server = Server::start([ok("<html>")]);
        let home = github.job(Home::served_by(&server)).with("BASETEN_TRUST_RULE", "ci");
        failed(&home.run(&["whoami"]), status, &[part]);
    }
    for url in ["nonsense", "https://user:CANARY@example.com/", "http://example.com/idtoken?a=b"] {
        let home = Home::new()
            .with("BASETEN_TRUST_RULE", "ci")
            .with("ACTIONS_ID_TOKEN_REQUEST_URL", url)
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "CANARY");
        let outcome = home.run(&["whoami", "-v"]);
        failed(&outcome, 2, &[]);
        assert!(!outcome.stderr.contains("CANARY"), "{outcome}");
    }
}

#[test]
fn what_a_token_says_is_made_fit_for_a_terminal() {
    let text = "evil\u{1b}[31m\u{202e}\n";
    let claims = json!({ "iss": text, "sub": text, "aud": [text, 7], "exp": "4102444800" });
    let refused = || answer(400, "", r#"{"error": "invalid_grant"}"#);
    let (_server, home) = scripted(&jwt(&claims, "s"), [refused(), refused()]);
    for arguments in [&["auth", "status"][..], &["auth", "status", "-o", "json"], &["whoami", "-v"]]
    {
        let outcome = home.run(arguments);
        let shown = outcome.to_string();
        assert!(shown.contains("evil"), "{outcome}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{outcome:?}");
    }
}

mod slow_tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_source_that_never_answers_is_left_after_30_seconds() {
        let mut home = Home::new().with("BASETEN_TRUST_RULE", "ci");
        let child = home.path().join("child");
        home.install("hang", &format!("sleep 1000 & echo $! > {}; wait", child.display()));
        let pipe = home.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for (variable, value, part) in [
            ("BASETEN_IDENTITY_TOKEN_COMMAND", "hang", "it did not end within 30 s"),
            ("BASETEN_IDENTITY_TOKEN_FILE", pipe.to_str().unwrap(), "timed out"),
        ] {
            home.set(variable, value);
            let start = Instant::now();
            failed(&home.run(&["whoami"]), 1, &[part]);
            let seconds = start.elapsed().as_secs();
            assert!((30..45).contains(&seconds), "{variable}: {seconds}");
            home.unset(variable);
        }
        // Whatever it started has ended with it.
        let id = fs::read_to_string(child).unwrap();
        let state = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }

    #[test]
    fn a_service_that_stays_away_is_an_error_after_three_more_tries() {
        let token = jwt(&claims(), "s");
        let (server, home) = scripted(&token, [(); 4].map(|()| answer(503, "", "")));
        failed(&home.run(&["auth", "token"]), 6, &["HTTP 503", "try again later"]);
        assert_eq!(server.requests().len(), 4);
    }
}
