//! A browser login in two steps: a private file keeps what the second step needs.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::ErrorKind;
use crate::oauth::device::DeviceAuthorization;
use crate::profile::ProfileName;
use crate::remote::Remote;
use crate::secret::Secret;
use crate::store::disk::{Refusal, read_private};
use crate::store::error::StoreError;
use crate::store::file::Store;

/// A login that was started and waits for approval.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The remote that it was started at.
    pub remote: Remote,
    /// The name to store it under, if one was chosen.
    pub name: Option<ProfileName>,
    /// Whether its profile becomes the current one.
    pub switch: bool,
    /// Whether its secret goes to the file.
    pub insecure_storage: bool,
    /// The codes, and when they end.
    pub authorization: DeviceAuthorization,
}

/// Why a login can't be saved for its second step, or resumed.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    /// No login was started here, or it has ended.
    #[error("no login is waiting to be resumed")]
    None,
    /// The file does not contain a pending login.
    #[error("{} is not a pending login", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The store's directory can't be found or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file can't be read or removed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl PendingError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::None => ErrorKind::NotLoggedIn,
            Self::Malformed { .. } | Self::Store(_) | Self::Io { .. } => ErrorKind::Local,
        }
    }
}

/// The content of the file. It contains the device code, which is worth as much as a token once it
/// is approved.
#[derive(Serialize)]
struct Written<'a> {
    remote_url: &'a str,
    profile: Option<&'a str>,
    switch: bool,
    insecure_storage: bool,
    device_code: &'a str,
    user_code: &'a str,
    verification_uri: &'a str,
    verification_uri_complete: Option<&'a str>,
    expires_at: Timestamp,
    interval_seconds: f64,
}

#[derive(Deserialize)]
struct Read {
    remote_url: String,
    profile: Option<String>,
    switch: bool,
    insecure_storage: bool,
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_at: Timestamp,
    interval_seconds: f64,
}

impl Pending {
    /// Saves this login for its second step, replacing an older one.
    pub fn save(&self, store: &Store) -> Result<(), PendingError> {
        let authorization = &self.authorization;
        let written = Written {
            remote_url: self.remote.as_str(),
            profile: self.name.as_ref().map(ProfileName::as_str),
            switch: self.switch,
            insecure_storage: self.insecure_storage,
            device_code: authorization.device_code.expose(),
            user_code: &authorization.user_code,
            verification_uri: &authorization.verification_uri,
            verification_uri_complete: authorization.verification_uri_complete.as_deref(),
            expires_at: authorization.expires_at,
            interval_seconds: authorization.interval.as_secs_f64(),
        };
        let path = store.pending_path();
        // Allocated at its full size, because a buffer that grows leaves copies behind.
        let texts = [
            written.remote_url,
            written.device_code,
            written.user_code,
            written.verification_uri,
            written.verification_uri_complete.unwrap_or_default(),
            written.profile.unwrap_or_default(),
        ];
        let size = 1024 + 6 * texts.map(str::len).iter().sum::<usize>();
        let mut text = Zeroizing::new(Vec::with_capacity(size));
        serde_json::to_writer(&mut *text, &written)
            .map_err(|_| PendingError::Malformed { path: path.clone() })?;
        Ok(store.write_private(&path, &text)?)
    }

    /// Checks that a login could be saved for its second step.
    pub fn rehearse(store: &Store) -> Result<(), PendingError> {
        Ok(store.rehearse_private(&store.pending_path())?)
    }

    /// Loads the login that was started last. Its codes may have expired.
    pub fn load(store: &Store) -> Result<Self, PendingError> {
        let path = store.pending_path();
        let text = match read_private(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(PendingError::None),
            Err(Refusal::Io(source)) => return Err(PendingError::Io { path, source }),
            Err(Refusal::NoFile | Refusal::TooLarge) => {
                return Err(PendingError::Malformed { path });
            }
        };
        parse(&text).ok_or(PendingError::Malformed { path })
    }

    /// Removes the file, unless it belongs to another login by now.
    pub fn forget(store: &Store, login: &DeviceAuthorization) -> Result<(), PendingError> {
        // Nobody can save another login in between.
        let _lock = store.lock()?;
        let is_ours = |kept: Self| kept.authorization.device_code == login.device_code;
        if !Self::load(store).is_ok_and(is_ours) {
            return Ok(());
        }
        let path = store.pending_path();
        fs::remove_file(&path).map_err(|source| PendingError::Io { path, source })
    }
}

fn parse(text: &[u8]) -> Option<Pending> {
    let read: Read = serde_json::from_slice(text).ok()?;
    Some(Pending {
        remote: Remote::parse(&read.remote_url).ok()?,
        name: read.profile.map(ProfileName::new).transpose().ok()?,
        switch: read.switch,
        insecure_storage: read.insecure_storage,
        authorization: DeviceAuthorization {
            device_code: read.device_code,
            user_code: read.user_code,
            verification_uri: read.verification_uri,
            verification_uri_complete: read.verification_uri_complete,
            expires_at: read.expires_at,
            interval: Duration::try_from_secs_f64(read.interval_seconds).ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::wait::Wait;

    #[test]
    fn the_second_step_polls_no_faster_than_the_first_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let env: Env = [("BASETEN_CONFIG_DIR", directory.path())].into_iter().collect();
        let store = Store::locate(&env, Wait::default()).unwrap();
        for interval in [Duration::from_millis(2500), Duration::from_hours(2)] {
            let pending = Pending {
                remote: Remote::default(),
                name: None,
                switch: true,
                insecure_storage: false,
                authorization: DeviceAuthorization {
                    device_code: Secret::from("d"),
                    user_code: "u".to_owned(),
                    verification_uri: "https://app.baseten.co/device".to_owned(),
                    verification_uri_complete: None,
                    expires_at: Timestamp::MAX,
                    interval,
                },
            };
            pending.save(&store).unwrap();
            let loaded = Pending::load(&store).unwrap();
            assert_eq!(loaded.authorization, pending.authorization);
        }
    }
}
