//! JSON as text that is safe for a terminal.

use std::fmt::Write as _;

use baseten_auth::internal::is_hidden;
use serde_json::Value;

use crate::text::sanitize;

/// Indented by two, and a newline.
pub(crate) fn indented(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// On one line, and a newline.
pub(crate) fn one_line(value: &Value) -> String {
    escaped(&value.to_string())
}

/// A string without quotes, and a newline. Characters that are harmful on a terminal are dropped;
/// the other forms keep them as escapes.
pub(crate) fn bare(string: &str) -> String {
    sanitize(string) + "\n"
}

/// Escapes control characters and bidirectional overrides inside strings, and adds a newline.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character == '\n' || !is_hidden(character) {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_shows_no_control_characters() {
        let text = one_line(&json!("a\u{1b}[2J\u{9b}\u{202e}é"));
        assert_eq!(text, "\"a\\u001b[2J\\u009b\\u202eé\"\n");
    }
}
