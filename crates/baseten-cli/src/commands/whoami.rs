//! `baseten whoami`

use std::fmt::Write as _;

use baseten_auth::internal::plain_text;
use baseten_auth::{Session, User};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::SelectArgs;
use crate::error::CliError;
use crate::host::Host;
use crate::report::Report;

/// The JSON of a user. What is not known is empty.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UserRecord {
    /// The service's id of the user.
    user_id: String,
    /// The user's email address.
    email: String,
    /// The user's name.
    name: String,
    /// The user's workspace.
    workspace_name: String,
}

impl UserRecord {
    pub(crate) fn new(user: User) -> Self {
        Self {
            user_id: user.user_id,
            email: user.email.unwrap_or_default(),
            name: user.name.unwrap_or_default(),
            workspace_name: user.workspace_name.unwrap_or_default(),
        }
    }

    /// A line for each thing that is known.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        for (label, value) in [
            ("User ID", &self.user_id),
            ("Email", &self.email),
            ("Name", &self.name),
            ("Workspace", &self.workspace_name),
        ] {
            if !value.is_empty() {
                let _ = writeln!(text, "  {label}: {}", plain_text(value));
            }
        }
        text
    }
}

pub(crate) fn run(args: &SelectArgs, host: &Host) -> Result<Report, CliError> {
    let user = Session::resolve(host.context(), args.select.profile.as_ref())?.user()?;
    let label = plain_text(user.label());
    let user = UserRecord::new(user);
    Ok(Report::one(format!("{label}\n{}", user.lines()), user))
}
