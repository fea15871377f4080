//! `baseten auth switch`

use baseten_auth::internal::{Failure, ProfileName, Store, StoreError, plain_text};
use baseten_auth::{Error, SessionSource};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::SwitchArgs;
use crate::error::CliError;
use crate::host::Host;
use crate::notices;
use crate::report::Report;
use crate::terminal::prompt;

/// The JSON of a switch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SwitchRecord {
    /// The profile that is current now.
    profile: String,
}

pub(crate) fn run(args: &SwitchArgs, host: &Host) -> Result<Report, CliError> {
    let context = host.context();
    let store = context.store()?;
    let name = match &args.profile {
        Some(name) => name.clone(),
        None => choose(host, &store)?,
    };
    host.interrupt().store(|| {
        store.update(|profiles| {
            if profiles.get(&name)?.is_none() {
                let selected_by = SessionSource::Named;
                return Err(Failure::NoSuchProfile { name: name.clone(), selected_by }.into());
            }
            profiles.set_current(Some(&name));
            Ok::<_, Error>(())
        })
    })?;
    notices::still_wins(host.env(), Some(&name));
    let text = format!("Switched to {}\n", plain_text(name.as_str()));
    Ok(Report::one(text, SwitchRecord { profile: name.as_str().to_owned() }))
}

fn choose(host: &Host, store: &Store) -> Result<ProfileName, CliError> {
    let (names, current) = host.context().read(store, |profiles| {
        Ok::<_, StoreError>((profiles.names().collect::<Vec<_>>(), profiles.current()))
    })?;
    if names.is_empty() {
        return Err(CliError::NothingToChoose);
    }
    prompt::check(host, "name it with --profile <profile>")?;
    prompt::choose(names, current.as_ref())
}
