//! Ends a session: at the server, in the vault, in the file.

use std::time::Duration;

use crate::context::{Context, Operation};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::management;
use crate::oauth::answer::ApiError;
use crate::oauth::refresh::refresh_request;
use crate::profile::{Credential, OAuthCredential, Profile, ProfileName};
use crate::remote::ManagementUrl;
use crate::session::demand::Demand;
use crate::session::ending::Ending;
use crate::session::refresh::{is_shared, lock_profile};
use crate::session::resolve::management_url;
use crate::session::{Authorization, credential};
use crate::source::SessionSource;
use crate::store::error::StoreError;

/// The most that ending a session at the server may take.
const END_SESSION: Duration = Duration::from_secs(5);

/// Ends a profile's session, and removes its secret and then the profile. If this returns `Ok`, the
/// profile is gone. A session that could not be ended at the server is reported as an
/// [`Event::SessionNotEnded`].
pub fn logout(
    context: &Context,
    name: &ProfileName,
    selected_by: SessionSource,
) -> Result<(), Error> {
    let store = context.store()?;
    let operation = context.operation()?;
    let _lock = lock_profile(context, &store, name, is_shared(&operation, &store, name)?)?;
    // Do not end a session at the server if its profile could not be removed here.
    store.rehearse_removal()?;
    let profile = context.read_settled(&store, |profiles| {
        let missing = || Failure::NoSuchProfile { name: name.clone(), selected_by };
        profiles.get(name)?.ok_or_else(|| Error::from(missing()))
    })?;
    let ending = Ending::begin(&operation, &profile);
    let is_used_up = matches!(&ending, Ok(Some(ending)) if needs_refresh(context, &ending.tokens));
    let hold = || context.wait().cancel().hold();
    let _signals;
    if operation.shares(&profile)? {
        let ending = ending?;
        // Once the secret is removed, nobody else can end the session.
        _signals = Some(hold());
        remove_shared(&operation, &profile, ending.as_ref())?;
        end(context, &profile, Ok(ending))?;
    } else {
        // An interrupted logout must not use up the refresh token of a profile that stays.
        _signals = is_used_up.then(hold);
        end(context, &profile, ending)?;
        match profile.in_file {
            Some(_) => drop(credential::remove_copy(&operation, &profile)),
            None => credential::remove(&operation, &profile)?,
        }
    }
    store.update(|profiles| {
        profiles.remove(name);
        Ok::<_, StoreError>(())
    })?;
    Ok(())
}

/// Removes a secret that other hosts share. If the engine refuses, the others keep the session.
fn remove_shared(
    operation: &Operation<'_>,
    profile: &Profile,
    ending: Option<&Ending>,
) -> Result<(), Error> {
    let removed = credential::remove(operation, profile);
    if removed.is_err() {
        ending.inspect(|ending| ending.give_up());
    }
    removed
}

/// Ends a session. A failure is a warning, except for a cancellation.
fn end(
    context: &Context,
    profile: &Profile,
    ending: Result<Option<Ending>, Error>,
) -> Result<(), Error> {
    let ended = ending.and_then(|ending| match ending {
        Some(ending) => end_session(context, &management_url(context, profile)?, &ending.tokens),
        None => Ok(()),
    });
    match ended {
        Err(reason) if !reason.is_canceled() => {
            let (profile, reason) = (&profile.name, reason.reason());
            context.observer().notify(&Event::SessionNotEnded { profile, reason });
            Ok(())
        }
        ended => ended,
    }
}

/// Ends a session at the server, within 5 s in all. A cancellation ends only the wait: the request
/// goes on by itself, and the next logout finds out whether the session has ended.
pub(crate) fn end_session(
    context: &Context,
    management: &ManagementUrl,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    let (away, management, tokens) = (context.clone(), management.clone(), tokens.clone());
    let told = context.wait().detached(move || tell_server(&away, &management, tokens));
    let told = told.map_err(|_| Failure::Canceled)?;
    Ok(told.map_err(|source| Failure::Api { profile: None, source })?)
}

fn needs_refresh(context: &Context, tokens: &OAuthCredential) -> bool {
    !Demand::default().is_met_by(tokens, context.wait().now()) && tokens.refresh_token.is_some()
}

/// The endpoint needs a token that has not expired, so an expired one is refreshed first. A session
/// that has already ended is not an error.
fn tell_server(
    context: &Context,
    management_url: &ManagementUrl,
    mut tokens: OAuthCredential,
) -> Result<(), ApiError> {
    let (http, wait) = (context.http(), context.wait());
    let deadline = wait.deadline(END_SESSION);
    if needs_refresh(context, &tokens)
        && let Some(refresh_token) = &tokens.refresh_token
    {
        let sent = wait.now();
        match refresh_request(http, wait, management_url, refresh_token, END_SESSION, None) {
            Ok(answer) => tokens = answer.into_credential(sent, None),
            Err(error) if error.is_invalid_grant() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let header = Authorization::new(Credential::OAuth(tokens)).header_value();
    let left = wait.remaining(deadline).unwrap_or_default();
    match management::logout(http, management_url, &header, left) {
        // The session had already ended.
        Err(error) if error.status() == Some(401) => Ok(()),
        Err(ApiError::Http(error)) => Err(error.of_all(END_SESSION).into()),
        outcome => outcome,
    }
}
