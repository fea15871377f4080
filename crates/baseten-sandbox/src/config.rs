//! How a sandbox behaves.

use std::time::Duration;

use serde::Deserialize;

use crate::users::{User, sample_users};

/// The one client that may log in.
pub const CLIENT_ID: &str = "baseten-cli";

/// How a sandbox behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port on 127.0.0.1 (and on `::1`, if the machine has it); 0, the default, means a free
    /// one.
    pub port: u16,
    /// Who can log in.
    pub users: Vec<User>,
    /// How long every answer of the API is delayed, after its work is done.
    pub latency: Duration,
    /// Seconds between two polls of a device login: sent as given, and enforced. 0 allows any pace.
    pub device_interval: u64,
    /// How long a device login can be answered; sent as whole seconds.
    pub device_code_lifetime: Duration,
    /// How long an access token is valid; sent as whole seconds.
    pub access_token_lifetime: Duration,
    /// Whether each refresh replaces the refresh token. If not, the answer to a refresh has no
    /// refresh token and the old one stays valid.
    pub rotate_refresh_tokens: bool,
    /// The id of a user; every device login is allowed at once as this user, without the page.
    pub auto_approve: Option<String>,
    /// Which identity tokens can be exchanged for access tokens.
    pub trust_rules: Vec<TrustRule>,
}

/// Which identity tokens can be exchanged for an access token, and for which user (RFC 8693).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRule {
    /// Its id, which a request for an exchange names as `audience`.
    pub id: String,
    /// The `iss` of its tokens: an `http` URL on this computer, where the issuer publishes its keys
    /// (OIDC Discovery).
    pub issuer: String,
    /// The `aud` of its tokens, or one of several.
    pub audience: String,
    /// The `sub` of its tokens. If it ends in `*`, the start of their `sub`.
    pub subject: String,
    /// The id of the user that an access token is for.
    pub user: String,
}

impl TrustRule {
    /// Whether tokens with this `sub` are accepted.
    pub(crate) fn accepts_subject(&self, subject: &str) -> bool {
        match self.subject.strip_suffix('*') {
            Some(start) => subject.starts_with(start),
            None => subject == self.subject,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            users: sample_users(),
            latency: Duration::ZERO,
            device_interval: 5,
            device_code_lifetime: Duration::from_mins(15),
            access_token_lifetime: Duration::from_hours(1),
            rotate_refresh_tokens: true,
            auto_approve: None,
            trust_rules: Vec::new(),
        }
    }
}
