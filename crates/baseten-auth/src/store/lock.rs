//! Locks between processes, each with a bounded wait.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait::{Stopped, Wait};

/// How often a waiting process tries again.
const RETRY: Duration = Duration::from_millis(10);

/// An exclusive lock on a file. The operating system releases it when its holder ends, however
/// that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it for the whole wait.
    #[error("another process has held it for {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The wait was canceled.
    #[error("canceled")]
    Canceled,
    /// The lock file can't be opened or locked.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl Lock {
    /// Takes the lock at `path`, creating the file where it is missing. Waits at most `limit`.
    pub(crate) fn acquire(path: &Path, limit: Duration, wait: &Wait) -> Result<Self, LockError> {
        let mut file = open_private(path).map_err(LockError::Io)?;
        let attempt = || match file.try_lock() {
            Ok(()) if is_still_at(&file, path) => Some(Ok(())),
            // A cleaner of temporary files may have removed the file while we waited for it.
            Ok(()) => match open_private(path) {
                Ok(new) => {
                    file = new;
                    None
                }
                Err(error) => Some(Err(error)),
            },
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => Some(Err(error)),
        };
        match wait.poll(wait.deadline(limit), RETRY, attempt) {
            Ok(taken) => taken.map_err(LockError::Io)?,
            Err(Stopped::Canceled) => return Err(LockError::Canceled),
            Err(Stopped::TimedOut) => return Err(LockError::TimedOut(limit)),
        }
        Ok(Self { _file: file })
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

/// An open file can't be removed on the other systems.
#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> bool {
    true
}

/// The lock file of a profile: one for each user of the operating system and name, whatever the
/// configuration directory, since two of them may share a keyring entry.
///
/// Fails where no directory for locks can be used, and names it.
///
/// Names share a file when their hashes are equal, which costs them some waiting and nothing else.
pub(crate) fn profile_lock(name: &str) -> io::Result<PathBuf> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(lock_directory()?.join(format!("{hash:016x}.lock")))
}

/// Where a directory for locks is made: the first place that lets us. No variable of the environment
/// may move it, or two processes of one user could miss each other.
#[cfg(unix)]
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// `/tmp/baseten-auth-<uid>`; elsewhere where `/tmp` is read-only, or that name is somebody else's.
#[cfg(unix)]
pub(crate) fn lock_directory() -> io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let mut refused = None;
    for place in PLACES {
        let directory = Path::new(place).join(format!("baseten-auth-{uid}"));
        match own_directory(&directory, uid) {
            Ok(()) => return Ok(directory),
            Err(error) => {
                let text = format!("cannot use {}: {error}", directory.display());
                refused.get_or_insert(io::Error::new(error.kind(), text));
            }
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Makes a directory that is ours alone, or makes sure that it is.
#[cfg(unix)]
fn own_directory(directory: &Path, uid: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.uid() != uid {
        let kind = io::ErrorKind::PermissionDenied;
        return Err(io::Error::new(kind, "it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    // That it is there does not say that a file can be made in it.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?;
    Ok(())
}

/// The system gives every user a temporary directory of their own.
#[cfg(not(unix))]
pub(crate) fn lock_directory() -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join("baseten-auth-locks");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Cancel;

    fn acquire(path: &Path, limit: Duration) -> Result<Lock, LockError> {
        Lock::acquire(path, limit, &Wait::default())
    }

    #[test]
    fn a_held_lock_is_waited_for_and_no_longer_than_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = acquire(&path, Duration::ZERO).unwrap();
        let refused = acquire(&path, Duration::from_millis(30));
        assert!(matches!(refused, Err(LockError::TimedOut(_))));
        drop(held);
        acquire(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_wait_for_a_lock_can_be_canceled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _held = acquire(&path, Duration::ZERO).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        let wait = Wait::default().with_cancel(cancel);
        let refused = Lock::acquire(&path, Duration::from_mins(1), &wait);
        assert!(matches!(refused, Err(LockError::Canceled)));
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_for_locks_is_ours_or_none() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("locks");
        let uid = rustix::process::geteuid().as_raw();
        own_directory(&directory, uid).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        own_directory(&directory, uid).unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let error = own_directory(&directory, uid + 1).unwrap_err();
        assert_eq!(error.to_string(), "it belongs to another user");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(own_directory(&link, uid).is_err());
    }

    #[test]
    fn names_have_locks_of_their_own() {
        assert_ne!(profile_lock("a").unwrap(), profile_lock("b").unwrap());
        assert_eq!(profile_lock("a").unwrap(), profile_lock("a").unwrap());
    }
}
