//! The lock of a profile, under which its secret changes. It is two locks, so that any two
//! processes that could send the same refresh token share at least one of them.
//! One is beside the store, for containers and hosts that share its directory. The other is per
//! user of the operating system, because two configuration directories can share a keyring entry.
//! If one of them can't be created, the other is enough.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::Store;
use super::lock::{Lock, LockError};
use crate::profile::ProfileName;
use crate::wait::Wait;

/// How long a process waits for another one that is working on the same profile, if the secret is
/// kept on this machine.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// A profile's lock, released when it is dropped.
#[derive(Debug)]
pub(crate) struct ProfileLock {
    _locks: Vec<Lock>,
}

impl ProfileLock {
    /// Takes the lock of a profile. Waits at most this long in all.
    /// [`LockError::Io`] if neither lock can be created.
    pub(crate) fn acquire(
        store: &Store,
        profile: &ProfileName,
        limit: Duration,
        wait: &Wait,
    ) -> Result<Self, LockError> {
        let file = file_name(profile.as_str());
        let deadline = wait.deadline(limit);
        let mut locks = Vec::new();
        let mut reason = None;
        // Everybody takes them in this order, so that there is no deadlock.
        for places in [vec![store.locks_directory()], places_of_user()] {
            for place in places {
                let left = wait.remaining(deadline).unwrap_or_default();
                match lock_in(&place, &file, left, wait) {
                    Ok(lock) => {
                        locks.push(lock);
                        break;
                    }
                    Err(LockError::Io(error)) => {
                        reason.get_or_insert(error);
                    }
                    Err(LockError::TimedOut(_)) => return Err(LockError::TimedOut(limit)),
                    Err(LockError::Canceled) => return Err(LockError::Canceled),
                }
            }
        }
        match reason {
            Some(reason) if locks.is_empty() => Err(LockError::Io(reason)),
            _ => Ok(Self { _locks: locks }),
        }
    }
}

fn lock_in(directory: &Path, file: &str, limit: Duration, wait: &Wait) -> Result<Lock, LockError> {
    let named = |error: io::Error| {
        let text = format!("cannot use {}: {error}", directory.display());
        LockError::Io(io::Error::new(error.kind(), text))
    };
    make_private(directory).map_err(named)?;
    Lock::acquire(&directory.join(file), limit, wait).map_err(|error| match error {
        LockError::Io(error) => named(error),
        error => error,
    })
}

/// Names with the same hash share a file. That costs them some waiting and nothing else.
fn file_name(profile: &str) -> String {
    let hash = profile.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}.lock")
}

/// The directories for a user's locks; the first safe one is used. No environment variable may
/// change them, or two processes of one user could use different locks.
#[cfg(unix)]
fn places_of_user() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let shared = ["/tmp", "/var/tmp", "/dev/shm"];
    let shared = shared.map(|place| Path::new(place).join(format!("baseten-auth-{uid}")));
    let own = PathBuf::from(format!("/run/user/{uid}/baseten-auth"));
    [own].into_iter().chain(shared).collect()
}

/// The system gives every user their own temporary directory.
#[cfg(not(unix))]
fn places_of_user() -> Vec<PathBuf> {
    vec![std::env::temp_dir().join("baseten-auth-locks")]
}

/// Creates a directory that only its owner can use, or checks that an existing one is. The owner is
/// this user; if root works in somebody's home, it is the owner of that home.
#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
    let uid = rustix::process::geteuid().as_raw();
    let parent = std::fs::metadata(directory.parent().unwrap_or(Path::new("/")))?;
    let owner = if uid == 0 { parent.uid() } else { uid };
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) if owner != uid => lchown(directory, Some(owner), Some(parent.gid()))?,
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.uid() != owner {
        let kind = io::ErrorKind::PermissionDenied;
        return Err(io::Error::new(kind, "it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    // An existing directory may still be read-only.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?;
    Ok(())
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_directory_for_locks_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("locks");
        make_private(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&directory).unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        let error = make_private(&link).unwrap_err();
        assert_eq!(error.to_string(), "it belongs to another user");
    }

    #[test]
    fn names_have_locks_of_their_own() {
        assert_ne!(file_name("a"), file_name("b"));
        assert_eq!(file_name("a"), file_name("a"));
    }
}
