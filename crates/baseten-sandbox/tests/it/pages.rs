//! The approval page, as a browser and as an attacker use it.

use std::time::Duration;

use baseten_sandbox::{CLIENT_ID, Config, Sandbox, User};

use crate::support::*;

/// A device login: its device code and its user code.
fn login(sandbox: &Sandbox) -> (String, String) {
    let started = authorize(sandbox);
    (text(&started, "device_code").to_owned(), text(&started, "user_code").to_owned())
}

/// A device login that is started with this header: its user code.
fn login_of(sandbox: &Sandbox, header: &str) -> String {
    let started = send(
        sandbox,
        &format!(
            "POST /v1/users/auth/device/authorize\n\
             Content-Type: application/x-www-form-urlencoded\n{header}"
        ),
        &format!("client_id={CLIENT_ID}"),
    );
    text(&started.json(), "user_code").to_owned()
}

fn page(sandbox: &Sandbox, user_code: &str) -> Answer {
    send(sandbox, &format!("GET /device?user_code={user_code}"), "")
}

/// What this page's form sends when `decision` is pressed.
fn filled_in(page: &Answer, decision: &str) -> String {
    let field = |name: &str| {
        let (_, rest) = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (user_code, form_token) = (field("user_code"), field("form_token"));
    format!("user_code={user_code}&form_token={form_token}&{decision}")
}

#[test]
fn a_person_allows_a_login() {
    let sandbox = sandbox();
    let (device_code, user_code) = login(&sandbox);
    let question = page(&sandbox, &user_code.to_lowercase().replace('-', ""));
    assert_eq!(question.status, 200);
    assert!(question.body.contains(&format!("<code>{user_code}</code>")));

    let answer = form(&sandbox, "/device", &filled_in(&question, "decision=allow&user=charles"));
    assert_eq!(answer.status, 303);
    let result = page(&sandbox, &user_code);
    assert!(result.body.contains("<h1>Login allowed</h1>"), "{}", result.body);
    assert!(result.body.contains("You're logged in as Charles. You can close this tab."));
    assert_eq!(poll(&sandbox, &device_code).status, 200);
    assert_eq!(sandbox.session_count("charles"), 1);

    let late = form(&sandbox, "/device", &filled_in(&question, "decision=deny"));
    assert_eq!(late.status, 303);
    assert!(page(&sandbox, &user_code).body.contains("<h1>Login allowed</h1>"));
}

#[test]
fn the_page_says_who_asks() {
    let sandbox = sandbox();
    let long = "x".repeat(1000);
    for (header, program, system) in [
        (
            "User-Agent: baseten-cli/0.4.0 (rust; linux; x86_64)",
            "baseten-cli 0.4.0",
            "linux, x86_64",
        ),
        (
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/1 (x)",
            "Mozilla 5.0",
            "X11, Linux x86_64",
        ),
        ("User-Agent: curl/8.5.0", "curl 8.5.0", "not stated"),
        ("User-Agent: (linux", "not stated", "linux"),
        ("User-Agent: \u{202e}", "not stated", "not stated"),
        ("Accept: */*", "not stated", "not stated"),
        (
            &format!("User-Agent: {long} ({long})"),
            &format!("{}…", &long[..40]),
            &format!("{}…", &long[..40]),
        ),
    ] {
        let body = page(&sandbox, &login_of(&sandbox, header)).body;
        let facts = format!(
            "<dt>Program</dt><dd>{program}</dd><dt>System</dt><dd>{system}</dd>\
             <dt>Address</dt><dd>127.0.0.1 (this computer)</dd>"
        );
        assert!(body.contains(&facts), "{header}: {body}");
        assert!(body.contains("Allow it only if you started it yourself"), "{body}");
    }
}

#[test]
fn a_person_denies_a_login() {
    let sandbox = sandbox();
    let (device_code, user_code) = login(&sandbox);
    let question = page(&sandbox, &user_code);
    form(&sandbox, "/device", &filled_in(&question, "decision=deny&user=ada"));
    assert!(page(&sandbox, &user_code).body.contains("<h1>Login denied</h1>"));
    assert_eq!(poll(&sandbox, &device_code).error().1, "access_denied");
}

#[test]
fn a_code_is_asked_for_until_one_is_right() {
    let sandbox = sandbox();
    assert_eq!(send(&sandbox, "GET /device", "").status, 200);
    let wrong = page(&sandbox, "BBBB-BBBB");
    assert_eq!(wrong.status, 404);
    assert!(wrong.body.contains("No login has this code."));

    let config = Config { device_code_lifetime: Duration::ZERO, ..Config::default() };
    let sandbox = Sandbox::start(config).unwrap();
    let (_, user_code) = login(&sandbox);
    let expired = page(&sandbox, &user_code);
    assert_eq!(expired.status, 410);
    assert!(expired.body.contains("This code has expired."));
}

#[test]
fn answers_from_elsewhere_count_for_nothing() {
    let sandbox = sandbox();
    let (_, user_code) = login(&sandbox);
    let fields = filled_in(&page(&sandbox, &user_code), "decision=allow&user=ada");
    let post = |headers: &str, body: &str| {
        let head = "POST /device\nContent-Type: application/x-www-form-urlencoded";
        send(&sandbox, &format!("{head}\n{headers}"), body).status
    };
    let ours = format!("Origin: http://localhost:{}", sandbox.port());
    assert_eq!(post("Origin: http://localhost:1", &fields), 403);
    assert_eq!(post("Origin: null", &fields), 403);
    assert_eq!(post(&format!("{ours}\nSec-Fetch-Site: same-site"), &fields), 403);
    assert_eq!(post("Sec-Fetch-Site: cross-site", &fields), 403);
    assert_eq!(post("Host: rebound.example.com", &fields), 421);
    let (_, other_user_code) = login(&sandbox);
    let other_token = fields.replace(&user_code, &other_user_code);
    assert_eq!(post(&ours, &other_token), 403);
    assert_eq!(post(&ours, "decision=allow"), 400);
    assert_eq!(post(&ours, &fields.replace("user=ada", "user=nobody")), 400);
    assert_eq!(sandbox.pending_user_codes(), [user_code, other_user_code]);

    assert_eq!(post(&format!("{ours}\nSec-Fetch-Site: same-origin"), &fields), 303);
}

#[test]
fn pages_open_under_every_name_of_this_computer_and_no_other() {
    let sandbox = sandbox();
    let status = |host: &str| send(&sandbox, &format!("GET /device\nHost: {host}"), "").status;
    for host in ["localhost", "LOCALHOST:8000", "app.localhost:1", "127.0.0.1:1", "[::1]:8000"] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["example.com", "localhost.example.com:8000", "notlocalhost", "", "@:"] {
        assert_eq!(status(host), 421, "{host}");
    }
}

#[test]
fn nothing_that_comes_in_becomes_markup() {
    let hostile = User {
        id: "<b>id\"".to_owned(),
        email: Some("\"><b>".to_owned()),
        name: Some("<b>name".to_owned()),
        workspace_name: Some("'<b>".to_owned()),
    };
    let config = Config { users: vec![hostile], ..Config::default() };
    let sandbox = Sandbox::start(config).unwrap();
    let user_code = login_of(&sandbox, "User-Agent: <b>program</b>/1 (<b>system</b>)");
    for path in ["/", "/device?user_code=%22%3E%3Cb%3E", &format!("/device?user_code={user_code}")]
    {
        let body = send(&sandbox, &format!("GET {path}"), "").body;
        assert!(body.contains("&lt;b&gt;") && !body.contains("<b>"), "{body}");
    }
}

#[test]
fn every_page_is_guarded_and_says_what_it_is() {
    let sandbox = sandbox();
    let (_, user_code) = login(&sandbox);
    for path in ["/", "/device", "/nothing", &format!("/device?user_code={user_code}")] {
        let page = send(&sandbox, &format!("GET {path}"), "");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'",
            "frame-ancestors 'none'",
            "referrer-policy: same-origin",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(page.head.contains(header), "{path}: {}", page.head);
        }
        assert!(page.body.contains("<strong>Development tool.</strong>"));
        assert!(!page.body.contains("<script") && !page.body.contains("style="));
    }
    let style = send(&sandbox, "GET /pages.css", "");
    assert!(style.head.contains("content-type: text/css"), "{}", style.head);
}
