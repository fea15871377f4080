//! What a run may touch: the environment, the terminal, the library's context.

use std::sync::Arc;

use baseten_auth::Observer;
use baseten_auth::internal::variable::AUTH_SOCK;
use baseten_auth::internal::{
    Context, Env, ProfileName, Profiles, StoreError, SystemClock, Wait, display_text, plain_text,
};

use crate::args::Command;
use crate::error::CliError;
use crate::limits::{self, CoreLimit};
use crate::notices::Notices;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::window::{self, Window};

/// The variable that forbids all prompts.
const NO_INPUT: &str = "BASETEN_NO_INPUT";

/// The machine as one run sees it.
#[derive(Debug)]
pub struct Host {
    context: Context,
    interrupt: Interrupt,
    /// The option or variable that forbids prompts, if one does.
    no_input: Option<&'static str>,
    verbose: bool,
    core_limit: CoreLimit,
}

impl Host {
    /// The environment and the terminal of this process.
    pub fn of_process() -> Self {
        let core_limit = limits::forbid_core_dumps();
        let env = Env::from_process();
        let interrupt = Interrupt::new(window::can_redraw(&env));
        let no_input = is_set(&env, NO_INPUT).then_some(NO_INPUT);
        let wait = Wait::new(Arc::new(SystemClock), interrupt.cancel());
        let context = Context::new(env).with_wait(wait);
        Self { context, interrupt, no_input, verbose: false, core_limit }
    }

    /// The same with the options of a command: events are printed on stderr, all of them if
    /// `verbose`, and prompts are forbidden if `no_input`.
    pub(crate) fn with_options(self, verbose: bool, no_input: bool) -> Self {
        let notices = Notices::new(verbose);
        let observer = Observer::new(move |event| notices.tell(event));
        let no_input = self.no_input.or(no_input.then_some("--no-input"));
        let may_prompt = no_input.is_none() && window::can_show_prompts(self.env());
        let context = self.context.with_observer(observer).with_prompt(may_prompt);
        Self { context, no_input, verbose, ..self }
    }

    /// Why nobody can be asked at this terminal; `None` if somebody can.
    pub(crate) fn cannot_prompt(&self) -> Option<String> {
        match self.no_input {
            Some(option) => Some(format!("{option} is set")),
            None => {
                window::missing_for_prompts().map(|stream| format!("{stream} is not a terminal"))
            }
        }
    }

    /// Whether prompts are forbidden.
    pub(crate) fn asks_nobody(&self) -> bool {
        self.no_input.is_some()
    }

    /// What the library works with.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Whether the login is lent over a socket.
    pub(crate) fn borrows(&self) -> bool {
        self.env().has(AUTH_SOCK)
    }

    /// Refuses a command that works on stored profiles if the login is lent.
    pub(crate) fn check_kept_here(&self, command: &Command) -> Result<(), CliError> {
        let Some(socket) = self.env().path(AUTH_SOCK).filter(|_| command.keeps_logins()) else {
            return Ok(());
        };
        let socket = plain_text(&socket.to_string_lossy());
        Err(CliError::usage(
            format!("the login is lent by the program that listens at {socket} ({AUTH_SOCK})"),
            "run this command where the login is kept, or unset BASETEN_AUTH_SOCK",
        ))
    }

    /// The names of the stored profiles; none if the login is lent, because they are not used then.
    pub(crate) fn profile_names(&self) -> Result<Vec<ProfileName>, CliError> {
        if self.borrows() {
            return Ok(Vec::new());
        }
        let names = |profiles: &Profiles<'_>| Ok::<_, StoreError>(profiles.names().collect());
        Ok(self.context.store()?.read(names)?)
    }

    /// The environment.
    pub(crate) fn env(&self) -> &Env {
        self.context.env()
    }

    /// This machine's name without its domain, if it has one.
    #[cfg_attr(unix, expect(clippy::unused_self, reason = "elsewhere, the environment has it"))]
    pub(crate) fn machine(&self) -> String {
        #[cfg(unix)]
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        #[cfg(not(unix))]
        let name = self.env().text("COMPUTERNAME").ok().flatten().unwrap_or_default().to_owned();
        let name = display_text(name.split('.').next().unwrap_or_default());
        if name.is_empty() { "this machine".to_owned() } else { name }
    }

    /// Whether all events are printed.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// The limit for core dumps of programs that replace this one.
    pub(crate) fn core_limit(&self) -> &CoreLimit {
        &self.core_limit
    }

    /// The window of stderr, if lines can be redrawn there and no log gets in between.
    pub(crate) fn window(&self) -> Option<Window> {
        Window::of_stderr(self.env()).filter(|_| !self.verbose)
    }

    /// What Ctrl-C and SIGTERM do.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// If a run was interrupted, its error is the interruption.
    pub(crate) fn interrupted(&self, error: CliError) -> CliError {
        match self.interrupt.signal() {
            Some(exit) => CliError::Canceled(exit),
            None => error,
        }
    }
}

/// Whether a variable switches something on.
fn is_set(env: &Env, variable: &str) -> bool {
    env.os(variable).is_some_and(|value| value != "0" && value != "false")
}
