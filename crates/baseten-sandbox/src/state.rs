//! The sandbox's state, and the rules for changing it: device codes (RFC 8628), sessions with
//! rotating refresh tokens (RFC 6749 §6, RFC 9700 §4.14.2), API keys.
//! Nothing here reads a clock or uses the network: callers pass the time in.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{Error, OAuthError};
use crate::random;
use crate::users::User;

/// How much longer a client that polls too fast has to wait (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The longest lifetime of a workload's access token.
const MAX_WORKLOAD_LIFETIME: Duration = Duration::from_hours(1);

/// Everything that a running sandbox remembers.
pub(crate) struct State {
    config: Config,
    grants: Vec<DeviceGrant>,
    sessions: Vec<Session>,
    api_keys: Vec<ApiKey>,
}

/// The tokens of a session (RFC 6749 §5.1).
#[derive(Clone)]
pub struct Tokens {
    /// For `Authorization: Bearer …`.
    pub access_token: String,
    /// Can be exchanged for the next access token; `None` if the old one stays valid.
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

/// One device login, from its start to the tokens (RFC 8628 §3.2).
pub(crate) struct DeviceGrant {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
    /// Sent with the approval form and required with its answer (against cross-site requests).
    pub(crate) form_token: String,
    pub(crate) client: Client,
    pub(crate) answer: Answer,
    /// The shortest time allowed between two polls.
    interval: Duration,
    last_poll: Option<Instant>,
    expires_at: Option<Instant>,
}

/// The program that started a device login, as its request shows it.
pub(crate) struct Client {
    pub(crate) user_agent: Option<String>,
    pub(crate) address: IpAddr,
}

/// The state of a device login. Users are named by their id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Pending,
    Allowed(String),
    Denied,
    /// Allowed, and the tokens were issued: the device code is used up.
    Used(String),
}

/// The user's answer on the approval page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// Log this user in.
    Allow(&'a str),
    Deny,
}

/// A user's login. It is ended by removing it together with its tokens.
struct Session {
    user: String,
    access_tokens: Vec<AccessToken>,
    refresh_token: Option<String>,
    used_refresh_tokens: Vec<String>,
}

struct AccessToken {
    text: String,
    expires_at: Option<Instant>,
}

struct ApiKey {
    text: String,
    user: String,
}

/// The credential of a request.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    Bearer(&'a str),
    ApiKey(&'a str),
}

impl State {
    pub(crate) fn new(config: Config) -> Self {
        let api_keys = config
            .users
            .iter()
            .map(|user| ApiKey { text: user.api_key(), user: user.id.clone() })
            .collect();
        Self { config, grants: Vec::new(), sessions: Vec::new(), api_keys }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn user(&self, id: &str) -> Result<&User, Error> {
        self.config
            .users
            .iter()
            .find(|user| user.id == id)
            .ok_or_else(|| Error::NoSuchUser(id.to_owned()))
    }

    /// Starts a device login (RFC 8628 §3.1).
    pub(crate) fn authorize(&mut self, client: Client, now: Instant) -> &DeviceGrant {
        let mut user_code = random::user_code();
        while self.grants.iter().any(|grant| grant.user_code == user_code) {
            user_code = random::user_code();
        }
        let answer = self.config.auto_approve.clone().map_or(Answer::Pending, Answer::Allowed);
        self.grants.push_mut(DeviceGrant {
            device_code: random::token("sandbox-device-"),
            user_code,
            form_token: random::token(""),
            client,
            answer,
            interval: Duration::from_secs(self.config.device_interval),
            last_poll: None,
            expires_at: now.checked_add(self.config.device_code_lifetime),
        })
    }

    /// Answers a poll (RFC 8628 §3.4 and §3.5).
    pub(crate) fn poll(&mut self, device_code: &str, now: Instant) -> Result<Tokens, OAuthError> {
        let grant = self.grants.iter_mut().find(|grant| grant.device_code == device_code);
        let grant = grant.ok_or(OAuthError::InvalidGrant)?;
        let user = match &grant.answer {
            Answer::Used(_) => return Err(OAuthError::InvalidGrant),
            _ if grant.has_expired(now) => return Err(OAuthError::ExpiredToken),
            Answer::Denied => return Err(OAuthError::AccessDenied),
            Answer::Pending => return Err(grant.still_pending(now)),
            Answer::Allowed(user) => user.clone(),
        };
        grant.answer = Answer::Used(user.clone());
        Ok(self.start_login_session(user, now))
    }

    /// The device login with this user code, as a person may type it: in any case, with or without
    /// the dash. The caller has to check whether it has expired.
    pub(crate) fn grant(&self, user_code: &str) -> Option<&DeviceGrant> {
        let user_code = normalized(user_code);
        self.grants.iter().find(|grant| grant.user_code == user_code)
    }

    /// The user codes that wait for an answer, oldest first.
    pub(crate) fn pending_user_codes(&self, now: Instant) -> Vec<String> {
        let pending = |grant: &&DeviceGrant| grant.is_pending(now);
        self.grants.iter().filter(pending).map(|grant| grant.user_code.clone()).collect()
    }

    /// Answers a pending device login, once.
    pub(crate) fn decide(
        &mut self,
        user_code: &str,
        verdict: Verdict<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let answer = match verdict {
            Verdict::Allow(id) => Answer::Allowed(self.user(id)?.id.clone()),
            Verdict::Deny => Answer::Denied,
        };
        let user_code = normalized(user_code);
        let grant = self.grants.iter_mut().find(|grant| grant.user_code == user_code);
        match grant.filter(|grant| grant.is_pending(now)) {
            Some(grant) => grant.answer = answer,
            None => return Err(Error::NotPending(user_code)),
        }
        Ok(())
    }

    /// Starts a session as if somebody had logged in.
    pub(crate) fn new_session(&mut self, user: &str, now: Instant) -> Result<Tokens, Error> {
        let user = self.user(user)?.id.clone();
        Ok(self.start_login_session(user, now))
    }

    /// Starts a session for a workload whose identity token was verified (RFC 8693). Its access
    /// token is valid for an hour at most, and cannot be refreshed.
    pub(crate) fn start_workload_session(
        &mut self,
        user: String,
        requested: Option<Duration>,
        now: Instant,
    ) -> Tokens {
        let limit = self.config.access_token_lifetime.min(MAX_WORKLOAD_LIFETIME);
        self.start_session(user, requested.unwrap_or(limit).min(limit), None, now)
    }

    fn start_login_session(&mut self, user: String, now: Instant) -> Tokens {
        let lifetime = self.config.access_token_lifetime;
        self.start_session(user, lifetime, Some(new_refresh_token()), now)
    }

    fn start_session(
        &mut self,
        user: String,
        lifetime: Duration,
        refresh_token: Option<String>,
        now: Instant,
    ) -> Tokens {
        let (access_token, tokens) = issue(lifetime, refresh_token.clone(), now);
        self.sessions.push(Session {
            user,
            access_tokens: vec![access_token],
            refresh_token,
            used_refresh_tokens: Vec::new(),
        });
        tokens
    }

    /// Exchanges a refresh token (RFC 6749 §6). A token that was already used is a sign of theft
    /// and ends the session (RFC 9700 §4.14.2).
    pub(crate) fn refresh(
        &mut self,
        refresh_token: &str,
        now: Instant,
    ) -> Result<Tokens, OAuthError> {
        self.sessions.retain(|session| {
            !session.used_refresh_tokens.iter().any(|used| used == refresh_token)
        });
        let session = self.sessions.iter_mut().find(|session| session.has_refresh(refresh_token));
        let session = session.ok_or(OAuthError::InvalidGrant)?;

        let next = self.config.rotate_refresh_tokens.then(new_refresh_token);
        let (access_token, tokens) = issue(self.config.access_token_lifetime, next.clone(), now);
        session.access_tokens.retain(|token| token.is_live(now));
        session.access_tokens.push(access_token);
        if let Some(next) = next {
            session.used_refresh_tokens.extend(session.refresh_token.replace(next));
        }
        Ok(tokens)
    }

    /// The user of this credential, if it is valid.
    pub(crate) fn who(&self, credential: Credential<'_>, now: Instant) -> Option<&User> {
        let user = match credential {
            Credential::Bearer(token) => {
                &self.sessions.iter().find(|session| session.has_access(token, now))?.user
            }
            Credential::ApiKey(key) => &self.api_keys.iter().find(|known| known.text == key)?.user,
        };
        self.user(user).ok()
    }

    /// Ends the session of this access token. Returns whether there was one.
    pub(crate) fn log_out(&mut self, access_token: &str, now: Instant) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|session| !session.has_access(access_token, now));
        self.sessions.len() < before
    }

    /// Whether this access or refresh token would be accepted.
    pub(crate) fn is_live(&self, token: &str, now: Instant) -> bool {
        let live = |s: &Session| s.has_refresh(token) || s.has_access(token, now);
        self.sessions.iter().any(live)
    }

    /// How many sessions this user has.
    pub(crate) fn session_count(&self, user: &str) -> usize {
        self.sessions.iter().filter(|session| session.user == user).count()
    }

    /// Ends every session of this user.
    pub(crate) fn end_sessions(&mut self, user: &str) {
        self.sessions.retain(|session| session.user != user);
    }

    /// Expires every access token now. Refresh tokens stay valid.
    pub(crate) fn expire_access_tokens(&mut self) {
        for session in &mut self.sessions {
            session.access_tokens.clear();
        }
    }

    /// Makes another API key for this user.
    pub(crate) fn new_api_key(&mut self, user: &str) -> Result<String, Error> {
        let user = self.user(user)?.id.clone();
        let text = random::token("sandbox-api-key-");
        self.api_keys.push(ApiKey { text: text.clone(), user });
        Ok(text)
    }

    /// Revokes an API key.
    pub(crate) fn revoke_api_key(&mut self, key: &str) {
        self.api_keys.retain(|known| known.text != key);
    }
}

impl DeviceGrant {
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        is_past(self.expires_at, now)
    }

    fn is_pending(&self, now: Instant) -> bool {
        self.answer == Answer::Pending && !self.has_expired(now)
    }

    /// Tells a client to keep polling, and to slow down if it polled too early (RFC 8628 §3.5). The
    /// interval is between two polls, so the first one is never too early.
    fn still_pending(&mut self, now: Instant) -> OAuthError {
        let since = self.last_poll.replace(now).map(|last| now.saturating_duration_since(last));
        if since.is_some_and(|since| since < self.interval) {
            self.interval = self.interval.saturating_add(SLOW_DOWN);
            return OAuthError::SlowDown;
        }
        OAuthError::AuthorizationPending
    }
}

impl Session {
    fn has_refresh(&self, token: &str) -> bool {
        self.refresh_token.as_deref() == Some(token)
    }

    fn has_access(&self, token: &str, now: Instant) -> bool {
        self.access_tokens.iter().any(|known| known.text == token && known.is_live(now))
    }
}

impl AccessToken {
    fn is_live(&self, now: Instant) -> bool {
        !is_past(self.expires_at, now)
    }
}

fn new_refresh_token() -> String {
    random::token("sandbox-refresh-")
}

/// A new access token, and the answer that gives it to the client.
fn issue(lifetime: Duration, refresh_token: Option<String>, now: Instant) -> (AccessToken, Tokens) {
    let access_token = random::token("sandbox-access-");
    let stored = AccessToken { text: access_token.clone(), expires_at: now.checked_add(lifetime) };
    (stored, Tokens { access_token, refresh_token, expires_in: lifetime.as_secs() })
}

/// `None` means no expiry: it is later than the clock can represent.
fn is_past(expires_at: Option<Instant>, now: Instant) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

/// The canonical form of a user code that a person typed (RFC 8628 §6.1).
fn normalized(user_code: &str) -> String {
    let mut code: String = user_code.chars().filter(char::is_ascii_alphanumeric).collect();
    code.make_ascii_uppercase();
    if code.len() == random::USER_CODE_LETTERS {
        code.insert(random::USER_CODE_LETTERS / 2, '-');
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state() -> (State, Instant) {
        state_with(Config { device_interval: 5, ..Config::default() })
    }

    fn state_with(config: Config) -> (State, Instant) {
        (State::new(config), Instant::now())
    }

    /// Starts a device login: its device code and its user code.
    fn authorize(state: &mut State, now: Instant) -> (String, String) {
        let client = Client { user_agent: None, address: IpAddr::from([127, 0, 0, 1]) };
        let grant = state.authorize(client, now);
        (grant.device_code.clone(), grant.user_code.clone())
    }

    fn refresh_token(tokens: &Tokens) -> String {
        tokens.refresh_token.clone().unwrap()
    }

    #[test]
    fn an_approved_device_code_buys_one_session() {
        let (mut state, now) = state();
        let (device_code, user_code) = authorize(&mut state, now);
        assert_eq!(state.poll(&device_code, now).err(), Some(OAuthError::AuthorizationPending));

        state.decide(&user_code, Verdict::Allow("grace"), now).unwrap();
        let tokens = state.poll(&device_code, now).unwrap();
        let who = state.who(Credential::Bearer(&tokens.access_token), now).unwrap();
        assert_eq!(who.id, "grace");

        assert_eq!(state.poll(&device_code, now).err(), Some(OAuthError::InvalidGrant));
        assert_eq!(state.session_count("grace"), 1);
    }

    #[test]
    fn a_denied_device_code_buys_nothing() {
        let (mut state, now) = state();
        let (device_code, user_code) = authorize(&mut state, now);
        state.decide(&user_code, Verdict::Deny, now).unwrap();
        assert_eq!(state.poll(&device_code, now).err(), Some(OAuthError::AccessDenied));
        assert_eq!(state.poll(&device_code, now).err(), Some(OAuthError::AccessDenied));
    }

    #[test]
    fn a_login_is_answered_once() {
        let (mut state, now) = state();
        let (_, user_code) = authorize(&mut state, now);
        assert_eq!(state.pending_user_codes(now), [user_code.as_str()]);
        let nobody = state.decide(&user_code, Verdict::Allow("nobody"), now);
        assert!(matches!(nobody, Err(Error::NoSuchUser(_))));

        state.decide(&user_code, Verdict::Deny, now).unwrap();
        let again = state.decide(&user_code, Verdict::Allow("ada"), now);
        assert!(matches!(again, Err(Error::NotPending(_))));
        assert_eq!(state.pending_user_codes(now), [""; 0]);
    }

    #[test]
    fn a_device_code_expires_whether_approved_or_not() {
        let lifetime = 10 * SECOND;
        let (mut state, now) =
            state_with(Config { device_code_lifetime: lifetime, ..Config::default() });
        let (pending, user_code) = authorize(&mut state, now);
        let (approved, approved_user_code) = authorize(&mut state, now);
        state.decide(&approved_user_code, Verdict::Allow("ada"), now).unwrap();

        let (just_before, later) = (now + 9 * SECOND, now + lifetime);
        assert_eq!(state.poll(&pending, later).err(), Some(OAuthError::ExpiredToken));
        assert_eq!(state.poll(&approved, later).err(), Some(OAuthError::ExpiredToken));
        assert!(state.decide(&user_code, Verdict::Allow("ada"), later).is_err());
        assert!(state.decide(&user_code, Verdict::Allow("ada"), just_before).is_ok());
    }

    #[test]
    fn polling_too_fast_slows_down_and_stays_slow() {
        let (mut state, now) = state();
        let (device_code, _) = authorize(&mut state, now);
        let mut poll_at = |seconds: u32| state.poll(&device_code, now + seconds * SECOND).err();
        assert_eq!(poll_at(5), Some(OAuthError::AuthorizationPending));
        assert_eq!(poll_at(10), Some(OAuthError::AuthorizationPending));
        assert_eq!(poll_at(14), Some(OAuthError::SlowDown));
        assert_eq!(poll_at(23), Some(OAuthError::SlowDown));
        assert_eq!(poll_at(38), Some(OAuthError::AuthorizationPending));
        assert_eq!(poll_at(52), Some(OAuthError::SlowDown));
    }

    #[test]
    fn an_interval_of_zero_is_never_too_fast() {
        let (mut state, now) = state_with(Config { device_interval: 0, ..Config::default() });
        let (device_code, _) = authorize(&mut state, now);
        for _ in 0..3 {
            assert_eq!(state.poll(&device_code, now).err(), Some(OAuthError::AuthorizationPending));
        }
    }

    #[test]
    fn people_may_type_a_user_code_as_they_like() {
        let (mut state, now) = state();
        let (_, user_code) = authorize(&mut state, now);
        let typed = format!(" {} ", user_code.to_lowercase().replace('-', " "));
        assert_eq!(state.grant(&typed).unwrap().user_code, user_code);
        assert!(state.grant("").is_none());
        state.decide(&typed, Verdict::Deny, now).unwrap();
    }

    #[test]
    fn auto_approval_needs_nobody() {
        let config = Config { auto_approve: Some("ada".into()), ..Config::default() };
        let (mut state, now) = state_with(config);
        let (device_code, _) = authorize(&mut state, now);
        assert!(state.poll(&device_code, now).is_ok());
    }

    #[test]
    fn refresh_tokens_rotate() {
        let (mut state, now) = state();
        let first = state.new_session("ada", now).unwrap();
        let second = state.refresh(&refresh_token(&first), now).unwrap();
        assert_ne!(refresh_token(&first), refresh_token(&second));
        assert!(state.is_live(&first.access_token, now));
        assert!(state.is_live(&second.access_token, now));
        assert!(!state.is_live(&refresh_token(&first), now));
        assert!(state.is_live(&refresh_token(&second), now));
    }

    #[test]
    fn a_refresh_token_used_twice_ends_its_session_and_no_other() {
        let (mut state, now) = state();
        let other = state.new_session("ada", now).unwrap();
        let first = state.new_session("ada", now).unwrap();
        let second = state.refresh(&refresh_token(&first), now).unwrap();
        let third = state.refresh(&refresh_token(&second), now).unwrap();

        let reused = state.refresh(&refresh_token(&first), now);
        assert_eq!(reused.err(), Some(OAuthError::InvalidGrant));
        let newest = state.refresh(&refresh_token(&third), now);
        assert_eq!(newest.err(), Some(OAuthError::InvalidGrant));
        assert!(!state.is_live(&third.access_token, now));
        assert!(state.is_live(&other.access_token, now));
    }

    #[test]
    fn without_rotation_the_refresh_token_stays() {
        let config = Config { rotate_refresh_tokens: false, ..Config::default() };
        let (mut state, now) = state_with(config);
        let first = state.new_session("ada", now).unwrap();
        for _ in 0..2 {
            let next = state.refresh(&refresh_token(&first), now).unwrap();
            assert_eq!(next.refresh_token, None);
            assert!(state.is_live(&next.access_token, now));
        }
    }

    #[test]
    fn a_workload_gets_an_access_token_for_an_hour_at_most_and_no_other() {
        let lifetime = Duration::from_hours(24);
        let (mut state, now) =
            state_with(Config { access_token_lifetime: lifetime, ..Config::default() });
        for (requested, seconds) in [(None, 3600), (Some(lifetime), 3600), (Some(60 * SECOND), 60)]
        {
            let tokens = state.start_workload_session("ada".into(), requested, now);
            assert_eq!((tokens.expires_in, &tokens.refresh_token), (seconds.into(), &None));
            assert!(state.is_live(&tokens.access_token, now + (seconds - 1) * SECOND));
            assert!(!state.is_live(&tokens.access_token, now + seconds * SECOND));
        }
        assert_eq!(state.refresh("", now).err(), Some(OAuthError::InvalidGrant));
    }

    #[test]
    fn access_tokens_expire_and_refresh_tokens_do_not() {
        let lifetime = 60 * SECOND;
        let (mut state, now) =
            state_with(Config { access_token_lifetime: lifetime, ..Config::default() });
        let tokens = state.new_session("ada", now).unwrap();
        assert_eq!(tokens.expires_in, 60);
        assert!(state.is_live(&tokens.access_token, now + 59 * SECOND));
        assert!(!state.is_live(&tokens.access_token, now + lifetime));
        assert!(!state.log_out(&tokens.access_token, now + lifetime));
        assert!(state.refresh(&refresh_token(&tokens), now + lifetime).is_ok());
    }

    #[test]
    fn expiring_access_tokens_leaves_the_sessions() {
        let (mut state, now) = state();
        let tokens = state.new_session("ada", now).unwrap();
        state.expire_access_tokens();
        assert!(!state.is_live(&tokens.access_token, now));
        assert_eq!(state.session_count("ada"), 1);
        assert!(state.refresh(&refresh_token(&tokens), now).is_ok());
    }

    #[test]
    fn a_logout_ends_the_session_of_that_token_only() {
        let (mut state, now) = state();
        let first = state.new_session("ada", now).unwrap();
        let second = state.new_session("ada", now).unwrap();
        assert!(state.log_out(&first.access_token, now));
        assert!(!state.is_live(&first.access_token, now));
        assert!(!state.is_live(&refresh_token(&first), now));
        assert!(state.is_live(&second.access_token, now));

        state.end_sessions("ada");
        assert!(!state.is_live(&second.access_token, now));
    }

    #[test]
    fn api_keys_are_not_bearer_tokens() {
        let (mut state, now) = state();
        let well_known = state.user("ada").unwrap().api_key();
        let minted = state.new_api_key("ada").unwrap();
        for key in [&well_known, &minted] {
            assert_eq!(state.who(Credential::ApiKey(key), now).unwrap().id, "ada");
            assert!(state.who(Credential::Bearer(key), now).is_none());
        }
        state.revoke_api_key(&minted);
        assert!(state.who(Credential::ApiKey(&minted), now).is_none());
        assert!(state.who(Credential::ApiKey(&well_known), now).is_some());
    }

    #[test]
    fn a_lifetime_that_does_not_fit_the_clock_never_ends() {
        let forever = Duration::MAX;
        let config = Config {
            access_token_lifetime: forever,
            device_code_lifetime: forever,
            ..Config::default()
        };
        let (mut state, now) = state_with(config);
        let (_, user_code) = authorize(&mut state, now);
        assert_eq!(state.pending_user_codes(now), [user_code]);
        let tokens = state.new_session("ada", now).unwrap();
        assert!(state.is_live(&tokens.access_token, now));
    }
}
