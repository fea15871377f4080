//! The same for systems where files get the access rules of their directory.
#![expect(clippy::unnecessary_wraps, reason = "on Unix they can fail")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a lock file, creating it if it is missing.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Creates a directory, and missing ones above it.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// A file belongs to the owner of its directory.
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

/// Only administrators create links.
pub(super) fn check_link(_link: &Path, _to: &Path) -> io::Result<()> {
    Ok(())
}

/// The rename finds that out.
pub(super) fn check_removable(_file: &Path) -> io::Result<()> {
    Ok(())
}

/// There are no modes.
pub(super) fn tighten_file(_file: &File) {}

/// There are no modes.
pub(super) fn tighten_directory(_directory: &Path, _is_ours: impl Fn(&str) -> bool) {}

/// We do not look at access rules.
pub(super) fn is_replaceable_by_others(_file: &Path) -> bool {
    false
}
