//! What a place outside of the file stores under a name.

use std::fmt;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// What a place stores under a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// A secret that we, or a program that uses the same name, stored.
    Text(Secret),
    /// Something that is not text: the bytes as they are stored.
    Other(Zeroizing<Vec<u8>>),
}

impl Entry {
    /// The text, which may be a secret of ours.
    pub fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(secret) => Some(secret),
            Self::Other(_) => None,
        }
    }
}

impl<T: Into<Secret>> From<T> for Entry {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entry(…)")
    }
}
