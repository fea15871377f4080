//! The only way to wait: a clock, deadlines, cancellation, work on a detached thread, and a guard
//! that delays the end of the process.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// How often a wait that cannot be interrupted checks for a cancellation.
pub(crate) const SLICE: Duration = Duration::from_millis(20);

/// Where time comes from: the machine, or a test.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, for comparison with an expiry.
    fn now(&self) -> Timestamp;

    /// A clock that never goes backwards, for deadlines.
    fn monotonic(&self) -> Instant;

    /// Waits this long, or until the cancellation.
    fn sleep(&self, duration: Duration, cancel: &Cancel);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        timestamp(SystemTime::now())
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration, cancel: &Cancel) {
        cancel.wait(duration);
    }
}

/// A clock may be set to any time. The latest that can be written is in the year 9999.
fn timestamp(time: SystemTime) -> Timestamp {
    let is_late = time > SystemTime::UNIX_EPOCH;
    let nearest = if is_late { Timestamp::MAX } else { Timestamp::MIN };
    Timestamp::try_from(time).unwrap_or(nearest)
}

/// A request to stop: raised from outside, seen by every wait. Clones are the same request.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    canceled: Condvar,
}

#[derive(Default)]
struct State {
    requested: bool,
    holds: usize,
    cleanups: usize,
    on_release: Option<Box<dyn FnOnce() + Send>>,
}

impl State {
    fn is_canceled(&self) -> bool {
        self.holds == 0 && (self.requested || self.on_release.is_some())
    }

    /// Ends the process, if that was requested and nothing delays it any more.
    fn end_if_released(&mut self) {
        if self.holds == 0
            && self.cleanups == 0
            && let Some(end) = self.on_release.take()
        {
            end();
        }
    }
}

impl Cancel {
    /// Asks every wait to end. While a [`Held`] guard is alive, this is delayed until it is
    /// dropped.
    pub fn cancel(&self) {
        self.state().requested = true;
        self.0.canceled.notify_all();
    }

    /// Whether [`Cancel::cancel`] was called and no guard delays it.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.state().is_canceled()
    }

    /// Delays cancellations, and [`Cancel::when_released`], until the guard is dropped.
    #[must_use = "dropping the guard releases it"]
    pub fn hold(&self) -> Held {
        self.state().holds += 1;
        Held(self.clone())
    }

    /// Delays [`Cancel::when_released`] until the guard is dropped, because something must be
    /// cleaned up first, such as a program at the terminal. Waits are still canceled, so that this
    /// happens soon.
    #[must_use = "dropping the guard releases it"]
    pub(crate) fn cleanup(&self) -> Cleanup {
        self.state().cleanups += 1;
        Cleanup(self.clone())
    }

    /// Calls a function now, or as soon as no guard delays it any more. No new guard can be created
    /// while it runs, so it may end the process. A later call replaces a function that still waits.
    /// Returns true if it has to wait.
    pub fn when_released(&self, end: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.state();
        state.on_release = Some(Box::new(end));
        state.end_if_released();
        let waits = state.on_release.is_some();
        drop(state);
        self.0.canceled.notify_all();
        waits
    }

    /// Waits this long, or until it is canceled.
    fn wait(&self, duration: Duration) {
        let state = self.state();
        let not_yet = |state: &mut State| !state.is_canceled();
        drop(self.0.canceled.wait_timeout_while(state, duration, not_yet));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cancel({})", self.is_canceled())
    }
}

/// While this is alive, the current work is not interrupted; see [`Cancel::hold`].
#[derive(Debug)]
pub struct Held(Cancel);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.holds = state.holds.saturating_sub(1);
        state.end_if_released();
        drop(state);
        self.0.0.canceled.notify_all();
    }
}

/// While this is alive, something has to be cleaned up; see [`Cancel::cleanup`].
#[derive(Debug)]
pub(crate) struct Cleanup(Cancel);

impl Cleanup {
    /// Waits this long, or until the cancellation.
    pub(crate) fn wait(&self, time: Duration) {
        self.0.wait(time);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.cleanups = state.cleanups.saturating_sub(1);
        state.end_if_released();
    }
}

/// The moment at which something began, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall: Timestamp,
    steady: Instant,
}

/// The moment at which waiting ends, by the clock that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// Why a wait ended without its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was canceled.
    #[error("canceled")]
    Canceled,
    /// The deadline has passed.
    #[error("timed out")]
    TimedOut,
}

/// How one run waits: with this clock, until this cancellation.
#[derive(Debug, Clone)]
pub struct Wait {
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

/// The machine's clock, and no cancellation.
impl Default for Wait {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock), Cancel::default())
    }
}

impl Wait {
    /// Waits with this clock, until this cancellation.
    pub fn new(clock: Arc<dyn Clock>, cancel: Cancel) -> Self {
        Self { clock, cancel }
    }

    /// The same clock, with another cancellation.
    #[must_use]
    pub fn with_cancel(&self, cancel: Cancel) -> Self {
        Self { clock: Arc::clone(&self.clock), cancel }
    }

    /// What cancels its waits.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The wall clock, for comparison with an expiry.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The moment that is this long from now.
    pub fn deadline(&self, after: Duration) -> Deadline {
        let now = self.clock.monotonic();
        // If the time does not fit the clock, a day is long enough.
        Deadline(now.checked_add(after).unwrap_or(now + Duration::from_hours(24)))
    }

    /// The time until then; `None` if it has passed.
    pub fn remaining(&self, deadline: Deadline) -> Option<Duration> {
        let left = deadline.0.checked_duration_since(self.clock.monotonic());
        left.filter(|left| !left.is_zero())
    }

    /// This moment.
    pub(crate) fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), steady: self.clock.monotonic() }
    }

    /// How long ago a moment was, without the time that the machine was asleep.
    pub(crate) fn elapsed(&self, since: Moment) -> Duration {
        self.clock.monotonic().saturating_duration_since(since.steady)
    }

    /// How long the machine was asleep since then: the wall clock went on, and the other one did not. On
    /// Windows, both go on: there, it is never known.
    pub(crate) fn slept(&self, since: Moment) -> Duration {
        let by_the_wall = Duration::try_from(self.clock.now().duration_since(since.wall));
        by_the_wall.unwrap_or_default().saturating_sub(self.elapsed(since))
    }

    /// Waits this long.
    pub fn sleep(&self, duration: Duration) -> Result<(), Stopped> {
        self.clock.sleep(duration, &self.cancel);
        if self.cancel.is_canceled() { Err(Stopped::Canceled) } else { Ok(()) }
    }

    /// Tries repeatedly, with this pause, until there is a result. Tries at least once.
    pub fn poll<T>(
        &self,
        deadline: Deadline,
        pause: Duration,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, Stopped> {
        loop {
            if let Some(result) = attempt() {
                return Ok(result);
            }
            let left = self.remaining(deadline).ok_or(Stopped::TimedOut)?;
            self.sleep(pause.min(left))?;
        }
    }

    /// Does work that cannot be interrupted on its own thread, which is abandoned if the wait ends
    /// early. If no thread can be started, the work is done here. If it panics, so does the wait.
    pub(crate) fn detached<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let work = Arc::new(Mutex::new(Some(work)));
        let take = |work: &Mutex<Option<_>>| {
            let work: Option<_> = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work
        };
        let theirs = Arc::clone(&work);
        let Ok(task) =
            Task::start(move || take(&theirs).map(|work| catch_unwind(AssertUnwindSafe(work))))
        else {
            return take(&work).map(|work| work()).ok_or(Stopped::Canceled);
        };
        loop {
            match task.within(SLICE) {
                Ok(Some(result)) => return result.or_else(|panic| resume_unwind(panic)),
                Err(RecvTimeoutError::Timeout) if !self.cancel.is_canceled() => {}
                Ok(None) | Err(_) => return Err(Stopped::Canceled),
            }
        }
    }
}

/// Work on a detached thread.
pub(crate) struct Task<T>(Receiver<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts it. If no thread can be started, returns the system's error.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (sender, result) = mpsc::sync_channel(1);
        let thread = move || {
            // This fails if the wait ended early, which is fine.
            let _ = sender.send(work());
        };
        std::thread::Builder::new().spawn(thread)?;
        Ok(Self(result))
    }

    /// The result, if it comes within this time.
    pub(crate) fn within(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_beyond_all_dates_is_read() {
        let year_10_000 = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 366 * 8030);
        assert_eq!(timestamp(year_10_000), Timestamp::MAX);
        assert!(timestamp(SystemTime::now()) < Timestamp::MAX);
    }

    #[test]
    fn a_held_cancellation_waits_for_the_release() {
        let cancel = Cancel::default();
        let (first, second) = (cancel.hold(), cancel.hold());
        cancel.cancel();
        let ended = Arc::new(Mutex::new(false));
        let end = Arc::clone(&ended);
        assert!(cancel.when_released(move || *end.lock().unwrap() = true));
        drop(first);
        assert!(!cancel.is_canceled() && !*ended.lock().unwrap());
        drop(second);
        assert!(cancel.is_canceled() && *ended.lock().unwrap());
        assert!(!cancel.when_released(|| ()));
    }

    #[test]
    fn a_cleanup_delays_the_end_but_not_a_cancellation() {
        let cancel = Cancel::default();
        let ended = Arc::new(Mutex::new(false));
        let end = Arc::clone(&ended);
        let (held, cleanup) = (cancel.hold(), cancel.cleanup());
        assert!(cancel.when_released(move || *end.lock().unwrap() = true));
        assert!(!cancel.is_canceled(), "what is held goes on");
        drop(cleanup);
        assert!(!*ended.lock().unwrap());
        drop(held);
        assert!(*ended.lock().unwrap());

        *ended.lock().unwrap() = false;
        let (cleanup, end) = (cancel.cleanup(), Arc::clone(&ended));
        assert!(cancel.when_released(move || *end.lock().unwrap() = true));
        assert!(cancel.is_canceled() && !*ended.lock().unwrap());
        drop(cleanup);
        assert!(*ended.lock().unwrap());
    }

    #[test]
    fn a_cancellation_ends_a_sleep_and_leaves_detached_work_to_itself() {
        let cancel = Cancel::default();
        let wait = Wait::default().with_cancel(cancel.clone());
        let waker = std::thread::spawn(move || {
            let _ = Wait::default().sleep(Duration::from_millis(50));
            cancel.cancel();
        });
        let start = Instant::now();
        assert_eq!(wait.sleep(Duration::from_mins(1)), Err(Stopped::Canceled));
        let slow = || Wait::default().sleep(Duration::from_secs(20));
        assert_eq!(wait.detached(slow), Err(Stopped::Canceled));
        assert!(start.elapsed() < Duration::from_secs(10));
        waker.join().unwrap();
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn a_panic_of_detached_work_is_not_a_cancellation() {
        let _: Result<(), _> = Wait::default().detached(|| panic!("on purpose"));
    }
}
