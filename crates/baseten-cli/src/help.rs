//! Help, version, and what is wrong with a command line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CliError;
use crate::exit::Exit;
use crate::render;

/// Prints what the parser stopped for: help and version to stdout, mistakes to stderr.
pub(crate) fn show(stop: &clap::Error) -> Exit {
    match stop.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            render::help(&stop.render().ansi().to_string())
        }
        _ => {
            if let Some(error) = careful(stop) {
                return render::failure(&error);
            }
            // It quotes the arguments, which somebody may have been talked into.
            let plain = stop.render().to_string();
            let shown = if render::visible(&plain) == plain {
                stop.render().ansi().to_string()
            } else {
                render::visible(&plain)
            };
            render::talk(shown.trim_end());
            Exit::Usage
        }
    }
}

/// A mistake that the parser would quote although it may be a secret: an API key given as an
/// argument is as exposed as it needs to be.
fn careful(stop: &clap::Error) -> Option<CliError> {
    let argument = match stop.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    match stop.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => Some(CliError::usage(
            "this command takes options only, and there is another word",
            "give an API key on standard input, never as an argument; see --help for the options",
        )),
        ErrorKind::TooManyValues => Some(CliError::usage(
            format!("{} takes no value", argument.split(['=', ' ']).next().unwrap_or_default()),
            "give an API key on standard input, never as an argument",
        )),
        _ => None,
    }
}
