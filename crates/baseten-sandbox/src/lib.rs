//! A local Baseten remote for development, demos and tests. It has the whole auth API and a few
//! test users, listens on loopback only, and keeps everything in memory.
//!
//! ```
//! use baseten_sandbox::{Config, Sandbox};
//!
//! let sandbox = Sandbox::start(Config::default())?;
//! let tokens = sandbox.new_session("ada")?;
//! assert!(sandbox.is_live(&tokens.access_token));
//! assert!(sandbox.requests().is_empty());
//! # Ok::<(), baseten_sandbox::Error>(())
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | `lib.rs` | [`Sandbox`], the handle of a running server |
//! | `server.rs` | listeners, the server's thread, what is done around every request |
//! | `api.rs` | the routes that programs call |
//! | `pages.rs` | the pages that people see |
//! | `shared.rs` | what the routes and the handle share: the state, and the log of requests |
//! | `state.rs` | device codes, sessions, API keys: the rules, without clock or network |
//! | `identity.rs`, `signatures.rs` | whether an identity token meets a trust rule |
//! | `config.rs`, `error.rs` | how a sandbox behaves; what can go wrong |
//! | `users.rs`, `random.rs`, `loopback.rs` | who can log in; tokens and codes; what is this computer |
//!
//! Each module imports only from modules below it in this table.

mod api;
mod config;
mod error;
mod identity;
mod loopback;
mod pages;
mod random;
mod server;
mod shared;
mod signatures;
mod state;
mod users;

use std::time::{Duration, Instant};

pub use crate::config::{CLIENT_ID, Config, TrustRule};
pub use crate::error::Error;
use crate::server::Server;
pub use crate::shared::Request;
pub use crate::state::Tokens;
use crate::state::Verdict;
pub use crate::users::{User, sample_users};

/// A running sandbox. Dropping it stops the server and discards its data.
#[derive(Debug)]
pub struct Sandbox {
    server: Server,
}

impl Sandbox {
    /// Starts a sandbox on its own thread. It accepts connections when this returns.
    /// [`Error::Start`] if the port is taken; [`Error::NoSuchUser`] if the configuration names an
    /// id that no user has; [`Error::Issuer`] if a trust rule's issuer is not on this computer.
    pub fn start(config: Config) -> Result<Self, Error> {
        Ok(Self { server: Server::start(config)? })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.server.shared().port()
    }

    /// The app's URL, for `--remote-url`.
    pub fn remote_url(&self) -> String {
        format!("http://localhost:{}", self.port())
    }

    /// The management API's URL.
    pub fn api_url(&self) -> String {
        format!("http://api.localhost:{}", self.port())
    }

    /// Who can log in.
    pub fn users(&self) -> Vec<User> {
        self.server.shared().state().config().users.clone()
    }

    /// Every request answered so far, oldest first, including those for pages. A request is listed
    /// before its answer is sent.
    pub fn requests(&self) -> Vec<Request> {
        self.server.shared().requests()
    }

    /// How many requests so far tried to refresh tokens, successfully or not.
    pub fn refresh_count(&self) -> usize {
        self.requests().iter().filter(|request| request.is_refresh()).count()
    }

    /// Waits until there is a request like this, for `timeout` at most.
    pub fn wait_for_request(
        &self,
        timeout: Duration,
        like_this: impl Fn(&Request) -> bool,
    ) -> Option<Request> {
        self.server.shared().wait(timeout, |shared| shared.requests().into_iter().find(&like_this))
    }

    /// Waits until a device login waits for an answer, for `timeout` at most. Returns its user
    /// code; the oldest one, if there are several.
    pub fn wait_for_user_code(&self, timeout: Duration) -> Option<String> {
        self.server.shared().wait(timeout, |shared| {
            shared.state().pending_user_codes(Instant::now()).into_iter().next()
        })
    }

    /// The user codes of the device logins that wait for an answer, oldest first.
    pub fn pending_user_codes(&self) -> Vec<String> {
        self.server.shared().state().pending_user_codes(Instant::now())
    }

    /// Allows a device login, as the user with this id.
    pub fn approve(&self, user_code: &str, user: &str) -> Result<(), Error> {
        self.server.shared().state().decide(user_code, Verdict::Allow(user), Instant::now())
    }

    /// Denies a device login.
    pub fn deny(&self, user_code: &str) -> Result<(), Error> {
        self.server.shared().state().decide(user_code, Verdict::Deny, Instant::now())
    }

    /// The well-known API key of the user with this id.
    pub fn api_key(&self, user: &str) -> Result<String, Error> {
        self.server.shared().state().user(user).map(User::api_key)
    }

    /// Makes another API key for the user with this id.
    pub fn new_api_key(&self, user: &str) -> Result<String, Error> {
        self.server.shared().state().new_api_key(user)
    }

    /// Revokes an API key.
    pub fn revoke_api_key(&self, key: &str) {
        self.server.shared().state().revoke_api_key(key);
    }

    /// Starts a session as if the user with this id had logged in.
    pub fn new_session(&self, user: &str) -> Result<Tokens, Error> {
        self.server.shared().state().new_session(user, Instant::now())
    }

    /// How many sessions the user with this id has.
    pub fn session_count(&self, user: &str) -> usize {
        self.server.shared().state().session_count(user)
    }

    /// Ends every session of the user with this id.
    pub fn end_sessions(&self, user: &str) {
        self.server.shared().state().end_sessions(user);
    }

    /// Expires every access token now, whatever `expires_in` its client was given. Refresh tokens
    /// stay valid.
    pub fn expire_access_tokens(&self) {
        self.server.shared().state().expire_access_tokens();
    }

    /// Whether this access or refresh token would be accepted. A refresh token that was used up,
    /// and every token of a session that ended, would not.
    pub fn is_live(&self, token: &str) -> bool {
        self.server.shared().state().is_live(token, Instant::now())
    }
}
