//! The time that all keyring and credential helper calls of one operation share.

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

/// How long keyring calls may take if nobody can answer a prompt.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long they may take if somebody can.
const TIMEOUT_WITH_PROMPT: Duration = Duration::from_mins(1);

/// After this long without an answer, it is probably waiting for a prompt.
const SILENCE: Duration = Duration::from_secs(1);

/// The minimum for putting back an old secret, and for storing what a server gives only once. A
/// change that timed out is still in progress, and the keyring does one thing after the other.
const RESERVE: Duration = Duration::from_secs(2);

/// How long a change in progress may take to finish after a cancellation. If we left earlier, we
/// would not know whether the secret is stored.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// The time that one operation has for keyring and helper calls. Clones share it.
/// Only the time within calls counts. A slow server, or a wait for another process between two
/// calls, takes nothing from the second call, which may be the one that stores what the server
/// gave.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    /// Whether its calls undo a change.
    undoes: bool,
}

#[derive(Debug)]
struct Shared {
    limit: Duration,
    left: Mutex<Duration>,
    may_prompt: bool,
    /// Whether the user has closed a prompt: the operation shows no other one.
    dismissed: AtomicBool,
    announced: AtomicBool,
    wait: Wait,
    observer: Observer,
}

/// `BASETEN_KEYRING_TIMEOUT` is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BASETEN_KEYRING_TIMEOUT must be a number of seconds above 0 and up to 86400")]
pub struct TimeoutError;

impl Budget {
    /// A budget of this much time. If the user may be asked to unlock a place (`may_prompt`), the
    /// observer is told at most once what we are waiting for.
    pub fn new(limit: Duration, may_prompt: bool, wait: Wait, observer: Observer) -> Self {
        let shared = Shared {
            limit,
            left: Mutex::new(limit),
            may_prompt,
            dismissed: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            wait,
            observer,
        };
        Self { shared: Arc::new(shared), undoes: false }
    }

    /// A budget of `BASETEN_KEYRING_TIMEOUT`, or else of 60 s with a prompt and 3 s without.
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

    /// The same time, for calls that undo a change: each gets at least 2 s, and a cancellation does
    /// not end it.
    pub(super) fn undoing(&self) -> Self {
        Self { undoes: true, ..self.clone() }
    }

    /// Leaves at least 2 s for the next calls, which store what can't be obtained again.
    pub(crate) fn reserve(&self) {
        let mut left = self.shared.left();
        *left = (*left).max(RESERVE);
    }

    /// Calls a place; the call may use all the time that is left.
    pub(super) fn call<T>(
        &self,
        place: &str,
        work: impl FnOnce(&Call) -> Result<T, PlaceError>,
    ) -> Result<T, PlaceError> {
        let mut wait = self.shared.wait.clone();
        if self.undoes {
            self.reserve();
            wait = wait.with_cancel(Cancel::default());
        }
        let deadline = wait.deadline(*self.shared.left());
        let call = Call {
            budget: Arc::clone(&self.shared),
            place: place.to_owned(),
            deadline,
            wait,
            changing: Arc::default(),
        };
        let outcome = call.remaining().and_then(|_| work(&call));
        *self.shared.left() = call.wait.remaining(deadline).unwrap_or_default();
        if matches!(outcome, Err(PlaceError::Dismissed)) {
            self.shared.dismissed.store(true, Ordering::SeqCst);
        }
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

/// One call to a place. The thread that does the work has a clone, which may outlive the call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    budget: Arc<Shared>,
    place: String,
    deadline: Deadline,
    wait: Wait,
    /// Set before the first step that changes what is stored.
    changing: Arc<AtomicBool>,
}

impl Call {
    /// The time that is left for the next step.
    /// A cancellation does not interrupt a change that has begun.
    pub(super) fn remaining(&self) -> Result<Duration, PlaceError> {
        if self.wait.cancel().is_canceled() && !self.changing.load(Ordering::SeqCst) {
            return Err(PlaceError::Canceled);
        }
        self.wait.remaining(self.deadline).ok_or_else(|| self.timed_out())
    }

    /// Call this right before the first step that changes what is stored. After a cancellation it
    /// fails, and nothing is changed.
    pub(super) fn begin_change(&self) -> Result<(), PlaceError> {
        // Set the flag, then look for a cancellation. The other side does both in the opposite
        // order, so at least one of the two sees the other.
        self.changing.store(true, Ordering::SeqCst);
        if self.wait.cancel().is_canceled() { Err(PlaceError::Canceled) } else { Ok(()) }
    }

    /// Whether a prompt may be shown.
    pub(super) fn may_prompt(&self) -> bool {
        self.budget.may_prompt && !self.budget.dismissed.load(Ordering::SeqCst)
    }

    /// Reports what we are waiting for, once in an operation.
    pub(super) fn announce(&self, event: &Event<'_>) {
        if !self.budget.announced.swap(true, Ordering::SeqCst) {
            self.budget.observer.notify(event);
        }
    }

    /// Cancels the whole run. A call that undoes a change ignores it.
    pub(super) fn cancel(&self) -> &Cancel {
        self.budget.wait.cancel()
    }

    fn timed_out(&self) -> PlaceError {
        PlaceError::TimedOut { place: self.place.clone(), after: self.budget.limit }
    }

    /// Polls for a result until the deadline or a cancellation. The function must wait no longer
    /// than the time that it is given. Its second argument says whether a prompt is probably the
    /// reason for the wait, so that it can be announced.
    pub(super) fn until<T>(
        &self,
        mut look: impl FnMut(Duration, bool) -> Option<T>,
    ) -> Result<T, PlaceError> {
        let silence = self.wait.deadline(SILENCE);
        let mut canceled = None;
        loop {
            let left = self.wait.remaining(self.deadline);
            let prompts = self.budget.may_prompt && self.wait.remaining(silence).is_none();
            // Look once more at the end: after this process was stopped, an answer may be there
            // already.
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
            .map(|budget| budget.shared.limit)
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
            assert!(budget.call("place", |_| Ok(())).is_ok());
            Wait::default().sleep(time / 2).unwrap();
        }
        assert!(budget.call("place", |_| Ok(())).is_ok());
    }

    #[test]
    fn the_time_of_an_operation_is_shared_by_its_calls() {
        let budget = budget(Duration::from_millis(30), Cancel::default());
        let never = |call: &Call| call.until(|time, _| Wait::default().sleep(time).err());
        let timed_out = |outcome| matches!(outcome, Err(PlaceError::TimedOut { .. }));
        assert!(timed_out(budget.call("place", never).map(drop)));
        assert!(timed_out(budget.call("place", |_| Ok(()))));
        // The undoing call gets its own time.
        let left = budget.undoing().call("place", Call::remaining).unwrap();
        assert!(left > Duration::from_secs(1));
    }

    #[test]
    fn a_cancellation_prevents_a_change_that_has_not_begun() {
        let cancel = Cancel::default();
        let budget = budget(Duration::from_secs(5), cancel.clone());
        let late = budget.call("place", |call| {
            cancel.cancel();
            call.begin_change()
        });
        assert!(matches!(late, Err(PlaceError::Canceled)));
        assert!(matches!(budget.call("place", |_| Ok(())), Err(PlaceError::Canceled)));
        assert!(budget.undoing().call("place", |_| Ok(())).is_ok());
    }

    #[test]
    fn a_cancellation_lets_a_change_end() {
        let cancel = Cancel::default();
        let budget = budget(Duration::from_secs(5), cancel.clone());
        let changed = budget.call("place", |call| {
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
