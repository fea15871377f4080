//! Now, sleep, and deadlines that a cancellation cuts short.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where time comes from: the machine, or a test.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, for comparison with an expiry.
    fn now(&self) -> Timestamp;

    /// A clock that never goes backwards, for measuring and for deadlines.
    fn monotonic(&self) -> Instant;

    /// Waits for that long.
    fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that waits")]
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A flag that somebody else raises to say: stop waiting.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks every wait that looks at this flag to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How often a wait for something that cannot be stopped looks at the cancellation.
const GLANCE: Duration = Duration::from_millis(20);

/// Does work that cannot be stopped on a thread of its own, and leaves it there after a cancellation:
/// then there is no outcome. Where no thread can be made, it is done here.
pub(crate) fn apart<T: Send + 'static>(
    cancel: &Cancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (sender, outcome) = mpsc::channel();
    let thread = move || {
        if let Some(work) = take(&theirs) {
            // Nobody listens any more after a cancellation.
            let _ = sender.send(work());
        }
    };
    if std::thread::Builder::new().spawn(thread).is_err() {
        return take(&work).map(|work| work());
    }
    loop {
        match outcome.recv_timeout(GLANCE) {
            Ok(outcome) => return Some(outcome),
            Err(RecvTimeoutError::Timeout) if !cancel.is_canceled() => {}
            Err(_) => return None,
        }
    }
}

/// A moment after which waiting is over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment that is `wait` from now.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        let now = Instant::now();
        // A wait that does not fit the clock is as good as a day.
        Self(now.checked_add(wait).unwrap_or(now + Duration::from_hours(24)))
    }

    /// How long until then; `None` when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
