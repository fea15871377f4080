//! A string that must not be seen: no `Display`, a redacted `Debug`, wiped when dropped.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// An API key, a token or a device code.
///
/// It shows itself only through [`Secret::expose`], which is called where the bytes leave for
/// their one destination: a request header, a form field, the keyring, the file.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself. Do not keep it, and do not put it into a message.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value of an `Authorization` header with it (RFC 9110 §11.6.2).
    pub(crate) fn after_scheme(&self, scheme: &str) -> Self {
        // Room for all of it, so that no copy is left behind.
        let mut value = String::with_capacity(scheme.len() + 1 + self.expose().len());
        value.push_str(scheme);
        value.push(' ');
        value.push_str(self.expose());
        Self::from(value)
    }

    /// Whether it fits a header: RFC 6749 §A.12 without the space, which would end it there.
    pub(crate) fn is_visible_ascii(&self) -> bool {
        !self.expose().is_empty() && self.expose().bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text))
    }
}

/// A secret is read from JSON, and never written by derive.
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Whether two secrets are the same text. Both are ours already, so the time it takes tells
/// nobody anything.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("canary")), "Secret(…)");
    }
}
