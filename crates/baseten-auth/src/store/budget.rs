//! The time that all work in keyrings and credential helpers of one operation shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::PlaceError;
use crate::env::Env;
use crate::event::{Event, Observer};
use crate::wait::{Cancel, Deadline, SLICE, Task, Wait};

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

/// The time for keyring and helper work that one operation has. Clones share it.
///
/// Only the time within calls counts: a slow server, or the wait for another process, between two
/// calls costs the second nothing, which may be the one that stores what the server gave.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: Duration,
    left: Mutex<Duration>,
    may_prompt: bool,
    announced: AtomicBool,
    wait: Wait,
    observer: Observer,
}

/// `BASETEN_KEYRING_TIMEOUT` is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BASETEN_KEYRING_TIMEOUT must be a number of seconds above 0 and up to 86400")]
pub struct TimeoutError;

impl Budget {
    /// This much time. Where somebody may be asked to unlock a place (`may_prompt`), the observer
    /// hears at most once of what is being waited for.
    pub fn new(limit: Duration, may_prompt: bool, wait: Wait, observer: Observer) -> Self {
        let (left, announced) = (Mutex::new(limit), AtomicBool::new(false));
        Self(Arc::new(Shared { limit, left, may_prompt, announced, wait, observer }))
    }

    /// The time is what `BASETEN_KEYRING_TIMEOUT` says, or 60 s with a prompt and 3 s without.
    pub fn from_env(
        env: &Env,
        may_prompt: bool,
        wait: Wait,
        observer: Observer,
    ) -> Result<Self, TimeoutError> {
        let limit = match env.os(TIMEOUT_VARIABLE) {
            Some(text) => text.to_str().and_then(parse_timeout).ok_or(TimeoutError)?,
            None if may_prompt => TIMEOUT_WITH_PROMPT,
            None => TIMEOUT,
        };
        Ok(Self::new(limit, may_prompt, wait, observer))
    }

    /// Leaves at least 2 s for the calls to come, which keep what can't be had again.
    pub(crate) fn reserve(&self) {
        let mut left = self.0.left();
        *left = (*left).max(RESERVE);
    }

    /// Makes a call to a place, which may use up all the time that is left. One that undoes a
    /// change gets some in any case, and no cancellation ends it.
    pub(super) fn call<T>(
        &self,
        place: &str,
        undoes: bool,
        work: impl FnOnce(&Call) -> Result<T, PlaceError>,
    ) -> Result<T, PlaceError> {
        let Shared { wait, .. } = &*self.0;
        if undoes {
            self.reserve();
        }
        let deadline = wait.deadline(*self.0.left());
        let wait = if undoes { wait.with_cancel(Cancel::default()) } else { wait.clone() };
        let call = Call {
            budget: Arc::clone(&self.0),
            place: place.to_owned(),
            deadline,
            wait,
            changing: Arc::default(),
        };
        let outcome = call.remaining().and_then(|_| work(&call));
        *self.0.left() = call.wait.remaining(deadline).unwrap_or_default();
        outcome
    }
}

impl Shared {
    fn left(&self) -> MutexGuard<'_, Duration> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let sensible = seconds > 0.0 && seconds <= 86_400.0;
    sensible.then(|| Duration::from_secs_f64(seconds))
}

/// One call to a place. A clone is for the thread that does the work, which may outlive the call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    budget: Arc<Shared>,
    place: String,
    deadline: Deadline,
    wait: Wait,
    /// Raised before the first step that changes what is stored.
    changing: Arc<AtomicBool>,
}

impl Call {
    /// The time that is left for the next step.
    ///
    /// A change that has begun is not cut in half by a cancellation.
    pub(super) fn remaining(&self) -> Result<Duration, PlaceError> {
        if self.wait.cancel().is_canceled() && !self.changing.load(Ordering::SeqCst) {
            return Err(PlaceError::Canceled);
        }
        self.wait.remaining(self.deadline).ok_or_else(|| self.timed_out())
    }

    /// To be called right before the first step that changes what is stored: after a
    /// cancellation it refuses, and the change never happens.
    pub(super) fn begin_change(&self) -> Result<(), PlaceError> {
        // First the flag, then the look: the other side looks in the opposite order, so one of
        // the two sees the other.
        self.changing.store(true, Ordering::SeqCst);
        if self.wait.cancel().is_canceled() { Err(PlaceError::Canceled) } else { Ok(()) }
    }

    /// Whether a prompt may be shown.
    pub(super) fn may_prompt(&self) -> bool {
        self.budget.may_prompt
    }

    /// Says what is being waited for, once in an operation.
    pub(super) fn announce(&self, event: &Event<'_>) {
        if !self.budget.announced.swap(true, Ordering::SeqCst) {
            self.budget.observer.notify(event);
        }
    }

    /// What ends the whole run. A call that undoes a change is not ended by it.
    pub(super) fn cancel(&self) -> &Cancel {
        self.budget.wait.cancel()
    }

    fn timed_out(&self) -> PlaceError {
        PlaceError::TimedOut { place: self.place.clone(), after: self.budget.limit }
    }

    /// Waits for a result, looking for it again and again, until the deadline or a cancellation.
    /// The function waits for as long as it is told, and no longer. Where a prompt is probably what
    /// is being waited for, it is told that too, to announce it.
    pub(super) fn until<T>(
        &self,
        mut look: impl FnMut(Duration, bool) -> Option<T>,
    ) -> Result<T, PlaceError> {
        let silence = self.wait.deadline(SILENCE);
        let mut canceled = None;
        loop {
            let left = self.wait.remaining(self.deadline);
            let prompts = self.budget.may_prompt && self.wait.remaining(silence).is_none();
            // Once more at the end: a process that was stopped gets to an answer late.
            if let Some(result) = look(left.unwrap_or_default().min(SLICE), prompts) {
                return Ok(result);
            }
            if left.is_none() {
                return Err(self.timed_out());
            }
            if self.wait.cancel().is_canceled() {
                let grace = *canceled.get_or_insert_with(|| self.wait.deadline(CANCEL_GRACE));
                let is_over = self.wait.remaining(grace).is_none();
                if is_over || !self.changing.load(Ordering::SeqCst) {
                    return Err(PlaceError::Canceled);
                }
            }
        }
    }

    /// Waits for the result of a task.
    pub(super) fn result_of<T: Send + 'static>(&self, task: &Task<T>) -> Result<T, PlaceError> {
        self.until(|time, prompts| {
            if prompts {
                self.announce(&Event::KeyringPrompt);
            }
            match task.within(time) {
                Ok(result) => Some(Ok(result)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    Some(Err(PlaceError::failed("the thread that asked it has died")))
                }
            }
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(variables: &[(&str, &str)], may_prompt: bool) -> Result<Duration, TimeoutError> {
        let env: Env = variables.iter().copied().collect();
        Budget::from_env(&env, may_prompt, Wait::default(), Observer::default())
            .map(|budget| budget.0.limit)
    }

    #[test]
    fn the_variable_overrides_the_timeout() {
        assert_eq!(limit_of(&[], false), Ok(Duration::from_secs(3)));
        assert_eq!(limit_of(&[], true), Ok(Duration::from_mins(1)));
        assert_eq!(limit_of(&[(TIMEOUT_VARIABLE, "")], false), Ok(Duration::from_secs(3)));
        for (text, milliseconds) in
            [("5", 5000), ("0.25", 250), (" 1.5 ", 1500), ("86400", 86_400_000)]
        {
            let timeout = Duration::from_millis(milliseconds);
            assert_eq!(limit_of(&[(TIMEOUT_VARIABLE, text)], true), Ok(timeout), "{text}");
        }
        for text in ["0", "-1", "soon", "3s", "NaN", "inf", "86401", "1e300", "0x10"] {
            assert_eq!(limit_of(&[(TIMEOUT_VARIABLE, text)], false), Err(TimeoutError), "{text}");
        }
    }

    #[test]
    fn only_the_time_within_calls_counts() {
        let time = Duration::from_millis(400);
        let budget = budget(time, Cancel::default());
        for _ in 0..3 {
            assert!(budget.call("place", false, |_| Ok(())).is_ok());
            Wait::default().sleep(time / 2).unwrap();
        }
        assert!(budget.call("place", false, |_| Ok(())).is_ok());
    }

    #[test]
    fn the_time_of_an_operation_is_shared_by_its_calls() {
        let budget = budget(Duration::from_millis(30), Cancel::default());
        let never = |call: &Call| call.until(|time, _| Wait::default().sleep(time).err());
        let timed_out = |outcome| matches!(outcome, Err(PlaceError::TimedOut { .. }));
        assert!(timed_out(budget.call("place", false, never).map(drop)));
        assert!(timed_out(budget.call("place", false, |_| Ok(()))));
        // What has to be undone has not had its time yet.
        let left = budget.call("place", true, Call::remaining).unwrap();
        assert!(left > Duration::from_secs(1));
    }

    #[test]
    fn a_cancellation_prevents_a_change_that_has_not_begun() {
        let cancel = Cancel::default();
        let budget = budget(Duration::from_secs(5), cancel.clone());
        let late = budget.call("place", false, |call| {
            cancel.cancel();
            call.begin_change()
        });
        assert!(matches!(late, Err(PlaceError::Canceled)));
        assert!(matches!(budget.call("place", false, |_| Ok(())), Err(PlaceError::Canceled)));
        assert!(budget.call("place", true, |_| Ok(())).is_ok());
    }

    #[test]
    fn a_cancellation_lets_a_change_end() {
        let cancel = Cancel::default();
        let budget = budget(Duration::from_secs(5), cancel.clone());
        let changed = budget.call("place", false, |call| {
            call.begin_change()?;
            cancel.cancel();
            let slow = || {
                let _ = Wait::default().sleep(Duration::from_millis(100));
                7
            };
            call.result_of(&Task::start(slow).unwrap())
        });
        assert_eq!(changed.unwrap(), 7);
    }

    fn budget(limit: Duration, cancel: Cancel) -> Budget {
        Budget::new(limit, false, Wait::default().with_cancel(cancel), Observer::default())
    }
}
