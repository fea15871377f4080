//! Questions to the person at the terminal. Ctrl-C and Escape cancel the command.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use inquire::validator::Validation;
use inquire::{InquireError, Password, PasswordDisplayMode, Select, Text};

use baseten_auth::Secret;
use baseten_auth::internal::{ProfileName, parse_api_key, plain_text};

use crate::error::CliError;
use crate::exit::Exit;
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

/// Asks how to log in.
pub(crate) fn method() -> Result<Method, CliError> {
    let choices = vec![Method::Browser, Method::ApiKey];
    let prompt = Select::new("How do you want to log in?", choices);
    ask(|| prompt.with_help_message("↑↓ to move, enter to select").prompt())
}

/// Asks for an API key, without showing it.
pub(crate) fn api_key() -> Result<Secret, CliError> {
    let prompt = Password::new("API key:")
        .with_display_mode(PasswordDisplayMode::Masked)
        .without_confirmation();
    let typed = ask(|| prompt.prompt())?;
    // The typed text is wiped with the secret that it becomes.
    let typed = Secret::from(typed);
    parse_api_key(typed.expose().as_bytes()).map_err(CliError::ApiKey)
}

/// Asks for the name of a profile.
pub(crate) fn profile_name() -> Result<ProfileName, CliError> {
    let prompt = Text::new("Name of the profile:").with_validator(|text: &str| {
        Ok(match ProfileName::new(text.trim()) {
            Ok(_) => Validation::Valid,
            Err(error) => Validation::Invalid(error.into()),
        })
    });
    let typed = ask(|| prompt.prompt())?;
    ProfileName::new(typed.trim())
        .map_err(|error| CliError::usage(error.to_string(), "name it with --profile <profile>"))
}

/// Asks which profile becomes current.
pub(crate) fn choose(
    names: Vec<ProfileName>,
    current: Option<&ProfileName>,
) -> Result<ProfileName, CliError> {
    let cursor = names.iter().position(|name| Some(name) == current).unwrap_or(0);
    let shown = names.iter().map(|name| plain_text(name.as_str())).collect();
    let prompt = Select::new("Switch to which profile?", shown)
        .with_starting_cursor(cursor)
        .with_help_message("↑↓ to move, type to filter, enter");
    let chosen = ask(|| prompt.raw_prompt())?;
    names.into_iter().nth(chosen.index).ok_or(CliError::Canceled(Exit::Interrupted))
}

/// How often a prompt looks whether its terminal is still there.
const GLANCE: Duration = Duration::from_millis(500);

/// Shows a prompt for as long as there is a terminal: when one goes away and the process is not
/// told, because hang-ups are ignored, reading from it would be tried for ever.
fn ask<T>(prompt: impl FnOnce() -> Result<T, InquireError>) -> Result<T, CliError> {
    let (answered, pending) = mpsc::channel::<()>();
    let watch = move || {
        while pending.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            if !std::io::stdin().is_terminal() {
                interrupt::end(Exit::Interrupted, false, None);
            }
        }
    };
    // Without it, the prompt is there all the same.
    let _ = std::thread::Builder::new().spawn(watch);
    let answer = prompt().map_err(failed);
    drop(answered);
    answer
}

fn failed(error: InquireError) -> CliError {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            CliError::Canceled(Exit::Interrupted)
        }
        error => CliError::Prompt(error),
    }
}
