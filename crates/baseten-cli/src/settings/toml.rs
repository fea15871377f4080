//! Settings in TOML, with the layout that they have.

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table, TableLike};

/// A document whose values can be changed without touching anything else.
pub(super) struct Document {
    document: DocumentMut,
    /// How its lines end: the parser knows one way only.
    line_end: &'static str,
}

impl Document {
    /// Reads a text. The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let document = text.replace("\r\n", "\n").parse();
        // Only the first line: the others quote the document, which may hold secrets.
        let first_line = |error: String| error.lines().next().unwrap_or_default().to_owned();
        let document = document
            .map_err(|error: toml_edit::TomlError| first_line(error.message().to_owned()))?;
        Ok(Self { document, line_end })
    }

    pub(super) fn get(&self, key: &[&str]) -> Option<Value> {
        let mut item = self.document.as_item();
        for name in key {
            item = item.get(name)?;
        }
        Some(value_of(item))
    }

    /// Sets a text, a number or a list of texts; `None` where something else is in the place of a
    /// table.
    pub(super) fn set(&mut self, key: &[&str], value: &Value) -> Option<()> {
        let (last, tables) = key.split_last()?;
        let mut new = item_of(value)?;
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for name in tables {
            table = table.entry(name).or_insert_with(new_table).as_table_like_mut()?;
        }
        if let (Some(old), Some(new)) =
            (table.get(last).and_then(Item::as_value), new.as_value_mut())
        {
            // A comment behind it stays.
            *new.decor_mut() = old.decor().clone();
        }
        match table.get_mut(last) {
            Some(item) => *item = new,
            None => drop(table.insert(last, new)),
        }
        Some(())
    }

    pub(super) fn remove(&mut self, key: &[&str]) {
        remove(self.document.as_table_mut(), key);
    }

    pub(super) fn render(&self) -> String {
        self.document.to_string().replace('\n', self.line_end)
    }
}

/// A table that gets a heading only where it has values of its own.
fn new_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Removes a key, and the tables that it leaves empty.
fn remove(table: &mut dyn TableLike, key: &[&str]) {
    let Some((first, rest)) = key.split_first() else { return };
    if rest.is_empty() {
        table.remove(first);
        return;
    }
    let Some(inner) = table.get_mut(first).and_then(Item::as_table_like_mut) else { return };
    remove(inner, rest);
    if inner.is_empty() {
        table.remove(first);
    }
}

/// A value as far as it can be one of ours; anything else is null.
fn value_of(item: &Item) -> Value {
    if let Some(text) = item.as_str() {
        return text.into();
    }
    if let Some(number) = item.as_integer() {
        return number.into();
    }
    if let Some(truth) = item.as_bool() {
        return truth.into();
    }
    match item.as_array() {
        Some(list) => list.iter().map(|value| value.as_str().unwrap_or_default()).collect(),
        None => Value::Null,
    }
}

fn item_of(value: &Value) -> Option<Item> {
    Some(match value {
        Value::String(text) => toml_edit::value(text),
        Value::Number(number) => toml_edit::value(number.as_i64()?),
        Value::Array(list) => {
            toml_edit::value(list.iter().filter_map(Value::as_str).collect::<toml_edit::Array>())
        }
        _ => return None,
    })
}
