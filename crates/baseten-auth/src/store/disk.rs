//! Files on disk: reading, replacing as a whole, and rehearsing both. They hold secrets, or the
//! settings of other programs.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::private;
use crate::secret::Wiped;
use crate::wait::Wait;

/// A larger file is not a store, and we never write one.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;

const TEMPORARY_PREFIX: &str = ".auth.json.";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The prefix of temporary files beside a settings file. There is no lock, so only a file older
/// than this counts as left behind.
const SETTINGS_PREFIX: &str = ".baseten-setup.";
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// How many more files may be open after a rehearsal than before it: connections to a server.
const SPARE_FILES: usize = 4;

/// Whether this is the name of a temporary file, possibly one that a killed process left behind.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// Why a file is not read.
pub(crate) enum Refusal {
    NoFile,
    TooLarge,
    Io(io::Error),
}

/// Reads a file of secrets; `None` if there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<Wiped<Vec<u8>>>, Refusal> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refusal::Io(error)),
    };
    let metadata = file.metadata().map_err(Refusal::Io)?;
    if !metadata.is_file() {
        return Err(Refusal::NoFile);
    }
    // Allocated at its full size, because a buffer that grows leaves copies behind.
    let size = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
    let mut bytes = Wiped::from(Vec::with_capacity(size + 1024));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Refusal::Io)?;
    if bytes.len() as u64 > MAX_BYTES { Err(Refusal::TooLarge) } else { Ok(Some(bytes)) }
}

/// Opens a file for reading. If it is a pipe, this does not wait for a writer.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

/// What a file holds, which decides its mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Our secrets: others may not read it.
    Secrets,
    /// Settings of another program: an existing file keeps its mode, a new one gets the default
    /// mode.
    Settings,
}

/// A file to replace. Its errors come from the system and name no path.
pub(super) struct Target {
    path: PathBuf,
    content: Content,
    is_mount_point: bool,
}

impl Target {
    /// The file of this name. If it is a link, the file that it leads to is replaced, and the link
    /// stays.
    pub(super) fn of(path: &Path, content: Content) -> io::Result<Self> {
        let mut path = path.to_owned();
        // Linux follows at most this many links.
        for _ in 0..40 {
            let Ok(link) = fs::read_link(&path) else {
                let is_mount_point = is_mount_point(&path);
                return Ok(Self { path, content, is_mount_point });
            };
            let to = private::parent(&path).join(link);
            private::check_link(&path, &to)?;
            path = to;
        }
        Err(io::Error::other("too many levels of symbolic links"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file itself is a mount point, as in a container. It can be written, but not
    /// replaced.
    pub(super) fn is_mount_point(&self) -> bool {
        self.is_mount_point
    }

    /// The file to lock while this one changes. It is beside the file itself, because several links
    /// may lead to it. But if this directory is not the one that others see it in, the file itself
    /// is locked.
    pub(super) fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        if !self.is_mount_point {
            path.push(".lock");
        }
        path.into()
    }

    /// Replaces the file durably, if it is unchanged. Returns false, and changes nothing, if
    /// another program has changed it meanwhile. The caller holds the lock, if there is one.
    pub(super) fn replace(&self, bytes: &[u8], old: Option<&[u8]>) -> io::Result<bool> {
        if self.is_mount_point {
            return self.write_in_place(bytes, old);
        }
        remove_leftovers(&self.path, self.content);
        let temporary = write_beside(&self.path, bytes, self.content)?;
        if !holds(&self.path, old)? {
            return Ok(false);
        }
        match self.put(temporary, old) {
            // It is a mount point, although the system did not say so.
            Err(error) if cfg!(unix) && error.kind() == io::ErrorKind::ResourceBusy => {
                self.write_in_place(bytes, old)
            }
            replaced => replaced,
        }
    }

    fn put(&self, temporary: NamedTempFile, old: Option<&[u8]>) -> io::Result<bool> {
        let way = if old.is_some() { Way::Exchange } else { Way::NewOnly };
        match rename(temporary.path(), &self.path, way) {
            Ok(true) => {}
            // Older or unusual systems can at least do this.
            Ok(false) => return persist(temporary, &self.path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error),
        }
        if old.is_some() {
            // A program that already had the file open may have written to it since: then the file
            // is put back.
            let unchanged = holds(temporary.path(), old);
            if !matches!(unchanged, Ok(true)) {
                if let Err(error) = rename(temporary.path(), &self.path, Way::Exchange) {
                    // It has what the other program wrote, and must not be taken for a leftover.
                    let mut saved = self.path.clone().into_os_string();
                    saved.push(".saved");
                    let problem = format!("{error}; a newer one is in {}", saved.display());
                    let _ = temporary.persist(saved);
                    return Err(io::Error::new(error.kind(), problem));
                }
                return unchanged;
            }
        }
        sync_directory(private::parent(&self.path));
        Ok(true)
    }

    /// Removes it if it still is what it was. False, and nothing changed, if another program has changed
    /// it meanwhile. Only for settings.
    pub(super) fn remove(&self, old: Option<&[u8]>) -> io::Result<bool> {
        // Nobody can change it unseen once it has another name.
        let move_away = |name: &Path| {
            let is_moved = rename(&self.path, name, Way::NewOnly)?;
            if is_moved { Ok(()) } else { fs::rename(&self.path, name) }
        };
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(SETTINGS_PREFIX).suffix(TEMPORARY_SUFFIX);
        let aside = match builder.make_in(private::parent(&self.path), move_away) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            aside => aside?,
        };
        let unchanged = holds(aside.path(), old);
        if !matches!(unchanged, Ok(true))
            && let Err(error) = aside.persist_noclobber(&self.path)
        {
            // It has what the other program wrote.
            let _ = error.file.keep();
            // By now, that program has written it again.
            let is_there = error.error.kind() == io::ErrorKind::AlreadyExists;
            return if is_there { Ok(false) } else { Err(error.error) };
        }
        unchanged
    }

    /// Reads the file as the file system's server has it. What a host caches of names and contents
    /// can be a second old, even while it holds a lock; it has nothing cached for a new name.
    /// [`io::ErrorKind::StaleNetworkFileHandle`] if another host has just replaced the file.
    pub(super) fn read_present(&self) -> Result<Option<Wiped<Vec<u8>>>, Refusal> {
        let outdated = || Err(Refusal::Io(io::ErrorKind::StaleNetworkFileHandle.into()));
        let second_name = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .suffix(TEMPORARY_SUFFIX)
            .make_in(private::parent(&self.path), |name| fs::hard_link(&self.path, name));
        let error = match second_name {
            // The holder of the lock may have removed it as a leftover.
            Ok(name) => return read_private(name.path())?.map_or_else(outdated, |it| Ok(Some(it))),
            Err(error) => error.kind(),
        };
        let read = read_private(&self.path)?;
        let is_gone =
            matches!(error, io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle);
        // Without hard links, or if this user may not create them, we can't find out.
        if is_gone && read.is_some() { outdated() } else { Ok(read) }
    }

    /// Does everything that [`Target::replace`] does with this many bytes, and changes nothing.
    pub(super) fn rehearse(&self, size: usize) -> io::Result<()> {
        if self.is_mount_point {
            return reserve(&self.open_in_place()?, size);
        }
        remove_leftovers(&self.path, self.content);
        let temporary = write_beside(&self.path, &vec![b' '; size], self.content)?;
        let spare = (0..SPARE_FILES).map(|_| temporary.as_file().try_clone());
        drop(spare.collect::<io::Result<Vec<_>>>()?);
        private::check_removable(&self.path)?;
        let stand_in = temporary.path().with_extension("check.tmp");
        let kept = temporary.persist(&stand_in).map_err(|error| error.error);
        let removed = fs::remove_file(&stand_in);
        kept?;
        removed
    }

    fn open_in_place(&self) -> io::Result<File> {
        let mut options = File::options();
        options.write(true);
        // Links were already followed, as far as allowed.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NOFOLLOW.bits().cast_signed(),
        );
        options.open(&self.path)
    }

    /// Writes everything at once, padded to the old length, so that a reader finds a complete store
    /// at every moment. Only then is the file truncated.
    fn write_in_place(&self, bytes: &[u8], old: Option<&[u8]>) -> io::Result<bool> {
        let before = old.unwrap_or_default();
        let length = bytes.len().max(before.len());
        let mut padded = Wiped::from(Vec::with_capacity(length));
        padded.extend_from_slice(bytes);
        padded.resize(length, b'\n');
        let mut file = self.open_in_place()?;
        reserve(&file, length)?;
        if !holds(&self.path, old)? {
            return Ok(false);
        }
        let mut write = |text: &[u8], length: usize| {
            file.rewind()?;
            file.write_all(text)?;
            file.set_len(length as u64)?;
            file.sync_all()
        };
        if let Err(error) = write(&padded, bytes.len()) {
            // If the disk fails, this may fail as well.
            let _ = write(before, before.len());
            return Err(error);
        }
        if self.content == Content::Secrets {
            private::tighten_file(&file);
        }
        Ok(true)
    }
}

/// Whether a file has exactly this content; `None` means that there is no file.
pub(super) fn holds(path: &Path, bytes: Option<&[u8]>) -> io::Result<bool> {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes.is_none()),
        // Another host has replaced it.
        Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(mut rest) = bytes.filter(|_| file.metadata().is_ok_and(|found| found.is_file()))
    else {
        return Ok(false);
    };
    // In pieces, because a second copy of a large file would take as much memory again.
    let mut piece = Wiped::from(vec![0; 64 * 1024]);
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(after) = piece.get(..read).and_then(|piece| rest.strip_prefix(piece)) else {
            return Ok(false);
        };
        rest = after;
    }
}

/// The ways to give a file a name in one step.
#[derive(Clone, Copy)]
enum Way {
    /// Swaps with the file that has the name.
    Exchange,
    /// Only if no file has the name.
    NewOnly,
}

/// Renames a file; false if this system, or this file system, can't do it in that way.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename(from: &Path, to: &Path, way: Way) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let flags = match way {
        Way::Exchange => RenameFlags::EXCHANGE,
        Way::NewOnly => RenameFlags::NOREPLACE,
    };
    match renameat_with(CWD, from, CWD, to, flags) {
        // On macOS, the last two are different, and some volumes answer with the last one.
        Err(error)
            if [Errno::NOSYS, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error) =>
        {
            Ok(false)
        }
        renamed => Ok(renamed.map(|()| true)?),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn rename(_from: &Path, _to: &Path, _way: Way) -> io::Result<bool> {
    Ok(false)
}

/// Whether this file itself is a mount point, as far as the system says.
#[cfg(target_os = "linux")]
fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
        .is_ok_and(|file| file.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(_path: &Path) -> bool {
    false
}

/// Makes sure that the disk has room for a file of this size.
#[cfg(target_os = "linux")]
fn reserve(file: &File, size: usize) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, size as u64)) {
        // Not every file system supports this.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        reserved => Ok(reserved?),
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn reserve(_file: &File, _size: usize) -> io::Result<()> {
    Ok(())
}

/// Replaces another private file durably. The caller holds the store's lock.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_leftovers(path, Content::Secrets);
    persist(write_beside(path, bytes, Content::Secrets)?, path)
}

/// Does everything that [`write_private`] does with this many bytes, and changes nothing.
pub(super) fn rehearse_private(path: &Path, size: usize) -> io::Result<()> {
    let (path, content) = (path.to_owned(), Content::Secrets);
    Target { path, content, is_mount_point: false }.rehearse(size)
}

/// A temporary file in the directory of `target`, with these bytes written to disk.
fn write_beside(target: &Path, bytes: &[u8], content: Content) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    match content {
        Content::Secrets => builder.prefix(TEMPORARY_PREFIX),
        Content::Settings => private::for_everybody(builder.prefix(SETTINGS_PREFIX)),
    };
    let temporary = builder
        .suffix(TEMPORARY_SUFFIX)
        .tempfile_in(private::parent(target))
        .map_err(without_path)?;
    // Use the file itself: the wrapper's errors name a temporary path.
    let mut file = temporary.as_file();
    private::keep_owner(file, target)?;
    if content == Content::Settings {
        private::keep_mode(file, target)?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(temporary)
}

/// The system's message without the name of a temporary file.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((words, _)) => io::Error::new(error.kind(), words),
        None => error,
    }
}

/// Replaces `target` with the file, durably. Windows refuses that while another program has the
/// target open, and every reader has it open for a moment, so there it is tried for two seconds.
fn persist(temporary: NamedTempFile, target: &Path) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    // This wait can't be canceled: a replacement is not abandoned halfway.
    let wait = Wait::default();
    let deadline = wait.deadline(Duration::from_secs(2));
    let mut temporary = Some(temporary);
    let mut failure = None;
    let attempt = || {
        let Err(error) = temporary.take()?.persist(target) else { return Some(Ok(())) };
        // ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
        let in_use = cfg!(windows) && matches!(error.error.raw_os_error(), Some(5 | 32 | 33));
        if !in_use {
            return Some(Err(error.error));
        }
        temporary = Some(error.file);
        failure = Some(error.error);
        None
    };
    wait.poll(deadline, PAUSE, attempt)
        .unwrap_or_else(|_| Err(failure.unwrap_or_else(|| io::ErrorKind::TimedOut.into())))?;
    sync_directory(private::parent(target));
    Ok(())
}

/// Removes the files of processes that were killed while writing. The caller holds the lock of
/// secrets, so nobody is using them.
fn remove_leftovers(target: &Path, content: Content) {
    let Ok(entries) = fs::read_dir(private::parent(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_left = match content {
            Content::Secrets => is_temporary(&name),
            Content::Settings => name.starts_with(SETTINGS_PREFIX) && is_old(&entry),
        };
        if is_left {
            // If this fails, the next change tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let written = entry.metadata().and_then(|metadata| metadata.modified());
    let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    age.is_some_and(|age| age >= LEFT_BEHIND)
}

/// Makes the rename itself durable.
/// If the file system can't, a power cut may bring the complete old state back. That is no reason
/// to report a failure: every reader already sees the change.
#[cfg(unix)]
fn sync_directory(directory: &Path) {
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}

/// Windows can't open directories for this, and its renames don't need it.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_no_file_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/auth.json");
        let error = write_beside(&missing, b"", Content::Secrets).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(TEMPORARY_PREFIX), "{error}");
    }
}
