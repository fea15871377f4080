//! JSON objects whose values stay text: nothing that this program does not know is decoded, changed
//! or formatted again.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::secret::{Secret, Wiped};

/// The text of a value: a part of the input, or one that we made. It may be a secret, so it is
/// wiped.
#[derive(Clone)]
pub(super) enum Raw<'a> {
    Read(&'a str),
    Made(Wiped<String>),
}

impl Deref for Raw<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Read(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// The members of a JSON object, in their order in the text.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // As many as a profile has.
                let mut members = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry::<_, &'de RawValue>()? {
                    members.push((key, Raw::Read(value.get())));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// How an object is written.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// In one line, without spaces.
    Compact,
    /// One member per line, in an object at this depth.
    Indented(usize),
    /// The same for the outermost object, which ends in a newline.
    File,
}

impl<'a> Object<'a> {
    /// Reads an object; an error says where the text is invalid.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// An object without members.
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// The text of a member. If a key stands twice, the last one counts, as for other readers.
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| &**value)
    }

    /// The text of a member, unless it is missing or `null`.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|text| *text != "null")
    }

    /// The text of a member as it was read.
    pub(super) fn as_read(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(k, _)| k == key).and_then(|(_, value)| match value {
            Raw::Read(text) => Some(*text),
            Raw::Made(_) => None,
        })
    }

    /// The value of a member, unless it is missing or `null`. The error is the key.
    pub(super) fn value<T: DeserializeOwned>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, &'static str> {
        self.get(key).map_or(Ok(None), |text| serde_json::from_str(text).map_err(|_| key))
    }

    /// The text of a member, unless it is missing or `null`. The error is the key.
    pub(super) fn secret(&self, key: &'static str) -> Result<Option<Secret>, &'static str> {
        self.text(key).map(|text| unquote(text).ok_or(key)).transpose()
    }

    /// Sets a member to a text, as a JSON string.
    pub(super) fn set_text(&mut self, key: &'static str, text: &str) {
        self.set(key, quote(text));
    }

    /// Sets a member to JSON text.
    pub(super) fn set(&mut self, key: &'static str, json: Wiped<String>) {
        self.remove(key);
        self.0.push((key.into(), Raw::Made(json)));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// A key that stands more than once, if there is one.
    pub(super) fn repeated(&self) -> Option<&str> {
        let mut keys: Vec<&str> = self.0.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        })
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> {
        self.0.into_iter()
    }

    /// The object as JSON text: the keys of `order` first, then the others in their order in the
    /// text.
    pub(super) fn render(&self, order: &[&str], layout: Layout) -> Wiped<String> {
        let known = order.iter().filter_map(|key| self.0.iter().rev().find(|(k, _)| k == key));
        let unknown = self.0.iter().filter(|(key, _)| !order.contains(&key.as_ref()));
        render(known.chain(unknown).map(|(key, value)| (key.as_ref(), &**value)), layout)
    }
}

/// An object of these members.
pub(super) fn render<'m>(
    members: impl Iterator<Item = (&'m str, &'m str)> + Clone,
    layout: Layout,
) -> Wiped<String> {
    let depth = match layout {
        Layout::Compact => None,
        Layout::Indented(depth) => Some(depth),
        Layout::File => Some(0),
    };
    let new_line = |depth: usize| format!("\n{}", "  ".repeat(depth));
    let separator = depth.map(|depth| new_line(depth + 1)).unwrap_or_default();
    let end = depth.map(new_line).unwrap_or_default();
    let colon = if depth.is_some() { ": " } else { ":" };
    // Allocated at its largest size, because a text that grows leaves copies behind.
    let most = |(key, value): (&str, &str)| quoted_size(key) + value.len() + separator.len() + 3;
    let size = members.clone().map(most).sum::<usize>() + end.len() + 3;
    let mut out = Wiped::from(String::with_capacity(size));
    out.push('{');
    let mut is_empty = true;
    for (key, value) in members {
        if !std::mem::take(&mut is_empty) {
            out.push(',');
        }
        for part in [&separator, quote(key).as_str(), colon, value] {
            out.push_str(part);
        }
    }
    if !is_empty {
        out.push_str(&end);
    }
    out.push('}');
    if matches!(layout, Layout::File) {
        out.push('\n');
    }
    out
}

/// The text of a JSON string; `None` if it is not one. The parser would leave a copy of a string
/// that has escapes, so it gets only the escapes.
fn unquote(json: &str) -> Option<Secret> {
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?;
    // A text is never longer than its JSON form.
    let mut text = Wiped::from(String::with_capacity(rest.len()));
    while let Some((plain, _)) = rest.split_once('\\') {
        text.push_str(plain);
        rest = &rest[plain.len()..];
        // `\n`, `\u000a`, or two of the latter for one character (RFC 8259 §7).
        let (character, length) = [2, 6, 12].into_iter().find_map(|length| {
            let escape = format!("\"{}\"", rest.get(..length)?);
            Some((serde_json::from_str::<char>(&escape).ok()?, length))
        })?;
        text.push(character);
        rest = &rest[length..];
    }
    text.push_str(rest);
    Some(Secret::from(text.as_str()))
}

/// A text as a JSON string.
pub(super) fn quote(text: &str) -> Wiped<String> {
    let mut quoted = Vec::with_capacity(quoted_size(text));
    // A string always has a JSON form, which is text. An empty one would mean a bug in serde_json.
    let _ = serde_json::to_writer(&mut quoted, text);
    String::from_utf8(quoted).unwrap_or_default().into()
}

/// The largest size of a text as a JSON string; a buffer that grows leaves copies behind.
fn quoted_size(text: &str) -> usize {
    let is_plain = |byte| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) { text.len() + 2 } else { 6 * text.len() + 2 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_string_is_a_text() {
        for json in ["7", "null", "\"", "", "{}", r#""\ud83d""#, r#""\ud83dx""#, r#""\u00""#] {
            assert_eq!(unquote(json), None, "{json}");
        }
        let text = unquote(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00€""#).unwrap();
        assert_eq!(text.expose(), "a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}\u{20ac}");
    }

    /// Every character as an escape, as far as that is possible.
    fn escaped(text: &str) -> String {
        let escape = |unit| format!("\\u{unit:04x}");
        format!("\"{}\"", text.encode_utf16().map(escape).collect::<String>())
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_the_parser_reads_it(text in any::<String>(), json in "\"\\PC*\"") {
            prop_assert!(quote(&text).len() <= quoted_size(&text));
            for json in [quote(&text).as_str(), &escaped(&text), &json] {
                // The text has passed the parser.
                if let Ok(expected) = serde_json::from_str::<String>(json) {
                    prop_assert_eq!(unquote(json), Some(Secret::from(expected)), "{}", json);
                }
            }
        }
    }
}
