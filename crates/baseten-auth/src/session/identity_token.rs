//! Gets a workload's identity token, from wherever the environment says.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::child::{Asks, POLL, Running, find_program, presentable};
use crate::context::Context;
use crate::env::{Env, GITHUB_TOKEN, IDENTITY_TOKEN};
use crate::error::{Error, Failure};
use crate::http::Request;
use crate::identity::{
    COMMAND, Ci, Claims, FILE, GITHUB_URL, IdentitySource, IdentityToken, LIMIT, WorkloadError,
};
use crate::oauth::answer::{self, ApiError, error_in, with_retries};
use crate::secret::Secret;
use crate::wait::{SLICE, Stopped, Task};

/// The audience to request from GitHub Actions.
const AUDIENCE: &str = "BASETEN_IDENTITY_AUDIENCE";

/// How long a file or a command may take.
const SOURCE_LIMIT: Duration = Duration::from_secs(30);

impl IdentitySource {
    /// The source that the environment names.
    pub(crate) fn from_env(env: &Env) -> Result<Self, Error> {
        if env.has(IDENTITY_TOKEN) {
            Ok(Self::Variable)
        } else if let Some(path) = env.path(FILE) {
            Ok(Self::File(path))
        } else if let Some((program, _)) = command_of(env)? {
            Ok(Self::Command(program))
        } else if github_request(env)?.is_some() {
            Ok(Self::GitHub)
        } else {
            Err(WorkloadError::Missing { ci: ci(env) }.into())
        }
    }

    /// A token that has not expired, by its own claims. Blocks for at most 30 s, or 75 s if GitHub
    /// is asked.
    pub(crate) fn token(&self, context: &Context) -> Result<IdentityToken, Error> {
        let token = match self {
            Self::Variable => self.parsed(&variable(context)?)?,
            Self::File(path) => self.parsed(&read(path, context)?)?,
            Self::Command(_) => self.parsed(&output_of_command(context)?)?,
            Self::GitHub => ask_github(context)?,
        };
        let now = context.wait().now();
        if token.claims.expires_at.is_some_and(|end| end <= now) {
            let (origin, claims) = (self.clone(), token.claims);
            return Err(WorkloadError::Expired { origin, claims }.into());
        }
        Ok(token)
    }

    /// The claims of the token, if they are known without a command and without a request.
    pub(crate) fn claims_at_hand(&self, context: &Context) -> Result<Option<Claims>, Error> {
        let text = match self {
            Self::Variable => variable(context)?,
            Self::File(path) => read(path, context)?,
            Self::Command(_) | Self::GitHub => return Ok(None),
        };
        Ok(Some(self.parsed(&text)?.claims))
    }

    fn parsed(&self, text: &[u8]) -> Result<IdentityToken, Error> {
        if text.trim_ascii().is_empty() {
            return Err(WorkloadError::Empty { origin: self.clone() }.into());
        }
        let not_jwt = || WorkloadError::NotJwt { origin: self.clone() }.into();
        IdentityToken::parse(text).ok_or_else(not_jwt)
    }
}

/// The text of a source; it may have white space around it.
type Text = Zeroizing<Vec<u8>>;

/// The CI system that this seems to be.
fn ci(env: &Env) -> Option<Ci> {
    let is_set = |variable| env.os(variable) == Some(OsStr::new("true"));
    [("GITHUB_ACTIONS", Ci::GitHub), ("GITLAB_CI", Ci::GitLab), ("BUILDKITE", Ci::Buildkite)]
        .into_iter()
        .find_map(|(variable, ci)| is_set(variable).then_some(ci))
}

fn variable(context: &Context) -> Result<Text, Error> {
    let text = context.env().text(IDENTITY_TOKEN)?.unwrap_or_default();
    Ok(text.as_bytes().to_vec().into())
}

/// Reads a file on a thread of its own: it may be a pipe that nobody writes to.
fn read(path: &Path, context: &Context) -> Result<Text, Error> {
    let wait = context.wait();
    let failed = |source| WorkloadError::File { path: path.to_owned(), source };
    let file = path.to_owned();
    let task = Task::start(move || read_now(&file)).map_err(failed)?;
    let deadline = wait.deadline(SOURCE_LIMIT);
    let read = wait.poll(deadline, Duration::ZERO, || match task.within(SLICE) {
        Ok(read) => Some(read),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(io::ErrorKind::Other.into())),
    });
    match read {
        Ok(read) => Ok(read.map_err(failed)?),
        Err(Stopped::TimedOut) => Err(failed(io::ErrorKind::TimedOut.into()).into()),
        Err(Stopped::Canceled) => Err(Failure::Canceled.into()),
    }
}

fn read_now(path: &Path) -> io::Result<Text> {
    // There is room for all of it, because a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 64));
    File::open(path)?.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The program in the variable, and its arguments.
fn command_of(env: &Env) -> Result<Option<(String, Vec<String>)>, Error> {
    let Some(text) = env.text(COMMAND)? else { return Ok(None) };
    let mut words = shlex::split(text).unwrap_or_default().into_iter();
    let program = words.next().filter(|program| !program.is_empty());
    Ok(Some((program.ok_or(WorkloadError::NoCommand)?, words.collect())))
}

/// Runs the command in the variable, without a shell, and returns its output.
fn output_of_command(context: &Context) -> Result<Text, Error> {
    let (program, arguments) = command_of(context.env())?.ok_or(WorkloadError::NoCommand)?;
    let failed = |message: String| {
        let program = program.clone();
        Error::from(WorkloadError::Command { program, message })
    };
    let path = if program.contains(std::path::is_separator) {
        Some(PathBuf::from(&program))
    } else {
        find_program(&program, context.env().os("PATH"))
    };
    let mut command = Command::new(path.ok_or_else(|| failed("it is not in PATH".to_owned()))?);
    // The environment has no API key or identity token, because those would be used first. The
    // variables of GitHub Actions stay, because the command may need them.
    command.args(arguments);
    let io_failed = |error: io::Error| failed(error.to_string());
    let (wait, nothing) = (context.wait(), Zeroizing::default());
    let running = Running::start(command, nothing, Asks::Nobody, wait.cancel());
    let mut running = running.map_err(io_failed)?;
    let finished = wait.poll(wait.deadline(SOURCE_LIMIT), POLL, || running.finished());
    if !matches!(finished, Ok(Ok(_))) {
        running.stop();
    }
    let finished = match finished {
        Ok(finished) => finished.map_err(io_failed)?,
        Err(Stopped::TimedOut) => {
            return Err(failed(format!("it did not end within {} s", SOURCE_LIMIT.as_secs())));
        }
        Err(Stopped::Canceled) => return Err(Failure::Canceled.into()),
    };
    if finished.output.len() > LIMIT {
        return Err(failed(format!("it printed more than {} KiB", LIMIT / 1024)));
    }
    if !finished.status.success() {
        let secret = Some(finished.output.as_slice());
        return Err(failed(presentable(&finished.errors, finished.status, secret)));
    }
    Ok(finished.output)
}

/// The URL to request from GitHub Actions, and the secret that allows it.
fn github_request(env: &Env) -> Result<Option<(Url, Secret)>, Error> {
    let (Some(url), Some(token)) = (env.text(GITHUB_URL)?, env.text(GITHUB_TOKEN)?) else {
        return Ok(None);
    };
    let mut url = Url::parse(url).map_err(|_| WorkloadError::GitHubUrl)?;
    // The URL may be shown, so it must not contain a password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(WorkloadError::GitHubUrl.into());
    }
    if let Some(audience) = env.text(AUDIENCE)? {
        url.query_pairs_mut().append_pair("audience", audience);
    }
    Ok(Some((url, Secret::from(token))))
}

/// What GitHub Actions answers.
#[derive(Deserialize)]
struct GitHubAnswer {
    #[serde(default, deserialize_with = "answer::secret")]
    value: Option<Secret>,
}

fn ask_github(context: &Context) -> Result<IdentityToken, Error> {
    let missing = WorkloadError::Missing { ci: Some(Ci::GitHub) };
    let (url, token) = github_request(context.env())?.ok_or(missing)?;
    let authorization = token.after_scheme("Bearer");
    let (wait, observer) = (context.wait(), context.observer());
    let asked = with_retries(wait, observer, ApiError::is_soon_over, |left| {
        let request = Request::get(url.as_str()).authorization(&authorization).within(left);
        let response = context.http().send(&request)?;
        if let Some(error) = error_in(&response, &[&token]) {
            return Err(error);
        }
        let value = answer::object::<GitHubAnswer>(&response.body).and_then(|answer| answer.value);
        let token = value.and_then(|value| IdentityToken::parse(value.expose().as_bytes()));
        token.ok_or_else(|| ApiError::not_protocol(&response))
    });
    Ok(asked.map_err(WorkloadError::GitHub)?)
}
