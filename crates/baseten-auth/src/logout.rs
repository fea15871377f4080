//! The end of a session: at the server, in the vault, in the file.

use std::time::Duration;

use crate::clock::apart;
use crate::credentials;
use crate::refresh::lock_profile;
use crate::session::management_url;
use crate::token::refresh_request;
use crate::{
    ApiError, Authorization, Context, Credential, Deadline, Error, Event, ManagementUrl,
    OAuthCredential, ProfileName, SessionSource, StoreError, client,
};

/// The most that ending a session at the server may take.
const END_SESSION: Duration = Duration::from_secs(5);

/// Ends a profile's session, removes its secret and then the profile. It is gone, wholly, when
/// this returns `Ok`. A server that can't be told is an [`Event::SessionNotEnded`].
pub fn logout(
    context: &Context,
    name: &ProfileName,
    selected_by: SessionSource,
) -> Result<(), Error> {
    let store = context.store()?;
    let _lock = lock_profile(context, name)?;
    // Nothing is undone at the server that could then not be removed here.
    store.rehearse(context.clock(), context.cancel())?;
    let profile = context.read(&store, |profiles| {
        let profile = profiles.get(name).map_err(|error| store.bad_profile(error))?;
        profile.ok_or_else(|| Error::NoSuchProfile { name: name.clone(), selected_by })
    })?;
    let ended = credentials::tokens(context, &profile).and_then(|tokens| match tokens {
        Some(tokens) => end_session(context, &management_url(context, &profile)?, &tokens),
        None => Ok(()),
    });
    match ended {
        Ok(()) => {}
        Err(Error::Canceled) => return Err(Error::Canceled),
        Err(reason) => context
            .observer()
            .notify(&Event::SessionNotEnded { profile: name, reason: reason.reason() }),
    }
    match profile.in_file {
        Some(_) => credentials::remove_copy(context, &profile),
        None => credentials::remove(context, &profile)?,
    }
    store.update(context.clock(), context.cancel(), |profiles| {
        profiles.remove(name);
        Ok::<_, StoreError>(())
    })?;
    Ok(())
}

/// Tells the server that a session is over, within 5 s in all. A cancellation ends the wait, and
/// leaves the request to itself: whether the session is over is not known then, and the next logout
/// finds out.
pub(crate) fn end_session(
    context: &Context,
    management: &ManagementUrl,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    let (away, management, tokens) = (context.clone(), management.clone(), tokens.clone());
    let told = apart(context.cancel(), move || tell_server(&away, &management, tokens));
    let told = told.ok_or(Error::Canceled)?;
    told.map_err(|source| Error::Api { profile: None, source })
}

/// The endpoint wants a live token, so an old one is refreshed first; a session that is over already
/// is no failure.
fn tell_server(
    context: &Context,
    management: &ManagementUrl,
    mut tokens: OAuthCredential,
) -> Result<(), ApiError> {
    let deadline = Deadline::after(END_SESSION);
    if !credentials::is_fresh(context, &tokens)
        && let Some(refresh_token) = &tokens.refresh_token
    {
        let sent = context.clock().now();
        match refresh_request(context.http(), context.clock(), management, refresh_token, deadline)
        {
            Ok(answer) => tokens = answer.into_credential(sent, None),
            Err(error) if error.is_invalid_grant() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let header = Authorization::new(Credential::OAuth(tokens)).header_value();
    let left = deadline.remaining().unwrap_or(Duration::ZERO);
    match client::logout(context.http(), management, &header, left) {
        // It was over already.
        Err(error) if error.status() == Some(401) => Ok(()),
        outcome => outcome,
    }
}
