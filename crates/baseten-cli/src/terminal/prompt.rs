//! Questions to the user at the terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use baseten_auth::Secret;
use baseten_auth::internal::{ProfileName, Remote, parse_api_key, plain_text};

use crate::error::CliError;
use crate::exit::Exit;
use crate::host::Host;
use crate::render::talk;
use crate::terminal::editor::{Line, choose as choose_one};
use crate::terminal::interrupt;

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Through the browser.
    Browser,
    /// With an API key.
    ApiKey,
}

impl std::fmt::Display for Method {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Browser => "Browser",
            Self::ApiKey => "API key",
        })
    }
}

/// Checks that somebody can be asked; if not, the hint says what to do instead.
pub(crate) fn check(host: &Host, instead: &str) -> Result<(), CliError> {
    match host.cannot_prompt() {
        Some(why) => Err(CliError::usage(format!("can't prompt: {why}"), instead)),
        None => Ok(()),
    }
}

/// Asks how to log in.
pub(crate) fn method() -> Result<Method, CliError> {
    let methods = [Method::Browser, Method::ApiKey];
    let choices = methods.map(|method| method.to_string());
    let help = "↑↓ to move, enter to select";
    let chosen = ask(|| choose_one("How do you want to log in?", &choices, 0, help))?;
    methods.get(chosen).copied().ok_or(CliError::Canceled(Exit::Interrupted))
}

/// Says where API keys are made, and asks for one without showing it.
pub(crate) fn api_key(remote: &Remote) -> Result<Secret, CliError> {
    talk(&format!("Create an API key at {remote}/settings/api_keys"));
    let line = Line { question: "API key:", default: None, hidden: true, problem: |_| None };
    // The typed text is wiped with the secret that it becomes.
    let typed = Secret::from(ask(|| line.ask())?);
    parse_api_key(typed.expose().as_bytes()).map_err(CliError::ApiKey)
}

/// Asks for the name of a profile.
pub(crate) fn profile_name(suggestion: Option<&ProfileName>) -> Result<ProfileName, CliError> {
    let suggestion = suggestion.map(|name| plain_text(name.as_str()));
    let line = Line {
        question: "Name of the profile:",
        default: suggestion.as_deref(),
        hidden: false,
        problem: |text| ProfileName::new(text.trim()).err().map(|error| error.to_string()),
    };
    let typed = ask(|| line.ask())?;
    ProfileName::new(typed.trim())
        .map_err(|error| CliError::usage(error.to_string(), "name it with --profile <profile>"))
}

/// Asks which profile becomes current.
pub(crate) fn choose(
    names: Vec<ProfileName>,
    current: Option<&ProfileName>,
) -> Result<ProfileName, CliError> {
    let start = names.iter().position(|name| Some(name) == current).unwrap_or(0);
    let shown: Vec<_> = names.iter().map(|name| plain_text(name.as_str())).collect();
    let help = "↑↓ to move, type to filter, enter";
    let chosen = ask(|| choose_one("Switch to which profile?", &shown, start, help))?;
    names.into_iter().nth(chosen).ok_or(CliError::Canceled(Exit::Interrupted))
}

/// How often a prompt checks that its terminal is still there.
const GLANCE: Duration = Duration::from_millis(500);

/// Shows a prompt as long as there is a terminal. If the terminal goes away and SIGHUP is ignored,
/// reading from it would be retried for ever.
fn ask<T>(prompt: impl FnOnce() -> io::Result<Option<T>>) -> Result<T, CliError> {
    let (answered, pending) = mpsc::channel::<()>();
    let watch = move || {
        while pending.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            if !io::stdin().is_terminal() {
                interrupt::end(Exit::HungUp, false, None);
            }
        }
    };
    // Without the thread, the prompt still works.
    let _ = std::thread::Builder::new().spawn(watch);
    let answer = prompt().map_err(CliError::Prompt);
    drop(answered);
    answer?.ok_or(CliError::Canceled(Exit::Interrupted))
}
