//! Which credential is used, and what selected it.

use super::demand::Demand;
use super::lent::Lent;
use super::workload::{Workload, trust_rule_of_environment};
use crate::api_key::{ApiKeyError, parse_api_key};
use crate::context::Context;
use crate::env::{API_KEY, PROFILE, REMOTE_URL};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::lend::client::Lender;
use crate::lend::protocol::Listing;
use crate::profile::{Profile, ProfileName};
use crate::remote::{ManagementUrl, Remote};
use crate::secret::Secret;
use crate::source::SessionSource;
use crate::store::document::Profiles;
use crate::store::file::Store;

/// The API key of the environment, and the remote that it belongs to; `None` if there is none.
pub(crate) fn api_key_of_environment(context: &Context) -> Result<Option<(Secret, Remote)>, Error> {
    let env = context.env();
    if !env.has(API_KEY) {
        return Ok(None);
    }
    let text = env.text(API_KEY).map_err(|_| Failure::ApiKeyEnv(ApiKeyError::Malformed))?;
    let key = parse_api_key(text.unwrap_or_default().as_bytes()).map_err(Failure::ApiKeyEnv)?;
    context.observer().notify(&Event::Selected { source: SessionSource::ApiKeyEnv, profile: None });
    Ok(Some((key, remote_of_environment(context)?.unwrap_or_default())))
}

/// The workload that the environment describes; `None` if it describes none.
pub(crate) fn workload_of_environment(context: &Context) -> Result<Option<Workload>, Error> {
    let Some(rule) = trust_rule_of_environment(context)? else { return Ok(None) };
    let source = SessionSource::TrustRuleEnv;
    context.observer().notify(&Event::Selected { source, profile: None });
    let remote = remote_of_environment(context)?.unwrap_or_default();
    Workload::new(context, rule, remote).map(Some)
}

/// Everything that the lender of the environment lends; `None` if the environment names no lender.
pub fn lent_profiles(context: &Context) -> Result<Option<Listing>, Error> {
    let lender = Lender::of_environment(context.env());
    lender.map(|lender| lender.profiles(context.wait())).transpose()
}

/// A profile at the lender of the environment: `profile`, or else the one in `BASETEN_PROFILE`, or
/// else the one that the lender selects. `None` if the environment names no lender. With a demand,
/// a token comes with it.
pub(crate) fn lent(
    context: &Context,
    profile: Option<&ProfileName>,
    demand: Option<&Demand>,
) -> Result<Option<(SessionSource, Lent)>, Error> {
    let Some(lender) = Lender::of_environment(context.env()) else { return Ok(None) };
    let (source, name) = match named(context, profile)? {
        Some((source, name)) => (source, Some(name)),
        None => (SessionSource::AuthSockEnv, None),
    };
    let lent = match demand {
        None => Lent::select(context, lender, name.as_ref())?,
        Some(demand) => Lent::with_token(context, lender, name.as_ref(), demand)?,
    };
    let name = ProfileName::new(&lent.profile.profile).ok();
    context.observer().notify(&Event::Selected { source, profile: name.as_ref() });
    Ok(Some((source, lent)))
}

/// `BASETEN_REMOTE_URL`, if it is set.
pub fn remote_of_environment(context: &Context) -> Result<Option<Remote>, Error> {
    let text = context.env().text(REMOTE_URL)?;
    Ok(text.map(Remote::parse).transpose().map_err(Failure::RemoteEnv)?)
}

/// The profile that the caller names, or else the one in `BASETEN_PROFILE`.
fn named(
    context: &Context,
    profile: Option<&ProfileName>,
) -> Result<Option<(SessionSource, ProfileName)>, Error> {
    if let Some(name) = profile {
        return Ok(Some((SessionSource::Named, name.clone())));
    }
    let text = context.env().text(PROFILE)?;
    let name = text.map(ProfileName::new).transpose().map_err(Failure::ProfileEnv)?;
    Ok(name.map(|name| (SessionSource::ProfileEnv, name)))
}

/// A stored profile that was selected.
#[derive(Debug, Clone)]
pub struct Selected {
    /// What selected it.
    pub source: SessionSource,
    /// The profile.
    pub profile: Profile,
    /// The current profile. It may be another one, or no longer exist.
    pub current: Option<ProfileName>,
}

/// Selects a stored profile: `profile`, or else the one in `BASETEN_PROFILE`, or else the current
/// one.
pub(crate) fn select_stored(
    context: &Context,
    store: &Store,
    profile: Option<&ProfileName>,
) -> Result<Selected, Error> {
    let named = named(context, profile)?;
    let selected = context.read(store, |profiles| select(profiles, named))?;
    tell_selected(context, &selected);
    Ok(selected)
}

/// The same, for a removal, which cannot be undone: see `Store::read_settled`.
pub fn select_to_remove(
    context: &Context,
    store: &Store,
    profile: Option<&ProfileName>,
) -> Result<Selected, Error> {
    let named = named(context, profile)?;
    let selected = context.read_settled(store, |profiles| select(profiles, named))?;
    tell_selected(context, &selected);
    Ok(selected)
}

fn select(
    profiles: &Profiles<'_>,
    named: Option<(SessionSource, ProfileName)>,
) -> Result<Selected, Error> {
    let current = profiles.current();
    let (source, name) = named
        .or_else(|| Some((SessionSource::Current, current.clone()?)))
        .ok_or(Failure::NoCurrentProfile { any_stored: !profiles.is_empty() })?;
    let profile = profiles.get(&name)?;
    let profile = profile.ok_or(Failure::NoSuchProfile { name, selected_by: source })?;
    Ok(Selected { source, profile, current })
}

fn tell_selected(context: &Context, selected: &Selected) {
    let (source, name) = (selected.source, &selected.profile.name);
    context.observer().notify(&Event::Selected { source, profile: Some(name) });
}

/// Where a stored profile's requests go.
pub(crate) fn management_url(context: &Context, profile: &Profile) -> Result<ManagementUrl, Error> {
    Ok(remote_of(profile)?.management_url(context.env())?)
}

/// The remote of a stored profile.
pub(crate) fn remote_of(profile: &Profile) -> Result<Remote, Error> {
    let name = || profile.name.clone();
    Ok(profile.remote().map_err(|source| Failure::StoredRemote { profile: name(), source })?)
}
