//! Refreshes tokens once for all hosts that share a session in an engine.

use super::credential;
use super::demand::Demand;
use super::resolve::management_url;
use super::usable::{REFRESH_LIMIT, Usable, logged_out, report_not_stored, session_ended};
use crate::context::Operation;
use crate::error::{Error, Failure};
use crate::http::HttpError;
use crate::oauth::answer::ApiError;
use crate::oauth::refresh::refresh_request;
use crate::profile::{OAuthCredential, Profile};
use crate::secret::Secret;
use crate::store::error::PlaceError;
use crate::store::openbao::{Claimed, Engine, EngineError, OwnClaim};

/// Refreshes a profile's tokens, unless another host has done so when it is our turn. Nothing is
/// sent to the remote before the engine has confirmed our claim.
pub(super) fn refresh(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    demand: &Demand,
) -> Result<Usable, Error> {
    let context = operation.context;
    let management = management_url(context, profile)?;
    let is_met = |tokens: &OAuthCredential| demand.is_met_by(tokens, context.wait().now());
    let is_refused = |tokens: &OAuthCredential| {
        demand.refuses(tokens) && tokens.is_just_issued(context.wait().now())
    };
    let needs = |tokens: &OAuthCredential| {
        !is_met(tokens) && !is_refused(tokens) && tokens.refresh_token.is_some()
    };
    // From here on, there is a claim to give up, and later there are tokens that only this process
    // has.
    let claimed = engine.claim(&profile.name, &profile.remote_url, needs);
    let held = match claimed.map_err(|source| failed(profile, engine, source))? {
        Claimed::Held(held) => held,
        Claimed::Fresh(tokens) if is_refused(&tokens) => {
            return Err(Failure::NewTokenRefused { profile: profile.name.clone() }.into());
        }
        // They met the demand a moment ago.
        Claimed::Fresh(tokens) if tokens.refresh_token.is_some() || is_met(&tokens) => {
            return Ok(Usable::found(tokens));
        }
        Claimed::Fresh(_) => return Err(session_ended(&profile.name)),
        Claimed::Gone => return Err(credential::missing(context, profile)),
    };
    let Some(refresh_token) = held.tokens.refresh_token.clone() else {
        return Err(session_ended(&profile.name));
    };
    let _signals = context.wait().cancel().hold();
    let (sent, answered_by) = (context.wait().now(), Some(held.answered_by()));
    let (http, wait) = (context.http(), context.wait());
    match refresh_request(http, wait, &management, &refresh_token, REFRESH_LIMIT, answered_by) {
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

/// Whether it is known if the server has used the refresh token. If the answer was lost, nobody may
/// present it again before the claim has run out.
fn is_settled(error: &ApiError) -> bool {
    match error {
        ApiError::Http(error) => HttpError::surely_not_sent(error),
        // A gateway has lost the answer, and the server may still be working.
        ApiError::Status { status: 502 | 504, .. } | ApiError::NotProtocol { .. } => false,
        ApiError::OAuth { .. } | ApiError::Status { .. } => true,
    }
}

/// Tokens that a program without claims has stored, after the server refused our refresh token.
fn newer(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    refused: &Secret,
    demand: &Demand,
) -> Result<Usable, Error> {
    // This only reads: no tokens need a refresh.
    let read = engine.claim(&profile.name, &profile.remote_url, |_| false);
    let usable = match read.map_err(|source| failed(profile, engine, source))? {
        Claimed::Fresh(tokens) if tokens.refresh_token.as_ref() != Some(refused) => {
            Usable::newer(operation.context, tokens, demand)
        }
        _ => None,
    };
    usable.ok_or_else(|| session_ended(&profile.name))
}

/// Stores refreshed tokens.
fn keep(
    operation: &Operation<'_>,
    engine: &Engine,
    profile: &Profile,
    held: &OwnClaim,
    tokens: &OAuthCredential,
) -> Result<(), Error> {
    match engine.keep(held, tokens) {
        Ok(true) => Ok(()),
        Ok(false) => Err(logged_out(&profile.name)),
        Err(error) => {
            report_not_stored(operation.context, profile, &error);
            Ok(())
        }
    }
}

pub(super) fn failed(profile: &Profile, engine: &Engine, source: EngineError) -> Error {
    let (profile, storage) = (Some(profile.name.clone()), engine.path().to_string());
    Failure::Place { profile, storage, source: PlaceError::Engine(source) }.into()
}
