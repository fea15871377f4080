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
use crate::wait::{Cancel, Cleanup, Task, Wait};

#[cfg_attr(unix, path = "child/terminal.rs")]
#[cfg_attr(not(unix), path = "child/no_terminal.rs")]
mod terminal;

use terminal::Terminal;

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

/// How long a child may take to end that was asked to, and then, one that was killed.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// Ctrl-C ends a child at the terminal a moment before we hear of it.
const SIGNAL_GRACE: Duration = Duration::from_millis(100);

/// Whom a program may ask, at the terminal or on a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nobody.
    Nobody,
    /// Its person, who may end it by Ctrl-C.
    ItsPerson,
    /// Its person. Ctrl-C does not end it: what it stores may be had only once.
    ItsPersonWhileStoring,
}

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
    /// The one that it shares with us, in one process group.
    terminal: Option<Terminal>,
    /// Nobody ends without ending it.
    cleanup: Cleanup,
}

/// What became of a program.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: Zeroizing<Vec<u8>>,
    pub(crate) errors: Zeroizing<Vec<u8>>,
}

impl Running {
    /// Starts a program with this on its standard input. Where this run is canceled, it is not left
    /// behind.
    pub(crate) fn start(
        command: Command,
        input: Zeroizing<Vec<u8>>,
        asks: Asks,
        cancel: &Cancel,
    ) -> io::Result<Self> {
        let (mut command, terminal) = terminal::lend(command, asks);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let cleanup = cancel.cleanup();
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // A stream without its thread is closed, and the program ends by itself.
        let (output, errors) = (Output::collect(stdout)?, Output::collect(stderr)?);
        // A program that does not read all of it has its reasons, and its status tells.
        Task::start(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
        Ok(Self { child, output, errors, terminal, cleanup })
    }

    /// Whether it is asking its person at the terminal.
    pub(crate) fn is_asking(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.is_used_by(self.child.id()))
    }

    /// What became of it, once it has ended. Its output has a moment more to end.
    pub(crate) fn finished(&mut self) -> Option<io::Result<Finished>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => {
                if let Some(terminal) = &self.terminal {
                    let broke_off = status.code().is_none();
                    if broke_off {
                        terminal::end_family(None);
                    }
                    terminal.take_back(broke_off);
                    if broke_off {
                        self.cleanup.wait(SIGNAL_GRACE);
                    }
                }
                let (output, errors) = (self.output.take(), self.errors.take());
                Some(Ok(Finished { status, output, errors }))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Ends it, and what it has started.
    pub(crate) fn stop(&mut self) {
        match &self.terminal {
            Some(_) => terminal::end_family(Some(self.child.id())),
            None => terminal::end_group(self.child.id()),
        }
        let _ = self.child.kill();
        let wait = Wait::default();
        let ended = || (!matches!(self.child.try_wait(), Ok(None))).then_some(());
        let _ = wait.poll(wait.deadline(KILL_GRACE), POLL, ended);
        if let Some(terminal) = &self.terminal {
            terminal.take_back(true);
        }
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
        // As large as it can get, since a vector that grows leaves copies behind.
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
