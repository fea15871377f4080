//! Locks between processes, with a limit on each wait.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::private::open_lock;
use crate::wait::{Stopped, Wait};

/// How often a waiting process tries again.
const RETRY: Duration = Duration::from_millis(10);

/// An exclusive lock on a file. The operating system releases it when its holder ends, for whatever
/// reason.
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
    /// The lock file can't be opened or, with [`io::ErrorKind::Unsupported`], can't be locked.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl Lock {
    /// Takes the lock at `path`, creating the file if it is missing. Waits at most `limit`.
    pub(crate) fn acquire(path: &Path, limit: Duration, wait: &Wait) -> Result<Self, LockError> {
        let mut file = open_lock(path).map_err(LockError::Io)?;
        let attempt = || match file.try_lock() {
            Ok(()) if is_still_at(&file, path) => Some(Ok(())),
            // A cleaner of temporary files may have removed the file while we waited.
            Ok(()) => match open_lock(path) {
                Ok(new) => {
                    file = new;
                    None
                }
                Err(error) => Some(Err(error)),
            },
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(TryLockError::Error(error)) => Some(Err(no_locks(&error))),
        };
        match wait.poll(wait.deadline(limit), RETRY, attempt) {
            Ok(taken) => taken.map_err(LockError::Io)?,
            Err(Stopped::Canceled) => return Err(LockError::Canceled),
            Err(Stopped::TimedOut) => return Err(LockError::TimedOut(limit)),
        }
        Ok(Self { _file: file })
    }
}

/// The error for a file that could be opened but not locked: the cause is the file system, not a
/// mode or an owner.
fn no_locks(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the file system does not lock it: {error}"))
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

/// Other systems do not remove an open file.
#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Cancel;

    fn acquire(path: &Path, limit: Duration) -> Result<Lock, LockError> {
        Lock::acquire(path, limit, &Wait::default())
    }

    #[test]
    fn the_wait_for_a_held_lock_is_limited() {
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
}
