//! Baseten sessions for Rust programs: the profiles of `baseten auth login`, and a credential that
//! is valid now.
//!
//! A [`Session`] is what the environment and the stored profiles select. It gives a program a valid
//! `Authorization` header. A refresh is safe even if other processes refresh at the same time:
//!
//! ```no_run
#![doc = include_str!("../examples/request.rs")]
//! ```
//!
//! [`Session::with_retry`] works with any HTTP client whose error can say "401": implement
//! [`Unauthorized`] for it (`ureq` has it already). A session can be kept for as long as a program
//! runs, and many threads can use it at once.
//!
//! # Async programs
//!
//! Everything here blocks: usually for a moment, and for about half a minute if the network is down.
//! Ask on a thread that may block, then make the request on your own thread:
//!
//! ```text
//! let session = session.clone();
//! let authorization = tokio::task::spawn_blocking(move || session.authorization()).await??;
//! let request = client.get(url).header("Authorization", authorization.header_value().expose());
//! ```
//!
//! # Features
//!
//! Both are on by default. `keyring`: the system keyring; without it, profiles are kept in the file
//! or with a credential helper. `tls`: without it, only remotes on this machine can be reached.
//!
//! # Versions
//!
//! The crate follows semantic versioning; before 1.0, a new minor version may break its callers.
//! Enums and structs that will grow are `#[non_exhaustive]`. The oldest Rust that compiles it is in
//! `rust-version`, and raising it is a minor version. The module `internal` is for the `baseten`
//! command alone and may change at any time. There are 13 public items.

mod api_key;
mod child;
mod context;
mod env;
mod error;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod identity;
mod lend;
mod login;
mod logout;
mod management;
mod oauth;
mod pending;
mod profile;
mod remote;
mod secret;
mod session;
mod source;
mod storage;
mod store;
#[cfg(test)]
mod test_support;
mod text;
mod wait;

pub use error::{Error, ErrorKind};
pub use event::{Event, Observer};
pub use management::User;
pub use profile::AuthType;
pub use secret::Secret;
pub use session::request::{RequestError, Unauthorized};
pub use session::{Authorization, Session, SessionBuilder};
pub use source::SessionSource;

/// What only the `baseten` command needs. It may change at any time.
#[doc(hidden)]
pub mod internal {
    pub use crate::api_key::{ApiKeyError, parse_api_key, read_api_key};
    pub use crate::child::find_program;
    pub use crate::context::Context;
    pub use crate::env::{ENGINE_TOKENS, Env, NotText, SECRETS};
    pub use crate::error::Failure;
    pub use crate::http::{
        CertificateProblem, Http, HttpError, ProxyProblem, Request, Response, user_agent,
    };
    pub use crate::identity::{Ci, Claims, IdentitySource, TrustRule, WorkloadError};
    pub use crate::lend::LendError;
    pub use crate::lend::protocol::{Complaint, LentProfile, Listing};
    #[cfg(unix)]
    pub use crate::lend::server::{Lender, Lending, Offer, Stop};
    #[cfg(unix)]
    pub use crate::lend::socket::{Peer, Socket};
    pub use crate::login::{Login, abandon, identify, name_after, store_login};
    pub use crate::logout::logout;
    pub use crate::management::{logout as end_session_at_server, users_me};
    pub use crate::oauth::answer::ApiError;
    pub use crate::oauth::device::{
        DeviceAuthorization, DeviceError, start as start_device_login, wait_for_approval,
    };
    pub use crate::pending::{Pending, PendingError};
    pub use crate::profile::{Credential, Identity, OAuthCredential, Profile, ProfileName};
    pub use crate::remote::{ApiUrlError, ManagementUrl, Remote};
    pub use crate::session::demand::Demand;
    pub use crate::session::lent::Lent;
    pub use crate::session::resolve::{
        Selected, lent_profiles, remote_of_environment, select_to_remove,
    };
    pub use crate::session::workload::Workload;
    pub use crate::storage::{HelperName, Storage, StoragePolicy};
    pub use crate::store::budget::Budget;
    pub use crate::store::document::{Profiles, Summary};
    pub use crate::store::entry::Entry;
    pub use crate::store::error::{PlaceError, StoreError};
    pub use crate::store::file::Store;
    pub use crate::store::helper::Helper;
    pub use crate::store::keyring::Keyring;
    pub use crate::store::lock::LockError;
    pub use crate::store::openbao::{EngineError, policy_for};
    pub use crate::store::place::Place;
    pub use crate::store::settings::{Change, read_settings, update_settings};
    pub use crate::text::{display_text, is_harmful, is_hidden, plain_text};
    pub use crate::wait::{Cancel, Stopped, SystemClock, Wait};

    /// The names of environment variables.
    pub mod variable {
        pub use crate::env::{API_KEY, AUTH_SOCK, PROFILE, REMOTE_URL, TRUST_RULE};
    }
}
