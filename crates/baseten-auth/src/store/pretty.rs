//! JSON text, laid out anew with an indent of two. Numbers and strings stay as they were written.

use zeroize::Zeroizing;

/// Lays out valid JSON text, and ends it with a newline.
pub(super) fn pretty(json: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(json.len() + json.len() / 3 + 64));
    let mut depth = 0;
    let mut rest = json.trim_ascii();
    while let Some(first) = rest.bytes().next() {
        let end = token_end(rest, first);
        let (token, after) = rest.split_at(end);
        rest = after.trim_ascii_start();
        match first {
            b'{' | b'[' if rest.starts_with(['}', ']']) => {
                // An empty one stays on its line.
                out.push_str(token);
                out.push_str(&rest[..1]);
                rest = rest[1..].trim_ascii_start();
            }
            b'{' | b'[' => {
                out.push_str(token);
                depth += 1;
                new_line(&mut out, depth);
            }
            b'}' | b']' => {
                depth = usize::saturating_sub(depth, 1);
                new_line(&mut out, depth);
                out.push_str(token);
            }
            b',' => {
                out.push_str(token);
                new_line(&mut out, depth);
            }
            b':' => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out.push('\n');
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// Where the token that `text` begins with ends, in bytes.
fn token_end(text: &str, first: u8) -> usize {
    match first {
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        b'"' => string_end(text),
        _ => text.find([',', '}', ']', ' ', '\n', '\r', '\t']).unwrap_or(text.len()).max(1),
    }
}

fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::json;

    #[test]
    fn keeps_numbers_and_strings_to_the_letter() {
        let text = r#" {"a" : [ 1e400,-0.10, "\u003c\"{,\\"] ,"b":{ },"c":[]} "#;
        let expected = "{\n  \"a\": [\n    1e400,\n    -0.10,\n    \"\\u003c\\\"{,\\\\\"\n  ],\n  \
                        \"b\": {},\n  \"c\": []\n}\n";
        assert_eq!(pretty(text).as_str(), expected);
        assert_eq!(pretty(expected).as_str(), expected);
    }

    proptest! {
        #[test]
        fn lays_out_like_serde_json(value in json()) {
            let expected = serde_json::to_string_pretty(&value).unwrap() + "\n";
            let laid_out = pretty(&value.to_string());
            prop_assert_eq!(laid_out.as_str(), &expected);
            prop_assert_eq!(pretty(&laid_out), laid_out);
        }
    }
}
