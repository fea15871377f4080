//! Settings of other programs: a few keys are changed, and every other letter stays as it is.

mod json;
mod toml;

use std::io;
use std::path::{Path, PathBuf};

use baseten_auth::internal::{read_file, replace_file};
use serde_json::Value;

/// A key, from the outermost name to the innermost.
pub(crate) type Key = &'static [&'static str];

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file can't be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The file is not in its format.
    #[error("{} is not valid {format}: {reason}", path.display())]
    Malformed { path: PathBuf, format: &'static str, reason: String },
    /// What a key is to be put into is something else.
    #[error("{} cannot take {key}: something else is in its place", path.display())]
    NoTable { path: PathBuf, key: String },
    /// Another program has changed the file meanwhile.
    #[error("{} was changed by another program meanwhile", path.display())]
    Changed { path: PathBuf },
}

/// A format, with the document in it.
enum Document {
    Json(json::Document),
    Toml(Box<toml::Document>),
}

/// A file of settings, as it was read, and as it will be.
pub(crate) struct Settings {
    path: PathBuf,
    before: Option<Vec<u8>>,
    /// Whether the text begins with a byte order mark, which stays.
    has_mark: bool,
    document: Document,
}

const MARK: char = '\u{feff}';

impl Settings {
    /// Reads a file of JSON, or of TOML where its name ends so. One that is missing or empty has no
    /// settings.
    pub(crate) fn read(path: PathBuf) -> Result<Self, SettingsError> {
        let before = read_file(&path).map_err(|source| io_error(&path, source))?;
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let format = if is_toml { "TOML" } else { "JSON" };
        let malformed =
            |reason: String| SettingsError::Malformed { path: path.clone(), format, reason };
        let text = std::str::from_utf8(before.as_deref().unwrap_or_default())
            .map_err(|error| malformed(error.to_string()))?;
        let (text, has_mark) =
            text.strip_prefix(MARK).map_or((text, false), |without| (without, true));
        let document = if is_toml {
            toml::Document::parse(text).map(|document| Document::Toml(Box::new(document)))
        } else {
            json::Document::parse(text).map(Document::Json)
        };
        let document = document.map_err(malformed)?;
        Ok(Self { path, before, has_mark, document })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key; `None` where there is none.
    pub(crate) fn get(&self, key: Key) -> Option<Value> {
        match &self.document {
            Document::Json(document) => document.get(key),
            Document::Toml(document) => document.get(key),
        }
    }

    /// Sets a key.
    pub(crate) fn set(&mut self, key: Key, value: &Value) -> Result<(), SettingsError> {
        let set = match &mut self.document {
            Document::Json(document) => document.set(key, value),
            Document::Toml(document) => document.set(key, value),
        };
        let (path, key) = (self.path.clone(), key.join("."));
        set.ok_or(SettingsError::NoTable { path, key })
    }

    /// Removes a key, and what is left empty around it.
    pub(crate) fn remove(&mut self, key: Key) {
        match &mut self.document {
            Document::Json(document) => document.remove(key),
            Document::Toml(document) => document.remove(key),
        }
    }

    /// Writes the settings, durably, as a whole or not at all. A file that is left without settings
    /// is removed, unless it is a link.
    pub(crate) fn write(self) -> Result<(), SettingsError> {
        let path = &self.path;
        let (text, is_empty) = match &self.document {
            Document::Json(document) => (document.render(), document.is_empty()),
            Document::Toml(document) => (document.render(), document.render().trim().is_empty()),
        };
        if is_empty && !path.is_symlink() {
            return std::fs::remove_file(path).map_err(|source| io_error(path, source));
        }
        let mark = if self.has_mark { MARK.to_string() } else { String::new() };
        let replaced = replace_file(path, (mark + &text).as_bytes(), self.before.as_deref());
        if replaced.map_err(|source| io_error(path, source))? {
            Ok(())
        } else {
            Err(SettingsError::Changed { path: self.path })
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> SettingsError {
    SettingsError::Io { path: path.to_owned(), source }
}
