//! Programs that are started for their answer: time and size are limited, and a program is ended
//! together with everything that it started.

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

/// How often we check whether the child has ended.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// The longest message that is shown, in characters.
const MESSAGE_LIMIT: usize = 200;

/// A message is not shown if it shares this many consecutive bytes with a secret.
const TELLING: usize = 8;

/// The beginning of every JWT, and of every other JSON object in base64.
const JSON_AS_BASE64: &str = "eyJ";

/// How long its output may stay open after the child has ended: a process that it left behind may
/// never close it.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// How long a child may take to end after it was asked to, and again after it was killed.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// Ctrl-C ends a child at the terminal a moment before it reaches us.
const SIGNAL_GRACE: Duration = Duration::from_millis(100);

/// Whom a program may ask, at the terminal or on a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nobody.
    Nobody,
    /// The user, who can end it with Ctrl-C.
    ItsPerson,
    /// The user. Ctrl-C does not end it, because what it stores may not be obtainable again.
    ItsPersonWhileStoring,
}

/// A program's path. Relative directories in the search path are skipped: a program in the current
/// directory is not one that the user installed.
pub fn find_program(program: &str, search: Option<&OsStr>) -> Option<PathBuf> {
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

/// A running program. Detached threads serve its streams.
pub(crate) struct Running {
    child: Child,
    output: Output,
    errors: Output,
    /// The terminal, if the program shares it with us, in our process group.
    terminal: Option<Terminal>,
    /// Keeps this process from ending before the program has been ended.
    cleanup: Cleanup,
}

/// How a program ended, and what it wrote.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: Zeroizing<Vec<u8>>,
    pub(crate) errors: Zeroizing<Vec<u8>>,
}

impl Running {
    /// Starts a program and writes this to its standard input. If this run is canceled, the program
    /// is ended too.
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
        // If a thread cannot be started, its stream is closed, and the program ends by itself.
        let (output, errors) = (Output::collect(stdout)?, Output::collect(stderr)?);
        // A program may leave some input unread. Its exit status says whether it failed.
        Task::start(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
        Ok(Self { child, output, errors, terminal, cleanup })
    }

    /// Whether it is asking the user at the terminal.
    pub(crate) fn is_asking(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.is_used_by(self.child.id()))
    }

    /// The result, once it has ended. Its output gets a moment more to end.
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

    /// Ends it, and everything that it started.
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
    /// Reads a stream, up to one byte more than is allowed.
    fn collect(stream: Option<impl Read + Send + 'static>) -> io::Result<Self> {
        // Allocated at its largest size, because a vector that grows leaves copies behind.
        let bytes = Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT + 1))));
        let collected = Arc::clone(&bytes);
        let end = Task::start(move || {
            let mut stream = stream.map(|stream| stream.take(OUTPUT_LIMIT as u64 + 1));
            let mut chunk = Zeroizing::new([0; 8 * 1024]);
            while let Some(stream) = &mut stream {
                match stream.read(chunk.as_mut_slice()) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What was read so far may be a whole answer.
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

    /// All of it, or what has arrived within a moment.
    fn take(&self) -> Zeroizing<Vec<u8>> {
        let _ = self.end.within(OUTPUT_GRACE);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The first line of a program's message, fit to be shown, or else how the program ended.
pub(crate) fn presentable(message: &[u8], status: ExitStatus, secret: Option<&[u8]>) -> String {
    let message = Zeroizing::new(String::from_utf8_lossy(message).into_owned());
    let line = message.trim().lines().next().unwrap_or_default();
    // Long enough to recognize a secret that starts just before the end of what is shown.
    let seen = line.chars().filter(|c| !is_hidden(*c)).take(MESSAGE_LIMIT + TELLING);
    let seen: Zeroizing<String> = Zeroizing::new(seen.collect());
    // A JSON object may be an answer, and that contains a secret.
    let telling = seen.starts_with('{')
        || seen.contains(JSON_AS_BASE64)
        || secret.is_some_and(|secret| have_in_common(seen.as_bytes(), secret));
    // After a crash, the signal says more than the first line of a stack trace.
    if telling || seen.is_empty() || status.code().is_none() {
        format!("it ended with {status}")
    } else {
        seen.chars().take(MESSAGE_LIMIT).collect()
    }
}

/// Whether a text contains the secret, or enough of it that it may contain a token.
fn have_in_common(text: &[u8], secret: &[u8]) -> bool {
    let telling = TELLING.min(secret.len()).max(1);
    secret.windows(telling).any(|part| text.windows(telling).any(|other| other == part))
}
