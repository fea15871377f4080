//! How a sandbox behaves.

use std::time::Duration;

use crate::users::{User, sample_users};

/// The one client that may log in.
pub const CLIENT_ID: &str = "baseten-cli";

/// How a sandbox behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port on 127.0.0.1 (and on `::1` where there is one); 0, as by default, for a free one.
    pub port: u16,
    /// Who can log in.
    pub users: Vec<User>,
    /// Every answer of the API is delayed by this, after its work is done.
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
    /// The id of a user for whom every device login is allowed at once, without the page.
    pub auto_approve: Option<String>,
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
        }
    }
}
