//! `baseten whoami`

use std::fmt::Write as _;

use baseten_auth::Session;
use baseten_auth::internal::Demand;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::SelectArgs;
use crate::commands::user::UserRecord;
use crate::error::CliError;
use crate::host::Host;
use crate::report::Report;

/// The JSON of a user. What is not known is empty.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhoamiRecord {
    /// The user's email address.
    email: String,
    /// The user's name.
    name: String,
    /// The service's id of the user.
    user_id: String,
    /// The user's workspace.
    workspace_name: String,
}

pub(crate) fn run(args: &SelectArgs, host: &Host) -> Result<Report, CliError> {
    let (profile, demand) = (args.select.profile.as_ref(), Demand::default());
    let user = Session::resolve_for(host.context(), profile, &demand)?.user()?;
    let user = UserRecord::new(user);
    let mut text = String::new();
    for (label, value) in user.known() {
        let _ = writeln!(text, "{label:<11} {value}");
    }
    let UserRecord { user_id, email, name, workspace_name } = user;
    Ok(Report::one(text, WhoamiRecord { email, name, user_id, workspace_name }))
}
