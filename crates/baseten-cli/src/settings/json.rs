//! JSON, changed in place. The parser says where each member of an object is.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Format, Path, SettingsError, Value, form, line_end};

/// White space (RFC 8259 §2).
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The members of an object, in the order of the text.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// A member of an object, by its place in the text.
struct Member {
    name: String,
    /// Where its name begins.
    start: usize,
    value: Range<usize>,
}

/// An object, by its place in the text.
struct Object {
    place: Range<usize>,
    members: Vec<Member>,
}

impl Object {
    /// Reads the whole text. The parser's errors quote nothing of it.
    fn root(text: &str) -> Result<Self, SettingsError> {
        let invalid = |error: serde_json::Error| Format::Json.malformed(error.to_string());
        let start = text.len() - text.trim_start_matches(SPACE).len();
        Self::at(text, start..text.trim_end_matches(SPACE).len()).map_err(invalid)
    }

    fn at(text: &str, place: Range<usize>) -> Result<Self, serde_json::Error> {
        let Members(members) = serde_json::from_str(text.get(place.clone()).unwrap_or_default())?;
        let offset = |part: &RawValue| part.get().as_ptr().addr() - text.as_ptr().addr();
        let member = |(name, value): (&RawValue, &RawValue)| Member {
            // An invalid name can't be one that we look for.
            name: serde_json::from_str(name.get()).unwrap_or_default(),
            start: offset(name),
            value: offset(value)..offset(value) + value.get().len(),
        };
        Ok(Self { place, members: members.into_iter().map(member).collect() })
    }

    /// The member of this name. If it stands twice, it can't be changed: readers differ in which
    /// one they use.
    fn index(&self, name: &str) -> Result<Option<usize>, SettingsError> {
        let mut found = (0..self.members.len()).filter(|at| self.members[*at].name == name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Format::Json.malformed(format!("it has {name} twice"))),
            None => Ok(first),
        }
    }

    fn member(&self, name: &str) -> Result<Option<&Member>, SettingsError> {
        Ok(self.index(name)?.map(|at| &self.members[at]))
    }
}

/// The object at a path; `None` if a name is missing.
fn object(text: &str, path: &Path) -> Result<Option<Object>, SettingsError> {
    let mut object = Object::root(text)?;
    for (depth, name) in path.iter().enumerate() {
        let Some(member) = object.member(name)? else { return Ok(None) };
        let inner = Object::at(text, member.value.clone());
        object = inner.map_err(|_| form(&path[..=depth]))?;
    }
    Ok(Some(object))
}

pub(super) fn get(text: &str, path: &Path) -> Result<Option<Value>, SettingsError> {
    let [above @ .., name] = path else {
        return Object::root(text).map(|_| Some(Value::Other));
    };
    let Some(object) = object(text, above)? else { return Ok(None) };
    let Some(member) = object.member(name)? else { return Ok(None) };
    Ok(match serde_json::from_str(&text[member.value.clone()]) {
        Ok(serde_json::Value::Null) => None,
        Ok(serde_json::Value::String(text)) => Some(Value::Text(text)),
        _ => Some(Value::Other),
    })
}

pub(super) fn keys(text: &str, path: &Path) -> Result<Option<usize>, SettingsError> {
    Ok(object(text, path)?.map(|object| object.members.len()))
}

/// The range to replace, and the new text, to set a value.
pub(super) fn set(
    text: &str,
    path: &Path,
    value: &Value,
) -> Result<(Range<usize>, String), SettingsError> {
    let json = match value {
        Value::Text(text) => serde_json::json!(text),
        Value::List(texts) => serde_json::json!(texts),
        Value::Number(number) => serde_json::json!(number),
        Value::Flag(flag) => serde_json::json!(flag),
        Value::Other => return Err(form(path)),
    };
    // From the deepest existing object.
    for depth in (0..path.len()).rev() {
        let Some(object) = object(text, &path[..depth])? else { continue };
        let [name, inner @ ..] = &path[depth..] else { break };
        return Ok(match object.member(name)? {
            Some(member) => (member.value.clone(), json.to_string()),
            None => new_member(text, &object, name, inner, &json.to_string()),
        });
    }
    Err(form(path))
}

/// A new member at the end of an object, formatted like the last one. `inner` are the names of the
/// objects inside it.
fn new_member(
    text: &str,
    object: &Object,
    name: &str,
    inner: &Path,
    value: &str,
) -> (Range<usize>, String) {
    let before = |member: &Member| {
        let before = &text[object.place.start..member.start];
        before[before.trim_end().len()..].to_owned()
    };
    let end = end_of_empty(text, object);
    let space = object.members.last().map_or_else(|| deeper(text, &end), before);
    let mut member = String::new();
    let mut spaces = vec![space.clone()];
    for name in [name].iter().chain(inner) {
        let space = spaces.last().cloned().unwrap_or_default();
        let open = if spaces.len() > 1 { "{" } else { "" };
        member.extend([open, &space, &serde_json::json!(name).to_string(), ": "]);
        spaces.push(deeper(text, &space));
    }
    member += value;
    for space in spaces.iter().take(inner.len()).rev() {
        member.extend([if space.contains('\n') { space } else { "" }, "}"]);
    }
    match object.members.last() {
        Some(last) => (last.value.end..last.value.end, format!(",{member}")),
        None => (object.place.clone(), format!("{{{member}{end}}}")),
    }
}

/// The white space before the end of an object that was empty; none if the text is one line.
fn end_of_empty(text: &str, object: &Object) -> String {
    let is_root = text[..object.place.start].trim().is_empty();
    if !is_root && !text.trim().contains('\n') {
        return String::new();
    }
    let line = text[..object.place.start].rsplit('\n').next().unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    format!("{}{indent}", line_end(text))
}

/// White space before a member that is one level deeper.
fn deeper(text: &str, space: &str) -> String {
    if !space.contains('\n') {
        return String::new();
    }
    // The first indented line is one level deep.
    let indents = text.lines().map(|line| &line[..line.len() - line.trim_start().len()]);
    let unit = indents.into_iter().find(|indent| !indent.is_empty());
    format!("{space}{}", unit.unwrap_or("  "))
}

/// The range of a member, with the comma and the space that belong to it.
pub(super) fn removal(text: &str, path: &Path) -> Result<Range<usize>, SettingsError> {
    let [above @ .., name] = path else { return Err(form(path)) };
    let Some(object) = object(text, above)? else { return Ok(0..0) };
    let Some(at) = object.index(name)? else { return Ok(0..0) };
    let members = &object.members;
    Ok(match (at.checked_sub(1).and_then(|at| members.get(at)), members.get(at + 1)) {
        (_, Some(next)) => members[at].start..next.start,
        (Some(previous), None) => previous.value.end..members[at].value.end,
        (None, None) => object.place.start + 1..object.place.end - 1,
    })
}
