//! A credential helper of the docker-credential-helpers protocol: a program that is started for
//! each call, is told what to do by its argument, and talks JSON on its standard streams.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::budget::{Budget, Call};
use super::error::PlaceError;
use crate::env::Env;
use crate::profile::ProfileName;
use crate::secret::Secret;
use crate::storage::HelperName;
use crate::text::is_hidden;
use crate::wait::{Task, Wait};

/// What a helper says when it has no such item, as the protocol words it.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The largest answer that is read, in bytes.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// The longest message that is shown, in characters.
const MESSAGE_LIMIT: usize = 200;

/// A message is not shown when it has this many bytes in a row in common with a secret.
const TELLING: usize = 8;

/// How often the end of the child is looked for.
const POLL: Duration = Duration::from_millis(1);

/// How long its output may take to end once the child has: a process that it left behind may
/// never close it.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// How long a killed child may take to end.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// All but the unreserved characters of RFC 3986 §2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential helper.
#[derive(Debug, Clone)]
pub struct Helper {
    program: String,
    search: Option<OsString>,
}

impl Helper {
    /// The helper of this name. It is looked for in the `PATH` of `env` when it is needed.
    pub fn new(name: &HelperName, env: &Env) -> Self {
        Self { program: name.program(), search: env.os("PATH").map(ToOwned::to_owned) }
    }

    /// The name of the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn check(&self) -> Result<(), PlaceError> {
        self.path().map(drop)
    }

    fn path(&self) -> Result<PathBuf, PlaceError> {
        find_program(&self.program, self.search.as_deref())
            .ok_or_else(|| PlaceError::HelperMissing { program: self.program.clone() })
    }

    pub(super) fn get(
        &self,
        profile: &ProfileName,
        remote: &str,
        budget: &Budget,
    ) -> Result<Option<Secret>, PlaceError> {
        budget.call(&self.program, false, |call| {
            self.look_up(profile, &server_url(profile, remote), call)
        })
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        secret: &Secret,
        budget: &Budget,
        undoes: bool,
    ) -> Result<(), PlaceError> {
        let server_url = server_url(profile, remote);
        let credential =
            Stored { server_url: &server_url, username: profile.as_str(), secret: secret.expose() };
        // As large as it can get, for a vector that grows leaves copies behind.
        let size = 6 * (server_url.len() + profile.as_str().len() + secret.expose().len()) + 64;
        let mut input = Zeroizing::new(Vec::with_capacity(size));
        serde_json::to_writer(&mut *input, &credential)
            .map_err(|error| self.failed(error.to_string()))?;
        budget.call(&self.program, undoes, |call| {
            call.begin_change()?;
            match self.run("store", input, Some(secret), call)? {
                Some(_) => Ok(()),
                None => Err(self.failed(NOT_FOUND.to_owned())),
            }
        })
    }

    /// With a helper that is silent about an item that was not there, it counts as removed.
    pub(super) fn remove(
        &self,
        profile: &ProfileName,
        remote: &str,
        budget: &Budget,
        undoes: bool,
    ) -> Result<bool, PlaceError> {
        budget.call(&self.program, undoes, |call| {
            let server_url = server_url(profile, remote);
            call.begin_change()?;
            let erased = self.run("erase", server_url.clone().into_bytes().into(), None, call);
            // Some have words of their own for an item that was not there.
            if matches!(erased, Err(PlaceError::HelperFailed { .. }))
                && matches!(self.look_up(profile, &server_url, call), Ok(None))
            {
                return Ok(false);
            }
            erased.map(|output| output.is_some())
        })
    }

    fn look_up(
        &self,
        profile: &ProfileName,
        server_url: &str,
        call: &Call,
    ) -> Result<Option<Secret>, PlaceError> {
        let input = server_url.to_owned().into_bytes().into();
        let Some(output) = self.run("get", input, None, call)? else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&output)
            // What the parser says may quote the answer.
            .map_err(|_| self.failed("its answer is not the JSON of a credential".to_owned()))?;
        let secret = Secret::from(answer.secret);
        // Some answer with empty fields instead of an error.
        if secret.expose().is_empty() {
            return Ok(None);
        }
        // One that makes a path of the name takes the first part of it for the whole.
        if !answer.username.is_empty() && answer.username != profile.as_str() {
            return Err(self.failed("it answered for another user name".to_owned()));
        }
        Ok(Some(secret))
    }

    /// Runs the helper and gives what it answered; `None` when it has no such item.
    fn run(
        &self,
        action: &str,
        input: Zeroizing<Vec<u8>>,
        secret: Option<&Secret>,
        call: &Call,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, PlaceError> {
        let failed = |error: io::Error| self.failed(error.to_string());
        let mut running = Running::start(&self.path()?, action, input).map_err(failed)?;
        let finished = running.wait(call);
        if !matches!(finished, Ok(Ok(_))) {
            running.stop();
        }
        let finished = finished?.map_err(failed)?;
        if finished.output.len() > OUTPUT_LIMIT {
            return Err(self.failed("its answer is larger than 1 MiB".to_owned()));
        }
        if finished.status.success() {
            return Ok(Some(finished.output));
        }
        let message = finished.message();
        if message.contains(NOT_FOUND) {
            return Ok(None);
        }
        Err(self.failed(presentable(&message, finished.status, secret)))
    }

    fn failed(&self, message: String) -> PlaceError {
        PlaceError::HelperFailed { program: self.program.clone(), message }
    }
}

/// What `store` is given.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stored<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// What `get` answers. The URL in it is the one that was asked for.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// The name under which a helper keeps the secret of a profile.
fn server_url(profile: &ProfileName, remote: &str) -> String {
    let segment = utf8_percent_encode(profile.as_str(), SEGMENT);
    format!("{}/cli/{segment}", remote.trim_end_matches('/'))
}

/// The program's path. Relative directories of the search path are skipped: what lies in the
/// current directory is not what the user installed.
fn find_program(program: &str, search: Option<&OsStr>) -> Option<PathBuf> {
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

/// A helper at work. Its streams are served by detached threads.
struct Running {
    child: Child,
    output: Output,
    errors: Output,
}

/// What became of a helper.
struct Finished {
    status: ExitStatus,
    output: Zeroizing<Vec<u8>>,
    errors: Zeroizing<Vec<u8>>,
}

impl Running {
    fn start(path: &Path, action: &str, input: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        let mut command = Command::new(path);
        command
            .arg(action)
            .env_remove("BASETEN_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own, to end the helper together with whatever it starts.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // A stream without its thread is closed, and the helper ends by itself.
        let (output, errors) = (Output::collect(stdout)?, Output::collect(stderr)?);
        // A helper that does not read all of it has its reasons, and its status tells.
        Task::start(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
        Ok(Self { child, output, errors })
    }

    /// Waits for the end of the helper, as long as the call may take, and then for a moment for
    /// the end of its output.
    fn wait(&mut self, call: &Call) -> Result<io::Result<Finished>, PlaceError> {
        let pause = Wait::default();
        let exited = call.until(|time| match self.child.try_wait() {
            Ok(None) => {
                let _ = pause.sleep(POLL.min(time));
                None
            }
            Ok(Some(status)) => Some(Ok(status)),
            Err(error) => Some(Err(error)),
        })?;
        Ok(exited.map(|status| {
            let (output, errors) = (self.output.take(), self.errors.take());
            Finished { status, output, errors }
        }))
    }

    /// Ends the helper, and the children of it that hold on to its output.
    fn stop(&mut self) {
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

/// What a helper writes to a stream, collected by a detached thread.
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

impl Finished {
    /// What the helper says about its failure: on standard output, as the protocol wants it, or
    /// else on standard error.
    fn message(&self) -> Zeroizing<String> {
        let bytes = if self.output.trim_ascii().is_empty() { &self.errors } else { &self.output };
        Zeroizing::new(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The first line of a message, fit to be shown, or else how the helper ended.
fn presentable(message: &str, status: ExitStatus, secret: Option<&Secret>) -> String {
    // The answer to a `get` is an object; as a message, it would show what it holds.
    let telling = message.trim_start().starts_with('{')
        || secret.is_some_and(|secret| have_in_common(message, secret.expose()));
    let line = message.trim().lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !is_hidden(*c)).take(MESSAGE_LIMIT).collect();
    // One that crashed leaves a trace, whose first line says less than the signal.
    if telling || line.is_empty() || status.code().is_none() {
        format!("it ended with {status}")
    } else {
        line
    }
}

/// Whether a text repeats the secret, or so much of it that it may be a token inside.
fn have_in_common(text: &str, secret: &str) -> bool {
    let telling = TELLING.min(secret.len()).max(1);
    secret
        .as_bytes()
        .windows(telling)
        .any(|part| text.as_bytes().windows(telling).any(|other| other == part))
}
