//! What a refresh comes to, on one host and on many.

use std::time::Duration;

use crate::error::{Error, Failure};
use crate::profile::{OAuthCredential, ProfileName};

/// The most that a refresh takes at the server: less than what others wait for it.
pub(super) const REFRESH: Duration = Duration::from_secs(25);

/// Tokens that can be used now.
pub(crate) struct Usable {
    pub(crate) tokens: OAuthCredential,
    /// Whether the server has only just issued them: it would refuse others for the same reason.
    pub(crate) just_refreshed: bool,
}

pub(super) fn logged_out(name: &ProfileName) -> Error {
    Failure::LoggedOutMeanwhile { profile: name.clone() }.into()
}
