//! Which copy of a secret counts when the file and a vault both hold one.

use jiff::SignedDuration;

use crate::store::{decode_secret, encode_secret};
use crate::{
    AuthType, Context, Credential, Error, Event, OAuthCredential, Profile, Secret, StoragePolicy,
    VaultError,
};

/// A token that ends sooner than this is refreshed before it is used.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// A profile's secret, and what is known of its copies.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    /// The vault has a copy too, although the profile is kept in the file.
    pub(crate) stray_copy: bool,
}

/// Whether a token can be used as it is: it has more than 60 s left, or nobody knows its end.
pub(crate) fn is_fresh(context: &Context, tokens: &OAuthCredential) -> bool {
    tokens.expiry.is_none_or(|expiry| expiry.duration_since(context.clock().now()) > MARGIN)
}

/// Whether a token has not ended.
pub(crate) fn is_alive(context: &Context, tokens: &OAuthCredential) -> bool {
    tokens.expiry.is_none_or(|expiry| expiry > context.clock().now())
}

/// Whether a token can be used: it is fresh, and none that the server has just refused.
pub(crate) fn is_usable(context: &Context, tokens: &OAuthCredential, refused: &[Secret]) -> bool {
    is_fresh(context, tokens) && !refused.contains(&tokens.access_token)
}

/// Finds the secret of a profile; `None` when it is nowhere.
///
/// An API key in the file wins. Usable tokens in the file are used without asking the vault; for
/// others it is asked, since other programs refresh there, and the later expiry wins.
pub(crate) fn find(
    context: &Context,
    profile: &Profile,
    refused: &[Secret],
) -> Result<Option<Found>, Error> {
    let found = |credential| Found { credential, stray_copy: false };
    let Some(in_file) = &profile.in_file else {
        return Ok(from_vault(context, profile)?.map(found));
    };
    let Credential::OAuth(tokens) = in_file else {
        return Ok(Some(found(in_file.clone())));
    };
    if is_usable(context, tokens, refused) {
        return Ok(Some(found(in_file.clone())));
    }
    match from_vault(context, profile) {
        Ok(Some(Credential::OAuth(other))) => {
            let better = if is_usable(context, &other, refused) {
                other
            } else {
                later(tokens.clone(), other)
            };
            Ok(Some(Found { credential: Credential::OAuth(better), stray_copy: true }))
        }
        Err(Error::Canceled) => Err(Error::Canceled),
        // The file's tokens may well do; a vault that can't be asked is no reason to fail.
        Ok(_) | Err(_) => Ok(Some(found(in_file.clone()))),
    }
}

/// The tokens of a profile's session; `None` when they are nowhere, and for an API key.
pub(crate) fn tokens(
    context: &Context,
    profile: &Profile,
) -> Result<Option<OAuthCredential>, Error> {
    if profile.auth_type == AuthType::ApiKey {
        return Ok(None);
    }
    match find(context, profile, &[])? {
        Some(Found { credential: Credential::OAuth(tokens), .. }) => Ok(Some(tokens)),
        _ => Ok(None),
    }
}

/// No expiry known counts as the latest.
fn later(ours: OAuthCredential, other: OAuthCredential) -> OAuthCredential {
    match (ours.expiry, other.expiry) {
        (Some(our_end), Some(other_end)) if our_end >= other_end => ours,
        _ => other,
    }
}

/// The vault's copy. One of the wrong type counts as none: it is never sent.
pub(crate) fn from_vault(
    context: &Context,
    profile: &Profile,
) -> Result<Option<Credential>, Error> {
    let vault = context.vault(profile)?;
    let label = vault.label();
    let answer = vault
        .get(&profile.name, &profile.remote_url)
        .map_err(|source| Error::vault(Some(&profile.name), label, source));
    let credential = answer.as_ref().ok().and_then(Option::as_ref).and_then(decode_secret);
    let usable = credential.filter(|credential| credential.auth_type() == profile.auth_type);
    let outcome = match (&answer, &usable) {
        (Err(error), _) => Err(error.reason() as &dyn std::error::Error),
        (Ok(None), _) => Ok("has no credential of the profile"),
        (Ok(Some(_)), None) => Ok("has a secret of another type"),
        (Ok(Some(_)), Some(_)) => Ok("read"),
    };
    context.observer().notify(&Event::StorageRead { storage: label, outcome });
    answer?;
    Ok(usable)
}

/// Puts a secret into a profile's vault.
pub(crate) fn put(context: &Context, profile: &Profile, secret: &Credential) -> Result<(), Error> {
    let vault = context.vault(profile)?;
    vault
        .set(&profile.name, &profile.remote_url, &encode_secret(secret))
        .map_err(|source| Error::vault(Some(&profile.name), vault.label(), source))
}

/// Removes a profile's secret from its vault.
pub(crate) fn remove(context: &Context, profile: &Profile) -> Result<(), Error> {
    let vault = context.vault(profile)?;
    vault
        .remove(&profile.name, &profile.remote_url)
        .map(|_| ())
        .map_err(|source| Error::vault(Some(&profile.name), vault.label(), source))
}

/// Removes the copy that a vault has of a secret that is kept elsewhere. A vault that can't be
/// reached is reported and survived; where the environment says that there is no keyring, the lack
/// of one is not worth a word.
pub(crate) fn remove_copy(context: &Context, profile: &Profile) {
    let Err(error) = remove(context, profile) else { return };
    let is_expected = profile.in_file.is_some()
        && matches!(error, Error::Vault { source: VaultError::NotAvailable { .. }, .. })
        && StoragePolicy::from_env(context.env()) == Ok(StoragePolicy::File);
    if !is_expected {
        let profile = &profile.name;
        context.observer().notify(&Event::OldCopyKept { profile, reason: error.reason() });
    }
}
