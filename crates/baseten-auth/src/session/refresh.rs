//! Refreshes tokens (RFC 6749 §6), once for all processes that need them.

use std::time::Duration;

use super::credential::{self, Found};
use super::demand::Demand;
use super::fleet;
use super::resolve::management_url;
use super::usable::{REFRESH_LIMIT, Usable, logged_out, report_not_stored, session_ended};
use crate::context::{Context, Operation};
use crate::error::{Error, Failure};
use crate::oauth::answer::ApiError;
use crate::oauth::refresh::refresh_request;
use crate::profile::{Credential, OAuthCredential, Profile, ProfileName};
use crate::store::file::Store;
use crate::store::openbao::COMMAND_LIMIT;
use crate::store::profile_lock::{LOCK_LIMIT, ProfileLock};

/// How long a lock surely holds while the machine is asleep: after a minute and a half, a file
/// server may give it to another host.
const LOCK_HOLDS: Duration = Duration::from_secs(80);

/// Takes the lock of a profile, which is needed to change its secret. Waits at most 30 s, or, if
/// hosts share the secret, for as long as one of them may take.
pub(crate) fn lock_profile(
    context: &Context,
    store: &Store,
    name: &ProfileName,
    is_shared: bool,
) -> Result<ProfileLock, Error> {
    let limit = if is_shared { COMMAND_LIMIT } else { LOCK_LIMIT };
    let failed = |source| Failure::ProfileLock { profile: name.clone(), source };
    Ok(ProfileLock::acquire(store, name, limit, context.wait()).map_err(failed)?)
}

/// Whether other hosts share the secret that is stored under a name, as far as can be seen without the
/// lock: that decides how long to wait for it.
pub(crate) fn is_shared(
    operation: &Operation<'_>,
    store: &Store,
    name: &ProfileName,
) -> Result<bool, Error> {
    store.read(|profiles| match profiles.get(name) {
        Ok(Some(profile)) => operation.shares(&profile),
        _ => Ok(false),
    })
}

/// Refreshes a profile's tokens, unless another process has done so when it is our turn.
pub(crate) fn refresh(
    operation: &Operation<'_>,
    store: &Store,
    profile: &Profile,
    demand: &Demand,
) -> Result<Usable, Error> {
    match refresh_once(operation, store, profile, demand) {
        // While the machine was asleep, others may have refreshed.
        Err(error) if is_too_late(&error) => refresh_once(operation, store, profile, demand),
        outcome => outcome,
    }
}

fn is_too_late(error: &Error) -> bool {
    use crate::http::HttpError::TooLate;
    matches!(error.failure(), Failure::Token { source: ApiError::Http(TooLate { .. }), .. })
}

fn refresh_once(
    operation: &Operation<'_>,
    store: &Store,
    profile: &Profile,
    demand: &Demand,
) -> Result<Usable, Error> {
    let name = &profile.name;
    let context = operation.context;
    let _lock = lock_profile(context, store, name, operation.shares(profile)?)?;
    let locked = context.wait().moment();
    let profile = read_again(store, profile)?;
    if let Some(engine) = operation.engine_of(&profile)? {
        return fleet::refresh(operation, &engine, &profile, demand);
    }
    let current = Current::read(operation, store, &profile, demand)?;
    let now = context.wait().now();
    if demand.is_met_by(&current.tokens, now) {
        return Ok(Usable::found(current.tokens));
    }
    if demand.refuses(&current.tokens) && current.tokens.is_just_issued(now) {
        return Err(Failure::NewTokenRefused { profile: name.clone() }.into());
    }
    let refresh_token = current.tokens.refresh_token.clone();
    let refresh_token = refresh_token.ok_or_else(|| session_ended(name))?;
    let management = management_url(context, &current.profile)?;
    store.check_refresh()?;
    if current.profile.in_file.is_some() {
        // If the answer cannot be stored, a refresh would end the session.
        store.rehearse()?;
    }
    // From here on, the old tokens may be used up, and only this process has the new ones.
    let _held = context.wait().cancel().hold();
    let (http, wait) = (context.http(), context.wait());
    let (sent, holds) = (wait.now(), LOCK_HOLDS.saturating_sub(wait.slept(locked)));
    let answered_by = sent.saturating_add(holds).ok();
    match refresh_request(http, wait, &management, &refresh_token, REFRESH_LIMIT, answered_by) {
        Ok(answer) => {
            let tokens = answer.into_credential(sent, Some(refresh_token));
            keep(operation, store, &current, &tokens)?;
            Ok(Usable { tokens, just_refreshed: true })
        }
        Err(error) if error.is_invalid_grant() => {
            // A program that does not use our lock may have been faster.
            let newer = Current::read(operation, store, &profile, demand)?.tokens;
            let newer = Some(newer).filter(|newer| *newer != current.tokens);
            let usable = newer.and_then(|newer| Usable::newer(context, newer, demand));
            usable.ok_or_else(|| session_ended(name))
        }
        Err(source) => Err(Failure::Token { profile: name.clone(), source }.into()),
    }
}

/// A profile and its tokens, read under the lock.
struct Current {
    profile: Profile,
    tokens: OAuthCredential,
    stray_copy: bool,
}

impl Current {
    fn read(
        operation: &Operation<'_>,
        store: &Store,
        profile: &Profile,
        demand: &Demand,
    ) -> Result<Self, Error> {
        let profile = read_again(store, profile)?;
        match credential::find(operation, &profile, demand)? {
            Some(Found { credential: Credential::OAuth(tokens), stray_copy }) => {
                Ok(Self { profile, tokens, stray_copy })
            }
            _ => Err(credential::missing(operation.context, &profile)),
        }
    }
}

/// Reads a profile again.
fn read_again(store: &Store, before: &Profile) -> Result<Profile, Error> {
    still_like(before, read_profile(store, &before.name)?)
}

/// A profile as it is now. An error if it is for another remote or another kind of credential than
/// before: a secret of one remote is never sent to another.
pub(super) fn still_like(before: &Profile, now: Profile) -> Result<Profile, Error> {
    let replaced = || Failure::ReplacedMeanwhile { profile: before.name.clone() };
    if now.is_like(before) { Ok(now) } else { Err(replaced().into()) }
}

fn read_profile(store: &Store, name: &ProfileName) -> Result<Profile, Error> {
    store.read_settled(|profiles| profiles.get(name)?.ok_or_else(|| logged_out(name)))
}

/// Stores refreshed tokens where the profile keeps its secret.
fn keep(
    operation: &Operation<'_>,
    store: &Store,
    old: &Current,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    let profile = &old.profile;
    let stored = match profile.in_file {
        Some(_) => keep_in_file(operation, store, old, tokens),
        None => keep_in_place(operation, store, old, tokens),
    };
    let Err(error) = stored else { return Ok(()) };
    if matches!(error.failure(), Failure::LoggedOutMeanwhile { .. }) {
        return Err(error);
    }
    report_not_stored(operation.context, profile, error.reason());
    Ok(())
}

fn keep_in_file(
    operation: &Operation<'_>,
    store: &Store,
    old: &Current,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    let Current { profile, stray_copy, .. } = old;
    store.update(|profiles| {
        let now = profiles.get(&profile.name)?.ok_or_else(|| logged_out(&profile.name))?;
        // A program that does not use our lock may have logged in again; that login stays.
        if now.in_file == profile.in_file && now.remote_url == profile.remote_url {
            profiles.set_tokens(&profile.name, tokens);
        }
        Ok::<_, Error>(())
    })?;
    if *stray_copy {
        // The refresh has used this copy up, or is newer: presenting it would end the session.
        credential::remove_copy(operation, profile);
    }
    Ok(())
}

fn keep_in_place(
    operation: &Operation<'_>,
    store: &Store,
    old: &Current,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    let profile = &old.profile;
    let now = read_profile(store, &profile.name)?;
    // Earlier steps may have used up all the time, but this answer comes only once.
    operation.budget.reserve();
    match credential::read_place(operation, &now)? {
        // A profile that was removed meanwhile must not come back.
        None => Err(logged_out(&profile.name)),
        Some((Credential::OAuth(there), text))
            if there == old.tokens && now.remote_url == profile.remote_url =>
        {
            credential::put(operation, profile, &Credential::OAuth(tokens.clone()), &text)
        }
        // As in the file, another program's new login stays.
        Some(_) => Ok(()),
    }
}
