//! The secrets of a fleet, in a KV version 2 engine of OpenBao or HashiCorp Vault.
//!
//! `openbao/claim.rs` decides what to do, and this file does it, with our own HTTP client. Clusters
//! need two precautions. A node that is not the leader may read old data and refuse a valid
//! check-and-set, so every request sends back the index of the last answer. While the leader
//! changes, an answer does not say whether a write was made, so that is looked up.

mod claim;
mod error;
mod key;
mod settings;
mod wire;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::claim::{Action, BEHIND, Change, Found, Goal, Heard, TO_STORE};
use self::settings::Settings;
use self::wire::Draft;
use super::secret_text::{decode_secret, encode_secret};
use crate::env::Env;
use crate::http::{Http, HttpError, Request, Response};
use crate::profile::{Credential, OAuthCredential, ProfileName};
use crate::secret::Secret;
use crate::storage::EnginePath;
use crate::wait::{Cancel, Deadline, Wait};

pub use self::error::EngineError;
pub use self::key::policy_for;

/// How long to try without a clear answer.
const ENGINE_LIMIT: Duration = Duration::from_secs(30);
/// How long all calls of one command to the engine may take.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// How long one request may take: another node may answer the next.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a release may take. Nothing depends on it.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// The pause before another look.
const SOON: Duration = Duration::from_millis(100);
/// The pause while another host refreshes.
const LATER: Duration = Duration::from_millis(250);

/// The header in which a node says how new its data is.
const INDEX: &str = "x-vault-index";

/// An engine, for the length of one operation.
#[derive(Debug)]
pub(crate) struct Engine {
    path: EnginePath,
    label: String,
    settings: Settings,
    http: Http,
    wait: Wait,
    /// What is left of the command's time. Only the time within calls counts, not a slow remote or
    /// the caller's own work between two calls.
    left: Mutex<Duration>,
    index: Mutex<Option<String>>,
    alone: OnceLock<bool>,
}

/// A claim of ours: nobody else refreshes until it has run out.
#[derive(Debug)]
pub(crate) struct OwnClaim {
    key: String,
    version: u64,
    credential: Secret,
    until: Timestamp,
    /// The tokens that are to be refreshed.
    pub(crate) tokens: OAuthCredential,
}

impl OwnClaim {
    /// The latest time at which the server's answer can still be stored in time.
    pub(crate) fn answered_by(&self) -> Timestamp {
        self.until.saturating_sub(TO_STORE).unwrap_or(Timestamp::MIN)
    }
}

/// The result of trying to claim a refresh.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The refresh is ours.
    Held(OwnClaim),
    /// These tokens need no refresh, or cannot be refreshed.
    Fresh(OAuthCredential),
    /// There are no tokens.
    Gone,
}

/// How long a call may try, and what it is waiting for.
struct Call<'a> {
    engine: &'a Engine,
    wait: Wait,
    each: Duration,
    until: Deadline,
    /// The end of the command's time; `None` if the call ignores it.
    end: Option<Deadline>,
    trouble: Trouble,
}

/// Why a call has not finished yet.
enum Trouble {
    /// The answers were slow.
    Slow,
    /// Another host is refreshing.
    Busy,
    /// This was the last error.
    Failed(String),
}

impl Engine {
    /// The engine of this place, as the environment describes its server. Nothing is sent.
    pub(crate) fn new(
        path: &EnginePath,
        env: &Env,
        http: &Http,
        wait: Wait,
    ) -> Result<Self, EngineError> {
        let settings = Settings::from_env(env)?;
        let http = http.trusting(settings.authority.clone());
        let (left, index) = (Mutex::new(COMMAND_LIMIT), Mutex::new(None));
        let (path, label) = (path.clone(), path.to_string());
        Ok(Self { path, label, settings, http, wait, left, index, alone: OnceLock::new() })
    }

    pub(crate) fn path(&self) -> &EnginePath {
        &self.path
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn get(
        &self,
        profile: &ProfileName,
        remote: &str,
    ) -> Result<Option<Secret>, EngineError> {
        let key = key::of(&self.path, remote, profile);
        let mut call = self.call(ENGINE_LIMIT, false);
        let mut behind = None;
        loop {
            if let Heard::Found(found) = self.look(&key, &mut call)? {
                let end = *behind.get_or_insert_with(|| self.wait.deadline(BEHIND));
                let is_sure = found.secret.is_some() || self.is_alone(&mut call);
                if is_sure || self.wait.remaining(end).is_none() {
                    return Ok(found.secret.map(|shared| shared.credential));
                }
            }
            self.pause(&mut call, SOON)?;
        }
    }

    pub(super) fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        secret: &Secret,
    ) -> Result<(), EngineError> {
        let key = key::of(&self.path, remote, profile);
        let mut call = self.call(ENGINE_LIMIT, false);
        self.change(&key, Goal::Replace, Some(secret), &mut call).map(drop)
    }

    /// Takes back what [`Engine::set`] may have stored. What another host has stored meanwhile stays:
    /// it may be the only copy of a session.
    pub(super) fn undo(
        &self,
        profile: &ProfileName,
        remote: &str,
        set: &Secret,
        before: Option<&Secret>,
    ) -> Result<(), EngineError> {
        let key = key::of(&self.path, remote, profile);
        let mut call = self.call(ENGINE_LIMIT, true);
        if before.is_some() {
            let goal = Goal::ReplaceOnly { outdated: &|text| text == set };
            return self.change(&key, goal, before, &mut call).map(drop);
        }
        let is_ours = Goal::Claim { needs: &|_| false };
        match self.change(&key, is_ours, None, &mut call)? {
            Action::Fresh(there) if there == *set => self.delete(&key, &mut call),
            _ => Ok(()),
        }
    }

    /// Deletes the secret with all its versions.
    pub(super) fn remove(&self, profile: &ProfileName, remote: &str) -> Result<(), EngineError> {
        let key = key::of(&self.path, remote, profile);
        self.delete(&key, &mut self.call(ENGINE_LIMIT, false))
    }

    fn delete(&self, key: &str, call: &mut Call<'_>) -> Result<(), EngineError> {
        let url = self.settings.url(&self.path, "metadata", key);
        loop {
            match self.send(Request::delete(url.as_str()), call)?.map(|sent| sent.status) {
                Some(200..=299 | 404) => return Ok(()),
                Some(status) => return Err(self.refused(status)),
                None => self.pause(call, SOON)?,
            }
        }
    }

    /// Claims the refresh of a profile's tokens, if they need one. Waits while another host has the
    /// claim.
    pub(crate) fn claim(
        &self,
        profile: &ProfileName,
        remote: &str,
        needs: impl Fn(&OAuthCredential) -> bool,
    ) -> Result<Claimed, EngineError> {
        let key = key::of(&self.path, remote, profile);
        let needs = |text: &Secret| tokens(text).is_some_and(|tokens| needs(&tokens));
        let goal = Goal::Claim { needs: &needs };
        let ended = self.change(&key, goal, None, &mut self.call(ENGINE_LIMIT, false))?;
        Ok(match ended {
            Action::Held { version, credential, until } => match tokens(&credential) {
                Some(tokens) => Claimed::Held(OwnClaim { key, version, credential, until, tokens }),
                None => Claimed::Gone,
            },
            Action::Fresh(credential) => tokens(&credential).map_or(Claimed::Gone, Claimed::Fresh),
            _ => Claimed::Gone,
        })
    }

    /// Stores refreshed tokens, whatever the current version is, and gives the claim up. The tokens
    /// of another login stay. False if the secret is gone.
    pub(crate) fn keep(&self, held: &OwnClaim, new: &OAuthCredential) -> Result<bool, EngineError> {
        let credential = encode_secret(&Credential::OAuth(new.clone()), Some(&held.credential));
        let outdated = |text: &Secret| {
            tokens(text).is_some_and(|there| {
                there.refresh_token == held.tokens.refresh_token
                    && there.access_token != new.access_token
            })
        };
        let mut call = self.call(ENGINE_LIMIT, true);
        // The claim's version is known, so usually no look is needed.
        let first = self.write(&held.key, held.version, &credential, &mut call);
        if let Ok(Heard::Written(_)) = first {
            return Ok(true);
        }
        loop {
            let goal = Goal::ReplaceOnly { outdated: &outdated };
            match self.change(&held.key, goal, Some(&credential), &mut call) {
                Ok(ended) => return Ok(ended == Action::Done),
                // Only this process has these tokens, and the engine took the claim a moment ago.
                Err(error) if self.pause(&mut call, LATER).is_err() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Gives a claim up after its refresh failed. If that fails too, the claim runs out by itself.
    pub(crate) fn release(&self, held: &OwnClaim) {
        let mut call = self.call(RELEASE_LIMIT, true);
        let _ = self.write(&held.key, held.version, &held.credential, &mut call);
    }

    /// Makes a change. If it fails, its claim is given up.
    fn change(
        &self,
        key: &str,
        goal: Goal<'_>,
        new: Option<&Secret>,
        call: &mut Call<'_>,
    ) -> Result<Action, EngineError> {
        let nonce = random();
        let mut change = Change::new(goal, &nonce);
        let ended = self.steps(key, &mut change, new, call);
        if ended.is_err() && change.may_have_claimed() {
            self.withdraw(key, &nonce);
        }
        ended
    }

    /// Gives up a claim that a failed change may have written.
    fn withdraw(&self, key: &str, nonce: &str) {
        let mut call = self.call(RELEASE_LIMIT, true);
        if let Ok(Heard::Found(Found { version, secret: Some(shared) })) = self.look(key, &mut call)
            && shared.claim.is_some_and(|claim| claim.by == nonce)
        {
            let _ = self.write(key, version, &shared.credential, &mut call);
        }
    }

    /// Takes the steps of a change until it has ended.
    fn steps(
        &self,
        key: &str,
        change: &mut Change<'_>,
        new: Option<&Secret>,
        call: &mut Call<'_>,
    ) -> Result<Action, EngineError> {
        let nonce = change.nonce();
        let start = self.wait.moment();
        let mut heard = self.look(key, call)?;
        loop {
            let steady = self.wait.elapsed(start);
            let is_absent = matches!(&heard, Heard::Found(found) if found.secret.is_none());
            if is_absent && self.is_alone(call) {
                change.doubt_nothing();
            }
            heard = match change.step(heard, self.wait.now(), steady) {
                Action::Look => {
                    self.pause(call, SOON)?;
                    self.look(key, call)?
                }
                Action::Wait => {
                    call.until = self.wait.deadline(call.each);
                    call.trouble = Trouble::Busy;
                    self.pause(call, LATER)?;
                    self.look(key, call)?
                }
                Action::Write { on, credential, until } => {
                    let Some(credential) = credential.as_ref().or(new) else {
                        return Ok(Action::Lost);
                    };
                    let claim = until.map(|until| (nonce, until));
                    let draft = Draft { credential, nonce, claim };
                    call.trouble = Trouble::Slow;
                    self.write_draft(key, on, &draft, call)?
                }
                ended => return Ok(ended),
            };
        }
    }
}

/// Requests, and what their answers mean.
impl Engine {
    fn call(&self, each: Duration, undoes: bool) -> Call<'_> {
        let wait = &self.wait;
        let wait = if undoes { wait.with_cancel(Cancel::default()) } else { wait.clone() };
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, end) = (wait.deadline(each), (!undoes).then(|| wait.deadline(left)));
        Call { engine: self, wait, each, until, end, trouble: Trouble::Slow }
    }

    fn pause(&self, call: &mut Call<'_>, pause: Duration) -> Result<(), EngineError> {
        call.left().ok_or_else(|| self.given_up(call))?;
        call.wait.sleep(pause).map_err(|_| EngineError::Canceled)
    }

    fn given_up(&self, call: &Call<'_>) -> EngineError {
        let trouble = match &call.trouble {
            Trouble::Busy => return EngineError::Busy { place: self.path.clone() },
            Trouble::Slow => "it is too slow".to_owned(),
            Trouble::Failed(trouble) => trouble.clone(),
        };
        let (address, after) = (self.settings.address.clone(), call.each);
        EngineError::Away { address, after, trouble }
    }

    /// Whether this is the only server, so that no other can be ahead of it. If it does not say so,
    /// there may be others.
    fn is_alone(&self, call: &mut Call<'_>) -> bool {
        *self.alone.get_or_init(|| {
            let request = Request::get(format!("{}/v1/sys/leader", self.settings.address));
            let answer = self.send(request, call);
            matches!(answer, Ok(Some(response)) if wire::has_no_others(&response))
        })
    }

    fn look(&self, key: &str, call: &mut Call<'_>) -> Result<Heard, EngineError> {
        let url = self.settings.url(&self.path, "data", key);
        let Some(response) = self.send(Request::get(url), call)? else {
            return Ok(Heard::Unclear);
        };
        match response.status {
            200 | 404 => match wire::found(&response) {
                Some(found) => Ok(Heard::Found(found)),
                None if response.status == 404 => Err(self.refused(404)),
                None => Err(self.not_protocol()),
            },
            status => Err(self.refused(status)),
        }
    }

    fn write(
        &self,
        key: &str,
        on: u64,
        credential: &Secret,
        call: &mut Call<'_>,
    ) -> Result<Heard, EngineError> {
        self.write_draft(key, on, &Draft { credential, nonce: &random(), claim: None }, call)
    }

    fn write_draft(
        &self,
        key: &str,
        on: u64,
        draft: &Draft<'_>,
        call: &mut Call<'_>,
    ) -> Result<Heard, EngineError> {
        let url = self.settings.url(&self.path, "data", key);
        let body = draft.body(on);
        let Some(response) = self.send(Request::post(url).json(&body), call)? else {
            return Ok(Heard::Unclear);
        };
        match response.status {
            200 => Ok(wire::version(&response).map_or(Heard::Unclear, Heard::Written)),
            400 => {
                call.trouble = Trouble::Failed("it refused the write (HTTP 400)".to_owned());
                Ok(Heard::Unclear)
            }
            status => Err(self.refused(status)),
        }
    }

    /// Sends a request once. `None` if the answer does not say what became of the request, or if
    /// another node, or the same one a moment later, may answer better.
    fn send(
        &self,
        request: Request<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Response>, EngineError> {
        if call.wait.cancel().is_canceled() {
            return Err(EngineError::Canceled);
        }
        // With less time, a timeout would only hide the earlier error.
        let left = call.left().filter(|left| *left >= SOON);
        let left = left.ok_or_else(|| self.given_up(call))?;
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut request = request
            .within(left.min(REQUEST_LIMIT))
            .header("x-vault-token", self.settings.token.expose())
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(index) = &index {
            request =
                request.header(INDEX, index).header("x-vault-inconsistent", "forward-active-node");
        }
        let response = match self.http.send(&request) {
            Ok(response) => response,
            Err(error) if error.is_transient() || matches!(error, HttpError::NotHttp { .. }) => {
                call.trouble = Trouble::Failed(error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(EngineError::Http(error)),
        };
        if let Some(index) = response.header(INDEX) {
            let newest = Some(index.to_owned());
            *self.index.lock().unwrap_or_else(PoisonError::into_inner) = newest;
        }
        match response.status {
            403 => Err(self.denied()),
            300..=399 | 412 | 429 | 472 | 473 | 500.. => {
                call.trouble = Trouble::Failed(wire::trouble(&response));
                Ok(None)
            }
            _ => Ok(Some(response)),
        }
    }

    fn denied(&self) -> EngineError {
        let (address, place) = (self.settings.address.clone(), self.path.clone());
        EngineError::Denied { address, place }
    }

    fn refused(&self, status: u16) -> EngineError {
        let (address, place) = (self.settings.address.clone(), self.path.clone());
        EngineError::Refused { address, place, status }
    }

    fn not_protocol(&self) -> EngineError {
        let (address, place) = (self.settings.address.clone(), self.path.clone());
        EngineError::NotProtocol { address, place }
    }
}

impl Call<'_> {
    fn left(&self) -> Option<Duration> {
        let left = self.wait.remaining(self.until)?;
        match self.end {
            Some(end) => Some(left.min(self.wait.remaining(end)?)),
            None => Some(left),
        }
    }
}

/// Takes the time of the call off the command's time.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(end) = self.end else { return };
        let mut left = self.engine.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = self.wait.remaining(end).unwrap_or_default();
    }
}

fn tokens(text: &Secret) -> Option<OAuthCredential> {
    match decode_secret(text) {
        Some(Credential::OAuth(tokens)) => Some(tokens),
        _ => None,
    }
}

/// A text that no other process makes. It is not a secret.
fn random() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

#[cfg(test)]
mod tests;
