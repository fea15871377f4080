//! A local Baseten remote for development, demos and tests. It speaks the whole login API, on
//! loopback only, to a handful of invented users; it keeps everything in memory and nothing else.
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
//! | `lib.rs` | [`Sandbox`], the handle of a running server, and its [`Config`] |
//! | `state.rs` | device codes, sessions, API keys: the rules, without clock or network |
//! | `api.rs` | the routes that programs call |
//! | `pages.rs` | the pages that people see |
//! | `server.rs` | listeners, the server's thread, the log of requests |
//! | `users.rs`, `random.rs` | who can log in; tokens and codes |

mod api;
mod pages;
mod random;
mod server;
mod state;
mod users;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

pub use server::Request;
use server::Server;
use state::Verdict;
pub use users::{User, sample_users};

/// The one client that may log in.
pub const CLIENT_ID: &str = "baseten-cli";

/// How a sandbox behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port on 127.0.0.1 (and on `::1` where there is one); 0, as by default, for a free one.
    pub port: u16,
    /// Who can log in.
    pub users: Vec<User>,
    /// Every answer of the API is held back for this long, after its work is done.
    pub latency: Duration,
    /// Seconds between two polls of a device login: sent as given, and insisted on. With 0 a
    /// client may poll as it likes.
    pub device_interval: u64,
    /// How long a device login can be answered; sent in whole seconds.
    pub device_code_lifetime: Duration,
    /// How long an access token is good; sent in whole seconds.
    pub access_token_lifetime: Duration,
    /// Whether each refresh uses its refresh token up and brings the next. If not, an answer to a
    /// refresh has no refresh token and the old one stays good.
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

/// What went wrong with a sandbox, or with what it was asked to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port can't be listened on, or there is no thread for the server.
    #[error("the sandbox cannot start on port {port}")]
    Start {
        /// The port that was asked for.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no user with this id.
    #[error("there is no user {0}")]
    NoSuchUser(String),
    /// This user code is unknown, expired or answered already.
    #[error("no device login waits for an answer under the code {0}")]
    NotPending(String),
}

/// The tokens of a session (RFC 6749 §5.1).
#[derive(Clone)]
pub struct Tokens {
    /// Good for `Authorization: Bearer …`.
    pub access_token: String,
    /// Buys the next access token; `None` where the old one stays good.
    pub refresh_token: Option<String>,
    /// Seconds until the access token expires.
    pub expires_in: u64,
}

/// Without the tokens.
impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// A running sandbox. It stops when this is dropped, and forgets everything.
#[derive(Debug)]
pub struct Sandbox {
    server: Server,
}

impl Sandbox {
    /// Starts a sandbox on a thread of its own. It can be connected to when this returns.
    ///
    /// [`Error::Start`] where the port is taken; [`Error::NoSuchUser`] where nobody has the id
    /// that is to be approved.
    pub fn start(config: Config) -> Result<Self, Error> {
        Ok(Self { server: Server::start(config)? })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The app's URL, to be given as `--remote-url`.
    pub fn remote_url(&self) -> String {
        format!("http://localhost:{}", self.port())
    }

    /// The management API's URL.
    pub fn api_url(&self) -> String {
        format!("http://api.localhost:{}", self.port())
    }

    /// Who can log in.
    pub fn users(&self) -> Vec<User> {
        self.server.state().config().users.clone()
    }

    /// Every request answered so far, oldest first, those for pages included. A request is here
    /// before its answer is sent.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// How many of the requests so far were to refresh tokens, whether or not it was granted.
    pub fn refresh_count(&self) -> usize {
        self.requests().iter().filter(|request| request.is_refresh()).count()
    }

    /// Waits until there is a request like this, at most for `timeout`.
    pub fn wait_for_request(
        &self,
        timeout: Duration,
        like_this: impl Fn(&Request) -> bool,
    ) -> Option<Request> {
        self.server.wait(timeout, |server| server.requests().into_iter().find(&like_this))
    }

    /// Waits until a device login waits for an answer, at most for `timeout`: its user code, the
    /// oldest one's if there are several.
    pub fn wait_for_user_code(&self, timeout: Duration) -> Option<String> {
        self.server.wait(timeout, |server| {
            server.state().pending_user_codes(Instant::now()).into_iter().next()
        })
    }

    /// The user codes of the device logins that wait for an answer, oldest first.
    pub fn pending_user_codes(&self) -> Vec<String> {
        self.server.state().pending_user_codes(Instant::now())
    }

    /// Allows a device login, as the user with this id.
    pub fn approve(&self, user_code: &str, user: &str) -> Result<(), Error> {
        self.server.state().decide(user_code, Verdict::Allow(user), Instant::now())
    }

    /// Denies a device login.
    pub fn deny(&self, user_code: &str) -> Result<(), Error> {
        self.server.state().decide(user_code, Verdict::Deny, Instant::now())
    }

    /// The well-known API key of the user with this id.
    pub fn api_key(&self, user: &str) -> Result<String, Error> {
        self.server.state().user(user).map(User::api_key)
    }

    /// Makes one more API key for the user with this id.
    pub fn new_api_key(&self, user: &str) -> Result<String, Error> {
        self.server.state().new_api_key(user)
    }

    /// Makes an API key worthless.
    pub fn revoke_api_key(&self, key: &str) {
        self.server.state().revoke_api_key(key);
    }

    /// Starts a session as if the user with this id had logged in.
    pub fn new_session(&self, user: &str) -> Result<Tokens, Error> {
        self.server.state().new_session(user, Instant::now())
    }

    /// How many sessions the user with this id has.
    pub fn session_count(&self, user: &str) -> usize {
        self.server.state().session_count(user)
    }

    /// Ends every session of the user with this id.
    pub fn end_sessions(&self, user: &str) {
        self.server.state().end_sessions(user);
    }

    /// Lets every access token expire now, whatever its holder was told. Refresh tokens stay good.
    pub fn expire_access_tokens(&self) {
        self.server.state().expire_access_tokens();
    }

    /// Whether this access or refresh token would be accepted. A refresh token that was used up,
    /// and every token of a session that ended, would not.
    pub fn is_live(&self, token: &str) -> bool {
        self.server.state().is_live(token, Instant::now())
    }
}
