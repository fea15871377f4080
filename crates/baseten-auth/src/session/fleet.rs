//! New tokens for old, once for all the hosts that share a session in an engine.

use super::credential::{self, Demand};
use super::resolve::management_url;
use super::usable::{REFRESH, Usable, logged_out};
use crate::context::Operation;
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::http::HttpError;
use crate::oauth::answer::ApiError;
use crate::oauth::refresh::refresh_request;
use crate::profile::{OAuthCredential, Profile};
use crate::secret::Secret;
use crate::store::error::PlaceError;
use crate::store::openbao::{Claimed, Engine, EngineError, Held};

/// Refreshes a profile's tokens, unless another host has by the time that it is our turn. Nothing
/// is sent to the remote unless the engine has said that the claim is ours.
pub(super) fn refresh(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    demand: &Demand,
) -> Result<Usable, Error> {
    let context = operation.context;
    let management = management_url(context, profile)?;
    let is_usable = |tokens: &OAuthCredential| credential::is_usable(context, tokens, demand);
    let is_refused = |tokens: &OAuthCredential| {
        demand.refused.contains(&tokens.access_token) && credential::is_too_new(context, tokens)
    };
    let needs = |tokens: &OAuthCredential| {
        !is_usable(tokens) && !is_refused(tokens) && tokens.refresh_token.is_some()
    };
    // From here on there is a claim that has to end, and then tokens that are in this process alone.
    let claimed = engine.claim(&profile.name, &profile.remote_url, needs);
    let held = match claimed.map_err(|source| failed(profile, engine, source))? {
        Claimed::Held(held) => held,
        Claimed::Fresh(tokens) if is_refused(&tokens) => {
            return Err(Failure::NewTokenRefused { profile: profile.name.clone() }.into());
        }
        // Usable when it was looked at, a moment ago.
        Claimed::Fresh(tokens) if tokens.refresh_token.is_some() || is_usable(&tokens) => {
            return Ok(Usable { tokens, just_refreshed: false });
        }
        Claimed::Fresh(_) => return Err(ended(profile)),
        Claimed::Gone => return Err(credential::missing(context, profile)),
    };
    let Some(refresh_token) = held.tokens.refresh_token.clone() else {
        return Err(ended(profile));
    };
    let _signals = context.wait().cancel().hold();
    let (sent, answered_by) = (context.wait().now(), Some(held.answered_by()));
    let (http, wait) = (context.http(), context.wait());
    match refresh_request(http, wait, &management, &refresh_token, REFRESH, answered_by) {
        Ok(answer) => {
            let tokens = answer.into_credential(sent, Some(refresh_token));
            keep(operation, engine, profile, &held, &tokens)?;
            Ok(Usable { tokens, just_refreshed: true })
        }
        Err(error) => {
            if is_settled(&error) {
                engine.release(&held);
            }
            if !error.is_invalid_grant() {
                return Err(Failure::Token { profile: profile.name.clone(), source: error }.into());
            }
            newer(operation, engine, profile, &refresh_token, demand)
        }
    }
}

/// Whether the refresh token is as good, or as used up, as it will be: where the answer was lost,
/// nobody is to present it again before the claim has run out.
fn is_settled(error: &ApiError) -> bool {
    match error {
        ApiError::Http(error) => HttpError::surely_not_sent(error),
        // A gateway has lost the answer, and the server may still be at work.
        ApiError::Status { status: 502 | 504, .. } | ApiError::NotProtocol { .. } => false,
        ApiError::OAuth { .. } | ApiError::Status { .. } => true,
    }
}

/// What somebody has stored who does not know of claims, where the server refused our token.
fn newer(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    refused: &Secret,
    demand: &Demand,
) -> Result<Usable, Error> {
    // Nothing needs a refresh here: it is only read.
    let read = engine.claim(&profile.name, &profile.remote_url, |_| false);
    match read.map_err(|source| failed(profile, engine, source))? {
        Claimed::Fresh(tokens)
            if tokens.refresh_token.as_ref() != Some(refused)
                && credential::is_alive(operation.context, &tokens)
                && !demand.refused.contains(&tokens.access_token) =>
        {
            Ok(Usable { tokens, just_refreshed: false })
        }
        _ => Err(ended(profile)),
    }
}

/// Stores refreshed tokens. A failure is a warning, not an error: they are good for this run.
fn keep(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    held: &Held,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    match engine.keep(held, tokens) {
        Ok(true) => Ok(()),
        Ok(false) => Err(logged_out(&profile.name)),
        Err(error) => {
            operation.context.observer().notify(&Event::TokenNotStored {
                profile: &profile.name,
                remote_url: &profile.remote_url,
                reason: &error,
            });
            Ok(())
        }
    }
}

fn ended(profile: &Profile) -> Error {
    Failure::SessionEnded { profile: profile.name.clone() }.into()
}

pub(super) fn failed(profile: &Profile, engine: &Engine, source: EngineError) -> Error {
    let (profile, storage) = (Some(profile.name.clone()), engine.path().to_string());
    Failure::Place { profile, storage, source: PlaceError::Engine(source) }.into()
}
