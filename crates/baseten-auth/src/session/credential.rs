//! Which copy of a secret counts when the file and another place both hold one, and whether its
//! token still lives long enough or has to be refreshed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::context::{Context, Operation};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::profile::{Credential, OAuthCredential, Profile, ProfileName};
use crate::secret::Secret;
use crate::storage::StoragePolicy;
use crate::store::entry::Entry;
use crate::store::error::PlaceError;
use crate::store::secret_text::{decode_secret, encode_secret};

/// A token that ends sooner than this is refreshed before it is used.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// A token that was issued less than this ago is not replaced because a server refuses it: one that
/// refuses everything must not rotate tokens in a loop.
const TOO_NEW: SignedDuration = SignedDuration::from_secs(60);

/// What a caller wants of a token.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// It has at least this long to live. Less than 60 s counts as 60 s.
    pub min_ttl: Duration,
    /// A server has answered 401 to these.
    pub refused: Vec<Secret>,
}

impl Demand {
    /// The minimum lifetime that was asked for; `None` where none was.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        (!self.min_ttl.is_zero()).then(|| self.min_ttl.max(MARGIN.unsigned_abs()))
    }

    /// How much time a token has to have left.
    fn margin(&self) -> SignedDuration {
        SignedDuration::try_from(self.min_ttl).unwrap_or(SignedDuration::MAX).max(MARGIN)
    }
}

/// A profile's secret, and what is known of its copies.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    /// Another place has a copy too, although the profile is kept in the file.
    pub(crate) stray_copy: bool,
}

/// How long a token can still be used; `None` when nobody knows its end. Where the clock was set
/// back to before the token was issued, it ends now.
pub(crate) fn remaining(context: &Context, tokens: &OAuthCredential) -> Option<SignedDuration> {
    let now = context.wait().now();
    let is_from_the_future = |issued_at: Timestamp| issued_at.duration_since(now) > MARGIN;
    let left = tokens.expiry?.duration_since(now);
    Some(if tokens.issued_at.is_some_and(is_from_the_future) { SignedDuration::ZERO } else { left })
}

/// Whether a token can be used as it is: it has more than 60 s left, or nobody knows its end.
pub(crate) fn is_fresh(context: &Context, tokens: &OAuthCredential) -> bool {
    remaining(context, tokens).is_none_or(|left| left > MARGIN)
}

/// Whether a token was issued so short a time ago that another one would fare no better.
pub(crate) fn is_too_new(context: &Context, tokens: &OAuthCredential) -> bool {
    let age = |issued_at| context.wait().now().duration_since(issued_at).abs();
    tokens.issued_at.is_some_and(|issued_at| age(issued_at) < TOO_NEW)
}

/// Whether a token has not ended.
pub(crate) fn is_alive(context: &Context, tokens: &OAuthCredential) -> bool {
    tokens.expiry.is_none_or(|expiry| expiry > context.wait().now())
}

/// Whether a token meets a demand.
pub(crate) fn is_usable(context: &Context, tokens: &OAuthCredential, demand: &Demand) -> bool {
    !demand.refused.contains(&tokens.access_token) && lives_long_enough(context, tokens, demand)
}

/// Where the server's tokens live no longer than what is wanted, one is replaced when half of its
/// life is gone, and not at every call.
fn lives_long_enough(context: &Context, tokens: &OAuthCredential, demand: &Demand) -> bool {
    let Some(left) = remaining(context, tokens) else { return true };
    let margin = demand.margin();
    if left > margin {
        return true;
    }
    let life = tokens.expiry.zip(tokens.issued_at).map(|(end, start)| end.duration_since(start));
    let is_all_there_is = |life| life <= margin.saturating_add(MARGIN) && left > life / 2;
    left > MARGIN && life.is_some_and(is_all_there_is)
}

/// Tells where a token does not live as long as was asked. The profile is `None` for a workload.
pub(crate) fn tell_if_short_lived(
    context: &Context,
    profile: Option<&ProfileName>,
    left: Option<SignedDuration>,
    demand: &Demand,
) {
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
    if let Some(left) = left.filter(|left| *left < demand.min_ttl) {
        let wanted = demand.min_ttl;
        context.observer().notify(&Event::ShortLived { profile, left, wanted });
    }
}

/// Finds the secret of a profile; `None` where it is nowhere.
///
/// An API key in the file wins. Usable tokens in the file are used without asking the other place;
/// for others it is asked, since other programs refresh there, and the later expiry wins.
pub(crate) fn find(
    operation: &Operation<'_>,
    profile: &Profile,
    demand: &Demand,
) -> Result<Option<Found>, Error> {
    let context = operation.context;
    let found = |credential| Found { credential, stray_copy: false };
    let Some(in_file) = &profile.in_file else {
        return Ok(from_place(operation, profile)?.map(found));
    };
    let Credential::OAuth(tokens) = in_file else {
        return Ok(Some(found(in_file.clone())));
    };
    if is_usable(context, tokens, demand) {
        return Ok(Some(found(in_file.clone())));
    }
    match from_place(operation, profile) {
        Ok(Some(Credential::OAuth(other))) => {
            let better = if is_usable(context, &other, demand) {
                other
            } else {
                later(tokens.clone(), other)
            };
            Ok(Some(Found { credential: Credential::OAuth(better), stray_copy: true }))
        }
        Err(error) if error.is_canceled() => Err(error),
        // The file's tokens may well do; a place that can't be asked is no reason to fail.
        Ok(_) | Err(_) => Ok(Some(found(in_file.clone()))),
    }
}

pub(crate) fn missing(context: &Context, profile: &Profile) -> Error {
    let policy = StoragePolicy::from_env(context.env()).unwrap_or_default();
    let (storage, profile) = (profile.storage(&policy), profile.name.clone());
    Failure::CredentialMissing { profile, storage }.into()
}

/// No expiry known counts as the latest.
fn later(ours: OAuthCredential, other: OAuthCredential) -> OAuthCredential {
    match (ours.expiry, other.expiry) {
        (Some(our_end), Some(other_end)) if our_end >= other_end => ours,
        _ => other,
    }
}

/// The copy outside of the file. One of the wrong type does not count: it is never sent.
fn from_place(operation: &Operation<'_>, profile: &Profile) -> Result<Option<Credential>, Error> {
    Ok(read_place(operation, profile)?.map(|(credential, _)| credential))
}

/// The copy outside of the file, and the text that it was read from.
pub(crate) fn read_place(
    operation: &Operation<'_>,
    profile: &Profile,
) -> Result<Option<(Credential, Secret)>, Error> {
    let place = operation.place(profile)?;
    let answer = place
        .get(&profile.name, &profile.remote_url)
        .map_err(|source| Error::place(Some(&profile.name), &place, source));
    let usable = |entry: &Entry| {
        let secret = entry.text()?;
        let credential = decode_secret(secret)?;
        (credential.auth_type() == profile.auth_type).then(|| (credential, secret.clone()))
    };
    let found = answer.as_ref().ok().and_then(Option::as_ref).and_then(usable);
    let outcome = match (&answer, &found) {
        (Err(error), _) => Err(error.reason() as &dyn std::error::Error),
        (Ok(None), _) => Ok("has no credential of the profile"),
        (Ok(Some(_)), None) => Ok("has a secret of another type"),
        (Ok(Some(_)), Some(_)) => Ok("read"),
    };
    operation.context.observer().notify(&Event::StorageRead { storage: place.label(), outcome });
    answer?;
    Ok(found)
}

/// Puts a secret into the place of a profile, in place of the old one.
pub(crate) fn put(
    operation: &Operation<'_>,
    profile: &Profile,
    secret: &Credential,
    old: &Secret,
) -> Result<(), Error> {
    let place = operation.place(profile)?;
    place
        .set(&profile.name, &profile.remote_url, &encode_secret(secret, Some(old)))
        .map_err(|source| Error::place(Some(&profile.name), &place, source))
}

/// Removes a profile's secret from its place outside of the file.
pub(crate) fn remove(operation: &Operation<'_>, profile: &Profile) -> Result<(), Error> {
    let place = operation.place(profile)?;
    place
        .remove(&profile.name, &profile.remote_url)
        .map(drop)
        .map_err(|source| Error::place(Some(&profile.name), &place, source))
}

/// Removes the copy that another place has of a secret that is kept elsewhere. A place that can't be
/// reached is reported and survived. That there is no keyring is not reported where there was none at
/// the login either, or where the environment says so.
pub(crate) fn remove_copy(operation: &Operation<'_>, profile: &Profile) {
    let Err(error) = remove(operation, profile) else { return };
    let no_keyring =
        matches!(error.failure(), Failure::Place { source: PlaceError::NotAvailable { .. }, .. });
    let context = operation.context;
    let is_expected = profile.without_keyring
        || StoragePolicy::from_env(context.env()) == Ok(StoragePolicy::File);
    if !(no_keyring && profile.in_file.is_some() && is_expected) {
        let profile = &profile.name;
        context.observer().notify(&Event::OldCopyKept { profile, reason: error.reason() });
    }
}
