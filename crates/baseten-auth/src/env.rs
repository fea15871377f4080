//! One snapshot of the environment. No other code here reads it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// An API key that is used instead of a stored profile.
pub const API_KEY: &str = "BASETEN_API_KEY";
/// The identity token of a workload.
pub(crate) const IDENTITY_TOKEN: &str = "BASETEN_IDENTITY_TOKEN";
/// The secret for requesting an identity token from GitHub Actions.
pub(crate) const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// The trust rule by which a workload's identity token is exchanged for an access token.
pub const TRUST_RULE: &str = "BASETEN_TRUST_RULE";
/// The socket of a lender, whose login is used instead of a stored profile.
pub const AUTH_SOCK: &str = "BASETEN_AUTH_SOCK";
/// The stored profile to use instead of the current one.
pub const PROFILE: &str = "BASETEN_PROFILE";
/// The remote of a login, an API key or a workload.
pub const REMOTE_URL: &str = "BASETEN_REMOTE_URL";

/// The variables that hold secrets of ours. No program that we start inherits them.
pub const SECRETS: [&str; 3] = [API_KEY, IDENTITY_TOKEN, GITHUB_TOKEN];

/// The tokens for a secrets engine. Credential helpers may need them themselves.
pub const ENGINE_TOKENS: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

/// The environment variables as they were when the program started.
///
/// An empty variable counts as unset everywhere.
#[derive(Clone, Default)]
pub struct Env {
    variables: HashMap<OsString, OsString>,
}

/// A variable that is set but is not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not valid UTF-8")]
pub struct NotText {
    /// The variable's name.
    pub variable: &'static str,
}

impl Env {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn from_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variable's bytes, unless it is unset or empty.
    #[must_use]
    pub fn os(&self, variable: &str) -> Option<&OsStr> {
        self.variables
            .get(&*key(OsStr::new(variable)))
            .map(OsString::as_os_str)
            .filter(|v| !v.is_empty())
    }

    /// The names of all variables, on Windows in capitals.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.variables.keys().map(OsString::as_os_str)
    }

    /// The variable as a path, unless it is unset or empty.
    #[must_use]
    pub fn path(&self, variable: &str) -> Option<PathBuf> {
        self.os(variable).map(PathBuf::from)
    }

    /// Whether the variable is set and not empty.
    #[must_use]
    pub fn has(&self, variable: &str) -> bool {
        self.os(variable).is_some()
    }

    /// The variable as text, unless it is unset or empty.
    /// [`NotText`] if it is set to something that is not UTF-8.
    pub fn text(&self, variable: &'static str) -> Result<Option<&str>, NotText> {
        self.os(variable).map(|v| v.to_str().ok_or(NotText { variable })).transpose()
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables =
            variables.into_iter().map(|(k, v)| (key(&k.into()).into_owned(), v.into())).collect();
        Self { variables }
    }
}

/// The key under which a variable is stored: Windows treats `AppData` and `APPDATA` as the same.
fn key(variable: &OsStr) -> Cow<'_, OsStr> {
    if cfg!(windows) { Cow::Owned(variable.to_ascii_uppercase()) } else { Cow::Borrowed(variable) }
}

/// Names only: a value may be an API key or a proxy's password.
impl fmt::Debug for Env {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let env: Env = [("A", ""), ("B", "b")].into_iter().collect();
        assert!(!env.has("A"));
        assert_eq!(env.text("B"), Ok(Some("b")));
    }

    #[test]
    fn the_case_of_a_variable_matters_except_on_windows() {
        let env: Env = [("APPDATA", "a")].into_iter().collect();
        assert_eq!(env.has("AppData"), cfg!(windows));
    }

    #[test]
    fn debug_shows_names_only() {
        let env: Env = [("BASETEN_API_KEY", "canary")].into_iter().collect();
        assert!(!format!("{env:?}").contains("canary"));
    }
}
