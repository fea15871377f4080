//! The same on systems whose directories pass their own access rules on to what is made in them.
#![expect(clippy::unnecessary_wraps, reason = "on Unix they can fail")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a lock file, which is made where it is missing.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Makes a directory, and those above it that are missing.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// A file is its directory's owner's.
pub(super) fn keep_owner(_new: &File, _target: &Path) -> io::Result<()> {
    Ok(())
}

/// There are no modes.
pub(super) fn for_everybody<'b, 'p, 's>(
    builder: &'b mut tempfile::Builder<'p, 's>,
) -> &'b mut tempfile::Builder<'p, 's> {
    builder
}

/// There are no modes.
pub(super) fn keep_mode(_new: &File, _target: &Path) -> io::Result<()> {
    Ok(())
}

/// Only administrators make links.
pub(super) fn check_link(_link: &Path, _to: &Path) -> io::Result<()> {
    Ok(())
}

/// Found out by the rename.
pub(super) fn check_removable(_file: &Path) -> io::Result<()> {
    Ok(())
}

/// There are no modes.
pub(super) fn tighten_file(_file: &File) {}

/// There are no modes.
pub(super) fn tighten_directory(_directory: &Path, _is_ours: impl Fn(&str) -> bool) {}

/// Access rules are not looked at.
pub(super) fn is_replaceable_by_others(_file: &Path) -> bool {
    false
}
