//! Files and directories that only their owner can use, even if root creates them in somebody's
//! home.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::io::Errno;

/// The directory that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a lock file, creating it if it is missing. A link is not followed: it could make us create
/// a file anywhere.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    match options.create_new(true).open(path) {
        Ok(file) => {
            give_to_owner(&file, parent(path))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // It may have been removed in between.
            options.create_new(false).create(true).truncate(false).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Creates a directory, and missing ones above it.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = parent(directory);
    create_directory(above)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => give_to_owner(&open_directory(directory)?, above),
        Err(_) if directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Errno::NOTDIR.into()),
        Err(error) => Err(error),
    }
}

fn open_directory(directory: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(directory)
}

/// What root creates in somebody else's directory is given to that user, or they could not use it.
/// A shared directory has no such user.
fn give_to_owner(made: &File, directory: &Path) -> io::Result<()> {
    let owner = fs::metadata(directory)?;
    if is_root() && made.metadata()?.uid() == 0 && owner.uid() != 0 && !is_shared(owner.mode()) {
        fchown(made, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
    }
    Ok(())
}

/// Whether it is clearly meant for several users: everybody may write to it, usually with the
/// sticky bit, or a group owns it and its new files (setgid).
fn is_shared(mode: u32) -> bool {
    mode & 0o1002 != 0 || mode & 0o2020 == 0o2020
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_root() -> bool {
    own_uid() == 0
}

/// Gives a new file to the owner of the file that it is about to replace. If there is none, it is
/// treated like any file that is created there.
pub(super) fn keep_owner(new: &File, target: &Path) -> io::Result<()> {
    let directory = parent(target);
    let Ok(old) = fs::symlink_metadata(target) else { return give_to_owner(new, directory) };
    if new.metadata()?.uid() == old.uid() {
        return Ok(());
    }
    let given = fchown(new, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
    // In our own directory, somebody else's file is an accident (`sudo`), and becomes ours.
    if given.is_err() && fs::metadata(directory)?.uid() != own_uid() {
        return Err(denied("it belongs to another user"));
    }
    Ok(())
}

/// A temporary file that will not hold secrets.
pub(super) fn for_everybody<'b, 'p, 's>(
    builder: &'b mut tempfile::Builder<'p, 's>,
) -> &'b mut tempfile::Builder<'p, 's> {
    // The umask applies as usual.
    builder.permissions(Permissions::from_mode(0o666))
}

/// Gives a new file the mode of the file that it is about to replace.
pub(super) fn keep_mode(new: &File, target: &Path) -> io::Result<()> {
    match fs::metadata(target) {
        Ok(old) => new.set_permissions(old.permissions()),
        Err(_) => Ok(()),
    }
}

/// Whether we may follow a link and write to its target. Another user's link could lead root
/// anywhere; it may only lead to that user's own files.
pub(super) fn check_link(link: &Path, to: &Path) -> io::Result<()> {
    let owner = fs::symlink_metadata(link)?.uid();
    if owner == 0 || owner == own_uid() || fs::metadata(parent(to))?.uid() == owner {
        return Ok(());
    }
    Err(denied("it is another user's link to a directory that is not theirs"))
}

/// Whether a file can be removed, and so replaced: modes, the sticky bit and attributes decide. We
/// ask the system to remove a directory of this name. It checks the permission before it notices
/// that there is no such directory.
pub(super) fn check_removable(file: &Path) -> io::Result<()> {
    match fs::remove_dir(file) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Takes other users' rights from a file, if that is possible.
pub(super) fn tighten_file(file: &File) {
    if file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        // If somebody else owns it, only they can do this.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
}

/// Takes other users' rights from a directory of ours that contains only our own files.
pub(super) fn tighten_directory(directory: &Path, is_ours: impl Fn(&str) -> bool) {
    let is_all_ours = || {
        let is_ours = |entry: io::Result<DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(&is_ours))
        };
        fs::read_dir(directory).is_ok_and(|mut entries| entries.all(is_ours))
    };
    let Ok(metadata) = fs::metadata(directory) else { return };
    let mode = metadata.mode();
    if metadata.uid() == own_uid() && mode & 0o077 != 0 && !is_shared(mode) && is_all_ours() {
        // The store was written. That its directory stays open to others is no reason to fail.
        let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    }
}

/// Whether users other than root and a file's owner can replace the file.
pub(super) fn is_replaceable_by_others(file: &Path) -> bool {
    let Ok(directory) = fs::metadata(parent(file)) else { return false };
    let Ok(file) = fs::symlink_metadata(file) else { return false };
    let mode = directory.mode();
    // A group with the user's number is the user's own group.
    let group = mode & 0o020 != 0 && directory.gid() != directory.uid();
    let is_open = (group || mode & 0o002 != 0) && mode & 0o1000 == 0;
    is_open || ![0, own_uid(), file.uid()].contains(&directory.uid())
}

fn denied(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}
