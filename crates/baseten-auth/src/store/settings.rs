//! Settings files of other programs, changed as safely as the store.

use std::io;
use std::path::Path;

use super::disk::{Content, Refusal, Target, read_private};
use super::private;

/// How often a change is made anew because another program was faster.
const ATTEMPTS: usize = 10;

/// What becomes of a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Nothing,
    /// It gets this text.
    Text(String),
    /// Nothing is left in it. It is removed, unless a link leads to it or it is mounted alone: then it
    /// gets this text.
    Removal(String),
}

/// Reads a settings file; `None` where there is none. The errors name no file.
pub fn read_settings(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_private(path) {
        Ok(bytes) => Ok(bytes.map(|bytes| bytes.to_vec())),
        Err(Refusal::NoFile) => Err(io::Error::other("it is not a file")),
        Err(Refusal::TooLarge) => Err(io::Error::other("it is larger than 64 MiB")),
        Err(Refusal::Io(error)) => Err(error),
    }
}

/// Changes a settings file: read, change, replace, durably. `change` gets `None` where there is no
/// file, and is called again where another program was faster.
///
/// Where the file is a link, what it leads to is replaced. The file keeps its mode; a missing
/// directory is made.
pub fn update_settings<T, E: From<io::Error>>(
    path: &Path,
    mut change: impl FnMut(Option<&[u8]>) -> Result<(Change, T), E>,
) -> Result<T, E> {
    for _ in 0..ATTEMPTS {
        let old = read_settings(path)?;
        let (change, value) = change(old.as_deref())?;
        if apply(path, &change, old.as_deref())? {
            return Ok(value);
        }
    }
    Err(io::Error::other("another program keeps changing it").into())
}

/// Makes a change; false, and nothing changed, if another program has changed the file meanwhile.
fn apply(path: &Path, change: &Change, old: Option<&[u8]>) -> io::Result<bool> {
    let text = match change {
        Change::Nothing => return Ok(true),
        Change::Text(text) | Change::Removal(text) => text,
    };
    if old.is_none() {
        private::create_directory(private::parent(path))?;
    }
    let target = Target::of(path, Content::Settings)?;
    let can_go = target.path() == path && !target.is_mount_point();
    if can_go && matches!(change, Change::Removal(_)) {
        return target.remove(old);
    }
    target.replace(text.as_bytes(), old)
}
