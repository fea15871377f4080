//! A string that must stay hidden: no `Display`, a redacted `Debug`, wiped when dropped. And text of
//! a file with secrets, which is wiped too.

use std::fmt;
use std::ops::{Deref, DerefMut};

use secrecy::{ExposeSecret, SecretString};

/// An API key, a token or a device code.
/// Only [`Secret::expose`] shows it. Call that only where the text goes to its destination: a
/// request header, a form field, the keyring, the file.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself. Do not keep it, and do not put it into a message.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value of an `Authorization` header that contains it (RFC 9110 §11.6.2).
    pub(crate) fn after_scheme(&self, scheme: &str) -> Self {
        // Allocated at its full size, so that it never moves and leaves no copy behind.
        let mut value = String::with_capacity(scheme.len() + 1 + self.expose().len());
        value.push_str(scheme);
        value.push(' ');
        value.push_str(self.expose());
        Self::from(value)
    }

    /// Whether it fits a header: the characters of RFC 6749 §A.12 except the space, which would end
    /// it.
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

/// A secret can be read from JSON. It has no `Serialize`, so that it is never written by accident.
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Whether two secrets are the same text. We know both already, so the time that this takes reveals
/// nothing.
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

/// Text or bytes that are wiped when dropped, for whole files.
/// `Zeroizing` writes a `Vec` or `String` twice and byte by byte, which takes longer than reading a
/// large file. The content must never be shortened: only what it has at the end is wiped.
#[derive(Clone, Default)]
pub(crate) struct Wiped<T: Default + Into<Vec<u8>>>(T);

impl<T: Default + Into<Vec<u8>>> From<T> for Wiped<T> {
    fn from(content: T) -> Self {
        Self(content)
    }
}

impl<T: Default + Into<Vec<u8>>> Drop for Wiped<T> {
    fn drop(&mut self) {
        let mut bytes: Vec<u8> = std::mem::take(&mut self.0).into();
        bytes.fill(0);
        zeroize::optimization_barrier(bytes.as_slice());
    }
}

impl<T: Default + Into<Vec<u8>>> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default + Into<Vec<u8>>> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
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
