//! What the terminal can do, how large its window is, and how lines on it are cleared.

use std::io::{IsTerminal, Write as _};

use baseten_auth::internal::Env;
use crossterm::cursor::MoveUp;
use crossterm::terminal::{Clear, ClearType};

/// The size of a terminal's window, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Window {
    /// The window of stderr; `None` if lines can't be redrawn.
    pub(crate) fn of_stderr(env: &Env) -> Option<Self> {
        can_redraw(env).then(|| Self::of(&std::io::stderr())).flatten()
    }

    /// The window of stdout; `None` if it is not a terminal.
    pub(crate) fn of_stdout() -> Option<Self> {
        Self::of(&std::io::stdout())
    }

    /// We don't use `crossterm` for this: its fallback is to run `tput`, with our environment.
    #[cfg(unix)]
    pub(super) fn of(stream: &impl std::os::fd::AsFd) -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        Self::new(size.ws_col, size.ws_row)
    }

    #[cfg(windows)]
    pub(super) fn of(stream: &impl IsTerminal) -> Option<Self> {
        let (columns, rows) = stream.is_terminal().then(crossterm::terminal::size)?.ok()?;
        Self::new(columns, rows)
    }

    fn new(columns: u16, rows: u16) -> Option<Self> {
        // Some terminals report no size.
        (columns > 0).then(|| Self { columns: columns.into(), rows: rows.into() })
    }
}

/// Whether a line on stderr can be redrawn, as the waiting line is.
pub(crate) fn can_redraw(env: &Env) -> bool {
    let dumb = env.os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && (!dumb || cfg!(windows))
}

/// Whether stderr shows a hyperlink instead of its escape sequence.
pub(crate) fn has_hyperlinks(env: &Env) -> bool {
    can_redraw(env) && supports_hyperlinks::on(supports_hyperlinks::Stream::Stderr)
}

/// Whether stdin is a terminal, where a typed secret must not be echoed.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The stream that would have to be a terminal for a prompt but is not: stderr, where it is shown,
/// or stdin, where it is answered. `/dev/null` is not a terminal.
pub(crate) fn missing_for_prompts() -> Option<&'static str> {
    if !stdin_is_terminal() {
        return Some("stdin");
    }
    (!std::io::stderr().is_terminal()).then_some("stderr")
}

/// Whether somebody can see and answer the prompt of a keyring or a credential helper: at this
/// process's terminal, whatever its streams are, or on a display.
pub(crate) fn can_show_prompts(env: &Env) -> bool {
    let display = env.has("DISPLAY") || env.has("WAYLAND_DISPLAY");
    let desktop = cfg!(target_os = "macos") && !env.has("SSH_CONNECTION");
    display || desktop || has_terminal()
}

/// Whether this process has a terminal, whatever its streams are.
pub(crate) fn has_terminal() -> bool {
    std::fs::File::open(if cfg!(windows) { "CONIN$" } else { "/dev/tty" }).is_ok()
}

/// What a wait leaves on the terminal, to be cleared afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    /// Lines above the one that the cursor is in.
    pub(crate) lines: usize,
    /// The window that they were drawn in.
    pub(crate) window: Window,
    /// How to turn the echo on again.
    pub(crate) echo: Echo,
}

/// Clears the line of the cursor and what a wait left above it, and turns the echo on again.
pub(crate) fn clear(leftover: Option<&Leftover>) {
    // If the window was resized meanwhile, the lines may have moved.
    let lines = leftover
        .filter(|leftover| Window::of(&std::io::stderr()) == Some(leftover.window))
        .and_then(|leftover| u16::try_from(leftover.lines).ok())
        .filter(|lines| *lines > 0);
    let up = lines.map(|lines| MoveUp(lines).to_string()).unwrap_or_default();
    let cleared = format!("\r{up}{}", Clear(ClearType::FromCursorDown));
    // If stderr can't be written, there is nothing to clear.
    let _ = std::io::stderr().write_all(cleared.as_bytes());
    if let Some(leftover) = leftover {
        leftover.echo.restore();
    }
}

/// The modes that the terminal had before its echo was turned off.
#[derive(Debug, Clone)]
pub(crate) struct Echo(Option<modes::Modes>);

impl Echo {
    /// Turns the echo off: Enter would move the cursor away from the lines that are redrawn.
    pub(crate) fn off() -> Self {
        Self(modes::turn_echo_off())
    }

    pub(crate) fn restore(&self) {
        if let Some(modes) = &self.0 {
            modes::set(modes);
        }
    }
}

#[cfg(unix)]
mod modes {
    use std::io;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};

    pub(super) type Modes = rustix::termios::Termios;

    /// Returns the previous modes; `None` if they were not changed.
    pub(super) fn turn_echo_off() -> Option<Modes> {
        let before = tcgetattr(io::stderr()).ok().filter(|_| is_in_foreground())?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        set(&modes);
        Some(before)
    }

    pub(super) fn set(modes: &Modes) {
        if is_in_foreground() {
            let _ = tcsetattr(io::stderr(), OptionalActions::Now, modes);
        }
    }

    /// A background job that changes modes is stopped, and the current modes belong to another job.
    fn is_in_foreground() -> bool {
        tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp())
    }
}

/// Windows echoes nothing while no program is reading.
#[cfg(not(unix))]
mod modes {
    #[derive(Debug, Clone)]
    pub(super) enum Modes {}

    pub(super) fn turn_echo_off() -> Option<Modes> {
        None
    }

    pub(super) fn set(modes: &Modes) {
        match *modes {}
    }
}
