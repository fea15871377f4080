//! A session: a selected credential, refreshed for as long as it is used.

pub(crate) mod credential;
pub(crate) mod demand;
pub(crate) mod ending;
mod fleet;
pub(crate) mod identity_token;
pub(crate) mod lent;
pub(crate) mod refresh;
pub(crate) mod request;
pub(crate) mod resolve;
mod usable;
pub(crate) mod workload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::demand::Demand;
use self::lent::Lent;
use self::request::{RequestError, Unauthorized};
use self::resolve::Selected;
use self::usable::Usable;
use self::workload::Workload;
use crate::context::{Context, Operation};
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::event::{Event, Observer};
use crate::identity::Claims;
use crate::lend::protocol::Grant;
use crate::management::{self, User};
use crate::profile::{AuthType, Credential, OAuthCredential, Profile, ProfileName};
use crate::remote::{ManagementUrl, Remote};
use crate::secret::Secret;
use crate::source::SessionSource;
use crate::store::file::Store;

/// A credential that was selected, and where its requests go.
///
/// It can be kept for as long as a program runs, and used by many threads at once. Clones share the
/// tokens, which are refreshed when needed.
#[derive(Debug, Clone)]
pub struct Session {
    context: Context,
    source: SessionSource,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// An API key from the environment. The store is not used.
    ApiKey { key: Secret, remote: Remote },
    /// A stored profile.
    Stored(Arc<Stored>),
    /// The workload that the environment describes. The store is not used.
    Workload(Arc<Workload>),
    /// A lender's profile. The store of this machine is not used.
    Lent(Arc<Lent>),
}

#[derive(Debug)]
struct Stored {
    store: Store,
    /// The profile as it was when it was selected.
    profile: Profile,
    current: Option<ProfileName>,
    /// True until the first use, which takes `profile` without reading the store again.
    is_new: AtomicBool,
    /// The tokens used last.
    tokens: Mutex<Option<OAuthCredential>>,
}

impl Stored {
    /// The credential, and whether it was refreshed just now.
    fn authorize(
        &self,
        operation: &Operation<'_>,
        demand: &Demand,
    ) -> Result<(Authorization, bool), Error> {
        let context = operation.context;
        let tokens = match self.credential(operation, demand)? {
            Credential::OAuth(tokens) => tokens,
            Credential::ApiKey(key) if demand.refused.contains(&key) => {
                return Err(Failure::ApiKeyRefused.into());
            }
            key @ Credential::ApiKey(_) => return Ok((Authorization::new(key), false)),
        };
        let usable = if demand.is_met_by(&tokens, context.wait().now()) {
            (self.remember(tokens), false)
        } else {
            match self.refresh(operation, demand) {
                Err(error) if self.can_do_without(&error, context, &tokens, demand) => {
                    return Ok((self.remember(tokens), false));
                }
                refreshed => refreshed?,
            }
        };
        self.tell_if_short_lived(context, demand);
        Ok(usable)
    }

    /// The profile as it is now, as far as this host knows.
    fn read_again(&self) -> Result<Profile, Error> {
        let name = &self.profile.name;
        let missing = || usable::logged_out(name);
        let now = self.store.read(|profiles| profiles.get(name)?.ok_or_else(missing))?;
        refresh::still_like(&self.profile, now)
    }

    /// The tokens used last, or else the stored credential.
    fn credential(&self, operation: &Operation<'_>, demand: &Demand) -> Result<Credential, Error> {
        if let Some(tokens) = self.tokens().clone() {
            return Ok(Credential::OAuth(tokens));
        }
        let profile = if self.is_new.swap(false, Ordering::SeqCst) {
            self.profile.clone()
        } else {
            self.read_again()?
        };
        let found = credential::find(operation, &profile, demand)?;
        let found = found.ok_or_else(|| credential::missing(operation.context, &profile))?;
        if profile.in_file.as_ref() != Some(&found.credential) {
            // A keyring finds secrets by profile name only: this one may already be from a new
            // login.
            self.read_again()?;
        }
        Ok(found.credential)
    }

    /// Whether the old tokens will do after a failed refresh. If so, reports that failure.
    fn can_do_without(
        &self,
        error: &Error,
        context: &Context,
        tokens: &OAuthCredential,
        demand: &Demand,
    ) -> bool {
        let will_do = !error.is_canceled() && demand.settles_for(tokens, context.wait().now());
        if will_do {
            let (profile, reason) = (Some(&self.profile.name), error.reason());
            context.observer().notify(&Event::RefreshFailed { profile, reason });
        }
        will_do
    }

    fn tell_if_short_lived(&self, context: &Context, demand: &Demand) {
        let tokens = self.tokens().clone();
        let left = tokens.and_then(|tokens| tokens.time_left(context.wait().now()));
        let name = Some(&self.profile.name);
        demand.report_if_short(context, name, left);
    }

    /// A credential other than the refused ones, and whether it was refreshed just now.
    fn replace(
        &self,
        operation: &Operation<'_>,
        demand: &Demand,
    ) -> Result<(Authorization, bool), Error> {
        match self.profile.auth_type {
            AuthType::OAuth => self.refresh(operation, demand),
            // A new login may have stored another key.
            AuthType::ApiKey | AuthType::Workload => self.authorize(operation, demand),
        }
    }

    /// Tokens that meet a demand, and whether this call refreshed them. Reads the profile again.
    fn refresh(
        &self,
        operation: &Operation<'_>,
        demand: &Demand,
    ) -> Result<(Authorization, bool), Error> {
        let usable = refresh::refresh(operation, &self.store, &self.profile, demand)?;
        let Usable { tokens, just_refreshed } = usable;
        Ok((self.remember(tokens), just_refreshed))
    }

    fn tokens(&self) -> MutexGuard<'_, Option<OAuthCredential>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, tokens: OAuthCredential) -> Authorization {
        *self.tokens() = Some(tokens.clone());
        Authorization::new(Credential::OAuth(tokens))
    }
}

/// What goes into a request's `Authorization` header (RFC 6750 §2.1 for `Bearer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    scheme: &'static str,
    token: Secret,
    expires_at: Option<jiff::Timestamp>,
}

impl Authorization {
    /// The header's parts for a credential.
    #[doc(hidden)]
    pub fn new(credential: Credential) -> Self {
        match credential {
            Credential::ApiKey(token) => Self { scheme: "Api-Key", token, expires_at: None },
            Credential::OAuth(tokens) => {
                Self { scheme: "Bearer", token: tokens.access_token, expires_at: tokens.expiry }
            }
        }
    }

    /// The header's parts for a token that was lent.
    fn lent(grant: Grant) -> Self {
        let Grant { token, token_type, expires_at, .. } = grant;
        Self { scheme: token_type.as_str(), token, expires_at }
    }

    /// `Bearer` for an access token, `Api-Key` for an API key.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The access token or the API key.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// When the token ends; `None` for API keys, and if the server did not say.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at.and_then(|end| SystemTime::try_from(end).ok())
    }

    /// When the token ends, for the command's output.
    #[doc(hidden)]
    pub fn expiry(&self) -> Option<jiff::Timestamp> {
        self.expires_at
    }

    /// The whole value of the header.
    pub fn header_value(&self) -> Secret {
        self.token.after_scheme(self.scheme)
    }
}

/// Options for selecting a session, besides the environment; see [`Session::builder`].
#[derive(Debug, Clone, Default)]
pub struct SessionBuilder {
    profile: Option<String>,
    user_agent: Option<String>,
    observer: Observer,
}

impl SessionBuilder {
    /// Selects a stored profile by its name, whatever the environment says.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// The `User-Agent` of requests to Baseten, such as `my-tool/1.0`: visible ASCII and spaces.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// The observer that receives events.
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Selects the session, from the environment of this process.
    pub fn open(self) -> Result<Session, Error> {
        let mut context = Context::new(Env::from_process()).with_observer(self.observer);
        if let Some(user_agent) = self.user_agent {
            if !user_agent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                return Err(Failure::UserAgent.into());
            }
            context = context.with_user_agent(user_agent);
        }
        let name = self.profile.map(ProfileName::new).transpose().map_err(Failure::ProfileName)?;
        Session::resolve(&context, name.as_ref())
    }
}

impl Session {
    /// The session that the environment selects. The first of these that is set wins:
    /// `BASETEN_API_KEY`, `BASETEN_TRUST_RULE` (a workload's identity), `BASETEN_AUTH_SOCK` (a
    /// lender's profile), `BASETEN_PROFILE` (a stored profile), the current profile. With a lender,
    /// `BASETEN_PROFILE` names one of its profiles. Asks neither the keyring nor the network, but
    /// asks a lender for its profiles.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().open()
    }

    /// Selects a session with options.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Selects the credential of the first of these that is set: `profile`, `BASETEN_API_KEY`,
    /// `BASETEN_TRUST_RULE`, `BASETEN_PROFILE`, the current profile. With `BASETEN_AUTH_SOCK`, the
    /// profiles are a lender's, and the lender is asked for them. Otherwise reads only the store,
    /// and only if needed.
    #[doc(hidden)]
    pub fn resolve(context: &Context, profile: Option<&ProfileName>) -> Result<Self, Error> {
        Self::select(context, profile, None)
    }

    /// The same, for a caller that next needs a credential for this demand: asks a lender only
    /// once.
    #[doc(hidden)]
    pub fn resolve_for(
        context: &Context,
        profile: Option<&ProfileName>,
        demand: &Demand,
    ) -> Result<Self, Error> {
        Self::select(context, profile, Some(demand))
    }

    fn select(
        context: &Context,
        profile: Option<&ProfileName>,
        demand: Option<&Demand>,
    ) -> Result<Self, Error> {
        if profile.is_none()
            && let Some(session) = Self::of_environment(context)?
        {
            return Ok(session);
        }
        if let Some((source, lent)) = resolve::lent(context, profile, demand)? {
            return Ok(Self { context: context.clone(), source, kind: Kind::Lent(lent.into()) });
        }
        Self::of_store(context, profile)
    }

    /// The API key or the workload of the environment; `None` if it has neither.
    pub(crate) fn of_environment(context: &Context) -> Result<Option<Self>, Error> {
        let (source, kind) = if let Some((key, remote)) = resolve::api_key_of_environment(context)?
        {
            (SessionSource::ApiKeyEnv, Kind::ApiKey { key, remote })
        } else if let Some(workload) = resolve::workload_of_environment(context)? {
            (SessionSource::TrustRuleEnv, Kind::Workload(workload.into()))
        } else {
            return Ok(None);
        };
        Ok(Some(Self { context: context.clone(), source, kind }))
    }

    /// A stored profile: `profile`, or else the one in `BASETEN_PROFILE`, or else the current one.
    pub(crate) fn of_store(
        context: &Context,
        profile: Option<&ProfileName>,
    ) -> Result<Self, Error> {
        let store = context.store()?;
        let selected = resolve::select_stored(context, &store, profile)?;
        let Selected { source, profile, current } = selected;
        let (is_new, tokens) = (AtomicBool::new(true), Mutex::default());
        let stored = Stored { store, profile, current, is_new, tokens };
        Ok(Self { context: context.clone(), source, kind: Kind::Stored(Arc::new(stored)) })
    }

    /// What selected it.
    pub fn source(&self) -> SessionSource {
        self.source
    }

    /// The name of the profile; `None` for a credential from the environment, ours or the lender's.
    pub fn profile_name(&self) -> Option<&str> {
        let lent = || self.lent().map(|lent| &*lent.profile.profile);
        let name = self.profile().map(|profile| profile.name.as_str()).or_else(lent);
        name.filter(|name| !name.is_empty())
    }

    /// The kind of credential.
    pub fn auth_type(&self) -> AuthType {
        match &self.kind {
            Kind::ApiKey { .. } => AuthType::ApiKey,
            Kind::Stored(stored) => stored.profile.auth_type,
            Kind::Workload(_) => AuthType::Workload,
            Kind::Lent(lent) => lent.profile.auth_type,
        }
    }

    /// The app URL, as it was stored or given.
    pub fn remote_url(&self) -> &str {
        match &self.kind {
            Kind::ApiKey { remote, .. } => remote.as_str(),
            Kind::Stored(stored) => &stored.profile.remote_url,
            Kind::Workload(workload) => workload.remote().as_str(),
            Kind::Lent(lent) => &lent.profile.remote_url,
        }
    }

    /// The URL of the management API, without a final `/`.
    pub fn api_url(&self) -> Result<String, Error> {
        Ok(self.management_url()?.as_str().to_owned())
    }

    /// The URL of the inference API, without a final `/`.
    #[doc(hidden)]
    pub fn inference_url(&self) -> Result<String, Error> {
        Ok(self.remote()?.inference_url(self.context.env())?)
    }

    /// A credential that can be used now: tokens that end within 60 s are refreshed first.
    ///
    /// For requests, [`Session::with_retry`] is better: it survives a token that was revoked.
    pub fn authorization(&self) -> Result<Authorization, Error> {
        self.authorization_for(&Demand::default())
    }

    /// A credential that meets a demand.
    #[doc(hidden)]
    pub fn authorization_for(&self, demand: &Demand) -> Result<Authorization, Error> {
        let operation = self.context.operation()?;
        self.authorize(&operation, demand).map(|(authorization, _)| authorization)
    }

    /// Makes a request with this session's credential. The function can use any HTTP client.
    ///
    /// If the server answers 401 to tokens that were not refreshed just now, the function is called
    /// again with other tokens: those that another program has stored meanwhile, or else refreshed
    /// ones. So it is called up to three times; if the last answer is 401 too, that is the result.
    /// A workload exchanges its identity token once more, even if it did so just now.
    pub fn with_retry<T, E: Unauthorized>(
        &self,
        mut send: impl FnMut(&Authorization) -> Result<T, E>,
    ) -> Result<T, RequestError<E>> {
        let operation = self.context.operation().map_err(RequestError::Session)?;
        let authorized =
            self.authorize(&operation, &Demand::default()).map_err(RequestError::Session)?;
        let (mut authorization, mut just_refreshed) = authorized;
        let mut demand = Demand::default();
        loop {
            let answer = send(&authorization);
            let is_unauthorized = answer.as_ref().is_err_and(Unauthorized::is_unauthorized);
            let is_bearer = authorization.scheme() == "Bearer";
            let others = match &self.kind {
                // After the first tokens: those of the other place, and then new ones.
                Kind::Stored(_) if is_bearer && !just_refreshed => 2,
                // The key of a new login.
                Kind::Stored(_) if !is_bearer => 1,
                Kind::Workload(_) => 1,
                Kind::Lent(_) if is_bearer => 1,
                Kind::Stored(_) | Kind::ApiKey { .. } | Kind::Lent(_) => 0,
            };
            if !is_unauthorized || demand.refused.len() >= others {
                return answer.map_err(RequestError::Request);
            }
            demand.refused.push(authorization.token().clone());
            (authorization, just_refreshed) = match self.replace(&operation, &demand) {
                Ok(refreshed) => refreshed,
                // No other credential could help: the server's answer is the best error.
                Err(error)
                    if matches!(
                        error.failure(),
                        Failure::NewTokenRefused { .. } | Failure::ApiKeyRefused
                    ) || !is_bearer =>
                {
                    return answer.map_err(RequestError::Request);
                }
                Err(error) => return Err(RequestError::Session(self.about(error))),
            };
        }
    }

    /// The user behind the credential.
    pub fn user(&self) -> Result<User, Error> {
        let management = self.management_url()?;
        let asked = self.with_retry(|authorization| {
            management::users_me(self.context.http(), &management, &authorization.header_value())
        });
        asked.map_err(|error| match error {
            RequestError::Session(error) => error,
            RequestError::Request(source) => match &self.kind {
                Kind::Workload(workload) => workload.refused(source),
                Kind::ApiKey { .. } | Kind::Stored(_) | Kind::Lent(_) => {
                    let profile = self.profile().map(|profile| profile.name.clone());
                    self.about(Failure::Api { profile, source })
                }
            },
        })
    }

    /// The stored profile; `None` for a credential of the environment.
    #[doc(hidden)]
    pub fn profile(&self) -> Option<&Profile> {
        match &self.kind {
            Kind::Stored(stored) => Some(&stored.profile),
            Kind::ApiKey { .. } | Kind::Workload(_) | Kind::Lent(_) => None,
        }
    }

    /// When the tokens end, if the profile keeps them in the file: the tokens used last, or else
    /// those read when it was selected.
    #[doc(hidden)]
    pub fn expiry(&self) -> Option<jiff::Timestamp> {
        let Kind::Stored(stored) = &self.kind else { return None };
        let Some(Credential::OAuth(selected)) = &stored.profile.in_file else { return None };
        stored.tokens().as_ref().map_or(selected.expiry, |used| used.expiry)
    }

    /// The lender's profile; `None` for all other credentials.
    #[doc(hidden)]
    pub fn lent(&self) -> Option<&Lent> {
        match &self.kind {
            Kind::Lent(lent) => Some(lent),
            Kind::ApiKey { .. } | Kind::Stored(_) | Kind::Workload(_) => None,
        }
    }

    /// The workload; `None` for all other credentials.
    #[doc(hidden)]
    pub fn workload(&self) -> Option<&Workload> {
        match &self.kind {
            Kind::Workload(workload) => Some(workload),
            Kind::ApiKey { .. } | Kind::Stored(_) | Kind::Lent(_) => None,
        }
    }

    /// The claims of a workload's identity token: of the one exchanged last, or else of the one in
    /// a variable or a file. Runs no command and sends no request.
    #[doc(hidden)]
    pub fn identity_claims(&self) -> Result<Option<Claims>, Error> {
        self.workload().map_or(Ok(None), |workload| workload.claims(&self.context))
    }

    /// The current profile, if another stored profile was selected.
    #[doc(hidden)]
    pub fn hidden_current(&self) -> Option<&ProfileName> {
        match &self.kind {
            Kind::ApiKey { .. } | Kind::Workload(_) | Kind::Lent(_) => None,
            Kind::Stored(stored) => {
                stored.current.as_ref().filter(|current| **current != stored.profile.name)
            }
        }
    }

    fn management_url(&self) -> Result<ManagementUrl, Error> {
        Ok(self.remote()?.management_url(self.context.env())?)
    }

    fn remote(&self) -> Result<Remote, Error> {
        match &self.kind {
            Kind::ApiKey { remote, .. } => Ok(remote.clone()),
            Kind::Stored(stored) => resolve::remote_of(&stored.profile),
            Kind::Workload(workload) => Ok(workload.remote().clone()),
            Kind::Lent(lent) => lent.remote(),
        }
    }

    /// Tokens other than the refused ones, and whether they were refreshed just now.
    fn replace(
        &self,
        operation: &Operation<'_>,
        demand: &Demand,
    ) -> Result<(Authorization, bool), Error> {
        match &self.kind {
            Kind::ApiKey { .. } => Err(Failure::ApiKeyRefused.into()),
            Kind::Stored(stored) => stored.replace(operation, demand),
            Kind::Workload(workload) => {
                let tokens = workload.replace(&self.context, demand)?;
                Ok((Authorization::new(Credential::OAuth(tokens)), true))
            }
            Kind::Lent(lent) => Ok((Authorization::lent(lent.token(&self.context, demand)?), true)),
        }
    }

    /// Adds what is known about the profile to an error.
    fn about(&self, error: impl Into<Error>) -> Error {
        let error = error.into();
        match self.profile() {
            Some(profile) => error.of(profile),
            None => error,
        }
    }

    /// The credential, and whether it was refreshed just now.
    fn authorize(
        &self,
        operation: &Operation<'_>,
        demand: &Demand,
    ) -> Result<(Authorization, bool), Error> {
        let stored = match &self.kind {
            Kind::ApiKey { key, .. } if demand.refused.contains(key) => {
                return Err(Failure::ApiKeyRefused.into());
            }
            Kind::ApiKey { key, .. } => {
                return Ok((Authorization::new(Credential::ApiKey(key.clone())), false));
            }
            Kind::Stored(stored) => stored,
            Kind::Workload(workload) => {
                let tokens = workload.authorize(&self.context, demand)?;
                return Ok((Authorization::new(Credential::OAuth(tokens)), false));
            }
            Kind::Lent(lent) => {
                self.management_url()?;
                return Ok((Authorization::lent(lent.token(&self.context, demand)?), false));
            }
        };
        // A secret is never looked up for a remote that it may not be sent to.
        resolve::management_url(&self.context, &stored.profile)?;
        stored.authorize(operation, demand).map_err(|error| self.about(error))
    }
}

#[cfg(test)]
mod tests;
