//! The user behind a credential, as part of what commands print.

use baseten_auth::User;
use baseten_auth::internal::plain_text;
use schemars::JsonSchema;
use serde::Serialize;

/// The JSON of a user. What is not known is empty.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UserRecord {
    /// The service's id of the user.
    pub(crate) user_id: String,
    /// The user's email address.
    pub(crate) email: String,
    /// The user's name.
    pub(crate) name: String,
    /// The user's workspace.
    pub(crate) workspace_name: String,
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

    /// The known values with their labels, fit for a terminal.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&'static str, String)> {
        let fields = [
            ("User ID:", &self.user_id),
            ("Email:", &self.email),
            ("Name:", &self.name),
            ("Workspace:", &self.workspace_name),
        ];
        let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
        known.map(|(label, value)| (label, plain_text(value)))
    }
}
