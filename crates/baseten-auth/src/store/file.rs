//! `auth.json` on disk: found, read, and replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;
use std::time::Duration;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::document::{DocumentError, Profiles};
use super::error::StoreError;
use super::lock::{Lock, LockError};
use crate::env::Env;
use crate::wait::Wait;

/// How long a change waits for another process's change.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A larger file is not a store, and is never written either.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How often, and with what pauses, a store that ends too early is read again: another program
/// writes it in place.
const HALF_WRITTEN_RETRIES: u32 = 5;
const HALF_WRITTEN_PAUSE: Duration = Duration::from_millis(20);

const TEMPORARY_PREFIX: &str = ".auth.json.";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The store of profiles: one door to read it, one to change it.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    wait: Wait,
}

impl Store {
    /// Finds the store's place in the environment, and touches nothing. Its waits, for other
    /// processes, are `wait`'s.
    pub fn locate(env: &Env, wait: Wait) -> Result<Self, StoreError> {
        Ok(Self { path: directory(env)?.join("auth.json"), wait })
    }

    /// The file that it is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the store and hands it to a function. A missing file is an empty store.
    pub fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.load(|profiles| look(&profiles))
    }

    /// Changes the store: lock, read, change, replace. Where `change` fails, nothing changes.
    ///
    /// Waits at most 10 s for other processes. Afterwards the change is on the disk, or the old
    /// state is.
    pub fn update<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.create_directory()?;
        let _lock = self.lock()?;
        let (value, text) = self.load(|mut profiles| {
            let value = change(&mut profiles)?;
            Ok::<_, E>((value, profiles.render()))
        })?;
        self.replace(text.as_bytes())?;
        Ok(value)
    }

    /// Goes through everything that [`Store::update`] does, on files beside the store, so that a
    /// command can fail before it has done anything that cannot be undone.
    pub fn rehearse(&self) -> Result<(), StoreError> {
        self.create_directory()?;
        let _lock = self.lock()?;
        let size = self.load(|mut profiles| Ok::<_, StoreError>(profiles.render().len()))?;
        let target = self.target()?;
        // Room for one more profile.
        let padding = vec![b' '; size + 16 * 1024];
        let temporary = self.write_temporary(&target, &padding)?;
        let stand_in = temporary.path().with_extension("check.tmp");
        let kept = temporary.persist(&stand_in).map_err(|error| self.unwritable(error.error));
        let removed = fs::remove_file(&stand_in).map_err(|error| self.unwritable(error));
        kept?;
        removed
    }

    /// Parses the store. One that ends too early is read again for a moment: a writer that works in
    /// place may not be done.
    fn load<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut retries = HALF_WRITTEN_RETRIES;
        loop {
            let bytes = self.read_bytes()?;
            // Such a writer empties the file first.
            let empty = bytes.as_ref().is_some_and(|bytes| bytes.trim_ascii().is_empty());
            let text = str::from_utf8(bytes.as_ref().map_or(&[], |bytes| bytes.as_slice()));
            // It may have come as far as the middle of a character.
            let is_cut = |error: Utf8Error| error.error_len().is_none();
            let parse = |text| Profiles::parse(text, &self.path);
            match text.map_err(is_cut).map_or_else(not_utf8, parse) {
                Ok(profiles) if !empty || retries == 0 => return look(profiles),
                Err(DocumentError::Incomplete) if retries == 0 => {
                    return Err(self.malformed("it ends too early").into());
                }
                Ok(_) | Err(DocumentError::Incomplete) => {}
                Err(DocumentError::Malformed(reason)) => return Err(self.malformed(reason).into()),
                Err(DocumentError::Newer(version)) => {
                    return Err(StoreError::Newer { path: self.path.clone(), version }.into());
                }
            }
            retries -= 1;
            self.wait.sleep(HALF_WRITTEN_PAUSE).map_err(|_| StoreError::Canceled)?;
        }
    }

    /// Beside the file that is replaced, for whoever shares its directory: the locks of profiles.
    pub(super) fn locks_directory(&self) -> PathBuf {
        self.target().unwrap_or_else(|_| self.path.clone()).with_file_name("locks")
    }

    /// Where a login that is half done waits for its second step.
    pub(crate) fn pending_path(&self) -> PathBuf {
        self.path.with_file_name("pending-login.json")
    }

    /// Writes another private file into the store's directory.
    pub(crate) fn write_private(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.create_directory()?;
        // Else a change of the store would take the temporary file for a leftover.
        let _lock = self.lock()?;
        let unwritable = |source| StoreError::Unwritable { path: path.to_owned(), source };
        let temporary = write_beside(path, bytes).map_err(unwritable)?;
        persist(temporary, path).map_err(unwritable)?;
        self.tighten_directory();
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Malformed { path: self.path.clone(), reason: reason.into() }
    }

    fn unwritable(&self, source: io::Error) -> StoreError {
        StoreError::Unwritable { path: self.path.clone(), source }
    }

    fn read_bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        read_private(&self.path).map_err(|refusal| match refusal {
            Refusal::NoFile => self.malformed("it is not a file"),
            Refusal::TooLarge => self.malformed("it is larger than 64 MiB"),
            Refusal::Io(source) => StoreError::Unreadable { path: self.path.clone(), source },
        })
    }

    /// Beside the file that is replaced: several links may lead to it.
    fn lock(&self) -> Result<Lock, StoreError> {
        let mut path = self.target()?.into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        Lock::acquire(&path, LOCK_WAIT, &self.wait).map_err(|source| match source {
            LockError::Canceled => StoreError::Canceled,
            source => StoreError::Lock { path, source },
        })
    }

    fn create_directory(&self) -> Result<(), StoreError> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        if directory.is_dir() {
            return Ok(());
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory).map_err(|source| {
            // The deepest directory that is there is the one that would not have a new one in it.
            let there = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
            StoreError::Unwritable { path: there.to_owned(), source }
        })
    }

    /// The file to replace: where `auth.json` is a link, what it leads to.
    fn target(&self) -> Result<PathBuf, StoreError> {
        let mut path = self.path.clone();
        // As deep as Linux follows links.
        for _ in 0..40 {
            let Ok(link) = fs::read_link(&path) else { return Ok(path) };
            path = path.parent().unwrap_or(Path::new("")).join(link);
        }
        Err(self.unwritable(io::Error::other("too many levels of symbolic links")))
    }

    fn replace(&self, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() as u64 > MAX_BYTES {
            let reason = "it would be larger than 64 MiB, and could not be read again";
            return Err(self.unwritable(io::Error::other(reason)));
        }
        let target = self.target()?;
        remove_leftovers(&target);
        let temporary = self.write_temporary(&target, bytes)?;
        persist(temporary, &target).map_err(|error| self.unwritable(error))?;
        sync_directory(&target);
        self.tighten_directory();
        Ok(())
    }

    fn write_temporary(&self, target: &Path, bytes: &[u8]) -> Result<NamedTempFile, StoreError> {
        write_beside(target, bytes).map_err(|error| self.unwritable(error))
    }

    /// Takes other users' rights from our directory, unless it is plainly not ours alone.
    #[cfg(unix)]
    fn tighten_directory(&self) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        const STICKY: u32 = 0o1000;
        let Some(directory) = self.path.parent() else { return };
        let Ok(metadata) = fs::metadata(directory) else { return };
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if ours && metadata.mode() & STICKY == 0 && metadata.mode() & 0o077 != 0 {
            // The store was written; that its directory stays open is no reason to fail.
            let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "the other systems look at its path")]
    fn tighten_directory(&self) {}
}

fn not_utf8<'a>(is_cut: bool) -> Result<Profiles<'a>, DocumentError> {
    Err(if is_cut {
        DocumentError::Incomplete
    } else {
        DocumentError::Malformed("it is not UTF-8".to_owned())
    })
}

/// Why a file is not read.
pub(crate) enum Refusal {
    NoFile,
    TooLarge,
    Io(io::Error),
}

/// Reads a file of secrets; `None` where there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refusal::Io(error)),
    };
    let metadata = file.metadata().map_err(Refusal::Io)?;
    if !metadata.is_file() {
        return Err(Refusal::NoFile);
    }
    // With room for all of it, no copy of it is left behind by a growing buffer.
    let size = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1024));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Refusal::Io)?;
    if bytes.len() as u64 > MAX_BYTES { Err(Refusal::TooLarge) } else { Ok(Some(bytes)) }
}

/// Opens a file to read it. A pipe in its place is not waited for.
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

/// A private file in the directory of `target`, with these bytes on the disk.
fn write_beside(target: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .suffix(TEMPORARY_SUFFIX)
        .tempfile_in(target.parent().unwrap_or(Path::new(".")))
        .map_err(without_path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The system's own words, without the name of a file that nobody has seen.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((words, _)) => io::Error::new(error.kind(), words),
        None => error,
    }
}

/// Puts the file in the place of `target`. Windows refuses that while another program has the
/// target open, as every reader has it for a moment: there it is tried for two seconds.
fn persist(temporary: NamedTempFile, target: &Path) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    // What is being replaced is not given up halfway.
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
        .unwrap_or_else(|_| Err(failure.unwrap_or_else(|| io::ErrorKind::TimedOut.into())))
}

/// What a process that was killed in mid-write left behind. The caller holds the lock, so nobody
/// is using it.
fn remove_leftovers(target: &Path) {
    let Some(entries) = target.parent().and_then(|directory| fs::read_dir(directory).ok()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX) {
            // One that stays is tried again at the next change.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the rename itself durable.
///
/// Where the file system can't, a power cut may bring the old state back, whole. That is no reason
/// to call a change failed that every reader sees.
#[cfg(unix)]
fn sync_directory(target: &Path) {
    let directory = target.parent().unwrap_or(Path::new("."));
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}

/// Directories can't be opened for this on Windows, and its renames need no more.
#[cfg(not(unix))]
fn sync_directory(_target: &Path) {}

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

/// The same places as Go's `os.UserConfigDir`, with which other programs find the same file.
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
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::wait::{Cancel, Clock, SystemClock};

    /// Another program, which goes on writing while we wait.
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
    fn a_store_that_could_not_be_read_again_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), Wait::default());
        let large = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert!(matches!(store.replace(&large), Err(StoreError::Unwritable { .. })));
        assert!(!store.path().exists());
    }

    #[test]
    fn an_error_names_the_store_and_no_file_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_beside(&directory.path().join("missing/auth.json"), b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(TEMPORARY_PREFIX), "{error}");
    }
}
