//! The store: profiles in `auth.json`, and their secrets there or in a place outside of it.

pub(crate) mod budget;
pub(crate) mod disk;
pub(crate) mod document;
pub(crate) mod entry;
pub(crate) mod error;
mod expiry;
pub(crate) mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod helper;
mod json;
pub(crate) mod keyring;
pub(crate) mod lock;
pub(crate) mod openbao;
pub(crate) mod place;
#[cfg(unix)]
pub(crate) mod private;
#[cfg(not(unix))]
#[path = "private/elsewhere.rs"]
mod private;
pub(crate) mod profile_lock;
pub(crate) mod secret_text;
pub(crate) mod settings;
