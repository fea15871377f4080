//! A credential helper of the docker-credential-helpers protocol: a program that is started for
//! each call, is told what to do by its argument, and talks JSON on its standard streams.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::vault::{Call, Patience};
use super::{VaultError, VaultOptions};
use crate::text::is_hidden;
use crate::{Clock as _, Deadline, Env, ProfileName, Secret, SystemClock};

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

/// How long a killed child may take to end.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// All but the unreserved characters of RFC 3986 §2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential helper, for the length of one command.
#[derive(Debug)]
pub struct Helper {
    program: String,
    search: Option<OsString>,
    pub(super) patience: Patience,
}

/// Why a text is no credential helper's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a credential helper's name has only letters, digits, `.`, `_` and `-`")]
pub struct HelperNameError;

/// Whether a text names a program of the search path, and nothing else.
pub(super) fn is_helper_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl Helper {
    /// The helper `docker-credential-<name>`. It is looked for in the `PATH` of `env` when it is
    /// needed.
    pub fn new(name: &str, env: &Env, options: VaultOptions) -> Result<Self, HelperNameError> {
        if !is_helper_name(name) {
            return Err(HelperNameError);
        }
        Ok(Self {
            program: format!("docker-credential-{name}"),
            search: env.os("PATH").map(ToOwned::to_owned),
            patience: Patience::new(options),
        })
    }

    /// The name of the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn check(&self) -> Result<(), VaultError> {
        self.path().map(drop)
    }

    fn path(&self) -> Result<PathBuf, VaultError> {
        find_program(&self.program, self.search.as_deref())
            .ok_or_else(|| VaultError::HelperMissing { program: self.program.clone() })
    }

    pub(super) fn get(
        &self,
        profile: &ProfileName,
        remote: &str,
    ) -> Result<Option<Secret>, VaultError> {
        let call = self.patience.call(&self.program, false)?;
        self.look_up(profile, &server_url(profile, remote), &call)
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        secret: &Secret,
        undoes: bool,
    ) -> Result<(), VaultError> {
        let call = self.patience.call(&self.program, undoes)?;
        let server_url = server_url(profile, remote);
        let credential =
            Stored { server_url: &server_url, username: profile.as_str(), secret: secret.expose() };
        // As large as it can get, for a vector that grows leaves copies behind.
        let size = 6 * (server_url.len() + profile.as_str().len() + secret.expose().len()) + 64;
        let mut input = Zeroizing::new(Vec::with_capacity(size));
        serde_json::to_writer(&mut *input, &credential)
            .map_err(|error| self.failed(error.to_string()))?;
        call.begin_change()?;
        match self.run("store", input, Some(secret), &call)? {
            Some(_) => Ok(()),
            None => Err(self.failed(NOT_FOUND.to_owned())),
        }
    }

    /// With a helper that is silent about an item that was not there, it counts as removed.
    pub(super) fn remove(
        &self,
        profile: &ProfileName,
        remote: &str,
        undoes: bool,
    ) -> Result<bool, VaultError> {
        let call = self.patience.call(&self.program, undoes)?;
        let server_url = server_url(profile, remote);
        call.begin_change()?;
        let erased = self.run("erase", server_url.clone().into_bytes().into(), None, &call);
        // Some have words of their own for an item that was not there.
        if matches!(erased, Err(VaultError::HelperFailed { .. }))
            && matches!(self.look_up(profile, &server_url, &call), Ok(None))
        {
            return Ok(false);
        }
        erased.map(|output| output.is_some())
    }

    fn look_up(
        &self,
        profile: &ProfileName,
        server_url: &str,
        call: &Call,
    ) -> Result<Option<Secret>, VaultError> {
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
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let mut running = Running::start(&self.path()?, action, input)
            .map_err(|error| self.failed(error.to_string()))?;
        let waited = running.wait(call);
        if !matches!(waited, Ok(Ok(_))) {
            running.stop();
        }
        let finished = waited?.map_err(|error| self.failed(error.to_string()))?;
        if finished.status.success() {
            return Ok(Some(finished.output));
        }
        let message = finished.message();
        if message.contains(NOT_FOUND) {
            return Ok(None);
        }
        Err(self.failed(presentable(&message, finished.status, secret)))
    }

    fn failed(&self, message: String) -> VaultError {
        VaultError::HelperFailed { program: self.program.clone(), message }
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

/// A helper at work. Its streams are served by threads, which end with the streams.
struct Running {
    child: Child,
    output: Receiver<io::Result<Zeroizing<Vec<u8>>>>,
    errors: Receiver<io::Result<Zeroizing<Vec<u8>>>>,
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
        let running = Self { output: collect(stdout)?, errors: collect(stderr)?, child };
        // A helper that does not read all of it has its reasons, and its status tells.
        std::thread::Builder::new()
            .spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
        Ok(running)
    }

    /// Waits for the end of the helper and of its output, as long as the call may take.
    fn wait(&mut self, call: &Call) -> Result<io::Result<Finished>, VaultError> {
        let output = match call.receive(&self.output)? {
            Ok(output) if output.len() > OUTPUT_LIMIT => {
                return Ok(Err(io::Error::other("its answer is larger than 1 MiB")));
            }
            Ok(output) => output,
            Err(error) => return Ok(Err(error)),
        };
        let errors = match call.receive(&self.errors)? {
            Ok(errors) => errors,
            Err(error) => return Ok(Err(error)),
        };
        let mut watch = call.watch();
        loop {
            match self.child.try_wait() {
                Ok(None) => SystemClock.sleep(watch.slice()?.min(POLL)),
                Ok(Some(status)) => return Ok(Ok(Finished { status, output, errors })),
                Err(error) => return Ok(Err(error)),
            }
        }
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
        let deadline = Deadline::after(KILL_GRACE);
        while matches!(self.child.try_wait(), Ok(None)) && deadline.remaining().is_some() {
            SystemClock.sleep(POLL);
        }
    }
}

/// Reads a stream of the helper, up to a byte more than is allowed, in a thread.
fn collect(
    stream: Option<impl Read + Send + 'static>,
) -> io::Result<Receiver<io::Result<Zeroizing<Vec<u8>>>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = move || {
        let limit = OUTPUT_LIMIT + 1;
        // As large as it can get, for a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
        let read = match stream {
            Some(stream) => stream.take(limit as u64).read_to_end(&mut bytes),
            None => Ok(0),
        };
        // Nobody listens any more when time was up.
        let _ = sender.send(read.map(|_| bytes));
    };
    std::thread::Builder::new().spawn(thread)?;
    Ok(receiver)
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
