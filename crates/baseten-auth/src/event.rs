//! What the library reports to its caller while it works. It never prints and never asks.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::profile::ProfileName;
use crate::source::SessionSource;

/// Something that happened. None of them carries a secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered, or failed (`status` is `None`).
    Request {
        /// `GET` or `POST`.
        method: &'static str,
        /// The whole URL; ours carry no secrets.
        url: &'a str,
        /// The HTTP status of the answer.
        status: Option<u16>,
        /// From before the connection to the end of the answer.
        elapsed: Duration,
    },
    /// A request failed for a reason that may pass, and will be sent again.
    Retry {
        /// Why it failed.
        reason: &'a dyn std::error::Error,
        /// The pause before it is sent again.
        pause: Duration,
    },
    /// A place that credentials are kept in was read.
    StorageRead {
        /// The place: a path, `system keyring`, or a credential helper's name.
        storage: &'a str,
        /// What was found there, in a word or two, or why it could not be read.
        outcome: Result<&'a str, &'a dyn std::error::Error>,
    },
    /// A profile, or a credential of the environment, was selected.
    Selected {
        /// What selected it.
        source: SessionSource,
        /// The profile; `None` for a credential of the environment.
        profile: Option<&'a ProfileName>,
    },
    /// A workload's identity token was found, and is about to be exchanged.
    IdentityToken {
        /// Where it comes from.
        source: &'a str,
        /// The token's claims, not verified here, fit for display.
        claims: &'a str,
    },
    /// The system keyring is locked and its owner is being asked to unlock it.
    KeyringPrompt,
    /// A credential helper is taking long; it may be asking the user somewhere.
    HelperPending {
        /// The helper.
        program: &'a str,
    },
    /// A refreshed token could not be stored. Only this run can use it.
    TokenNotStored {
        /// Whose token it is.
        profile: &'a ProfileName,
        /// The remote that issued it.
        remote_url: &'a str,
        /// Why it could not be stored.
        reason: &'a dyn std::error::Error,
    },
    /// A token is used although an early refresh, as requested, failed.
    RefreshFailed {
        /// Whose token it is; `None` for a workload's.
        profile: Option<&'a ProfileName>,
        /// Why it could not be refreshed.
        reason: &'a dyn std::error::Error,
    },
    /// The server's tokens do not live as long as requested.
    ShortLived {
        /// Whose token it is; `None` for a workload's.
        profile: Option<&'a ProfileName>,
        /// How long it can still be used.
        left: Duration,
        /// The requested lifetime.
        wanted: Duration,
    },
    /// A session that ended on this machine may still be valid at the server.
    SessionNotEnded {
        /// Whose session it is.
        profile: &'a ProfileName,
        /// Why the server did not end it.
        reason: &'a dyn std::error::Error,
    },
    /// A secret went to the file because the keyring can't be used.
    KeyringUnavailable {
        /// Why the keyring can't be used.
        reason: &'a dyn std::error::Error,
        /// The file that holds the secret now.
        file: PathBuf,
    },
    /// A file of secrets was written where other users can replace it.
    StoreExposed {
        /// The file.
        file: &'a Path,
    },
    /// An old copy of a secret may still be in a place that can't be reached.
    OldCopyKept {
        /// Whose secret it is.
        profile: &'a ProfileName,
        /// Why it could not be removed.
        reason: &'a (dyn std::error::Error + 'static),
    },
}

/// Receives every [`Event`] of a run.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl Observer {
    /// An observer that calls this function, on the thread where the event happens.
    pub fn new(function: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(function))
    }

    /// Passes an event on.
    pub fn notify(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

/// Ignores every event.
impl Default for Observer {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Observer")
    }
}
