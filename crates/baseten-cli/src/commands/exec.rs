//! `baseten auth exec`: runs a program with the credential in its environment.

use std::ffi::OsString;
use std::process::Command;

use baseten_auth::internal::{Demand, variable};
use baseten_auth::{AuthType, Authorization, Session, SessionSource};

use crate::args::options::{Client, ExecArgs, MinTtl};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host::Host;
use crate::render;

/// The prefix of the variables that truss reads.
const TRUSS: &str = "BASETEN_TRUSS_AUTH_";

pub(crate) fn run(args: &ExecArgs, host: &Host) -> Result<Exit, CliError> {
    let demand = Demand {
        min_ttl: args.min_ttl.map(|MinTtl(least)| least).unwrap_or_default(),
        refused: Vec::new(),
    };
    let profile = args.select.profile.as_ref();
    let session = Session::resolve_for(host.context(), profile, &demand)?;
    // A remote may have no such URL. Only a lender has refreshed a token before this is known.
    let needs_url = args.clients.iter().any(|client| *client != Client::Truss);
    let inference = if needs_url { session.inference_url()? } else { String::new() };
    let authorization = session.authorization_for(&demand)?;
    let changes = changes(&session, &authorization, &args.clients, &inference, host);
    if host.is_verbose() {
        tell(&changes, &authorization);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CliError::usage("there is no program to run", "name one after --"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in &changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let program = program.to_string_lossy().into_owned();
    host.core_limit().put_back();
    start(&mut command, host).map_err(|error| CliError::Start { program, error })
}

/// A variable, and its value; `None` removes it.
type Change = (OsString, Option<String>);

/// The changes to the environment. Removals come first.
fn changes(
    session: &Session,
    authorization: &Authorization,
    clients: &[Client],
    inference: &str,
    host: &Host,
) -> Vec<Change> {
    let (auth_type, source) = (session.auth_type(), session.source());
    let token = authorization.token().expose();
    let removed = |name: &str| -> Change { (name.into(), None) };
    let set = |name: &str, value: &str| -> Change { (name.into(), Some(value.to_owned())) };
    let inherited =
        host.env().names().filter(|name| name.as_encoded_bytes().starts_with(TRUSS.as_bytes()));
    let mut changes: Vec<Change> = inherited.map(|name| (name.to_owned(), None)).collect();
    // So that `baseten`, if the program starts it, selects the same credential.
    if source != SessionSource::TrustRuleEnv {
        changes.push(removed(variable::TRUST_RULE));
    }
    if session.lent().is_none() {
        changes.push(removed(variable::AUTH_SOCK));
    }
    match auth_type {
        AuthType::ApiKey => {
            changes.push(set(variable::API_KEY, token));
            changes.push(set(variable::REMOTE_URL, session.remote_url()));
        }
        AuthType::OAuth => {
            changes.extend([removed(variable::API_KEY), removed(variable::REMOTE_URL)]);
        }
        _ => changes.push(removed(variable::API_KEY)),
    }
    if let Some(profile) = session.profile_name() {
        changes.push(set(variable::PROFILE, profile));
    }
    changes.push(set("BASETEN_TRUSS_AUTH_REMOTE_URL", session.remote_url()));
    changes.push(set("BASETEN_TRUSS_AUTH_API_KEY", token));
    if clients.contains(&Client::Openai) {
        changes.push(set("OPENAI_API_KEY", token));
        changes.push(set("OPENAI_BASE_URL", &format!("{inference}/v1")));
    }
    if clients.contains(&Client::Anthropic) {
        changes.push(removed("ANTHROPIC_API_KEY"));
        changes.push(set("ANTHROPIC_AUTH_TOKEN", token));
        changes.push(set("ANTHROPIC_BASE_URL", inference));
    }
    changes
}

/// Names only: a value may be the credential.
fn tell(changes: &[Change], authorization: &Authorization) {
    let names: Vec<_> = changes
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name.to_string_lossy())
        .collect();
    let end = authorization.expiry().map(|end| format!("; the token ends at {end}"));
    render::talk(&format!("set {}{}", names.join(", "), end.unwrap_or_default()));
}

/// Replaces this process with the program. Returns only if that fails.
#[cfg(unix)]
fn start(command: &mut Command, _: &Host) -> std::io::Result<Exit> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec())
}

/// Waits for the program, and exits with its status. The program gets Ctrl-C directly.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "its status need not be one of ours")]
fn start(command: &mut Command, host: &Host) -> std::io::Result<Exit> {
    let mut child = command.spawn()?;
    let ended = host.interrupt().store(|| child.wait())?;
    std::process::exit(ended.code().unwrap_or(Exit::Failure as i32))
}
