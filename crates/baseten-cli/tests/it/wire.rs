//! The exact bytes of every request, and which responses are accepted.

use std::sync::Mutex;

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::Outcome;
use baseten_testing::server::{Server, answer, ok};
use baseten_testing::stored::tokens_of;

const AUTHORIZE: &str = "/v1/users/auth/device/authorize";
const TOKEN: &str = "/v1/users/auth/device/token";
const LOGOUT: &str = "/v1/users/auth/logout";
const ME: &str = "/v1/users/me";

const STARTED: &str = r#"{"device_code": "device/code+=&", "user_code": "WDJB-MJHT", "interval": 1,
    "verification_uri": "https://app.example.com/device", "expires_in": 600}"#;
const TOKENS: &str = r#"{"access_token": "access-1", "refresh_token": "refresh/1+=&",
    "token_type": "Bearer", "expires_in": 3600}"#;
const ADA: &str = r#"{"user_id": "ada", "email": "ada@example.com", "name": "Ada",
    "workspace_name": "Engines"}"#;

/// A whole request as this program sends it, with the headers in alphabetical order.
fn request(server: &Server, method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let mut lines = vec![
        "accept: application/json".to_owned(),
        "connection: close".to_owned(),
        format!("host: api.localhost:{}", server.address.port()),
        format!("user-agent: baseten-cli/{} (rust; {os}; {arch})", env!("CARGO_PKG_VERSION")),
    ];
    lines.extend(headers.iter().map(|&header| header.to_owned()));
    if method == "POST" {
        lines.push(format!("content-length: {}", body.len()));
    }
    if !body.is_empty() {
        lines.push("content-type: application/x-www-form-urlencoded".to_owned());
    }
    lines.sort();
    format!("{method} {path} HTTP/1.1\n{}\n\n{body}", lines.join("\n"))
}

/// The requests to a server in the same form.
fn requests(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let in_order = requests.iter().map(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        let mut lines: Vec<String> = headers
            .split("\r\n")
            .map(|header| header.split_once(':').unwrap())
            .map(|(name, value)| format!("{}:{value}", name.to_lowercase()))
            .collect();
        lines.sort();
        format!("{first}\n{}\n\n{body}", lines.join("\n"))
    });
    in_order.collect()
}

#[test]
fn every_request_is_as_specified() {
    let server = Server::start([
        ok(STARTED),
        answer(400, "", r#"{"error": "authorization_pending"}"#),
        ok(TOKENS),
        ok(ADA),
        // A command with the token, one that refreshes it first, and the logout.
        ok(ADA),
        ok(r#"{"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": 3600}"#),
        ok(ADA),
        answer(204, "", ""),
        // API keys.
        ok(ADA),
        ok(ADA),
    ]);
    let mut home = Home::at_remote(server.remote("http"));
    home.run(WEB_LOGIN).succeeded();
    home.run(&["whoami"]).succeeded();
    let year = home.store().find("\"expiry\": \"").unwrap() + "\"expiry\": \"".len();
    let mut store = home.store();
    store.replace_range(year..year + 4, "2001");
    home.write_store(&store);
    home.run(&["whoami"]).succeeded();
    home.run(&["auth", "logout"]).succeeded();
    home.log_in("key-1\n", "bot", &["--insecure-storage"]).succeeded();
    home.set("BASETEN_API_KEY", "key-2");
    home.run(&["auth", "status", "--check"]).succeeded();

    let poll = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
                &device_code=device%2Fcode%2B%3D%26&client_id=baseten-cli";
    let refresh =
        "grant_type=refresh_token&refresh_token=refresh%2F1%2B%3D%26&client_id=baseten-cli";
    let me = |authorization: &str| {
        request(&server, "GET", ME, &[&format!("authorization: {authorization}")], "")
    };
    let expected = [
        request(&server, "POST", AUTHORIZE, &[], "client_id=baseten-cli"),
        request(&server, "POST", TOKEN, &[], poll),
        request(&server, "POST", TOKEN, &[], poll),
        me("Bearer access-1"),
        me("Bearer access-1"),
        request(&server, "POST", TOKEN, &[], refresh),
        me("Bearer access-2"),
        request(&server, "POST", LOGOUT, &["authorization: Bearer access-2"], ""),
        me("Api-Key key-1"),
        me("Api-Key key-2"),
    ];
    assert_eq!(requests(&server), expected);
}

#[test]
fn a_refresh_without_a_new_refresh_token_keeps_the_old_one() {
    let server = Server::start([
        ok(STARTED),
        ok(&TOKENS.replace("3600", "30")),
        ok(ADA),
        ok(r#"{"access_token": "access-2"}"#),
        ok(ADA),
        ok(ADA),
    ]);
    let home = Home::at_remote(server.remote("http"));
    for arguments in [WEB_LOGIN, &["whoami"], &["whoami"]] {
        home.run(arguments).succeeded();
    }
    let kept = tokens_of(&home, "ada@example.com:localhost");
    assert_eq!(kept["access_token"], "access-2");
    assert_eq!(kept["refresh_token"], "refresh/1+=&");
    // The expiry is unknown, so the token is only refreshed when the server refuses it.
    assert_eq!(kept["expiry"], "0001-01-01T00:00:00Z");
    assert!(server.requests()[5].contains("Bearer access-2"));
}

/// A response with one field replaced, or removed if there is no replacement.
fn changed(body: &str, member: &str, replacement: &str) -> String {
    let mut json: serde_json::Value = serde_json::from_str(body).unwrap();
    json.as_object_mut().unwrap().remove(member).unwrap();
    let text = json.to_string();
    let separator = if replacement.is_empty() { "" } else { ", " };
    format!("{}{separator}{replacement}}}", text.strip_suffix('}').unwrap())
}

/// Unusual responses of real servers, and the shortest pause before the first poll, in seconds.
#[test]
fn unusual_answers_are_accepted() {
    let start = |member: &str, replacement: &str| changed(STARTED, member, replacement);
    let token = |member: &str, replacement: &str| changed(TOKENS, member, replacement);
    // The other responses here have no content type.
    let html = "Content-Type: text/html\r\n";
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let cases = [
        ("interval missing", ok(&start("interval", "")), ok(TOKENS), 5.0),
        ("interval null", ok(&start("interval", r#""interval": null"#)), ok(TOKENS), 5.0),
        ("interval 0", ok(&start("interval", r#""interval": 0"#)), ok(TOKENS), 5.0),
        ("interval text", ok(&start("interval", r#""interval": "2""#)), ok(TOKENS), 2.0),
        ("interval below 1 s", ok(&start("interval", r#""interval": 0.01"#)), ok(TOKENS), 1.0),
        ("expires_in text", ok(&start("expires_in", r#""expires_in": "600""#)), ok(TOKENS), 1.0),
        ("expires_in float", ok(&start("expires_in", r#""expires_in": 600.5"#)), ok(TOKENS), 1.0),
        ("expires_in missing", ok(&start("expires_in", "")), ok(TOKENS), 1.0),
        (
            "verification_url",
            ok(&start("verification_uri", r#""verification_url": "https://app.example.com/d""#)),
            ok(TOKENS),
            1.0,
        ),
        ("JSON as HTML", answer(200, html, STARTED), answer(200, html, TOKENS), 1.0),
        ("JSON as JSON", answer(200, json, STARTED), answer(200, json, TOKENS), 1.0),
        ("token_type missing", ok(STARTED), ok(&token("token_type", "")), 1.0),
        (
            "token_type lower case",
            ok(STARTED),
            ok(&token("token_type", r#""token_type": "bearer""#)),
            1.0,
        ),
        (
            "token's expires_in text",
            ok(STARTED),
            ok(&token("expires_in", r#""expires_in": "3600""#)),
            1.0,
        ),
        (
            "token's expires_in float",
            ok(STARTED),
            ok(&token("expires_in", r#""expires_in": 3600.0"#)),
            1.0,
        ),
        ("token's expires_in missing", ok(STARTED), ok(&token("expires_in", "")), 1.0),
        ("no refresh token", ok(STARTED), ok(&token("refresh_token", "")), 1.0),
        ("more members", ok(&start("interval", r#""interval": 1, "x": [{}]"#)), ok(TOKENS), 1.0),
    ];
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (name, started, tokens, pause) in cases {
            let failures = &failures;
            scope.spawn(move || {
                let server = Server::start([started, tokens, ok(ADA)]);
                let outcome = Home::at_remote(server.remote("http")).run(WEB_LOGIN);
                let waited = server.pauses().first().map_or(0.0, std::time::Duration::as_secs_f32);
                // A busy machine takes longer, but not as long as the next possible pause.
                let in_time = (pause - 0.02..pause + 2.5).contains(&waited);
                if outcome.status != 0 || !in_time {
                    failures.lock().unwrap().push(format!("{name}: {waited} s, {outcome}"));
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn missing_fields_of_a_user_may_be_null() {
    for (body, stdout) in [
        (ADA, "Logged in as ada@example.com (Engines) as profile bot\n"),
        (
            r#"{"user_id": "ada", "email": null, "name": "Ada"}"#,
            "Logged in as Ada as profile bot\n",
        ),
        (
            r#"{"user_id": "ada", "name": null, "workspace_name": "Engines"}"#,
            "Logged in as ada (Engines) as profile bot\n",
        ),
        (r#"{"user_id": "ada"}"#, "Logged in as ada as profile bot\n"),
    ] {
        let server = Server::start([ok(body)]);
        let home = Home::at_remote(server.remote("http"));
        let outcome = home.log_in("key", "bot", &["--insecure-storage"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (0, stdout), "{outcome}");
    }
}

#[test]
fn whoami_prints_what_is_known_as_other_programs_print_it() {
    let (minimal, json) = (r#"{"user_id": "ada", "email": null}"#, ["whoami", "-o", "jsonl"]);
    for (body, arguments, stdout) in [
        (
            ADA,
            &["whoami"][..],
            "User ID:    ada\nEmail:      ada@example.com\nName:       Ada\nWorkspace:  Engines\n",
        ),
        (minimal, &["whoami"], "User ID:    ada\n"),
        (
            ADA,
            &json,
            "{\"email\":\"ada@example.com\",\"name\":\"Ada\",\"user_id\":\"ada\",\
             \"workspace_name\":\"Engines\"}\n",
        ),
        (
            minimal,
            &json,
            "{\"email\":\"\",\"name\":\"\",\"user_id\":\"ada\",\"workspace_name\":\"\"}\n",
        ),
    ] {
        let server = Server::start([ok(body)]);
        let home = Home::at_remote(server.remote("http")).with("BASETEN_API_KEY", "key");
        assert_eq!(home.run(arguments), Outcome::done(stdout));
    }
}

#[test]
fn the_management_url_follows_from_the_remote() {
    for (remote, host) in [
        ("", "api.baseten.co:443"),
        ("https://app.baseten.co", "api.baseten.co:443"),
        ("HTTPS://App.Baseten.co:443/", "api.baseten.co:443"),
        ("https://app.staging.baseten.co", "api.staging.baseten.co:443"),
        ("https://app.dev.baseten.co", "api.mc-dev.baseten.co:443"),
        ("https://app.example.com:8443", "api.example.com:8443"),
        ("https://example.com", "api.example.com:443"),
    ] {
        // These hosts cannot be reached from the tests, but the proxy sees which one is meant.
        let proxy = Server::start([answer(403, "", "")]);
        let home = Home::at_remote(remote)
            .with("BASETEN_API_KEY", "key")
            .with("HTTPS_PROXY", proxy.url("127.0.0.1", ""));
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 6, "{outcome}");
        let request = proxy.requests().concat();
        assert!(request.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")), "{request}");
        // The proxy must not see the credential.
        assert!(!request.to_lowercase().contains("\r\nauthorization:"), "{request}");
    }
    for (remote, host) in [("localhost", "api.localhost"), ("app.localhost", "api.localhost")] {
        let server = Server::start([ok(ADA)]);
        let home = Home::at_remote(server.url(remote, "/")).with("BASETEN_API_KEY", "key");
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        let line = format!("host: {host}:{}", server.address.port());
        assert!(requests(&server)[0].contains(&line), "{:?}", requests(&server));
    }
}

#[test]
fn the_management_url_can_be_replaced_for_one_run() {
    for host in ["127.0.0.1", "localhost", "some.name.localhost", "LOCALHOST"] {
        let server = Server::start([ok(ADA)]);
        let home = Home::with_api(server.url(host, "")).with("BASETEN_API_KEY", "key");
        let outcome = home.run(&["auth", "status", "--check"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(outcome.stdout.contains("  Remote: https://app.baseten.co\n"), "{outcome}");
        let line = format!("host: {}:{}", host.to_lowercase(), server.address.port());
        assert!(requests(&server)[0].contains(&line), "{:?}", requests(&server));
    }
    for value in ["http://example.com", "https://example.com/v1", "example.com", "https://a@b.c"] {
        let home = Home::with_api(value).with("BASETEN_API_KEY", "key");
        let outcome = home.run(&["whoami"]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.contains("BASETEN_MANAGEMENT_API_URL_OVERRIDE"), "{outcome}");
    }
}

#[test]
fn an_error_with_status_200_is_still_an_error() {
    for (error, status) in
        [("access_denied", 3), ("expired_token", 3), ("invalid_grant", 3), ("invalid_client", 3)]
    {
        let body = format!(r#"{{"error": "{error}", "access_token": "x"}}"#);
        let server = Server::start([ok(STARTED), ok(&body)]);
        let home = Home::at_remote(server.remote("http"));
        let outcome = home.run(WEB_LOGIN);
        assert_eq!((outcome.status, home.store().as_str()), (status, ""), "{outcome}");
    }
}
