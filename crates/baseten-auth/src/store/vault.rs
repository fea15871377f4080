//! The places outside `auth.json` that keep secrets, and what they have in common: one deadline,
//! a way to stop, and the errors that callers branch on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Helper, Keyring};
use crate::{Cancel, Deadline, Env, Event, Observer, ProfileName, Secret};

/// The variable that overrides how long keyring work may take.
const TIMEOUT_VARIABLE: &str = "BASETEN_KEYRING_TIMEOUT";

/// How long keyring work may take where nobody can answer a prompt.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long it may take where somebody can.
const TIMEOUT_WITH_PROMPT: Duration = Duration::from_mins(1);

/// After this long without an answer, a prompt is probably what is being waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// What there is at least for putting back what was there before, and for keeping what a server
/// gives only once. A change that came too late is still on its way, and the keyring does one after
/// the other.
const RESERVE: Duration = Duration::from_secs(2);

/// How long a change that is already under way may take to end after a cancellation. Leaving
/// earlier would mean not to know whether the secret is stored.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// How often a wait looks at the cancellation.
pub(super) const SLICE: Duration = Duration::from_millis(20);

/// A place outside `auth.json` that keeps secrets by profile name.
#[derive(Debug)]
pub enum Vault {
    /// The operating system's keyring.
    Keyring(Keyring),
    /// A docker-credential-helpers program.
    Helper(Helper),
}

impl Vault {
    /// The name for messages: `system keyring`, or the helper's program.
    pub fn label(&self) -> &str {
        match self {
            Self::Keyring(_) => Keyring::LABEL,
            Self::Helper(helper) => helper.program(),
        }
    }

    /// Whether the vault can be asked at all, as far as that is known without asking it.
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        match self {
            Self::Keyring(keyring) => keyring.check(),
            Self::Helper(helper) => helper.check(),
        }
    }

    /// Sees to it that there is time for what can't be had again.
    pub(crate) fn refill(&self) {
        match self {
            Self::Keyring(keyring) => keyring.patience.refill(),
            Self::Helper(helper) => helper.patience.refill(),
        }
    }

    /// The secret of a profile of the app at `remote`; `None` when the vault answered that it has
    /// none.
    pub fn get(&self, profile: &ProfileName, remote: &str) -> Result<Option<Secret>, VaultError> {
        match self {
            Self::Keyring(keyring) => keyring.get(profile),
            Self::Helper(helper) => helper.get(profile, remote),
        }
    }

    /// Stores the secret of a profile, in place of any older one.
    ///
    /// After [`VaultError::TimedOut`] and [`VaultError::Failed`] it may be stored all the same.
    pub fn set(
        &self,
        profile: &ProfileName,
        remote: &str,
        secret: &Secret,
    ) -> Result<(), VaultError> {
        match self {
            Self::Keyring(keyring) => keyring.set(profile, secret, false),
            Self::Helper(helper) => helper.set(profile, remote, secret, false),
        }
    }

    /// Removes the secret of a profile; `false` when there was none.
    pub fn remove(&self, profile: &ProfileName, remote: &str) -> Result<bool, VaultError> {
        match self {
            Self::Keyring(keyring) => keyring.remove(profile, false),
            Self::Helper(helper) => helper.remove(profile, remote, false),
        }
    }

    /// Puts back what was there before a change that came to nothing. Unlike the others, it is
    /// not stopped by a cancellation, nor kept from trying by a deadline that has passed: either may
    /// be the reason for calling it.
    pub fn restore(
        &self,
        profile: &ProfileName,
        remote: &str,
        before: Option<&Secret>,
    ) -> Result<(), VaultError> {
        match (self, before) {
            (Self::Keyring(keyring), Some(secret)) => keyring.set(profile, secret, true),
            (Self::Keyring(keyring), None) => keyring.remove(profile, true).map(drop),
            (Self::Helper(helper), Some(secret)) => helper.set(profile, remote, secret, true),
            (Self::Helper(helper), None) => helper.remove(profile, remote, true).map(drop),
        }
    }
}

/// The reason below an error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a vault did not do what it was asked. No text of these carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no keyring here, or it can't be reached.
    #[error("the system keyring is not available")]
    NotAvailable {
        /// What is missing.
        source: Cause,
    },
    /// The keyring is locked, and nobody is here to unlock it.
    #[error("the system keyring is locked")]
    Locked,
    /// The prompt to unlock the keyring was closed without an answer.
    #[error("the system keyring was not unlocked")]
    Dismissed,
    /// The time of the command for all its keyring work is over.
    #[error("{vault} did not answer within {} s", after.as_secs_f64())]
    TimedOut {
        /// Who was asked, as a message names it.
        vault: String,
        /// The whole time that there was.
        after: Duration,
    },
    /// The keyring does not take secrets of this size.
    #[error("the secret has {size} bytes, and the system keyring takes at most {limit}")]
    TooLarge {
        /// The size of the secret as it would be stored, in bytes.
        size: usize,
        /// The largest that the keyring takes, in bytes.
        limit: usize,
    },
    /// The caller's [`Cancel`] was raised.
    #[error("canceled")]
    Canceled,
    /// The credential helper is not installed.
    #[error("{program} is not in PATH")]
    HelperMissing {
        /// The program that was looked for.
        program: String,
    },
    /// The credential helper failed.
    #[error("{program} failed: {message}")]
    HelperFailed {
        /// The program.
        program: String,
        /// What it said, or how it ended: one line without control characters.
        message: String,
    },
    /// Anything else that went wrong with the keyring.
    #[error("the system keyring failed")]
    Failed {
        /// What it answered.
        source: Cause,
    },
}

impl VaultError {
    /// Whether a secret may go to the file instead, where the user left the choice to us.
    pub fn allows_fallback(&self) -> bool {
        match self {
            Self::NotAvailable { .. }
            | Self::Locked
            | Self::Dismissed
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Failed { .. } => true,
            Self::Canceled | Self::HelperMissing { .. } | Self::HelperFailed { .. } => false,
        }
    }

    pub(super) fn failed(source: impl Into<Cause>) -> Self {
        Self::Failed { source: source.into() }
    }
}

/// What all calls to a vault in one command share.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// The time for all of them together. What passes between them does not count. When it is over,
    /// there are two seconds for putting back, or keeping, what would be lost.
    pub timeout: Duration,
    /// Whether somebody is at a terminal and may be asked to unlock the keyring.
    pub prompt: bool,
    /// Stops whatever is being waited for.
    pub cancel: Cancel,
    /// Hears of [`Event::KeyringPrompt`], at most once.
    pub observer: Observer,
}

/// Nobody is there to be asked.
impl Default for VaultOptions {
    fn default() -> Self {
        let (cancel, observer) = (Cancel::default(), Observer::default());
        Self { timeout: TIMEOUT, prompt: false, cancel, observer }
    }
}

impl VaultOptions {
    /// The time is what `BASETEN_KEYRING_TIMEOUT` says, or 60 s with a prompt and 3 s without.
    ///
    /// [`TimeoutError`] where the variable is set to something that is no time.
    pub fn from_env(
        env: &Env,
        prompt: bool,
        cancel: Cancel,
        observer: Observer,
    ) -> Result<Self, TimeoutError> {
        let timeout = match env.os(TIMEOUT_VARIABLE) {
            Some(text) => text.to_str().and_then(parse_timeout).ok_or(TimeoutError)?,
            None if prompt => TIMEOUT_WITH_PROMPT,
            None => TIMEOUT,
        };
        Ok(Self { timeout, prompt, cancel, observer })
    }
}

/// `BASETEN_KEYRING_TIMEOUT` is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BASETEN_KEYRING_TIMEOUT must be a number of seconds above 0 and up to 86400")]
pub struct TimeoutError;

fn parse_timeout(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let sensible = seconds > 0.0 && seconds <= 86_400.0;
    sensible.then(|| Duration::from_secs_f64(seconds))
}

/// The options of a command's vault, and what is left of its time.
#[derive(Debug)]
pub(super) struct Patience {
    options: VaultOptions,
    left: Arc<Mutex<Duration>>,
    announced: Arc<AtomicBool>,
}

impl Patience {
    pub(super) fn new(options: VaultOptions) -> Self {
        let left = Arc::new(Mutex::new(options.timeout));
        Self { options, left, announced: Arc::default() }
    }

    /// Leaves at least [`RESERVE`] for the calls to come.
    pub(super) fn refill(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left).max(RESERVE);
    }

    /// Starts a call to a vault of that name, which gets all the time that is left; one that undoes
    /// a change gets some in any case, and no cancellation ends it.
    pub(super) fn call(&self, vault: &str, undoes: bool) -> Result<Call, VaultError> {
        let VaultOptions { timeout, prompt, cancel, observer } = self.options.clone();
        if undoes {
            self.refill();
        }
        let turn = Turn::take(&self.left);
        let call = Call {
            vault: vault.to_owned(),
            timeout,
            deadline: turn.deadline,
            _turn: Some(turn),
            cancel: if undoes { Cancel::default() } else { cancel },
            changing: Arc::default(),
            prompt,
            observer,
            announced: Arc::clone(&self.announced),
        };
        call.remaining()?;
        Ok(call)
    }
}

/// The time that one call has. What it did not need is there for the next one.
///
/// So a slow server, or the wait for another process, between two calls costs the second nothing:
/// it may be the one that stores what the server gave.
#[derive(Debug)]
struct Turn {
    left: Arc<Mutex<Duration>>,
    deadline: Deadline,
}

impl Turn {
    fn take(left: &Arc<Mutex<Duration>>) -> Self {
        let time = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
        Self { left: Arc::clone(left), deadline: Deadline::after(time) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let unused = self.deadline.remaining().unwrap_or_default();
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = unused;
    }
}

/// One call to a vault, as seen from both sides of the thread that does it.
#[derive(Debug)]
pub(super) struct Call {
    vault: String,
    timeout: Duration,
    deadline: Deadline,
    /// With the side that waits; the other may outlive the call.
    _turn: Option<Turn>,
    cancel: Cancel,
    /// Raised before the first step that changes what is stored.
    changing: Arc<AtomicBool>,
    prompt: bool,
    observer: Observer,
    announced: Arc<AtomicBool>,
}

impl Call {
    /// The same call, for the thread that does it.
    pub(super) fn for_thread(&self) -> Self {
        Self {
            vault: self.vault.clone(),
            timeout: self.timeout,
            deadline: self.deadline,
            _turn: None,
            cancel: self.cancel.clone(),
            changing: Arc::clone(&self.changing),
            prompt: self.prompt,
            observer: self.observer.clone(),
            announced: Arc::clone(&self.announced),
        }
    }

    /// The time that is left for the next step.
    ///
    /// A change that has begun is not cut in half by a cancellation.
    pub(super) fn remaining(&self) -> Result<Duration, VaultError> {
        if self.cancel.is_canceled() && !self.changing.load(Ordering::SeqCst) {
            return Err(VaultError::Canceled);
        }
        self.deadline.remaining().ok_or_else(|| self.timed_out())
    }

    /// To be called right before the first step that changes what is stored: after a
    /// cancellation it refuses, and the change never happens.
    pub(super) fn begin_change(&self) -> Result<(), VaultError> {
        // First the flag, then the look: the other side looks in the opposite order, so one of
        // the two sees the other.
        self.changing.store(true, Ordering::SeqCst);
        if self.cancel.is_canceled() { Err(VaultError::Canceled) } else { Ok(()) }
    }

    /// Whether a prompt may be shown.
    #[cfg_attr(windows, expect(dead_code, reason = "the Credential Manager never asks"))]
    pub(super) fn may_prompt(&self) -> bool {
        self.prompt
    }

    /// Says, once in a command, that a prompt is being waited for.
    pub(super) fn announce_prompt(&self) {
        if !self.announced.swap(true, Ordering::SeqCst) {
            self.observer.notify(&Event::KeyringPrompt);
        }
    }

    pub(super) fn timed_out(&self) -> VaultError {
        VaultError::TimedOut { vault: self.vault.clone(), after: self.timeout }
    }

    /// Waits for what the thread sends, until the deadline or a cancellation.
    pub(super) fn receive<T>(&self, answers: &Receiver<T>) -> Result<T, VaultError> {
        let mut watch = self.watch();
        loop {
            let slice = watch.slice()?;
            match answers.recv_timeout(slice) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(VaultError::failed("the thread that asked it has died"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { call: self, started: Instant::now(), canceled: None }
    }
}

/// The waiting side of a call.
pub(super) struct Watch<'a> {
    call: &'a Call,
    started: Instant,
    canceled: Option<Deadline>,
}

impl Watch<'_> {
    /// How long to wait before looking again; an error when waiting is over.
    pub(super) fn slice(&mut self) -> Result<Duration, VaultError> {
        let call = self.call;
        if call.cancel.is_canceled() {
            let grace = *self.canceled.get_or_insert_with(|| Deadline::after(CANCEL_GRACE));
            if !call.changing.load(Ordering::SeqCst) || grace.remaining().is_none() {
                return Err(VaultError::Canceled);
            }
        }
        if call.prompt && self.started.elapsed() >= SILENCE {
            call.announce_prompt();
        }
        call.deadline.remaining().map(|left| left.min(SLICE)).ok_or_else(|| call.timed_out())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock as _, SystemClock};

    fn timeout_of(variables: &[(&str, &str)], prompt: bool) -> Result<Duration, TimeoutError> {
        let env: Env = variables.iter().copied().collect();
        VaultOptions::from_env(&env, prompt, Cancel::default(), Observer::default())
            .map(|options| options.timeout)
    }

    #[test]
    fn the_variable_overrides_the_timeout() {
        assert_eq!(timeout_of(&[], false), Ok(Duration::from_secs(3)));
        assert_eq!(timeout_of(&[], true), Ok(Duration::from_mins(1)));
        assert_eq!(timeout_of(&[(TIMEOUT_VARIABLE, "")], false), Ok(Duration::from_secs(3)));
        for (text, milliseconds) in
            [("5", 5000), ("0.25", 250), (" 1.5 ", 1500), ("86400", 86_400_000)]
        {
            let timeout = Duration::from_millis(milliseconds);
            assert_eq!(timeout_of(&[(TIMEOUT_VARIABLE, text)], true), Ok(timeout), "{text}");
        }
        for text in ["0", "-1", "soon", "3s", "NaN", "inf", "86401", "1e300", "0x10"] {
            assert_eq!(timeout_of(&[(TIMEOUT_VARIABLE, text)], false), Err(TimeoutError), "{text}");
        }
    }

    #[test]
    fn only_the_time_within_calls_counts() {
        let time = Duration::from_millis(400);
        let patience = patience(time, Cancel::default());
        for _ in 0..3 {
            let call = patience.call("vault", false).unwrap();
            let thread = call.for_thread();
            drop(call);
            drop(thread);
            SystemClock.sleep(time / 2);
        }
        assert!(patience.call("vault", false).is_ok());
    }

    #[test]
    fn the_time_of_a_command_is_shared_by_its_calls() {
        let patience = patience(Duration::from_millis(30), Cancel::default());
        let first = patience.call("vault", false).unwrap();
        let (_keep, answers) = std::sync::mpsc::channel::<()>();
        assert!(matches!(first.receive(&answers), Err(VaultError::TimedOut { .. })));
        assert!(matches!(patience.call("vault", false), Err(VaultError::TimedOut { .. })));
        // What has to be undone has not had its time yet.
        assert!(
            patience.call("vault", true).unwrap().remaining().unwrap() > Duration::from_secs(1)
        );
    }

    #[test]
    fn a_cancellation_prevents_a_change_that_has_not_begun() {
        let cancel = Cancel::default();
        let patience = patience(Duration::from_secs(5), cancel.clone());
        let call = patience.call("vault", false).unwrap();
        cancel.cancel();
        assert!(matches!(call.begin_change(), Err(VaultError::Canceled)));
        drop(call);
        assert!(matches!(patience.call("vault", false), Err(VaultError::Canceled)));
        assert!(patience.call("vault", true).is_ok());
    }

    #[test]
    fn a_cancellation_lets_a_change_end() {
        let cancel = Cancel::default();
        let patience = patience(Duration::from_secs(5), cancel.clone());
        let call = patience.call("vault", false).unwrap();
        call.begin_change().unwrap();
        cancel.cancel();
        let (sender, answers) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            let (_keep, pause) = std::sync::mpsc::channel::<()>();
            let _ = pause.recv_timeout(Duration::from_millis(100));
            sender.send(7)
        });
        assert_eq!(call.receive(&answers).unwrap(), 7);
        worker.join().unwrap().unwrap();
    }

    fn patience(timeout: Duration, cancel: Cancel) -> Patience {
        Patience::new(VaultOptions { timeout, cancel, ..VaultOptions::default() })
    }
}
