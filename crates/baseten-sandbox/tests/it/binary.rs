//! The binary, as scripts use it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

const RULE: &str = r#"{"id": "ci", "issuer": "http://localhost:1", "audience": "baseten",
    "subject": "repo:acme/models:*", "user": "ada"}"#;

#[test]
fn json_is_one_line_that_says_where_and_with_which_keys() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baseten-sandbox"))
        .args(["--port", "0", "--json", "--trust-rule", RULE])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let line: Value = serde_json::from_str(&line).unwrap();
    let port = line["remote_url"].as_str().unwrap().strip_prefix("http://localhost:").unwrap();
    assert_eq!(line["api_url"], format!("http://api.localhost:{port}"));
    assert!(line["api_keys"]["ada"].as_str().unwrap().starts_with("sandbox-api-key-of-ada-"));
}

#[test]
fn a_trust_rule_that_cannot_be_used_is_named() {
    for (rule, status, message) in [
        (RULE.replace("ada", "nobody"), 1, "there is no user nobody"),
        (RULE.replace("http:", "https:"), 1, "the issuer https://localhost:1 is not an http URL"),
        (RULE.replace("\"id\"", "\"name\""), 2, "unknown field `name`"),
        ("ci".to_owned(), 2, "expected value"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_baseten-sandbox"))
            .args(["--port", "0", "--trust-rule", &rule])
            .env_clear()
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains(message), "{stderr}");
    }
}
