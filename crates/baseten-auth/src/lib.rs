//! Profiles, credentials and sessions for Baseten.

mod answer;
pub mod client;
mod clock;
pub mod device;
mod env;
mod event;
mod http;
mod profile;
mod remote;
mod secret;
mod session;
#[cfg(test)]
mod test_support;
mod text;
mod token;

pub use answer::ApiError;
pub use client::User;
pub use clock::{Cancel, Clock, Deadline, SystemClock};
pub use device::{DeviceAuthorization, DeviceError};
pub use env::{Env, NotText};
pub use event::{Event, Observer};
pub use http::{
    Cause, CertificateProblem, Http, HttpError, ProxyProblem, Request, Response, user_agent,
};
pub use profile::{AuthType, Credential, OAuthCredential, ProfileName, ProfileNameError};
pub use remote::{ManagementUrl, ManagementUrlError, Remote, RemoteError};
pub use secret::Secret;
pub use session::SessionSource;
pub use text::{DISPLAY_TEXT_MAX, display_text};
pub use token::Tokens;
