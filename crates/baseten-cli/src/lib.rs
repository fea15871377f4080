//! The command line: arguments in, a report out, an exit status.
//!
//! [`run`] is the program: it parses the arguments, calls one function of `commands` with them, and
//! prints what that returns.

mod args;
mod commands;
mod error;
mod exit;
mod explanation;
mod help;
mod host;
mod jq;
mod json;
mod limits;
mod mistake;
mod notices;
pub mod outputs;
mod render;
mod report;
mod settings;
mod table;
mod terminal;
mod text;
mod words;

use std::ffi::OsString;

use baseten_auth::internal::{Failure, ProfileName};

use args::options::Common;
use args::{AuthCommand, Command, rewrite};
use error::CliError;
use report::Report;

pub use args::command;
pub use exit::Exit;
pub use host::Host;

/// Runs one command, and gives its exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>, host: Host) -> Exit {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|word| word == jq::process::ARGUMENT) {
        return jq::process::serve();
    }
    let arguments = rewrite::in_order(arguments);
    if let Some(exit) = commands::completion::answer(&arguments, host.env()) {
        return exit;
    }
    let command = match args::parse(rewrite::plain_flags(&arguments)) {
        Ok(command) => command,
        Err(stop) => return help::show(&stop, &arguments),
    };
    if command.may_wait(host.borrows()) {
        host.interrupt().listen();
    }
    let outcome = host.check_kept_here(&command).and_then(|()| dispatch(command, host));
    match outcome {
        Ok(exit) => exit,
        Err(error) => render::failure(&error),
    }
}

fn dispatch(command: Command, host: Host) -> Result<Exit, CliError> {
    use commands::{completion, exec, list, login, logout, serve, setup, status, switch, token};
    use commands::{version, whoami};
    let command = match command {
        Command::Auth { command } => command,
        Command::Whoami(args) => {
            return with_output(&args.common, host, |host| whoami::run(&args, host));
        }
        Command::Version(common) => return with_output(&common, host, |_| Ok(version::run())),
        Command::Completion(args) => return Ok(completion::run(args.shell)),
    };
    match command {
        AuthCommand::Login(args) => with_output(&args.common, host, |host| login::run(&args, host)),
        AuthCommand::Logout(args) => {
            with_output(&args.common, host, |host| logout::run(&args, host))
        }
        AuthCommand::Switch(args) => {
            with_output(&args.common, host, |host| switch::run(&args, host))
        }
        AuthCommand::Status(args) => {
            with_output(&args.common, host, |host| status::run(&args, host))
        }
        AuthCommand::List(common) => with_output(&common, host, |host| list::run(&common, host)),
        AuthCommand::Token(args) => with_output(&args.common, host, |host| token::run(&args, host)),
        AuthCommand::Exec(args) => {
            let host = host.with_options(args.talk.verbose, args.talk.no_input);
            let started = exec::run(&args, &host);
            started.map_err(|error| with_suggestion(host.interrupted(error), &host))
        }
        AuthCommand::Serve(args) => {
            let host = host.with_options(args.talk.verbose, args.talk.no_input);
            serve::run(&args, &host)
        }
        AuthCommand::Setup(args) => with_output(&args.common, host, |host| setup::run(&args, host)),
    }
}

/// Checks the output options before anything else happens, runs a command and prints its report.
fn with_output(
    common: &Common,
    host: Host,
    command: impl FnOnce(&Host) -> Result<Report, CliError>,
) -> Result<Exit, CliError> {
    let output = render::Output::new(common)?;
    let host = host.with_options(common.verbose, common.no_input);
    let report = command(&host).map_err(|error| with_suggestion(host.interrupted(error), &host))?;
    host.interrupt().finish();
    render::success(output, report)
}

/// Adds a suggestion to the error, if the name of a profile may be mistyped.
fn with_suggestion(error: CliError, host: &Host) -> CliError {
    let CliError::Library(library) = &error else { return error };
    let Failure::NoSuchProfile { name, selected_by } = library.failure() else { return error };
    let names = host.profile_names().unwrap_or_default();
    let meant = mistake::closest(name.as_str(), names.iter().map(ProfileName::as_str));
    let meant = meant.and_then(|meant| ProfileName::new(meant).ok());
    CliError::NoSuchProfile { name: name.clone(), selected_by: *selected_by, meant }
}
