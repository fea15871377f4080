//! Signals: they end the program at once, unless it is storing something or refreshing a session.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use baseten_auth::internal::Cancel;

use crate::exit::Exit;
use crate::render;
use crate::terminal::window::{self, Leftover};

/// What a signal does, and whether one came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    cancel: Cancel,
    state: Arc<Mutex<State>>,
    redraws: bool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// What the first signal does instead of ending the process, and whether SIGHUP counts.
    stop: Option<(Box<dyn FnOnce() + Send>, bool)>,
    signal: Option<Exit>,
    /// When the first signal arrived that has to wait for a refresh.
    waiting_since: Option<Instant>,
    leftover: Option<Leftover>,
}

/// A second Ctrl-C this long after the first does not wait.
const INSISTENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is in progress: a signal ends the process.
    #[default]
    Open,
    /// Something is being stored: a signal asks to abandon it.
    Storing,
    /// It is stored. A signal can no longer undo that, and only cuts the cleanup short.
    Stored,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Interrupt {
    /// `redraws` says that there may be a waiting line to clear.
    pub(crate) fn new(redraws: bool) -> Self {
        Self { redraws, ..Self::default() }
    }

    /// The flag that a signal raises while something is being stored.
    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The signal that came while something was being stored.
    pub(crate) fn signal(&self) -> Option<Exit> {
        let state = self.state();
        state.signal.filter(|_| state.phase != Phase::Stored)
    }

    /// Runs what must be done completely or not at all.
    pub(crate) fn store<T, E>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.state().phase = Phase::Storing;
        let outcome = act();
        if outcome.is_ok() {
            self.state().phase = Phase::Stored;
        }
        outcome
    }

    /// What a signal has to clear as well.
    pub(crate) fn leave(&self, leftover: Option<Leftover>) {
        self.state().leftover = leftover;
    }

    /// Takes back what a signal would clear: from now on the caller does that.
    pub(crate) fn take_leftover(&self) -> Option<Leftover> {
        self.state().leftover.take()
    }

    /// Makes the first signal call a function instead of ending the process. SIGHUP does so only if
    /// `hang_up_counts`, and is ignored otherwise. A second signal ends the process.
    pub(crate) fn stop_with(&self, hang_up_counts: bool, stop: impl FnOnce() + Send + 'static) {
        self.state().stop = Some((Box::new(stop), hang_up_counts));
    }

    /// Only the output is left, and its reader may be slow: a signal ends the process again.
    pub(crate) fn finish(&self) {
        self.state().phase = Phase::Open;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a signal, on a separate thread.
    fn on_signal(&self, exit: Exit) {
        let mut state = self.state();
        match &state.stop {
            Some((_, false)) if exit == Exit::HungUp => return,
            Some(_) => {
                if let Some((stop, _)) = state.stop.take() {
                    stop();
                }
                return;
            }
            None => {}
        }
        match state.phase {
            Phase::Open => {
                let (redraws, leftover) = (self.redraws, state.leftover.clone());
                let insists = state.waiting_since.is_some_and(|at| at.elapsed() >= INSISTENCE);
                // A second signal only counts if the user sent it, and a hang-up does not come from
                // the user.
                if insists && exit != Exit::HungUp {
                    end(exit, redraws, leftover.as_ref());
                }
                // The answer to a refresh comes only once: the signal waits until it is stored.
                if self.cancel.when_released(move || end(exit, redraws, leftover.as_ref())) {
                    state.waiting_since.get_or_insert_with(Instant::now);
                }
            }
            Phase::Storing => {
                state.signal = Some(exit);
                self.cancel.cancel();
            }
            Phase::Stored => self.cancel.cancel(),
        }
    }

    /// Starts to listen for signals, which takes a thread and a pair of sockets.
    #[cfg(unix)]
    pub(crate) fn listen(&self) {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
        use signal_hook::iterator::Signals;
        // With a handler for SIGXFSZ, a write beyond the file size limit fails instead of ending the
        // process.
        // What was ignored at the start, by `nohup` for example, stays ignored.
        let ignored = ignored_signals();
        let is_heard = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
        if is_heard(&SIGXFSZ) {
            let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
        }
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(is_heard);
        // Without a handler, a signal has its default effect.
        let Ok(mut signals) = Signals::new(wanted) else { return };
        let interrupt = self.clone();
        let listen = move || {
            for signal in signals.forever() {
                interrupt.on_signal(match signal {
                    SIGTERM => Exit::Terminated,
                    SIGHUP => Exit::HungUp,
                    SIGQUIT => Exit::Quit,
                    _ => Exit::Interrupted,
                });
            }
        };
        // If no thread starts, the handler is dropped, and signals have their default effect.
        let _ = std::thread::Builder::new().spawn(listen);
    }

    /// Starts to listen for Ctrl-C.
    #[cfg(windows)]
    pub(crate) fn listen(&self) {
        let interrupt = self.clone();
        // Without a handler, Ctrl-C has its default effect.
        let _ = ctrlc::set_handler(move || interrupt.on_signal(Exit::Interrupted));
    }
}

/// The signals that this process was started to ignore, as far as the system says so: bit 0 is
/// signal 1.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// How long to wait for stderr, which may be blocked, before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Restores the terminal, reports the signal, and ends the process.
#[expect(clippy::disallowed_methods, reason = "a signal ends the process from wherever it runs")]
pub(crate) fn end(exit: Exit, redraws: bool, leftover: Option<&Leftover>) -> ! {
    let (done, is_done) = mpsc::channel();
    let leftover = leftover.cloned();
    // Before anything that could be blocked.
    let was_raw = leave_raw_mode();
    if let Some(leftover) = &leftover {
        leftover.echo.restore();
    }
    let say = move || {
        // Keeps the waiting line from being drawn again.
        let _quiet = std::io::stderr().lock();
        if redraws || was_raw {
            window::clear(leftover.as_ref());
            let _ = std::io::stderr().write_all(b"\x1b[?25h\x1b[?2004l");
        }
        render::talk("Canceled.");
        let _ = done.send(());
        loop {
            std::thread::park();
        }
    };
    // Whoever writes to stderr has its lock, and may be blocked there for good.
    if std::thread::Builder::new().spawn(say).is_ok() {
        let _ = is_done.recv_timeout(LAST_WORDS);
    }
    std::process::exit(exit as i32)
}

/// Ends the raw mode of a prompt; true if there was one.
fn leave_raw_mode() -> bool {
    use crossterm::terminal::{disable_raw_mode, is_raw_mode_enabled};
    let was_raw = is_raw_mode_enabled().unwrap_or(false);
    let _ = disable_raw_mode();
    was_raw
}
