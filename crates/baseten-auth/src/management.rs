//! The requests to the management API: who am I, and log out.

use std::time::Duration;

use serde::Deserialize;

use crate::http::{Http, Request};
use crate::oauth::answer::{self, ApiError, error_in};
use crate::remote::ManagementUrl;
use crate::secret::Secret;

/// The user behind a credential, as the server describes them: make the texts fit for display
/// before showing them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Never empty.
    pub user_id: String,
    /// The email address, if the user has one.
    pub email: Option<String>,
    /// The full name, if it is known.
    pub name: Option<String>,
    /// The workspace that the credential belongs to.
    pub workspace_name: Option<String>,
}

impl User {
    /// The best available name: the email, else the full name, else the id.
    pub fn label(&self) -> &str {
        self.email.as_ref().or(self.name.as_ref()).unwrap_or(&self.user_id)
    }
}

#[derive(Deserialize)]
struct UserMembers {
    #[serde(default, deserialize_with = "answer::name")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    workspace_name: Option<String>,
}

/// Asks who a credential belongs to. `authorization` is the whole value of the header.
pub fn users_me(
    http: &Http,
    management: &ManagementUrl,
    authorization: &Secret,
) -> Result<User, ApiError> {
    let request = Request::get(management.endpoint("/v1/users/me")).authorization(authorization);
    let response = http.send(&request)?;
    if let Some(error) = error_in(&response, &[authorization]) {
        return Err(error);
    }
    let not_protocol = || ApiError::not_protocol(&response);
    let user: UserMembers = answer::object(&response.body).ok_or_else(not_protocol)?;
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    Ok(User {
        user_id: filled(user.user_id).ok_or_else(not_protocol)?,
        email: filled(user.email),
        name: filled(user.name),
        workspace_name: filled(user.workspace_name),
    })
}

/// Ends an OAuth session at the server, within this time. `authorization` is the whole value of the
/// header.
pub fn logout(
    http: &Http,
    management: &ManagementUrl,
    authorization: &Secret,
    limit: Duration,
) -> Result<(), ApiError> {
    let request = Request::post(management.endpoint("/v1/users/auth/logout"))
        .authorization(authorization)
        .within(limit);
    let response = http.send(&request)?;
    error_in(&response, &[authorization]).map_or(Ok(()), Err)
}
