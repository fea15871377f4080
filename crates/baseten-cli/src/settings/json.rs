//! Settings in JSON, with the layout that they have.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

/// A document whose values can be changed without touching anything else.
pub(super) struct Document {
    root: CstRootNode,
    object: CstObject,
}

impl Document {
    /// Reads a text; an empty one is an object without members. The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        // The other parser takes comments too, and any depth.
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !value.is_object() {
            return Err("it is not an object".to_owned());
        }
        let parsed = CstRootNode::parse(text, &ParseOptions::default());
        let root = parsed.map_err(|error| error.to_string())?;
        let object = root.object_value().ok_or("it is not an object")?;
        Ok(Self { root, object })
    }

    pub(super) fn get(&self, key: &[&str]) -> Option<Value> {
        let (last, tables) = key.split_last()?;
        let mut object = self.object.clone();
        for name in tables {
            object = object.object_value(name)?;
        }
        let text = object.get(last)?.value()?.to_string();
        serde_json::from_str(&text).ok()
    }

    /// Sets a text; `None` where something else is in the place of an object.
    pub(super) fn set(&mut self, key: &[&str], value: &Value) -> Option<()> {
        let (last, tables) = key.split_last()?;
        let value = CstInputValue::String(value.as_str()?.to_owned());
        let mut object = self.object.clone();
        for name in tables {
            object = object.object_value_or_create(name)?;
        }
        match object.get(last) {
            Some(member) => member.set_value(value),
            None => drop(object.append(last, value)),
        }
        Some(())
    }

    pub(super) fn remove(&mut self, key: &[&str]) {
        let Some((last, tables)) = key.split_last() else { return };
        let mut object = self.object.clone();
        for name in tables {
            let Some(inner) = object.object_value(name) else { return };
            object = inner;
        }
        if let Some(member) = object.get(last) {
            member.remove();
        }
        if object.properties().is_empty() && !tables.is_empty() {
            self.remove(tables);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.object.properties().is_empty()
    }

    pub(super) fn render(&self) -> String {
        self.root.to_string()
    }
}
