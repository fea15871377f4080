//! Which profile a command speaks for, what selected it, and the credential that goes with it.

use jiff::Timestamp;

use crate::client::{self, User};
use crate::credentials::{self, Found};
use crate::{
    ApiError, ApiKeyError, Context, Credential, Error, Event, ManagementUrl, Profile, ProfileName,
    Remote, Secret, Store, parse_api_key, refresh,
};

/// What selected the credential of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionSource {
    /// The `--profile` option.
    ProfileFlag,
    /// The `BASETEN_API_KEY` variable.
    ApiKeyEnv,
    /// The `BASETEN_PROFILE` variable.
    ProfileEnv,
    /// The store's current profile.
    Current,
}

impl SessionSource {
    /// The option, variable or state that selected, as a person would write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProfileFlag => "--profile",
            Self::ApiKeyEnv => "BASETEN_API_KEY",
            Self::ProfileEnv => "BASETEN_PROFILE",
            Self::Current => "current profile",
        }
    }
}

/// Where the API key of the environment belongs.
pub(crate) const REMOTE_VARIABLE: &str = "BASETEN_REMOTE_URL";

/// A credential that was selected, and where its requests go.
#[derive(Debug, Clone)]
pub struct Session {
    context: Context,
    source: SessionSource,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The API key of the environment. Nothing stored is touched.
    ApiKey { key: Secret, remote: Remote },
    /// A stored profile.
    Profile { store: Store, profile: Profile, current: Option<ProfileName> },
}

/// What goes into a request's `Authorization` header (RFC 6750 §2.1 for `Bearer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// `Bearer` or `Api-Key`.
    pub scheme: &'static str,
    /// The token or key.
    pub token: Secret,
    /// When the token ends; `None` for keys, and where nobody said.
    pub expires_at: Option<Timestamp>,
}

impl Authorization {
    /// The header's parts for a credential.
    pub fn new(credential: Credential) -> Self {
        match credential {
            Credential::ApiKey(token) => Self { scheme: "Api-Key", token, expires_at: None },
            Credential::OAuth(tokens) => {
                Self { scheme: "Bearer", token: tokens.access_token, expires_at: tokens.expiry }
            }
        }
    }

    /// The value of the header.
    pub fn header_value(&self) -> Secret {
        // Room for all of it, so that no copy is left behind.
        let token = self.token.expose();
        let mut value = String::with_capacity(self.scheme.len() + 1 + token.len());
        value.push_str(self.scheme);
        value.push(' ');
        value.push_str(token);
        Secret::from(value)
    }
}

/// Selects a credential: `profile`, `BASETEN_API_KEY`, `BASETEN_PROFILE`, the current profile, the
/// first that is set. Reads the store only if it has to, and never a vault.
pub fn resolve(context: &Context, profile: Option<&ProfileName>) -> Result<Session, Error> {
    let (source, kind) = if profile.is_none() && context.env().has(API_KEY_VARIABLE) {
        let (source, kind) = (SessionSource::ApiKeyEnv, api_key_of_environment(context)?);
        context.observer().notify(&Event::Selected { source, profile: None });
        (source, kind)
    } else {
        let store = context.store()?;
        let Selected { source, profile, current } = select_stored(context, &store, profile)?;
        (source, Kind::Profile { store, profile, current })
    };
    Ok(Session { context: context.clone(), source, kind })
}

const API_KEY_VARIABLE: &str = "BASETEN_API_KEY";
const PROFILE_VARIABLE: &str = "BASETEN_PROFILE";

fn api_key_of_environment(context: &Context) -> Result<Kind, Error> {
    let env = context.env();
    let key = env.text(API_KEY_VARIABLE).map_err(|_| Error::ApiKeyEnv(ApiKeyError::Malformed))?;
    let key = parse_api_key(key.unwrap_or_default().as_bytes()).map_err(Error::ApiKeyEnv)?;
    Ok(Kind::ApiKey { key, remote: remote_of_environment(context)?.unwrap_or_default() })
}

/// `BASETEN_REMOTE_URL`, if it is set.
pub fn remote_of_environment(context: &Context) -> Result<Option<Remote>, Error> {
    let text = context.env().text(REMOTE_VARIABLE)?;
    text.map(Remote::parse).transpose().map_err(Error::RemoteEnv)
}

fn profile_of_environment(context: &Context) -> Result<Option<ProfileName>, Error> {
    let text = context.env().text(PROFILE_VARIABLE)?;
    text.map(ProfileName::new).transpose().map_err(Error::ProfileEnv)
}

/// A stored profile that was selected.
#[derive(Debug, Clone)]
pub struct Selected {
    /// What selected it.
    pub source: SessionSource,
    /// The profile.
    pub profile: Profile,
    /// The current profile, which may be another one, or gone.
    pub current: Option<ProfileName>,
}

/// Selects a stored profile: `profile`, `BASETEN_PROFILE`, the current one.
pub fn select_stored(
    context: &Context,
    store: &Store,
    profile: Option<&ProfileName>,
) -> Result<Selected, Error> {
    let named = match profile {
        Some(name) => Some((SessionSource::ProfileFlag, name.clone())),
        None => profile_of_environment(context)?.map(|name| (SessionSource::ProfileEnv, name)),
    };
    let selected = context.read(store, |profiles| {
        let current = profiles.current();
        let (source, name) = named
            .or_else(|| Some((SessionSource::Current, current.clone()?)))
            .ok_or(Error::NoCurrentProfile { any_stored: !profiles.is_empty() })?;
        let profile = profiles.get(&name).map_err(|error| store.bad_profile(error))?;
        let profile = profile.ok_or(Error::NoSuchProfile { name, selected_by: source })?;
        Ok::<_, Error>(Selected { source, profile, current })
    })?;
    let (source, name) = (selected.source, &selected.profile.name);
    context.observer().notify(&Event::Selected { source, profile: Some(name) });
    Ok(selected)
}

impl Session {
    /// What selected it.
    pub fn source(&self) -> SessionSource {
        self.source
    }

    /// The stored profile; `None` for the API key of the environment.
    pub fn profile(&self) -> Option<&Profile> {
        match &self.kind {
            Kind::ApiKey { .. } => None,
            Kind::Profile { profile, .. } => Some(profile),
        }
    }

    /// The current profile, where something else than it was selected from the store.
    pub fn hidden_current(&self) -> Option<&ProfileName> {
        match &self.kind {
            Kind::Profile { profile, current: Some(current), .. } if *current != profile.name => {
                Some(current)
            }
            Kind::Profile { .. } | Kind::ApiKey { .. } => None,
        }
    }

    /// The app URL, as it was stored or given.
    pub fn remote_url(&self) -> &str {
        match &self.kind {
            Kind::ApiKey { remote, .. } => remote.as_str(),
            Kind::Profile { profile, .. } => &profile.remote_url,
        }
    }

    /// Where requests to the management API go.
    pub fn management_url(&self) -> Result<ManagementUrl, Error> {
        match &self.kind {
            Kind::ApiKey { remote, .. } => Ok(remote.management_url(self.context.env())?),
            Kind::Profile { profile, .. } => management_url(&self.context, profile),
        }
    }

    /// A credential that can be used now: tokens that end within 60 s are refreshed first.
    pub fn authorization(&self) -> Result<Authorization, Error> {
        Ok(self.authorize()?.0)
    }

    /// Makes a request with this session's credential. Where OAuth tokens that were not just
    /// refreshed are answered with 401, the request is made again with others: those that another
    /// program has stored meanwhile, or else refreshed ones.
    pub fn request<T>(
        &self,
        mut send: impl FnMut(&Authorization) -> Result<T, ApiError>,
    ) -> Result<T, Error> {
        let (mut authorization, mut just_refreshed) = self.authorize()?;
        let mut refused = Vec::new();
        loop {
            let answer = send(&authorization);
            let unauthorized = answer.as_ref().is_err_and(|error| error.status() == Some(401));
            let may_be_old = authorization.scheme == "Bearer" && !just_refreshed;
            let Kind::Profile { store, profile, .. } = &self.kind else {
                return answer.map_err(|error| self.refused(error));
            };
            // The file's tokens, the vault's, and then new ones: there are no more.
            if !unauthorized || !may_be_old || refused.len() == 2 {
                return answer.map_err(|error| self.refused(error));
            }
            refused.push(authorization.token.clone());
            let usable = refresh::refresh(&self.context, store, &profile.name, &refused)?;
            just_refreshed = usable.just_refreshed;
            authorization = Authorization::new(Credential::OAuth(usable.tokens));
        }
    }

    /// The user behind the credential.
    pub fn user(&self) -> Result<User, Error> {
        let management = self.management_url()?;
        self.request(|authorization| {
            client::users_me(self.context.http(), &management, &authorization.header_value())
        })
    }

    fn refused(&self, source: ApiError) -> Error {
        let profile = self.profile().map(|profile| profile.name.clone());
        Error::Api { profile, source }
    }

    /// The credential, and whether it was refreshed just now.
    fn authorize(&self) -> Result<(Authorization, bool), Error> {
        let (store, profile) = match &self.kind {
            Kind::ApiKey { key, .. } => {
                return Ok((Authorization::new(Credential::ApiKey(key.clone())), false));
            }
            Kind::Profile { store, profile, .. } => (store, profile),
        };
        // A secret is never looked up for a remote that it may not be sent to.
        management_url(&self.context, profile)?;
        let found = credentials::find(&self.context, profile, &[])?;
        let Found { credential, .. } =
            found.ok_or_else(|| Error::missing(&self.context, profile))?;
        match credential {
            Credential::OAuth(tokens) if !credentials::is_fresh(&self.context, &tokens) => {
                let usable = refresh::refresh(&self.context, store, &profile.name, &[])?;
                let credential = Credential::OAuth(usable.tokens);
                Ok((Authorization::new(credential), usable.just_refreshed))
            }
            usable => Ok((Authorization::new(usable), false)),
        }
    }
}

/// Where a stored profile's requests go.
pub(crate) fn management_url(context: &Context, profile: &Profile) -> Result<ManagementUrl, Error> {
    let name = || profile.name.clone();
    let remote =
        profile.remote().map_err(|source| Error::StoredRemote { profile: name(), source })?;
    Ok(remote.management_url(context.env())?)
}
