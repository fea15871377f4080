//! Questions to the person at the terminal. Ctrl-C and Escape cancel the command.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use inquire::validator::Validation;
use inquire::{InquireError, Password, PasswordDisplayMode, Select, Text};

use baseten_auth::Secret;
use baseten_auth::internal::{ProfileName, Remote, parse_api_key, plain_text};

use crate::error::CliError;
use crate::exit::Exit;
use crate::render::talk;
use crate::terminal::{interrupt, window};

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

/// Whether somebody can be asked; if not, the hint says what to do instead.
pub(crate) fn check(instead: &str) -> Result<(), CliError> {
    match window::missing_for_prompts() {
        Some(stream) => {
            Err(CliError::usage(format!("can't prompt: {stream} is not a terminal"), instead))
        }
        None => Ok(()),
    }
}

/// Asks how to log in.
pub(crate) fn method() -> Result<Method, CliError> {
    let choices = vec![Method::Browser, Method::ApiKey];
    let prompt = Select::new("How do you want to log in?", choices);
    ask(|| prompt.with_help_message("↑↓ to move, enter to select").prompt())
}

/// Says where API keys are made, and asks for one without showing it.
pub(crate) fn api_key(remote: &Remote) -> Result<Secret, CliError> {
    talk(&format!("Create an API key at {remote}/settings/api_keys"));
    let prompt = Password::new("API key:")
        .with_display_mode(PasswordDisplayMode::Masked)
        .without_confirmation();
    let typed = ask(|| prompt.prompt())?;
    // The typed text is wiped with the secret that it becomes.
    let typed = Secret::from(typed);
    parse_api_key(typed.expose().as_bytes()).map_err(CliError::ApiKey)
}

/// Asks for the name of a profile.
pub(crate) fn profile_name(suggestion: Option<&ProfileName>) -> Result<ProfileName, CliError> {
    let suggestion = suggestion.map(|name| plain_text(name.as_str()));
    let mut prompt = Text::new("Name of the profile:");
    prompt.default = suggestion.as_deref();
    let prompt = prompt.with_validator(|text: &str| {
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
