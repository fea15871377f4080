//! Without TLS, to this machine.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use baseten_auth::internal::{
    ApiError, Credential, Env, HttpError, ManagementUrl, OAuthCredential, Remote, Request,
    Response, end_session_at_server, user_agent, users_me,
};
use baseten_auth::{Authorization, Secret};
use baseten_testing::server::{Act, Server, answer, read_request};

use crate::{http, observed};

const MIB: usize = 1024 * 1024;

/// The result of one `GET` of a script.
fn get(act: Act) -> Result<Response, HttpError> {
    let server = Server::start([act]);
    http(&[]).send(&Request::get(server.url("localhost", "/")))
}

/// The result of one `GET` with a limit of half a second.
fn get_soon(act: Act) -> Result<Response, HttpError> {
    let server = Server::start([act]);
    let limit = Duration::from_millis(500);
    let start = Instant::now();
    let result = http(&[]).send(&Request::get(server.url("localhost", "/")).within(limit));
    assert!(start.elapsed() < 3 * limit, "took {:?}", start.elapsed());
    result
}

fn raw(text: &str) -> Act {
    Act::Answer(text.as_bytes().to_vec())
}

fn management(server: &Server) -> ManagementUrl {
    let url = server.url("localhost", "");
    let env = [("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)].into_iter().collect::<Env>();
    Remote::default().management_url(&env).unwrap()
}

#[test]
fn a_request_has_the_necessary_headers_and_no_others() {
    let server = Server::start([answer(200, "Set-Cookie: a=b\r\n", "{}"), answer(204, "", "")]);
    let (http, events) = observed(&[]);
    let url = server.url("api.localhost", "/v1/users/me");
    let secret = Secret::from("Bearer canary");
    let response = http.send(&Request::get(&url).authorization(&secret)).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"{}".as_slice()));
    let form = Request::post(&url).field("refresh_token", "can&ary");
    assert_eq!(http.send(&form).unwrap().status, 204);

    let port = server.address.port();
    let common = |request: &str| {
        let mut lines: Vec<_> = request.split("\r\n").map(str::to_lowercase).collect();
        lines.sort();
        lines
    };
    let mut first = vec![
        "get /v1/users/me http/1.1".to_owned(),
        format!("host: api.localhost:{port}"),
        "connection: close".to_owned(),
        "authorization: bearer canary".to_owned(),
        "user-agent: baseten-cli/1.2.3 (test)".to_owned(),
        "accept: application/json".to_owned(),
    ];
    first.extend([String::new(), String::new()]);
    first.sort();
    let mut second = vec![
        "post /v1/users/me http/1.1".to_owned(),
        format!("host: api.localhost:{port}"),
        "connection: close".to_owned(),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        "content-length: 23".to_owned(),
        "user-agent: baseten-cli/1.2.3 (test)".to_owned(),
        "accept: application/json".to_owned(),
        "refresh_token=can%26ary".to_owned(),
        String::new(),
    ];
    second.sort();
    let requests = server.requests();
    assert_eq!(common(&requests[0]), first);
    assert_eq!(common(&requests[1]), second);
    let told = [format!("GET {url} Some(200)"), format!("POST {url} Some(204)")];
    assert_eq!(*events.lock().unwrap(), told);
}

#[test]
fn the_user_agent_names_program_system_and_processor() {
    let name = user_agent("1.2.3");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    assert_eq!(name, format!("baseten-cli/1.2.3 (rust; {os}; {arch})"));
}

#[test]
fn any_status_is_an_answer_and_no_redirect_is_followed() {
    let other = Server::start([answer(200, "", "stolen")]);
    for status in [201, 301, 302, 303, 307, 308, 400, 401, 404, 407, 429, 500, 503] {
        let location = format!("Location: {}\r\n", other.url("localhost", "/"));
        let server = Server::start([answer(status, &location, "<html>"), answer(200, "", "")]);
        let secret = Secret::from("Bearer canary");
        let url = server.url("localhost", "/");
        let request = Request::post(url).field("a", "b").authorization(&secret);
        let response = http(&[]).send(&request).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (status, b"<html>".as_slice()));
        assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
    }
}

#[test]
fn bodies_come_in_many_forms() {
    let exact = "x".repeat(MIB);
    for (act, length) in [
        (answer(200, "", &exact), MIB),
        (raw("HTTP/1.1 200 OK\r\n\r\nto the end"), 10),
        (raw("HTTP/1.0 200 OK\r\n\r\nto the end"), 10),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 3),
        (raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"), 1),
        (raw("HTTP/1.1 204 No Content\r\n\r\n"), 0),
    ] {
        let response = get(act).unwrap();
        assert_eq!(response.body.len(), length);
    }
}

#[test]
fn an_answer_that_is_too_large_is_refused() {
    let large = "x".repeat(2 * MIB);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        2 * MIB
    );
    for act in [
        answer(200, "", &large),
        answer(500, "", &large[..=MIB]),
        raw(&format!("HTTP/1.1 200 OK\r\n\r\n{large}")),
        raw(&chunked),
        raw(&format!("HTTP/1.1 200 OK\r\nX: {large}\r\n\r\n")),
    ] {
        let error = get(act).unwrap_err();
        assert!(matches!(error, HttpError::TooLarge { .. }), "{error:?}");
        assert!(!error.surely_not_sent());
    }
}

#[test]
fn retry_after_is_read() {
    let response = get(answer(429, "Retry-After: 7\r\n", "")).unwrap();
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
    let response = get(answer(429, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "")).unwrap();
    assert_eq!(response.retry_after, Some(Duration::ZERO));
}

#[test]
fn a_server_that_takes_too_long_times_out() {
    let (head, more) = (b"HTTP/1.1 200 OK\r\nX: ".to_vec(), b"x".repeat(200));
    let start = b"HTTP/1.1 200 OK\r\nX: much too slow\r\n".to_vec();
    let body = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n".to_vec();
    for act in [
        Act::Hang,
        Act::Dribble(Vec::new(), start),
        Act::Dribble(head, more.clone()),
        Act::Dribble(body, more),
    ] {
        let error = get_soon(act).unwrap_err();
        assert!(matches!(error, HttpError::Timeout { sent: true, .. }), "{error:?}");
        assert!(error.to_string().ends_with("did not answer within 0.5 s"), "{error}");
    }
}

#[test]
fn a_server_that_does_not_read_times_out() {
    let server = Server::start([Act::Hang]);
    let large = "x".repeat(32 * MIB);
    let start = Instant::now();
    let request = Request::post(server.url("localhost", "/")).field("a", &large);
    let error = http(&[]).send(&request.within(Duration::from_millis(500))).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { sent: true, .. } | HttpError::Lost { .. }));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn no_time_left_sends_nothing() {
    let server = Server::start([answer(200, "", "")]);
    let request = Request::get(server.url("localhost", "/")).within(Duration::ZERO);
    let error = http(&[]).send(&request).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { sent: false, .. }), "{error:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_connection_that_breaks_may_have_carried_the_request() {
    for act in [
        Act::Close,
        Act::Reset,
        raw("HTTP/1.1 200 OK\r\nX: "),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    ] {
        let error = get(act).unwrap_err();
        assert!(matches!(error, HttpError::Lost { .. }), "{error:?}");
        assert!(!error.surely_not_sent() && error.is_transient());
    }
}

#[test]
fn an_answer_that_is_not_http_has_its_own_error_and_is_not_quoted() {
    for act in [
        raw("SSH-2.0-canary\r\n\r\n"),
        raw("{\"access_token\": \"canary\"}\r\n\r\n"),
        raw("HTTP/9.9 canary\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n"),
    ] {
        let error = get(act).unwrap_err();
        assert!(matches!(error, HttpError::NotHttp { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
}

#[test]
fn a_refused_connection_has_its_own_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in ["localhost", "api.localhost", "127.0.0.1", "[::1]"] {
        let (http, events) = observed(&[]);
        let url = format!("http://{host}:{port}/");
        let error = http.send(&Request::get(&url)).unwrap_err();
        assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
        assert!(error.surely_not_sent() && error.is_transient());
        assert_eq!(error.to_string(), format!("cannot connect to {host}:{port}"));
        assert_eq!(*events.lock().unwrap(), [format!("GET {url} None")]);
    }
}

#[test]
fn an_unknown_host_name_has_its_own_error() {
    let request = Request::get("https://no-such-host.invalid/").within(Duration::from_secs(3));
    let error = http(&[]).send(&request).unwrap_err();
    // Without a resolver, the system may be slow to say so.
    assert!(
        matches!(error, HttpError::Connect { .. } | HttpError::Timeout { sent: false, .. }),
        "{error:?}"
    );
    assert!(error.surely_not_sent());
}

#[test]
fn localhost_and_names_below_it_are_this_machine() {
    for host in ["localhost", "LocalHost", "api.localhost", "a.b.localhost", "localhost."] {
        let server = Server::start([answer(200, "", "")]);
        assert!(http(&[]).send(&Request::get(server.url(host, "/"))).is_ok(), "{host}");
    }
    let Ok(probe) = TcpListener::bind("[::1]:0") else { return };
    drop(probe);
    let server = Server::start_on("[::1]:0", [answer(200, "", ""), answer(200, "", "")]);
    for host in ["api.localhost", "[::1]"] {
        assert!(http(&[]).send(&Request::get(server.url(host, "/"))).is_ok(), "{host}");
    }
}

/// A listener that accepts no more connections, like an address that leads nowhere, as long as the
/// other returned values are alive.
#[cfg(target_os = "linux")]
fn dead_end() -> (TcpListener, Vec<std::net::TcpStream>) {
    use std::net::TcpStream;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        filling.push(stream);
    }
    (listener, filling)
}

#[test]
#[cfg(target_os = "linux")]
fn a_dead_address_costs_one_head_start_a_run() {
    let (dead, _filling) = dead_end();
    let port = dead.local_addr().unwrap().port();
    let Ok(probe) = TcpListener::bind(("::1", port)) else { return };
    drop(probe);
    let answers = || answer(200, "", "");
    let server = Server::start_on(&format!("[::1]:{port}"), [answers(), answers(), answers()]);
    let client = http(&[]);
    let mut elapsed = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let request = Request::get(server.url("localhost", "/"));
        assert_eq!(client.send(&request).unwrap().status, 200);
        elapsed.push(start.elapsed().as_millis());
    }
    assert!((250..600).contains(&elapsed[0]), "{elapsed:?}");
    assert!(elapsed[1..].iter().all(|elapsed| *elapsed < 200), "{elapsed:?}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn addresses_that_are_all_dead_are_given_up_in_time() {
    let (dead, _filling) = dead_end();
    let url = format!("http://localhost:{}/", dead.local_addr().unwrap().port());
    let start = Instant::now();
    let error = http(&[]).send(&Request::get(url).within(Duration::from_millis(700))).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { sent: false, .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_credential_that_no_header_takes_is_refused_without_being_shown() {
    for text in ["Api-Key can\r\nary", "Api-Key can\u{e9}ary\u{1f512}", "can\0ary"] {
        let server = Server::start([answer(200, "", "")]);
        let secret = Secret::from(text);
        let request = Request::get(server.url("localhost", "/")).authorization(&secret);
        let error = http(&[]).send(&request).unwrap_err();
        assert!(matches!(error, HttpError::Credential), "{error:?}");
        assert!(error.surely_not_sent() && !format!("{error:?}").contains("ary"));
        assert!(server.requests().is_empty());
    }
}

#[test]
fn an_answer_before_the_end_of_the_request_counts() {
    let act = Act::Custom(Box::new(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").unwrap();
        read_request(&mut stream);
    }));
    assert_eq!(get(act).unwrap().status, 400);
}

#[test]
fn users_me_names_the_user_of_a_credential() {
    let key = Authorization::new(Credential::ApiKey(Secret::from("canary"))).header_value();
    assert_eq!(key.expose(), "Api-Key canary");
    let body = r#"{"user_id": 7, "email": null, "name": " ", "workspace_name": "Acme\u001b",
        "more": {"user_id": []}}"#;
    let server = Server::start([answer(200, "Content-Type: text/html\r\n", body)]);
    let user = users_me(&http(&[]), &management(&server), &key).unwrap();
    assert_eq!((user.user_id.as_str(), &user.email, &user.name), ("7", &None, &None));
    assert_eq!(user.workspace_name.as_deref(), Some("Acme\u{1b}"));
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /v1/users/me HTTP/1.1\r\n"));
    assert!(request.to_lowercase().contains("\r\nauthorization: api-key canary\r\n"));

    for (act, text) in [
        (
            answer(401, "", r#"{"code": "X", "message": "no such key: canary"}"#),
            "HOST answered HTTP 401: no such key: …",
        ),
        (
            answer(200, "", r#"{"email": "canary"}"#),
            "the answer of HOST (HTTP 200) is not one that this program understands",
        ),
        (
            answer(200, "", "<html>canary"),
            "the answer of HOST (HTTP 200) is not one that this program understands",
        ),
    ] {
        let server = Server::start([act]);
        let error = users_me(&http(&[]), &management(&server), &key).unwrap_err();
        let host = format!("localhost:{}", server.address.port());
        assert_eq!(error.to_string(), text.replace("HOST", &host));
        assert!(!format!("{error:?}").contains("canary"));
    }
}

#[test]
fn a_logout_is_an_empty_post() {
    let credential = Credential::OAuth(OAuthCredential {
        access_token: Secret::from("canary"),
        refresh_token: None,
        expiry: None,
        issued_at: None,
    });
    let limit = Duration::from_millis(500);
    let server = Server::start([answer(204, "", ""), answer(401, "", ""), Act::Hang]);
    let end = || {
        end_session_at_server(
            &http(&[]),
            &management(&server),
            &Authorization::new(credential.clone()).header_value(),
            limit,
        )
    };
    assert!(end().is_ok());
    let request = server.requests()[0].to_lowercase();
    assert!(request.starts_with("post /v1/users/auth/logout http/1.1\r\n"));
    assert!(request.contains("\r\nauthorization: bearer canary\r\n"));
    assert!(request.contains("\r\ncontent-length: 0\r\n") && request.ends_with("\r\n\r\n"));
    assert!(matches!(end(), Err(ApiError::Status { status: 401, .. })));
    assert!(matches!(end(), Err(ApiError::Http(HttpError::Timeout { .. }))));
}
