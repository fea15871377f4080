//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use super::lock::LockError;
use crate::env::NotText;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No directory for it could be derived from the environment.
    #[error("no configuration directory: {variable} is not set")]
    NoDirectory {
        /// The variable that would tell.
        variable: &'static str,
    },
    /// The configured directory is not an absolute path.
    #[error("{variable} is not an absolute path")]
    RelativeDirectory {
        /// The variable that tells it.
        variable: &'static str,
    },
    /// A variable is not text.
    #[error(transparent)]
    Environment(#[from] NotText),
    /// It is there but can't be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be replaced. The old state is intact.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a single file that is mounted, and new tokens in it would not reach everybody who has
    /// it.
    #[error("{} is mounted as a single file, so a refresh here could end the session elsewhere", path.display())]
    Mounted {
        /// The file.
        path: PathBuf,
    },
    /// It would be too large to be read again.
    #[error("{} would become larger than 64 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Another program, which does not know the lock, changes it all the time.
    #[error("another program keeps changing {}", path.display())]
    KeepsChanging {
        /// The file.
        path: PathBuf,
    },
    /// It is not a store. It is never written to.
    #[error("{} is not a valid profile store ({reason})", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it fails, without a word of its content.
        reason: String,
    },
    /// One profile in it is broken.
    #[error("the profile '{profile}' in {} is not valid: {reason}", path.display())]
    BadProfile {
        /// The file.
        path: PathBuf,
        /// The entry's name.
        profile: String,
        /// What is wrong with it, without a word of its content.
        reason: String,
        /// Its app URL, as far as it can be read.
        remote_url: Option<String>,
    },
    /// A newer program wrote it. It is never written to.
    #[error("{} has version {version}, which is newer than this program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that it has.
        version: u64,
    },
    /// It could not be locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// The wait was canceled.
    #[error("canceled")]
    Canceled,
}
