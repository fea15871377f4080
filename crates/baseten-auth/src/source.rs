//! What selected the credential of a run.

use crate::env;

/// What selected the credential of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionSource {
    /// A profile that the caller named: on the command line, the `--profile` option.
    Named,
    /// The `BASETEN_API_KEY` variable.
    ApiKeyEnv,
    /// The `BASETEN_TRUST_RULE` variable: a workload's identity.
    TrustRuleEnv,
    /// The `BASETEN_AUTH_SOCK` variable: what a lender selects.
    AuthSockEnv,
    /// The `BASETEN_PROFILE` variable.
    ProfileEnv,
    /// The store's current profile.
    Current,
}

impl SessionSource {
    /// The environment variable that selected it, if one did.
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::ApiKeyEnv => Some(env::API_KEY),
            Self::TrustRuleEnv => Some(env::TRUST_RULE),
            Self::AuthSockEnv => Some(env::AUTH_SOCK),
            Self::ProfileEnv => Some(env::PROFILE),
            Self::Named | Self::Current => None,
        }
    }
}
