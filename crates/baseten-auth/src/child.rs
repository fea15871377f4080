//! A program that is started for what it answers: bounded in time and size, and ended together with
//! whatever it starts.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::text::is_hidden;
use crate::wait::{Task, Wait};

/// The largest answer that is read, in bytes.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;

/// How often the end of the child is looked for.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// The longest message that is shown, in characters.
const MESSAGE_LIMIT: usize = 200;

/// A message is not shown when it has this many bytes in a row in common with a secret.
const TELLING: usize = 8;

/// How a JWT begins, and so does all other base64 of a JSON object.
const JSON_AS_BASE64: &str = "eyJ";

/// How long its output may take to end once the child has: a process that it left behind may
/// never close it.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// How long a killed child may take to end.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// A program's path. Relative directories of the search path are skipped: what lies in the
/// current directory is not what the user installed.
pub(crate) fn find_program(program: &str, search: Option<&OsStr>) -> Option<PathBuf> {
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(search?)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(&file))
        .find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// A program at work. Its streams are served by detached threads.
pub(crate) struct Running {
    child: Child,
    output: Output,
    errors: Output,
}

/// What became of a program.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: Zeroizing<Vec<u8>>,
    pub(crate) errors: Zeroizing<Vec<u8>>,
}

impl Running {
    /// Starts a program with this on its standard input.
    pub(crate) fn start(command: &mut Command, input: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, to end the program together with whatever it starts.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // A stream without its thread is closed, and the program ends by itself.
        let (output, errors) = (Output::collect(stdout)?, Output::collect(stderr)?);
        // A program that does not read all of it has its reasons, and its status tells.
        Task::start(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
        Ok(Self { child, output, errors })
    }

    /// What became of it, once it has ended. Its output has a moment more to end.
    pub(crate) fn finished(&mut self) -> Option<io::Result<Finished>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => {
                let (output, errors) = (self.output.take(), self.errors.take());
                Some(Ok(Finished { status, output, errors }))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Ends it, and the children of it that hold on to its output.
    pub(crate) fn stop(&mut self) {
        #[cfg(unix)]
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(group) = rustix::process::Pid::from_raw(id)
        {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let wait = Wait::default();
        let ended = || (!matches!(self.child.try_wait(), Ok(None))).then_some(());
        let _ = wait.poll(wait.deadline(KILL_GRACE), POLL, ended);
    }
}

/// What a program writes to a stream, collected by a detached thread.
struct Output {
    bytes: Arc<Mutex<Zeroizing<Vec<u8>>>>,
    end: Task<()>,
}

impl Output {
    /// Reads a stream, up to a byte more than is allowed.
    fn collect(stream: Option<impl Read + Send + 'static>) -> io::Result<Self> {
        // As large as it can get, for a vector that grows leaves copies behind.
        let bytes = Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT + 1))));
        let collected = Arc::clone(&bytes);
        let end = Task::start(move || {
            let mut stream = stream.map(|stream| stream.take(OUTPUT_LIMIT as u64 + 1));
            let mut chunk = Zeroizing::new([0; 8 * 1024]);
            while let Some(stream) = &mut stream {
                match stream.read(chunk.as_mut_slice()) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What was read before may be an answer all the same.
                    Ok(0) | Err(_) => return,
                    Ok(amount) => {
                        let mut bytes = collected.lock().unwrap_or_else(PoisonError::into_inner);
                        bytes.extend_from_slice(chunk.get(..amount).unwrap_or_default());
                    }
                }
            }
        })?;
        Ok(Self { bytes, end })
    }

    /// All of it, or what has come within a moment.
    fn take(&self) -> Zeroizing<Vec<u8>> {
        let _ = self.end.within(OUTPUT_GRACE);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The first line of what a program said, fit to be shown, or else how it ended.
pub(crate) fn presentable(message: &[u8], status: ExitStatus, secret: Option<&[u8]>) -> String {
    let message = Zeroizing::new(String::from_utf8_lossy(message).into_owned());
    let line = message.trim().lines().next().unwrap_or_default();
    // Long enough to recognize a secret that begins right before the end of what is shown.
    let seen = line.chars().filter(|c| !is_hidden(*c)).take(MESSAGE_LIMIT + TELLING);
    let seen: Zeroizing<String> = Zeroizing::new(seen.collect());
    // An object may be an answer, which holds a secret.
    let telling = seen.starts_with('{')
        || seen.contains(JSON_AS_BASE64)
        || secret.is_some_and(|secret| have_in_common(seen.as_bytes(), secret));
    // One that crashed leaves a trace, whose first line says less than the signal.
    if telling || seen.is_empty() || status.code().is_none() {
        format!("it ended with {status}")
    } else {
        seen.chars().take(MESSAGE_LIMIT).collect()
    }
}

/// Whether a text repeats the secret, or so much of it that it may be a token inside.
fn have_in_common(text: &[u8], secret: &[u8]) -> bool {
    let telling = TELLING.min(secret.len()).max(1);
    secret.windows(telling).any(|part| text.windows(telling).any(|other| other == part))
}
