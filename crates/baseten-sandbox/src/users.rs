//! The test users who can log in.

/// Somebody who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Names the user everywhere: in `users/me`, in this library and on the command line.
    pub id: String,
    /// `None` is sent as null.
    pub email: Option<String>,
    /// `None` is sent as null.
    pub name: Option<String>,
    /// `None` is sent as null.
    pub workspace_name: Option<String>,
}

impl User {
    /// The user's well-known API key, the same at every start. It works only in a sandbox.
    pub fn api_key(&self) -> String {
        format!("sandbox-api-key-of-{}-which-opens-nothing-but-a-sandbox", self.id)
    }

    /// The name, or else the email, or else the id.
    pub(crate) fn display_name(&self) -> &str {
        self.name.as_deref().or(self.email.as_deref()).unwrap_or(&self.id)
    }
}

/// Users for every rule of naming a profile: one email in two workspaces, one email twice in one
/// workspace, no email, only an id.
pub fn sample_users() -> Vec<User> {
    let user = |id: &str, email: Option<&str>, name: Option<&str>, workspace: Option<&str>| User {
        id: id.into(),
        email: email.map(Into::into),
        name: name.map(Into::into),
        workspace_name: workspace.map(Into::into),
    };
    let (ada, engines, compilers) =
        (Some("ada@example.com"), Some("Analytical Engines"), Some("Compilers"));
    vec![
        user("ada", ada, Some("Ada"), engines),
        user("grace", Some("grace@example.com"), Some("Grace"), compilers),
        user("ada-compilers", ada, Some("Ada"), compilers),
        user("ada-second", ada, Some("Ada, second account"), engines),
        user("charles", None, Some("Charles"), engines),
        user("nameless", None, None, None),
    ]
}
