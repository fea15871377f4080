//! What a run may touch: the environment, the terminal, the library's context.

use std::io::IsTerminal;

use baseten_auth::{Context, Env, Event, Observer};

use crate::core_dump;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::notices;

/// The machine as one run sees it.
#[derive(Debug)]
pub struct Host {
    context: Context,
    interrupt: Interrupt,
    interactive: bool,
    verbose: bool,
}

/// The size of a terminal's window, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Host {
    /// The environment and the terminal of this process.
    pub fn of_process() -> Self {
        core_dump::forbid();
        let env = Env::from_process();
        let interrupt = Interrupt::new(can_redraw(&env));
        // A prompt is shown on stderr and answered on stdin. `/dev/null` is no terminal.
        let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let context = Context::new(env).with_cancel(interrupt.cancel()).with_prompt(interactive);
        Self { context, interrupt, interactive, verbose: false }
    }

    /// The same, telling what happens on stderr; all of it where `verbose`.
    pub(crate) fn listening(self, verbose: bool) -> Self {
        let interrupt = self.interrupt.clone();
        let observer = Observer::new(move |event| match event {
            Event::TokenReceived => interrupt.hold(),
            Event::TokenKept => interrupt.release(),
            event => notices::tell(event, verbose),
        });
        Self { context: self.context.with_observer(observer), verbose, ..self }
    }

    /// Whether everything that happens is told.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// What the library works with.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The environment.
    pub(crate) fn env(&self) -> &Env {
        self.context.env()
    }

    /// Whether somebody at a terminal can be asked.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Whether a line on stderr can be written anew, as a waiting line is.
    pub(crate) fn can_redraw(&self) -> bool {
        can_redraw(self.env())
    }

    /// Whether the terminal shows a hyperlink rather than its escape sequence.
    pub(crate) fn has_hyperlinks(&self) -> bool {
        self.can_redraw() && supports_hyperlinks::on(supports_hyperlinks::Stream::Stderr)
    }

    /// How large the window of stderr is; `None` where it is no terminal.
    pub(crate) fn window(&self) -> Option<Window> {
        window(self.can_redraw())
    }

    /// What Ctrl-C and SIGTERM do.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// An error of a run that was interrupted is the interruption.
    pub(crate) fn interrupted(&self, error: CliError) -> CliError {
        match self.interrupt.signal() {
            Some(exit) => CliError::Canceled(exit),
            None => error,
        }
    }
}

fn can_redraw(env: &Env) -> bool {
    let dumb = env.os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && (!dumb || cfg!(windows))
}

/// Whether stdin is typed by somebody, who must not see a secret echoed.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// How wide the terminal of stdout is; `None` where it is none.
pub(crate) fn stdout_columns() -> Option<usize> {
    window(std::io::stdout().is_terminal()).map(|window| window.columns)
}

/// How large the window is, where there is one.
pub(crate) fn window(is_terminal: bool) -> Option<Window> {
    let (columns, rows) = is_terminal.then(crossterm::terminal::size)?.ok()?;
    // Some terminals tell no size.
    (columns > 0).then(|| Window { columns: columns.into(), rows: rows.into() })
}
