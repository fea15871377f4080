//! The API, as programs use it.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use baseten_sandbox::{Config, Error, Sandbox};
use serde_json::json;

use crate::support::*;

#[test]
fn a_device_login_from_start_to_logout() {
    let sandbox = sandbox();
    let started = authorize(&sandbox);
    let user_code = text(&started, "user_code");
    let page = format!("http://localhost:{}/device", sandbox.port());
    assert_eq!(started["verification_uri"], page);
    assert_eq!(started["verification_uri_complete"], format!("{page}?user_code={user_code}"));
    assert_eq!((&started["expires_in"], &started["interval"]), (&json!(900), &json!(5)));
    assert_eq!(sandbox.pending_user_codes(), [user_code]);

    let device_code = text(&started, "device_code");
    assert_eq!(poll(&sandbox, device_code).error(), error(400, "authorization_pending"));
    assert_eq!(poll(&sandbox, device_code).error(), error(400, "slow_down"));
    sandbox.approve(user_code, "grace").unwrap();
    let granted = poll(&sandbox, device_code);
    assert!(granted.head.contains("cache-control: no-store"), "{}", granted.head);
    let granted = granted.json();
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(poll(&sandbox, device_code).error(), error(400, "invalid_grant"));

    let bearer = format!("Bearer {}", text(&granted, "access_token"));
    let grace = json!({ "user_id": "grace", "email": "grace@example.com", "name": "Grace",
        "workspace_name": "Compilers" });
    assert_eq!(me(&sandbox, &bearer).json(), grace);
    let logout = format!("POST /v1/users/auth/logout\nAuthorization: {bearer}");
    assert_eq!(send(&sandbox, &logout, "").status, 204);
    assert_eq!(me(&sandbox, &bearer).error(), error(401, "UNAUTHORIZED"));
    assert_eq!(send(&sandbox, &logout, "").error(), error(401, "UNAUTHORIZED"));
    assert!(!sandbox.is_live(text(&granted, "refresh_token")));
}

#[test]
fn denied_and_expired_logins_say_so() {
    let config = Config { device_code_lifetime: Duration::ZERO, ..Config::default() };
    let expired = Sandbox::start(config).unwrap();
    let code = authorize(&expired);
    assert_eq!(poll(&expired, text(&code, "device_code")).error(), error(400, "expired_token"));

    let sandbox = sandbox();
    let code = authorize(&sandbox);
    sandbox.deny(text(&code, "user_code")).unwrap();
    assert_eq!(poll(&sandbox, text(&code, "device_code")).error(), error(400, "access_denied"));
}

#[test]
fn a_refresh_token_is_good_once() {
    let sandbox = sandbox();
    let first = sandbox.new_session("ada").unwrap();
    let used = first.refresh_token.unwrap();
    let second = refresh(&sandbox, &used).json();
    assert_ne!(text(&second, "refresh_token"), used);
    assert!(sandbox.is_live(text(&second, "access_token")));

    assert_eq!(refresh(&sandbox, &used).error(), error(400, "invalid_grant"));
    assert!(!sandbox.is_live(text(&second, "access_token")));
    assert_eq!(sandbox.refresh_count(), 2);
    assert_eq!(sandbox.session_count("ada"), 0);
}

#[test]
fn without_rotation_no_refresh_token_is_sent() {
    let config = Config { rotate_refresh_tokens: false, ..Config::default() };
    let sandbox = Sandbox::start(config).unwrap();
    let kept = sandbox.new_session("ada").unwrap().refresh_token.unwrap();
    assert_eq!(refresh(&sandbox, &kept).json().get("refresh_token"), None);
    assert_eq!(refresh(&sandbox, &kept).status, 200);
}

#[test]
fn malformed_token_requests_get_the_errors_of_the_rfc() {
    let sandbox = sandbox();
    let path = "/v1/users/auth/device/token";
    for (body, expected) in [
        ("", error(400, "invalid_request")),
        ("client_id=baseten-cli", error(400, "invalid_request")),
        ("client_id=&grant_type=refresh_token", error(400, "invalid_request")),
        ("client_id=other&grant_type=refresh_token", error(401, "invalid_client")),
        (
            "client_id=baseten-cli&grant_type=password&grant_type=password",
            error(400, "invalid_request"),
        ),
        ("client_id=baseten-cli&grant_type=password", error(400, "unsupported_grant_type")),
        ("client_id=baseten-cli&grant_type=refresh_token", error(400, "invalid_request")),
        (
            "client_id=baseten-cli&grant_type=refresh_token&refresh_token=x",
            error(400, "invalid_grant"),
        ),
    ] {
        assert_eq!(form(&sandbox, path, body).error(), expected, "{body}");
    }
    let json = send(&sandbox, &format!("POST {path}\nContent-Type: application/json"), "{}");
    assert_eq!(json.error(), error(400, "invalid_request"));
    let wrong = form(&sandbox, "/v1/users/auth/device/authorize", "client_id=other");
    assert_eq!(wrong.error(), error(401, "invalid_client"));
}

#[test]
fn api_keys_identify_the_user_but_cannot_log_out() {
    let sandbox = sandbox();
    let key = format!("Api-Key {}", sandbox.api_key("nameless").unwrap());
    let nobody = json!({ "user_id": "nameless", "email": null, "name": null,
        "workspace_name": null });
    assert_eq!(me(&sandbox, &key).json(), nobody);
    let logout = send(&sandbox, &format!("POST /v1/users/auth/logout\nAuthorization: {key}"), "");
    assert_eq!(logout.error(), error(403, "FORBIDDEN"));

    let minted = sandbox.new_api_key("ada").unwrap();
    assert_eq!(me(&sandbox, &format!("Api-Key {minted}")).status, 200);
    assert_eq!(me(&sandbox, &format!("Bearer {minted}")).status, 200, "as the Python SDK does");
    sandbox.revoke_api_key(&minted);
    assert_eq!(me(&sandbox, &format!("Api-Key {minted}")).status, 401);
    assert_eq!(me(&sandbox, &format!("Bearer {minted}")).status, 401);
}

#[test]
fn graphql_answers_what_truss_whoami_asks() {
    let sandbox = sandbox();
    let ask = |authorization: &str, query: &str| {
        let head = "POST /graphql/\nContent-Type: application/json";
        let body = json!({ "query": query }).to_string();
        send(&sandbox, &format!("{head}\nAuthorization: {authorization}"), &body)
    };
    let query = "query{organization{workspace_name}user{email}}";
    let grace = json!({ "data": { "organization": { "workspace_name": "Compilers" },
        "user": { "email": "grace@example.com" } } });
    let token = sandbox.new_session("grace").unwrap().access_token;
    let key = sandbox.api_key("grace").unwrap();
    for credential in [format!("Bearer {token}"), format!("Bearer {key}"), format!("Api-Key {key}")]
    {
        assert_eq!(ask(&credential, query).json(), grace);
        assert_eq!(ask(&credential, &query.replace('{', " {\n  ")).json(), grace);
    }
    let bearer = format!("Bearer {token}");
    let other = ask(&bearer, "{user{email}}").json();
    assert!(other["errors"][0]["message"].as_str().unwrap().contains(query), "{other}");
    sandbox.end_sessions("grace");
    assert_eq!(ask(&bearer, query).error(), error(401, "UNAUTHORIZED"));
    assert_eq!(ask("Api-Key x", "{").error(), error(401, "UNAUTHORIZED"));
}

#[test]
fn bad_credentials_and_unknown_paths_are_management_errors() {
    let sandbox = sandbox();
    for authorization in ["", "Bearer", "Bearer x", "Api-Key x", "Basic eDp5"] {
        assert_eq!(me(&sandbox, authorization).error(), error(401, "UNAUTHORIZED"));
    }
    assert_eq!(send(&sandbox, "GET /v1/users/me", "").error(), error(401, "UNAUTHORIZED"));
    assert_eq!(send(&sandbox, "GET /v1/nothing", "").error(), error(404, "NOT_FOUND"));
    assert_eq!(send(&sandbox, "POST /v1/users/me", "").error(), error(405, "METHOD_NOT_ALLOWED"));
}

#[test]
fn the_log_has_every_request_and_no_secret() {
    let sandbox = sandbox();
    assert!(sandbox.requests().is_empty());
    let tokens = sandbox.new_session("ada").unwrap();
    refresh(&sandbox, tokens.refresh_token.as_deref().unwrap());
    me(&sandbox, &format!("Bearer {}", tokens.access_token));
    me(&sandbox, &tokens.access_token);

    let requests = sandbox.requests();
    let [refreshed, who, malformed] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((refreshed.method.as_str(), refreshed.status), ("POST", 200));
    assert_eq!(refreshed.path, "/v1/users/auth/device/token");
    assert!(refreshed.is_refresh() && !refreshed.is_poll());
    assert_eq!(who.authorization, Some("Bearer"));
    assert_eq!((malformed.authorization, malformed.error), (Some("other"), Some("UNAUTHORIZED")));
    assert!(!format!("{requests:?}{tokens:?}").contains("sandbox-"));
}

#[test]
fn a_test_can_wait_for_what_a_program_does() {
    let sandbox = sandbox();
    assert_eq!(sandbox.wait_for_user_code(Duration::ZERO), None);
    std::thread::scope(|scope| {
        scope.spawn(|| authorize(&sandbox));
        let code = sandbox.wait_for_user_code(Duration::from_secs(10)).unwrap();
        sandbox.approve(&code, "ada").unwrap();
    });
    let seen = |path: &str| sandbox.wait_for_request(Duration::ZERO, |r| r.path == path);
    assert!(seen("/v1/users/auth/device/authorize").is_some());
    assert!(seen("/v1/users/me").is_none());
}

#[test]
fn latency_holds_back_answers_and_not_the_work() {
    let latency = Duration::from_millis(300);
    let sandbox = Sandbox::start(Config { latency, ..Config::default() }).unwrap();
    let key = format!("Api-Key {}", sandbox.api_key("ada").unwrap());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| me(&sandbox, &key));
        assert!(sandbox.wait_for_request(Duration::from_secs(10), |_| true).is_some());
        assert!(!answer.is_finished());
    });
    assert!(start.elapsed() >= latency);
}

#[test]
fn a_sandbox_stops_when_dropped_even_with_open_connections() {
    let sandbox = sandbox();
    let port = sandbox.port();
    let mut idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    drop(sandbox);
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_taken_port_and_an_unknown_user_are_errors() {
    let sandbox = sandbox();
    let again = Sandbox::start(Config { port: sandbox.port(), ..Config::default() });
    assert!(matches!(again, Err(Error::Start { .. })));
    let nobody = Config { auto_approve: Some("nobody".to_owned()), ..Config::default() };
    assert!(matches!(Sandbox::start(nobody), Err(Error::NoSuchUser(_))));
}
