//! New tokens for old (RFC 6749 §6), once for any number of processes that need them.

use std::time::Duration;

use crate::credentials::{self, Found};
use crate::session::management_url;
use crate::store::{Lock, profile_lock};
use crate::token::refresh_request;
use crate::{
    Context, Credential, Deadline, Error, Event, LockError, OAuthCredential, Profile, ProfileName,
    Secret, Store,
};

/// How long a process waits for another one that is at work on the same profile.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The most that a refresh takes at the server: less than what others wait for it.
const REFRESH: Duration = Duration::from_secs(25);

/// Takes the lock of a profile, under which its secret changes. Waits at most 30 s.
pub(crate) fn lock_profile(context: &Context, name: &ProfileName) -> Result<Lock, Error> {
    let failed = |source| match source {
        LockError::Canceled => Error::Canceled,
        source => Error::ProfileLock { profile: name.clone(), source },
    };
    let path = profile_lock(name.as_str()).map_err(LockError::Io).map_err(failed)?;
    Lock::acquire(&path, LOCK_WAIT, context.clock(), context.cancel()).map_err(failed)
}

/// Tokens that can be used now.
pub(crate) struct Usable {
    pub(crate) tokens: OAuthCredential,
    /// Whether the server has only just issued them: it would refuse others for the same reason.
    pub(crate) just_refreshed: bool,
}

/// Refreshes a profile's tokens, unless another process has by the time that it is our turn.
///
/// `refused` are access tokens that the server no longer takes, however long they should live.
pub(crate) fn refresh(
    context: &Context,
    store: &Store,
    name: &ProfileName,
    refused: &[Secret],
) -> Result<Usable, Error> {
    let _lock = lock_profile(context, name)?;
    let usable = |tokens: &OAuthCredential| credentials::is_usable(context, tokens, refused);
    let (profile, old, stray_copy) = read_again(context, store, name, refused)?;
    if usable(&old) {
        return Ok(Usable { tokens: old, just_refreshed: false });
    }
    let ended = || Error::SessionEnded { profile: name.clone() };
    let refresh_token = old.refresh_token.clone().ok_or_else(ended)?;
    let management = management_url(context, &profile)?;
    let sent = context.clock().now();
    let deadline = Deadline::after(REFRESH);
    match refresh_request(context.http(), context.clock(), &management, &refresh_token, deadline) {
        Ok(answer) => {
            let tokens = answer.into_credential(sent, old.refresh_token.clone());
            context.observer().notify(&Event::TokenReceived);
            let kept =
                keep(context, store, &Refreshed { profile, old, stray_copy, tokens: &tokens });
            context.observer().notify(&Event::TokenKept);
            kept.map(|()| Usable { tokens, just_refreshed: true })
        }
        Err(error) if error.is_invalid_grant() => {
            // A program that does not know our lock may have been faster.
            match read_again(context, store, name, refused)? {
                // Even if it ends soon: it is the best that there is.
                (_, newer, _)
                    if newer != old
                        && credentials::is_alive(context, &newer)
                        && !refused.contains(&newer.access_token) =>
                {
                    Ok(Usable { tokens: newer, just_refreshed: false })
                }
                _ => Err(ended()),
            }
        }
        Err(source) => Err(Error::Token { profile: name.clone(), source }),
    }
}

fn read_again(
    context: &Context,
    store: &Store,
    name: &ProfileName,
    refused: &[Secret],
) -> Result<(Profile, OAuthCredential, bool), Error> {
    let profile = read_profile(context, store, name)?;
    match credentials::find(context, &profile, refused)? {
        Some(Found { credential: Credential::OAuth(tokens), stray_copy }) => {
            Ok((profile, tokens, stray_copy))
        }
        _ => Err(Error::missing(context, &profile)),
    }
}

fn read_profile(context: &Context, store: &Store, name: &ProfileName) -> Result<Profile, Error> {
    store.read(context.clock(), |profiles| {
        let profile = profiles.get(name).map_err(|error| store.bad_profile(error))?;
        profile.ok_or_else(|| logged_out(name))
    })
}

fn logged_out(name: &ProfileName) -> Error {
    Error::LoggedOutMeanwhile { profile: name.clone() }
}

/// A refresh that has succeeded and is not stored yet.
struct Refreshed<'a> {
    /// The profile and its tokens as they were when the refresh was sent.
    profile: Profile,
    old: OAuthCredential,
    stray_copy: bool,
    tokens: &'a OAuthCredential,
}

/// Stores refreshed tokens where the profile keeps its secret. A failure is told and survived:
/// the old refresh token is used up, so the new tokens are all there is.
fn keep(context: &Context, store: &Store, refreshed: &Refreshed<'_>) -> Result<(), Error> {
    let profile = &refreshed.profile;
    let stored = match profile.in_file {
        Some(_) => keep_in_file(context, store, refreshed),
        None => keep_in_vault(context, store, refreshed),
    };
    match stored {
        Err(error @ (Error::LoggedOutMeanwhile { .. } | Error::Canceled)) => Err(error),
        Err(error) => {
            context.observer().notify(&Event::TokenNotStored {
                profile: &profile.name,
                remote_url: &profile.remote_url,
                reason: error.reason(),
            });
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn keep_in_file(context: &Context, store: &Store, refreshed: &Refreshed<'_>) -> Result<(), Error> {
    let Refreshed { profile, tokens, stray_copy, .. } = refreshed;
    store.update(context.clock(), context.cancel(), |profiles| {
        let now = profiles.get(&profile.name).map_err(|error| store.bad_profile(error))?;
        let now = now.ok_or_else(|| logged_out(&profile.name))?;
        // A program that does not know our lock may have logged in anew, and that login stays.
        if now.in_file == profile.in_file && now.remote_url == profile.remote_url {
            profiles.set_tokens(&profile.name, tokens);
        }
        Ok::<_, Error>(())
    })?;
    if *stray_copy {
        // The refresh has used it up, or is newer; whoever presented it would end the session.
        credentials::remove_copy(context, profile);
    }
    Ok(())
}

fn keep_in_vault(context: &Context, store: &Store, refreshed: &Refreshed<'_>) -> Result<(), Error> {
    let Refreshed { profile, old, tokens, .. } = refreshed;
    let now = read_profile(context, store, &profile.name)?;
    // What came before may have used up all the time, and there is no second such answer.
    context.vault(&now)?.refill();
    match credentials::from_vault(context, &now)? {
        // What is gone by now must not come back.
        None => Err(logged_out(&profile.name)),
        Some(Credential::OAuth(there)) if there == *old && now.remote_url == profile.remote_url => {
            credentials::put(context, profile, &Credential::OAuth((*tokens).clone()))
        }
        // As in the file, another program's new login stays.
        Some(_) => Ok(()),
    }
}
