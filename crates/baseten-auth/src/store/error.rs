//! What can go wrong with the store, and with the places outside of it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::lock::LockError;
use super::openbao::EngineError;
use crate::env::NotText;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum StoreError {
    /// No directory for it could be derived from the environment.
    #[error("no configuration directory: {variable} is not set")]
    NoDirectory { variable: &'static str },
    /// The configured directory is not an absolute path.
    #[error("{variable} is not an absolute path")]
    RelativeDirectory { variable: &'static str },
    /// A variable is not text.
    #[error(transparent)]
    Environment(#[from] NotText),
    /// The file exists but can't be read.
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file can't be replaced. The old state is intact.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        source: io::Error,
    },
    /// The file is mounted on its own, so new tokens in it would not reach everybody who uses it.
    #[error("{} is mounted as a single file, so a refresh here could end the session elsewhere", path.display())]
    Mounted { path: PathBuf },
    /// The file would become too large to be read again.
    #[error("{} would become larger than 64 MiB", path.display())]
    TooLarge { path: PathBuf },
    /// Another program, which does not use the lock, keeps changing the file.
    #[error("another program keeps changing {}", path.display())]
    KeepsChanging { path: PathBuf },
    /// The file is not a store. We never write to it.
    #[error("{} is not a valid profile store ({reason})", path.display())]
    Malformed {
        path: PathBuf,
        /// The position of the error, without any of the content.
        reason: String,
    },
    /// One profile in it is broken.
    #[error("the profile '{profile}' in {} is not valid: {reason}", path.display())]
    BadProfile {
        path: PathBuf,
        profile: String,
        /// What is wrong with it, without any of the content.
        reason: String,
        /// Its app URL, as far as it can be read.
        remote_url: Option<String>,
    },
    /// A newer program wrote the file. We never write to it.
    #[error("{} has version {version}, which is newer than this program", path.display())]
    Newer { path: PathBuf, version: u64 },
    /// The store could not be locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        source: LockError,
    },
    /// The wait was canceled.
    #[error("canceled")]
    Canceled,
}

/// The cause of an error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a place did not do what it was asked. None of these texts contains a secret.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum PlaceError {
    /// There is no keyring here, or it can't be reached.
    #[error("the system keyring is not available")]
    NotAvailable { source: Cause },
    /// The keyring is locked, and nobody is here to unlock it.
    #[error("the system keyring is locked")]
    Locked,
    /// The prompt to unlock the keyring was closed without an answer.
    #[error("the system keyring was not unlocked")]
    Dismissed,
    /// The operation's time for all keyring calls is over.
    #[error("{place} did not answer within {} s", after.as_secs_f64())]
    TimedOut {
        /// The place that was asked, as a message names it.
        place: String,
        /// The whole time of the operation.
        after: Duration,
    },
    /// The keyring does not take secrets of this size.
    #[error("the secret has {size} bytes, and the system keyring takes at most {limit}")]
    TooLarge {
        /// The size of the secret as it would be stored, in bytes.
        size: usize,
        /// The largest that the keyring takes, in bytes.
        limit: usize,
    },
    /// The caller canceled it.
    #[error("canceled")]
    Canceled,
    /// The credential helper is not installed.
    #[error("{program} is not in PATH")]
    HelperMissing { program: String },
    /// The credential helper failed.
    #[error("{program} failed: {message}")]
    HelperFailed {
        program: String,
        /// What it said, or how it ended: one line without control characters.
        message: String,
    },
    /// The engine of a fleet's secrets failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Anything else that went wrong with the keyring.
    #[error("the system keyring failed")]
    Failed { source: Cause },
}

impl PlaceError {
    /// Whether the secret may go to the file instead, if the user did not choose a place.
    pub fn allows_fallback(&self) -> bool {
        match self {
            Self::NotAvailable { .. }
            | Self::Locked
            | Self::Dismissed
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Failed { .. } => true,
            Self::Canceled
            | Self::HelperMissing { .. }
            | Self::HelperFailed { .. }
            | Self::Engine(_) => false,
        }
    }

    pub(super) fn failed(source: impl Into<Cause>) -> Self {
        Self::Failed { source: source.into() }
    }
}
