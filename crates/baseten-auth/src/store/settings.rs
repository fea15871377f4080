//! Settings files of other programs, changed as safely as the store.

use std::io;
use std::path::Path;

use super::disk::{Content, Refusal, Target, read_private};
use super::private;

/// How often a change is repeated because another program changed the file meanwhile.
const ATTEMPTS: usize = 10;

/// What to do with a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Leave it as it is.
    Nothing,
    /// Write this text.
    Text(String),
    /// Nothing is left in it, so it is removed. If a link leads to it or it is mounted on its own,
    /// it gets this text instead.
    Removal(String),
}

/// Reads a settings file; `None` if there is none. The errors name no file.
pub fn read_settings(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_private(path) {
        Ok(bytes) => Ok(bytes.map(|bytes| bytes.to_vec())),
        Err(Refusal::NoFile) => Err(io::Error::other("it is not a file")),
        Err(Refusal::TooLarge) => Err(io::Error::other("it is larger than 64 MiB")),
        Err(Refusal::Io(error)) => Err(error),
    }
}

/// Changes a settings file durably: read, change, replace. `change` gets `None` if there is no
/// file, and is called again if another program changed the file meanwhile.
/// If the file is a link, its target is replaced. The file keeps its mode; a missing directory is
/// created.
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

/// Makes a change. Returns false, and changes nothing, if another program has changed the file
/// meanwhile.
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
