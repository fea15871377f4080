//! The names of secrets in an engine.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::profile::ProfileName;
use crate::storage::EnginePath;

/// Everything except the unreserved characters of RFC 3986 §2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The key of a profile's secret: the path, the remote's host and the name of the profile. The last
/// two are percent-encoded.
pub(super) fn of(path: &EnginePath, remote: &str, profile: &ProfileName) -> String {
    let (_, path) = path.parts();
    format!("{path}/{}/{}", encoded(&host(remote)), encoded(profile.as_str()))
}

/// A path for a URL: what is already encoded in a key is encoded again.
pub(super) fn on_the_wire(path: &str) -> String {
    let parts = path.split('/').map(|part| utf8_percent_encode(part, SEGMENT).to_string());
    parts.collect::<Vec<_>>().join("/")
}

/// The remote's host, with its port if it has one.
fn host(remote: &str) -> String {
    let Ok(url) = Url::parse(remote) else { return remote.to_owned() };
    let host = url.host_str().unwrap_or(remote);
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Encodes every byte except letters, digits, `-`, `_`, `~` and single dots within a name. Other
/// dots have a meaning in an engine's paths.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    let bytes = name.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let is_dot = |index: Option<usize>| index.and_then(|at| bytes.get(at)) == Some(&b'.');
        let is_single =
            bytes.len() > 1 && !is_dot(index.checked_sub(1)) && !is_dot(index.checked_add(1));
        match byte {
            b'.' if is_single => text.push('.'),
            b'-' | b'_' | b'~' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// The policy that a token needs for the secrets of a place.
pub fn policy_for(path: &EnginePath) -> String {
    let (mount, path) = path.parts();
    format!(
        "path \"{mount}/data/{path}/*\" {{ capabilities = [\"create\", \"read\", \"update\"] }}\n\
         path \"{mount}/metadata/{path}/*\" {{ capabilities = [\"delete\"] }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_an_engine_can_keep_them() {
        for (name, expected) in [
            ("ada@example.com", "ada%40example.com"),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("a..b.c", "a%2E%2Eb.c"),
            (".a.", ".a."),
            ("北京 ~_-", "%E5%8C%97%E4%BA%AC%20~_-"),
        ] {
            assert_eq!(encoded(name), expected, "{name}");
        }
        let (path, name) = ("secret/x/y".parse().unwrap(), ProfileName::new("a b").unwrap());
        assert_eq!(of(&path, "http://localhost:8080", &name), "x/y/localhost%3A8080/a%20b");
        assert_eq!(of(&path, "https://app.baseten.co", &name), "x/y/app.baseten.co/a%20b");
        assert_eq!(on_the_wire("x/a%20b"), "x/a%2520b");
    }
}
