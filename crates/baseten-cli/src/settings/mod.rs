//! Settings files of other programs: a few keys are read, set and removed. Everything else stays
//! exactly as it is.

mod json;
mod toml;

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use baseten_auth::internal::Change;

/// Why settings can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file can't be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The text is not valid in its format. This quotes nothing of it, because it may contain
    /// secrets.
    #[error("it is not valid {format}: {reason}")]
    Malformed { format: &'static str, reason: String },
    /// The value is written in a form in which it can't be changed on its own.
    #[error("{0} is written in a form that cannot be changed without touching more")]
    Form(String),
    /// Keys have other values.
    #[error("{} {} already set to something else", .0.join(", "), if .0.len() == 1 { "is" } else { "are" })]
    Taken(Vec<String>),
    /// A key that the agent does not accept together with those that are set.
    #[error("{0} cannot be used together with a command that prints the token")]
    Excluded(String),
}

/// Why an agent is not set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// No variable says where its settings are.
    #[error("cannot find the settings of {agent}: {variable} is not set")]
    NoHome { agent: &'static str, variable: &'static str },
    /// This program does not know its own path.
    #[error("cannot find the path of this program")]
    Program(#[source] io::Error),
    /// Its settings can't be read or changed.
    #[error("cannot change {}", file.display())]
    Settings { file: PathBuf, source: SettingsError },
}

/// The format of a settings file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON without comments (RFC 8259).
    Json,
    /// TOML 1.1.
    Toml,
}

/// A value that this program reads or writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// Any other value.
    Other,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The names that lead to a value, from the outermost.
pub(crate) type Path = [&'static str];

/// A settings file as it was read, with the changes that were made since.
#[derive(Debug)]
pub(crate) struct Settings {
    format: Format,
    /// The content of the file; `None` if there is none.
    original: Option<String>,
    text: String,
}

/// Some editors put it before the text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

impl Settings {
    /// Reads the content of a file. A missing or an empty file has no keys.
    pub(crate) fn parse(format: Format, bytes: Option<&[u8]>) -> Result<Self, SettingsError> {
        let original = bytes.map(|bytes| String::from_utf8(bytes.to_owned())).transpose();
        let original = original.map_err(|_| format.malformed("it is not UTF-8".to_owned()))?;
        let text = original.clone().unwrap_or_default();
        let mut settings = Self { format, original, text };
        if format == Format::Json && settings.body().trim().is_empty() {
            settings.splice(0..settings.body().len(), "{}\n");
        }
        // The whole text has to be valid, whichever key is used later.
        settings.get(&[])?;
        Ok(settings)
    }

    /// A value; `None` if there is none.
    pub(crate) fn get(&self, path: &Path) -> Result<Option<Value>, SettingsError> {
        match self.format {
            Format::Json => json::get(self.body(), path),
            Format::Toml => toml::get(self.body(), path),
        }
    }

    /// Sets a value, in its existing place or a new one.
    pub(crate) fn set(&mut self, path: &Path, value: &Value) -> Result<(), SettingsError> {
        let (range, text) = match self.format {
            Format::Json => json::set(self.body(), path, value)?,
            Format::Toml => toml::set(self.body(), path, value)?,
        };
        self.splice(range, &text);
        // Check that the new text is valid and has the new value.
        match self.get(path) {
            Ok(Some(now)) if now == *value => Ok(()),
            _ => Err(form(path)),
        }
    }

    /// Removes a value, and what becomes empty without it.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), SettingsError> {
        let mut path = path;
        loop {
            let range = match self.format {
                Format::Json => json::removal(self.body(), path)?,
                Format::Toml => toml::removal(self.body(), path)?,
            };
            self.splice(range, "");
            path = match path {
                [above @ .., _] if !above.is_empty() && self.keys(above)? == Some(0) => above,
                _ => break,
            };
        }
        self.get(path).map_err(|_| form(path)).map(|_| ())
    }

    /// How many keys there are under a name; `None` if there is no such name.
    pub(crate) fn keys(&self, path: &Path) -> Result<Option<usize>, SettingsError> {
        match self.format {
            Format::Json => json::keys(self.body(), path),
            Format::Toml => toml::keys(self.body(), path),
        }
    }

    /// What to do with the file.
    pub(crate) fn change(self) -> Change {
        let body = self.body().trim();
        let is_empty = body.is_empty() || self.format == Format::Json && body == "{}";
        match self.original {
            Some(original) if original == self.text => Change::Nothing,
            None if is_empty => Change::Nothing,
            _ if is_empty => Change::Removal(self.text),
            _ => Change::Text(self.text),
        }
    }

    fn body(&self) -> &str {
        self.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.text)
    }

    /// Replaces a part of the body.
    fn splice(&mut self, range: Range<usize>, text: &str) {
        let start = self.text.len() - self.body().len();
        self.text.replace_range(start + range.start..start + range.end, text);
    }
}

impl Format {
    fn malformed(self, reason: String) -> SettingsError {
        let format = match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
        };
        SettingsError::Malformed { format, reason }
    }
}

fn form(path: &Path) -> SettingsError {
    SettingsError::Form(path.join("."))
}

/// The line ending that a text uses.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests;
