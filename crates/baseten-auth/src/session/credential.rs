//! Which copy of a secret counts when the file and another place both hold one; storing and removing
//! the copies.

use super::demand::Demand;
use crate::context::{Context, Operation};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::profile::{Credential, OAuthCredential, Profile};
use crate::secret::Secret;
use crate::storage::StoragePolicy;
use crate::store::entry::Entry;
use crate::store::error::PlaceError;
use crate::store::secret_text::{decode_secret, encode_secret};

/// A profile's secret, and what is known of its copies.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    /// Another place has a copy too, although the profile is kept in the file.
    pub(crate) stray_copy: bool,
}

/// Finds the secret of a profile; `None` if there is none.
///
/// An API key in the file wins. Tokens in the file that meet the demand are used without asking the
/// other place. Otherwise it is asked, because other programs refresh there: tokens there that meet
/// the demand win, and else the later expiry.
pub(crate) fn find(
    operation: &Operation<'_>,
    profile: &Profile,
    demand: &Demand,
) -> Result<Option<Found>, Error> {
    let now = operation.context.wait().now();
    let found = |credential| Found { credential, stray_copy: false };
    let Some(in_file) = &profile.in_file else {
        return Ok(from_place(operation, profile)?.map(found));
    };
    let Credential::OAuth(tokens) = in_file else {
        return Ok(Some(found(in_file.clone())));
    };
    if demand.is_met_by(tokens, now) {
        return Ok(Some(found(in_file.clone())));
    }
    match from_place(operation, profile) {
        Ok(Some(Credential::OAuth(other))) => {
            let better =
                if demand.is_met_by(&other, now) { other } else { later(tokens.clone(), other) };
            Ok(Some(Found { credential: Credential::OAuth(better), stray_copy: true }))
        }
        Err(error) if error.is_canceled() => Err(error),
        // The file's tokens may still work: do not fail because a place cannot be asked.
        Ok(_) | Err(_) => Ok(Some(found(in_file.clone()))),
    }
}

pub(crate) fn missing(context: &Context, profile: &Profile) -> Error {
    let policy = context.storage_policy().unwrap_or_default();
    let (storage, profile) = (profile.storage(&policy), profile.name.clone());
    Failure::CredentialMissing { profile, storage }.into()
}

/// The tokens that expire later; the other ones if an expiry is unknown.
fn later(ours: OAuthCredential, other: OAuthCredential) -> OAuthCredential {
    match (ours.expiry, other.expiry) {
        (Some(our_end), Some(other_end)) if our_end >= other_end => ours,
        _ => other,
    }
}

/// The copy outside the file. A secret of the wrong type is ignored, so it is never sent.
fn from_place(operation: &Operation<'_>, profile: &Profile) -> Result<Option<Credential>, Error> {
    Ok(read_place(operation, profile)?.map(|(credential, _)| credential))
}

/// The copy outside the file, and the text that it was read from.
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

/// Replaces the secret in a profile's place.
pub(crate) fn put(
    operation: &Operation<'_>,
    profile: &Profile,
    secret: &Credential,
    old: &Secret,
) -> Result<(), Error> {
    let place = operation.place(profile)?;
    place
        .set(&profile.name, &profile.remote_url, &encode_secret(secret, Some(old)).into())
        .map_err(|source| Error::place(Some(&profile.name), &place, source))
}

/// Removes a profile's secret from its place outside the file.
pub(crate) fn remove(operation: &Operation<'_>, profile: &Profile) -> Result<(), Error> {
    let place = operation.place(profile)?;
    place
        .remove(&profile.name, &profile.remote_url)
        .map_err(|source| Error::place(Some(&profile.name), &place, source))
}

/// Removes another place's copy of a secret. A place that cannot be reached is reported, and is not
/// an error. For a profile in the file, a missing keyring is not reported if the login had none
/// either, or if the environment chooses the file.
///
/// False if it may still be there.
pub(crate) fn remove_copy(operation: &Operation<'_>, profile: &Profile) -> bool {
    let Err(error) = remove(operation, profile) else { return true };
    let no_keyring =
        matches!(error.failure(), Failure::Place { source: PlaceError::NotAvailable { .. }, .. });
    let context = operation.context;
    let is_expected = profile.without_keyring
        || context.storage_policy().is_ok_and(|policy| policy == StoragePolicy::File);
    if !(no_keyring && profile.in_file.is_some() && is_expected) {
        let profile = &profile.name;
        context.observer().notify(&Event::OldCopyKept { profile, reason: error.reason() });
    }
    false
}
