//! TOML, changed in place. `toml_edit` tells us where everything is. We do not let it write,
//! because it would change the format: line ends, a byte order mark, dotted keys.

use std::ops::Range;

use toml_edit::{Array, Document, Item, Table, TableLike};

use super::{Format, Path, SettingsError, Value, form, line_end};

/// Reads the whole text. The parser's message is dropped: it quotes the line, which may contain a
/// secret.
fn parse(text: &str) -> Result<Document<&str>, SettingsError> {
    Document::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
        Format::Toml.malformed(format!("line {line}"))
    })
}

fn find<'d>(document: &'d Document<&str>, path: &Path) -> Option<&'d Item> {
    path.iter().try_fold(document.as_item(), |item, name| item.get(name))
}

pub(super) fn get(text: &str, path: &Path) -> Result<Option<Value>, SettingsError> {
    let document = parse(text)?;
    let item = find(&document, path);
    Ok(item.map(|item| match item.as_value() {
        Some(toml_edit::Value::String(text)) => Value::Text(text.value().clone()),
        Some(toml_edit::Value::Integer(number)) => Value::Number(*number.value()),
        Some(toml_edit::Value::Boolean(flag)) => Value::Flag(*flag.value()),
        Some(toml_edit::Value::Array(array)) => texts(array).map_or(Value::Other, Value::List),
        _ => Value::Other,
    }))
}

fn texts(array: &Array) -> Option<Vec<String>> {
    array.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

pub(super) fn keys(text: &str, path: &Path) -> Result<Option<usize>, SettingsError> {
    let document = parse(text)?;
    Ok(find(&document, path).and_then(Item::as_table_like).map(TableLike::len))
}

/// The range to replace, and the new text, to set a value.
pub(super) fn set(
    text: &str,
    path: &Path,
    value: &Value,
) -> Result<(Range<usize>, String), SettingsError> {
    let document = parse(text)?;
    let toml = match value {
        Value::Text(text) => toml_edit::Value::from(text),
        Value::List(texts) => toml_edit::Value::from_iter(texts),
        Value::Number(number) => toml_edit::Value::from(*number),
        Value::Flag(flag) => toml_edit::Value::from(*flag),
        Value::Other => return Err(form(path)),
    };
    if let Some(item) = find(&document, path) {
        let place = item.as_value().and_then(toml_edit::Value::span);
        return Ok((place.ok_or_else(|| form(path))?, toml.to_string()));
    }
    let [above @ .., name] = path else { return Err(form(path)) };
    let end = line_end(text);
    let line = format!("{name} = {toml}{end}");
    let table = find(&document, above).and_then(Item::as_table);
    let end_of_table = |table: &Table| {
        // The outermost table has no header.
        let header = header(table).filter(|_| !above.is_empty()).map(|span| span.end);
        end_of_values(table).max(header)
    };
    let (at, lines) = match table.and_then(end_of_table) {
        Some(last) => (after_line(text, last), line),
        // Before the first table.
        None if above.is_empty() => (0, line),
        // A new table. If the table exists in another form, the new text is invalid, which is
        // reported.
        None => {
            let space = if text.is_empty() { "" } else { end };
            (text.len(), format!("{space}[{}]{end}{line}", above.join(".")))
        }
    };
    let is_cut = at > 0 && !text[..at].ends_with('\n');
    Ok((at..at, if is_cut { format!("{end}{lines}") } else { lines }))
}

/// Where the last value of a table ends.
fn end_of_values(table: &Table) -> Option<usize> {
    let values = table.iter().filter_map(|(_, item)| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(table) if table.is_dotted() => end_of_values(table),
        _ => None,
    });
    values.max()
}

fn header(table: &Table) -> Option<Range<usize>> {
    table.span().filter(|_| !table.is_implicit() && !table.is_dotted())
}

fn after_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}

/// The lines of a value, or of the header of an otherwise empty table.
pub(super) fn removal(text: &str, path: &Path) -> Result<Range<usize>, SettingsError> {
    let [above @ .., name] = path else { return Err(form(path)) };
    let document = parse(text)?;
    let table = find(&document, above).and_then(Item::as_table_like);
    let Some((key, item)) = table.and_then(|table| table.get_key_value(name)) else {
        return Ok(0..0);
    };
    let place = match item {
        Item::Value(value) => key.span().zip(value.span()).map(|(key, value)| key.start..value.end),
        // A table without its own header disappears with its content.
        Item::Table(table) if table.is_implicit() || table.is_dotted() => return Ok(0..0),
        Item::Table(table) => header(table),
        _ => None,
    };
    let place = place.ok_or_else(|| form(path))?;
    let lines = lines(text, &place).ok_or_else(|| form(path))?;
    Ok(if item.is_table() { with_blank_line(text, lines) } else { lines })
}

/// The whole lines of a value, if they contain nothing else except a comment.
fn lines(text: &str, place: &Range<usize>) -> Option<Range<usize>> {
    let start = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let end = after_line(text, place.end);
    let behind = text[place.end..end].trim_start();
    let is_alone = text[start..place.start].trim().is_empty()
        && (behind.is_empty() || behind.starts_with('#'));
    is_alone.then_some(start..end)
}

/// Includes the blank line before a table, which was added with it.
fn with_blank_line(text: &str, lines: Range<usize>) -> Range<usize> {
    let before = &text[..lines.start];
    let blank = ["\n\r\n", "\n\n"].into_iter().find(|blank| before.ends_with(blank));
    lines.start - blank.map_or(0, |blank| blank.len() - 1)..lines.end
}
