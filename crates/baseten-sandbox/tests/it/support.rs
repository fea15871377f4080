//! A small HTTP client over a socket, and the requests of a login.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use baseten_sandbox::{CLIENT_ID, Config, Sandbox};
use serde_json::Value;

const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::start(Config::default()).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status and the `error` of an OAuth answer, or the `code` of another.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        let code = json.get("error").or(json.get("code")).unwrap();
        (self.status, code.as_str().unwrap().to_owned())
    }
}

/// Sends one request on its own connection; `head` is the request line and the necessary headers.
pub(crate) fn send(sandbox: &Sandbox, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", sandbox.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
    lines[0] += " HTTP/1.1";
    lines.push(format!("Connection: close\r\nContent-Length: {}", body.len()));
    if !head.contains("\nHost:") {
        lines.push(format!("Host: localhost:{}", sandbox.port()));
    }
    write!(stream, "{}\r\n\r\n{body}", lines.join("\r\n")).unwrap();

    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(crate) fn form(sandbox: &Sandbox, path: &str, body: &str) -> Answer {
    send(sandbox, &format!("POST {path}\nContent-Type: application/x-www-form-urlencoded"), body)
}

pub(crate) fn authorize(sandbox: &Sandbox) -> Value {
    let body = format!("client_id={CLIENT_ID}");
    let answer = form(sandbox, "/v1/users/auth/device/authorize", &body);
    assert_eq!(answer.status, 200);
    answer.json()
}

pub(crate) fn token(sandbox: &Sandbox, fields: &str) -> Answer {
    let body = format!("client_id={CLIENT_ID}&{fields}");
    form(sandbox, "/v1/users/auth/device/token", &body)
}

pub(crate) fn poll(sandbox: &Sandbox, device_code: &str) -> Answer {
    token(sandbox, &format!("grant_type={DEVICE_CODE_GRANT}&device_code={device_code}"))
}

pub(crate) fn refresh(sandbox: &Sandbox, refresh_token: &str) -> Answer {
    token(sandbox, &format!("grant_type=refresh_token&refresh_token={refresh_token}"))
}

pub(crate) fn me(sandbox: &Sandbox, authorization: &str) -> Answer {
    send(sandbox, &format!("GET /v1/users/me\nAuthorization: {authorization}"), "")
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

pub(crate) fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
