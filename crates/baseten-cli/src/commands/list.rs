//! `baseten auth list`

use baseten_auth::{Error, Profile, StoragePolicy, StoreError, display_text};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::ListArgs;
use crate::error::CliError;
use crate::host::{Host, stdout_columns};
use crate::report::Report;
use crate::table::table;

/// The JSON of a profile in the list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListRecord {
    /// The profile's name.
    profile: String,
    /// The remote that it logs in to.
    remote_url: String,
    /// The kind of credential.
    #[schemars(extend("enum" = ["oauth", "api_key"]))]
    auth_type: &'static str,
    /// Where the credential is kept: `file`, `keyring` or `helper:<name>`.
    storage: String,
    /// Whether it is the current profile.
    current: bool,
    /// The user's email address, where the login recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// The user's workspace, where the login recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_name: Option<String>,
}

pub(crate) fn run(_args: &ListArgs, host: &Host) -> Result<Report, CliError> {
    let policy = StoragePolicy::from_env(host.env()).map_err(baseten_auth::Error::from)?;
    let store = host.context().store()?;
    let records = store.read(host.context().clock(), |profiles| {
        let current = profiles.current();
        let record = |profile: Profile| ListRecord {
            current: current.as_ref() == Some(&profile.name),
            profile: profile.name.to_string(),
            storage: profile.storage(&policy).to_string(),
            remote_url: profile.remote_url,
            auth_type: profile.auth_type.as_str(),
            email: profile.identity.email,
            workspace_name: profile.identity.workspace_name,
        };
        let profiles =
            profiles.iter().map(|profile| profile.map_err(|error| store.bad_profile(error)));
        Ok::<_, Error>(
            profiles.map(|profile| Ok(record(profile?))).collect::<Result<Vec<_>, StoreError>>()?,
        )
    })?;
    Ok(Report::list(text(&records), &records))
}

fn text(records: &[ListRecord]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let row = |record: &ListRecord| {
        [
            if record.current { "*" } else { "" }.to_owned(),
            display_text(&record.profile),
            display_text(&record.remote_url),
            record.auth_type.to_owned(),
            display_text(&record.storage),
        ]
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    table(["", "PROFILE", "REMOTE", "AUTH", "STORAGE"], &rows, stdout_columns())
}
