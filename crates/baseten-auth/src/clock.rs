//! Now, sleep, and deadlines that a cancellation cuts short.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
