//! A credential helper of the docker-credential-helpers protocol: a program that is started for
//! each call, gets the action as its argument, and exchanges JSON on its standard streams.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::budget::{Budget, Call};
use super::entry::Entry;
use super::error::PlaceError;
use crate::child::{Asks, OUTPUT_LIMIT, POLL, Running, find_program, presentable};
use crate::env::{Env, SECRETS};
use crate::event::Event;
use crate::profile::ProfileName;
use crate::secret::Secret;
use crate::storage::HelperName;
use crate::wait::Wait;

/// What a helper prints if it has no such item, as the protocol defines it.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// All except the unreserved characters of RFC 3986 §2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential helper.
#[derive(Debug, Clone)]
pub struct Helper {
    program: String,
    search: Option<OsString>,
}

impl Helper {
    /// The helper of this name. It is searched in the `PATH` of `env` when it is needed.
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
    ) -> Result<Option<Entry>, PlaceError> {
        budget.call(&self.program, |call| {
            let found = self.look_up(profile, &server_url(profile, remote), call)?;
            Ok(found.map(Entry::Text))
        })
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        secret: &Secret,
        budget: &Budget,
    ) -> Result<(), PlaceError> {
        let server_url = server_url(profile, remote);
        let credential =
            Stored { server_url: &server_url, username: profile.as_str(), secret: secret.expose() };
        // Allocated at its largest size, because a vector that grows leaves copies behind.
        let size = 6 * (server_url.len() + profile.as_str().len() + secret.expose().len()) + 64;
        let mut input = Zeroizing::new(Vec::with_capacity(size));
        serde_json::to_writer(&mut *input, &credential)
            .map_err(|error| self.failed(error.to_string()))?;
        budget.call(&self.program, |call| {
            call.begin_change()?;
            match self.run("store", input, Some(secret), call)? {
                Some(_) => Ok(()),
                None => Err(self.failed(NOT_FOUND.to_owned())),
            }
        })
    }

    /// If a helper does not report a missing item, the item counts as removed.
    pub(super) fn remove(
        &self,
        profile: &ProfileName,
        remote: &str,
        budget: &Budget,
    ) -> Result<(), PlaceError> {
        budget.call(&self.program, |call| {
            let server_url = server_url(profile, remote);
            call.begin_change()?;
            match self.run("erase", server_url.clone().into_bytes().into(), None, call) {
                // Some helpers have their own message for a missing item.
                Err(PlaceError::HelperFailed { .. })
                    if matches!(self.look_up(profile, &server_url, call), Ok(None)) =>
                {
                    Ok(())
                }
                erased => erased.map(drop),
            }
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
        // If the entry is not text, we don't understand it, but the helper is not broken.
        let output = Zeroizing::new(String::from_utf8_lossy(&output).into_owned());
        let answer: Answer = serde_json::from_str(&output)
            // The parser's message may quote the answer.
            .map_err(|_| self.failed("its answer is not the JSON of a credential".to_owned()))?;
        let secret = Secret::from(answer.secret);
        // Some answer with empty fields instead of an error.
        if secret.expose().is_empty() {
            return Ok(None);
        }
        // A helper that turns the name into a path may take the first part of it for the whole.
        if !answer.username.is_empty() && answer.username != profile.as_str() {
            return Err(self.failed("it answered for another user name".to_owned()));
        }
        Ok(Some(secret))
    }

    /// Runs the helper and returns its answer; `None` if it has no such item.
    fn run(
        &self,
        action: &str,
        input: Zeroizing<Vec<u8>>,
        secret: Option<&Secret>,
        call: &Call,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, PlaceError> {
        let failed = |error: io::Error| self.failed(error.to_string());
        let mut command = Command::new(self.path()?);
        command.arg(action);
        for variable in SECRETS {
            command.env_remove(variable);
        }
        let asks = match (call.may_prompt(), action) {
            (false, _) => Asks::Nobody,
            (true, "get") => Asks::ItsPerson,
            (true, _) => Asks::ItsPersonWhileStoring,
        };
        let mut running = Running::start(command, input, asks, call.cancel()).map_err(failed)?;
        let (pause, mut is_told) = (Wait::default(), false);
        let finished = call.until(|time, prompts| {
            if prompts && !std::mem::replace(&mut is_told, true) && !running.is_asking() {
                call.announce(&Event::HelperPending { program: &self.program });
            }
            let finished = running.finished();
            if finished.is_none() {
                let _ = pause.sleep(POLL.min(time));
            }
            finished
        });
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
        // On standard output, as the protocol says, or else on standard error.
        let silent = finished.output.trim_ascii().is_empty();
        let message = if silent { &finished.errors } else { &finished.output };
        if message.windows(NOT_FOUND.len()).any(|part| part == NOT_FOUND.as_bytes()) {
            return Ok(None);
        }
        let secret = secret.map(|secret| secret.expose().as_bytes());
        Err(self.failed(presentable(message, finished.status, secret)))
    }

    fn failed(&self, message: String) -> PlaceError {
        PlaceError::HelperFailed { program: self.program.clone(), message }
    }
}

/// The input of `store`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stored<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// The answer of `get`. Its URL is the one in the request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// The name under which a helper stores a profile's secret.
fn server_url(profile: &ProfileName, remote: &str) -> String {
    let segment = utf8_percent_encode(profile.as_str(), SEGMENT);
    format!("{}/cli/{segment}", remote.trim_end_matches('/'))
}
