//! The binary, as scripts meet it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn json_is_one_line_that_says_where_and_with_which_keys() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baseten-sandbox"))
        .args(["--port", "0", "--json"])
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
