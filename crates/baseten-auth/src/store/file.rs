//! The store of profiles, `auth.json`: finding, reading and changing it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;
use std::time::Duration;

use super::disk::{self, Content, MAX_BYTES, Refusal, Target, read_private};
use super::document::{DocumentError, Profiles};
use super::error::StoreError;
use super::lock::{Lock, LockError};
use super::private;
use crate::env::Env;
use crate::event::{Event, Observer};
use crate::secret::Wiped;
use crate::wait::{Cancel, Wait};

/// How long a change waits for another process's change.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How long we read an empty or incomplete store again, in case another program is writing it in
/// place: first, when it is only shown; second, before we rely on it.
const GLANCE: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(2);
const HALF_WRITTEN_PAUSE: Duration = Duration::from_millis(20);

/// How long a host gets to see a file that another host has replaced. What a network file system
/// caches is usually a second old at most.
const OUTDATED: Duration = Duration::from_secs(5);

/// How much a rehearsal adds to the store: room for one more profile.
const GROWTH: usize = 16 * 1024;

const FILE: &str = "auth.json";
const PENDING: &str = "pending-login.json";

/// The store of profiles: one door to read it, one to change it.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    wait: Wait,
    observer: Observer,
}

impl Store {
    /// Finds the store's path in the environment, and touches nothing. `wait` is used to wait for
    /// other processes.
    pub fn locate(env: &Env, wait: Wait) -> Result<Self, StoreError> {
        Ok(Self { path: directory(env)?.join(FILE), wait, observer: Observer::default() })
    }

    /// The same store, reporting to this observer.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    /// The same store, whose waits no cancellation ends.
    pub(crate) fn uncancelable(&self) -> Self {
        Self { wait: self.wait.with_cancel(Cancel::default()), ..self.clone() }
    }

    /// The file that it is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the store and passes it to a function. A missing file is an empty store.
    pub fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.load(GLANCE, |profiles, _| look(&profiles))
    }

    /// The same, before something that cannot be undone. An empty or incomplete store is read again
    /// for 2 s, in case another program is writing it. The file is read as the file system's server
    /// has it, not from this host's cache.
    pub(crate) fn read_settled<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.load(SETTLE, |profiles, _| look(&profiles))
    }

    /// Changes the store: lock, read, change, replace. If `change` fails, nothing changes. It is
    /// called again if another program, which does not use the lock, changed the file meanwhile.
    /// Waits at most 10 s for other processes. Afterwards the disk has either the new or the old
    /// state.
    pub fn update<T, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&mut Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.create_directory()?;
        let target = self.target()?;
        let _lock = self.lock_of(&target)?;
        let deadline = self.wait.deadline(LOCK_WAIT);
        loop {
            let changed = self.load(SETTLE, |mut profiles, old| {
                let value = change(&mut profiles)?;
                let text = profiles.render();
                self.check_size(text.len())?;
                let replaced = target.replace(text.as_bytes(), old);
                Ok::<_, E>(replaced.map_err(|error| self.unwritable(error))?.then_some(value))
            })?;
            if let Some(value) = changed {
                self.protect(target.path());
                return Ok(value);
            }
            if self.wait.remaining(deadline).is_none() {
                return Err(StoreError::KeepsChanging { path: self.path.clone() }.into());
            }
        }
    }

    /// Does everything that [`Store::update`] does, on files beside the store and with one more
    /// profile, so that a command can fail before it does anything that cannot be undone.
    pub fn rehearse(&self) -> Result<(), StoreError> {
        self.rehearse_with(GROWTH)
    }

    /// The same for a change that does not make the store larger.
    pub(crate) fn rehearse_removal(&self) -> Result<(), StoreError> {
        self.rehearse_with(0)
    }

    /// Whether new tokens may be requested. They may not if the file is mounted on its own: then
    /// neither the locks nor the new tokens would reach the others that use it.
    pub(crate) fn check_refresh(&self) -> Result<(), StoreError> {
        if self.target()?.is_mount_point() {
            return Err(StoreError::Mounted { path: self.path.clone() });
        }
        Ok(())
    }

    fn rehearse_with(&self, growth: usize) -> Result<(), StoreError> {
        self.create_directory()?;
        let target = self.target()?;
        let _lock = self.lock_of(&target)?;
        let size =
            self.load(SETTLE, |mut profiles, _| Ok::<_, StoreError>(profiles.render().len()))?;
        if growth > 0 {
            self.check_size(size + growth)?;
        }
        target.rehearse(size + growth).map_err(|error| self.unwritable(error))
    }

    /// Parses the store. An empty or incomplete one is read again for this long: another program
    /// may be writing it in place.
    fn load<T, E: From<StoreError>>(
        &self,
        patience: Duration,
        look: impl FnOnce(Profiles<'_>, Option<&[u8]>) -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = self.wait.deadline(patience);
        loop {
            let is_last = self.wait.remaining(deadline).is_none();
            let bytes = self.read_bytes(patience >= SETTLE)?;
            let bytes = bytes.as_ref().map(|bytes| bytes.as_slice());
            // Such a program empties the file first.
            let empty = bytes.is_some_and(|bytes| bytes.trim_ascii().is_empty());
            // The text may end in the middle of a character.
            let is_cut = |error: Utf8Error| error.error_len().is_none();
            let parse = |text| Profiles::parse(text, &self.path);
            let text = str::from_utf8(bytes.unwrap_or_default());
            match text.map_err(is_cut).map_or_else(not_utf8, parse) {
                Ok(profiles) if !empty || is_last => return look(profiles, bytes),
                Err(DocumentError::Incomplete) if is_last => {
                    return Err(self.malformed("it ends too early").into());
                }
                // If it changed while we read it, its two parts may not fit together.
                Err(DocumentError::Malformed(reason))
                    if is_last || disk::holds(&self.path, bytes).unwrap_or(true) =>
                {
                    return Err(self.malformed(reason).into());
                }
                Ok(_) | Err(DocumentError::Incomplete | DocumentError::Malformed(_)) => {}
                Err(DocumentError::Newer(version)) => {
                    return Err(StoreError::Newer { path: self.path.clone(), version }.into());
                }
            }
            self.wait.sleep(HALF_WRITTEN_PAUSE).map_err(|_| StoreError::Canceled)?;
        }
    }

    /// The directory for the locks of profiles: beside the file itself, because everybody who uses
    /// the file shares that directory.
    pub(super) fn locks_directory(&self) -> PathBuf {
        let target = self.target().ok();
        target.as_ref().map_or(&*self.path, Target::path).with_file_name("locks")
    }

    /// The file of a login that waits for its second step.
    pub(crate) fn pending_path(&self) -> PathBuf {
        self.path.with_file_name(PENDING)
    }

    /// Does everything that [`Store::write_private`] does, and changes nothing.
    pub(crate) fn rehearse_private(&self, path: &Path) -> Result<(), StoreError> {
        let unwritable = |source| StoreError::Unwritable { path: path.to_owned(), source };
        self.create_directory()?;
        let _lock = self.lock()?;
        disk::rehearse_private(path, GROWTH).map_err(unwritable)
    }

    /// Writes another private file into the store's directory.
    pub(crate) fn write_private(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.create_directory()?;
        let _lock = self.lock()?;
        disk::write_private(path, bytes)
            .map_err(|source| StoreError::Unwritable { path: path.to_owned(), source })?;
        self.protect(path);
        Ok(())
    }

    /// Takes the lock for changes in the store's directory.
    pub(crate) fn lock(&self) -> Result<Lock, StoreError> {
        self.lock_of(&self.target()?)
    }

    fn lock_of(&self, target: &Target) -> Result<Lock, StoreError> {
        let path = target.lock_path();
        Lock::acquire(&path, LOCK_WAIT, &self.wait).map_err(|source| match source {
            LockError::Canceled => StoreError::Canceled,
            source => StoreError::Lock { path, source },
        })
    }

    fn target(&self) -> Result<Target, StoreError> {
        Target::of(&self.path, Content::Secrets).map_err(|error| self.unwritable(error))
    }

    fn malformed(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Malformed { path: self.path.clone(), reason: reason.into() }
    }

    fn unwritable(&self, source: std::io::Error) -> StoreError {
        StoreError::Unwritable { path: self.path.clone(), source }
    }

    /// Reads the file; reads it again if another host has just replaced it.
    fn read_bytes(&self, relied_on: bool) -> Result<Option<Wiped<Vec<u8>>>, StoreError> {
        let deadline = self.wait.deadline(OUTDATED);
        loop {
            let read =
                if relied_on { self.target()?.read_present() } else { read_private(&self.path) };
            let source = match read {
                Ok(bytes) => return Ok(bytes),
                Err(Refusal::NoFile) => return Err(self.malformed("it is not a file")),
                Err(Refusal::TooLarge) => return Err(self.malformed("it is larger than 64 MiB")),
                Err(Refusal::Io(source)) => source,
            };
            let is_outdated = source.kind() == ErrorKind::StaleNetworkFileHandle;
            if !is_outdated || self.wait.remaining(deadline).is_none() {
                return Err(StoreError::Unreadable { path: self.path.clone(), source });
            }
            self.wait.sleep(HALF_WRITTEN_PAUSE).map_err(|_| StoreError::Canceled)?;
        }
    }

    /// Refuses to write a file that could not be read again.
    fn check_size(&self, size: usize) -> Result<(), StoreError> {
        if size as u64 > MAX_BYTES {
            return Err(StoreError::TooLarge { path: self.path.clone() });
        }
        Ok(())
    }

    fn create_directory(&self) -> Result<(), StoreError> {
        let directory = private::parent(&self.path);
        private::create_directory(directory).map_err(|source| {
            // The deepest existing directory is the one in which a new one could not be created.
            let there = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
            StoreError::Unwritable { path: there.to_owned(), source }
        })
    }

    /// Protects a written file from other users, if its directory is ours, and reports if others
    /// could still replace it.
    fn protect(&self, written: &Path) {
        private::tighten_directory(private::parent(&self.path), |name| {
            ["auth.json.lock", "locks", FILE, PENDING].contains(&name) || disk::is_temporary(name)
        });
        if let Some(file) =
            [&self.path, written].into_iter().find(|file| private::is_replaceable_by_others(file))
        {
            self.observer.notify(&Event::StoreExposed { file });
        }
    }
}

fn not_utf8<'a>(is_cut: bool) -> Result<Profiles<'a>, DocumentError> {
    Err(if is_cut {
        DocumentError::Incomplete
    } else {
        DocumentError::Malformed("it is not UTF-8".to_owned())
    })
}

fn directory(env: &Env) -> Result<PathBuf, StoreError> {
    if let Some(directory) = env.path("BASETEN_CONFIG_DIR") {
        return Ok(directory);
    }
    Ok(user_config_directory(env)?.join("baseten"))
}

fn absolute(env: &Env, variable: &'static str) -> Result<Option<PathBuf>, StoreError> {
    match env.path(variable) {
        Some(path) if path.is_absolute() => Ok(Some(path)),
        Some(_) => Err(StoreError::RelativeDirectory { variable }),
        None => Ok(None),
    }
}

/// The same path as Go's `os.UserConfigDir`, so that other programs find the same file.
fn user_config_directory(env: &Env) -> Result<PathBuf, StoreError> {
    let home = |variable| absolute(env, variable)?.ok_or(StoreError::NoDirectory { variable });
    if cfg!(windows) {
        return home("AppData");
    }
    if cfg!(target_os = "macos") {
        return Ok(home("HOME")?.join("Library/Application Support"));
    }
    match absolute(env, "XDG_CONFIG_HOME")? {
        Some(directory) => Ok(directory),
        None => Ok(home("HOME")?.join(".config")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::profile::ProfileName;
    use crate::test_support::FakeClock;
    use crate::wait::{Cancel, Clock, SystemClock};

    /// Another program, which keeps writing while we wait.
    #[derive(Debug)]
    struct Writer {
        path: PathBuf,
        rest: &'static [u8],
    }

    impl Clock for Writer {
        fn now(&self) -> Timestamp {
            SystemClock.now()
        }

        fn monotonic(&self) -> std::time::Instant {
            SystemClock.monotonic()
        }

        fn sleep(&self, _: Duration, _: &Cancel) {
            let mut file = File::options().append(true).open(&self.path).unwrap();
            file.write_all(self.rest).unwrap();
        }
    }

    fn store(directory: &Path, wait: Wait) -> Store {
        let env: Env = [("BASETEN_CONFIG_DIR", directory)].into_iter().collect();
        Store::locate(&env, wait).unwrap()
    }

    #[test]
    fn a_store_that_is_half_written_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        let whole = "{\"current\": \"\u{20ac}\"}".as_bytes();
        let current = |profiles: &Profiles<'_>| Ok::<_, StoreError>(profiles.current());
        let beside = |rest| {
            let writer = Writer { path: path.clone(), rest };
            store(directory.path(), Wait::new(Arc::new(writer), Cancel::default()))
        };
        for cut in 0..whole.len() {
            let (start, rest) = whole.split_at(cut);
            fs::write(&path, start).unwrap();
            assert_eq!(beside(rest).read(current).unwrap().unwrap().as_str(), "\u{20ac}");
        }
        let start = &whole[..14];
        assert!(str::from_utf8(start).is_err());
        fs::write(&path, start).unwrap();
        let error = beside(b"").read(current).unwrap_err();
        assert!(error.to_string().ends_with("(it ends too early)"), "{error}");
        fs::write(&path, [start, b"\""].concat()).unwrap();
        let error = beside(b"").read(current).unwrap_err();
        assert!(error.to_string().ends_with("(it is not UTF-8)"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn links_to_the_same_file_have_the_same_lock() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cancel = Cancel::default();
        let wait = Wait::default().with_cancel(cancel.clone());
        let (real, link) = (store(one.path(), Wait::default()), store(other.path(), wait));
        std::os::unix::fs::symlink(real.path(), link.path()).unwrap();
        let held = real.lock().unwrap();
        cancel.cancel();
        assert!(matches!(link.lock(), Err(StoreError::Canceled)));
        drop(held);
        link.lock().unwrap();
    }

    #[test]
    fn a_change_is_repeated_on_what_another_program_has_just_written() {
        let directory = tempfile::tempdir().unwrap();
        let clock = FakeClock::new();
        let store = store(directory.path(), clock.wait());
        let name = ProfileName::new("new").unwrap();
        // It writes so many times, and each write takes so long.
        let change = |times: u32, seconds| {
            let mut calls = 0;
            let changed = store.update(|profiles| {
                calls += 1;
                if calls <= times {
                    fs::write(store.path(), format!("{{\"theirs\": {calls}}}")).unwrap();
                    clock.wait().sleep(Duration::from_secs(seconds)).unwrap();
                }
                profiles.set_current(Some(&name));
                Ok::<_, StoreError>(())
            });
            (changed, calls)
        };
        assert!(matches!(change(3, 1), (Ok(()), 4)));
        let text = fs::read_to_string(store.path()).unwrap();
        assert!(text.contains("\"theirs\": 3") && text.contains("\"current\": \"new\""), "{text}");
        // It does not wait for ever.
        assert!(matches!(change(9, 6), (Err(StoreError::KeepsChanging { .. }), 2)));
    }
}
