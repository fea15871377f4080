//! `baseten auth logout`

use baseten_auth::internal::{Selected, logout, plain_text, select_to_remove};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::SelectArgs;
use crate::error::CliError;
use crate::host::Host;
use crate::notices;
use crate::render::talk;
use crate::report::Report;

/// The JSON of a logout.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogoutRecord {
    /// The profile that was removed.
    profile: String,
}

pub(crate) fn run(args: &SelectArgs, host: &Host) -> Result<Report, CliError> {
    let context = host.context();
    let store = context.store()?;
    // The API key in the environment never selects the profile to remove.
    let selected = select_to_remove(context, &store, args.select.profile.as_ref());
    let Selected { source, profile, .. } = selected?;
    host.interrupt().store(|| logout(context, &profile.name, source))?;
    let name = profile.name.as_str();
    if let Some(variable) = source.variable() {
        talk(&format!("{variable} selected the profile '{}'", plain_text(name)));
    }
    notices::still_wins(host.env(), None);
    let text = format!("Logged out {}\n", plain_text(name));
    Ok(Report::one(text, LogoutRecord { profile: name.to_owned() }))
}
