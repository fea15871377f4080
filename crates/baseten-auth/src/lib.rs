//! Profiles, credentials and sessions for Baseten.
//!
//! A [`Context`] holds what a run works with, and [`Context::session`] says who it speaks for. From
//! there a program gets an `Authorization` header that is good now, refreshed if it had to be,
//! whatever other processes do at the same time:
//!
//! ```no_run
#![doc = include_str!("../examples/request.rs")]
//! ```
//!
//! | to find | look in |
//! |---|---|
//! | which profile, and from which source | [`session`] |
//! | `auth.json`: its shape, its lock, its replacement | `store` |
//! | the system keyring, credential helpers | `store::keyring`, `store::helper` |
//! | which copy of a secret counts | `credentials` |
//! | the browser login (RFC 8628) | [`device`] |
//! | refresh under the lock | `refresh` |
//! | how a login and a logout end | `login`, `logout` |
//! | a login in two steps | `pending` |
//! | the one HTTP client | `http` |
//! | what callers are told meanwhile | [`Event`] |
//!
//! Everything blocks. Nothing prints, asks, or reads the environment behind [`Env`].

mod answer;
mod api_key;
pub mod client;
mod clock;
mod context;
mod credentials;
pub mod device;
mod env;
mod error;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod login;
mod logout;
mod pending;
mod profile;
mod refresh;
mod remote;
mod secret;
pub mod session;
mod store;
#[cfg(test)]
mod test_support;
mod text;
mod token;

pub use answer::ApiError;
pub use api_key::{ApiKeyError, parse_api_key, read_api_key};
pub use client::User;
pub use clock::{Cancel, Clock, Deadline, SystemClock};
pub use context::Context;
pub use device::{DeviceAuthorization, DeviceError};
pub use env::{Env, NotText};
pub use error::Error;
pub use event::{Event, Observer};
pub use http::{
    Cause, CertificateProblem, Http, HttpError, ProxyProblem, Request, Response, user_agent,
};
pub use login::{Login, abandon, identify, store_login};
pub use logout::logout;
pub use pending::{Pending, PendingError};
pub use profile::{
    AuthType, Credential, Identity, OAuthCredential, Profile, ProfileName, ProfileNameError,
    Storage,
};
pub use remote::{ManagementUrl, ManagementUrlError, Remote, RemoteError};
pub use secret::Secret;
pub use session::{Authorization, Session, SessionSource};
pub use store::{
    BadProfile, Helper, HelperNameError, Keyring, LockError, Profiles, StoragePolicy,
    StoragePolicyError, Store, StoreError, Summary, TimeoutError, Vault, VaultError, VaultOptions,
};
pub use text::{DISPLAY_TEXT_MAX, display_text, is_harmful, is_hidden, plain_text};
