//! The end of a login: a name for the profile, and everything stored or nothing.

use std::sync::Arc;

use crate::answer::patiently;
use crate::client::{self, User};
use crate::clock::apart;
use crate::credentials;
use crate::logout::end_session;
use crate::refresh::lock_profile;
use crate::session::management_url;
use crate::store::{Vault, encode_secret};
use crate::{
    ApiError, Authorization, Cancel, Context, Credential, Error, Event, Identity, ManagementUrl,
    Profile, ProfileName, Remote, Secret, StoragePolicy, Store, StoreError, VaultError,
};

/// A login that the server has granted and that is not stored yet.
#[derive(Debug)]
pub struct Login {
    /// The name to store it under; without one, it is named after the user.
    pub name: Option<ProfileName>,
    /// The remote that granted it.
    pub remote: Remote,
    /// What it granted.
    pub credential: Credential,
    /// Who is behind it.
    pub user: User,
    /// Whether the profile becomes the current one.
    pub switch: bool,
    /// Where its secret goes.
    pub storage: StoragePolicy,
}

/// Stores a login, under its profile's lock. Where that fails, the store and the vaults are as they
/// were. A session that it replaces is ended at the server afterwards, quietly.
pub fn store_login(context: &Context, login: &Login) -> Result<ProfileName, Error> {
    let store = context.store()?;
    loop {
        let name = choose_name(context, &store, login)?;
        let _lock = lock_profile(context, &name)?;
        // While we waited, another login may have taken the name.
        if choose_name(context, &store, login)? == name {
            commit(context, &store, login, &name)?;
            return Ok(name);
        }
    }
}

/// Asks whose a credential is that a login was granted; `None` after a cancellation. A browser login
/// can't be had a second time, so with its tokens the question is asked up to four times where the
/// answer fails to come.
pub fn identify(
    context: &Context,
    management: &ManagementUrl,
    credential: &Credential,
) -> Result<Option<User>, ApiError> {
    let header = Authorization::new(credential.clone()).header_value();
    let is_rare = matches!(credential, Credential::OAuth(_));
    let (away, management) = (context.clone(), management.clone());
    let ask = move || {
        let ask = || client::users_me(away.http(), &management, &header);
        if is_rare { patiently(away.clock(), away.observer(), ask) } else { ask() }
    };
    apart(context.cancel(), ask).transpose()
}

/// Ends the session of a login that could not be stored: nobody would use it again, or end it.
pub fn abandon(context: &Context, management: &ManagementUrl, credential: &Credential) {
    // A cancellation may be the reason, and must not end this as well.
    let context = context.clone().with_cancel(Cancel::default());
    if let Credential::OAuth(tokens) = credential {
        // What went wrong before is what has to be told.
        let _ = end_session(&context, management, tokens);
    }
}

fn commit(
    context: &Context,
    store: &Store,
    login: &Login,
    name: &ProfileName,
) -> Result<(), Error> {
    // An entry that is no profile is replaced like one that is.
    let old = context.read(store, |profiles| Ok::<_, Error>(profiles.get(name).ok().flatten()))?;
    // Without its tokens, the session that this login replaces can't be ended.
    let ended = old.as_ref().and_then(|old| credentials::tokens(context, old).ok().flatten());
    let mut profile = Profile {
        name: name.clone(),
        remote_url: login.remote.as_str().to_owned(),
        auth_type: login.credential.auth_type(),
        identity: identity(&login.user),
        helper: login.storage.helper().map(str::to_owned),
        in_file: None,
    };
    let place = place_secret(context, login, &profile)?;
    if !matches!(place, Place::Vault { .. }) {
        profile.in_file = Some(login.credential.clone());
    }
    let stored = store.update(context.clock(), context.cancel(), |profiles| {
        profiles.insert(&profile, profile.in_file.as_ref());
        if login.switch {
            profiles.set_current(Some(name));
        }
        Ok::<_, StoreError>(())
    });
    if let Err(error) = stored {
        place.undo(&profile);
        return Err(error.into());
    }
    if let Place::FileInstead { reason } = &place {
        let file = store.path().to_owned();
        context.observer().notify(&Event::KeyringUnavailable { reason, file });
    }
    if let Some(old) = &old {
        remove_old_copy(context, old, &profile, &place);
        if let (Some(tokens), Ok(management)) = (ended, management_url(context, old)) {
            // The new login is stored; how the old one ends is no concern of its user.
            let _ = end_session(context, &management, &tokens);
        }
    }
    Ok(())
}

fn identity(user: &User) -> Identity {
    Identity {
        user_id: Some(user.user_id.clone()),
        email: user.email.clone(),
        workspace_name: user.workspace_name.clone(),
    }
}

/// Where the secret of a login went, and what undoes that.
enum Place {
    File,
    FileInstead { reason: VaultError },
    Vault { vault: Arc<Vault>, before: Option<Secret> },
}

impl Place {
    fn undo(&self, profile: &Profile) {
        let Self::Vault { vault, before } = self else { return };
        // The error that made us go back is the one to report.
        let _ = vault.restore(&profile.name, &profile.remote_url, before.as_ref());
    }
}

fn place_secret(context: &Context, login: &Login, profile: &Profile) -> Result<Place, Error> {
    let vault = match &login.storage {
        StoragePolicy::File => return Ok(Place::File),
        StoragePolicy::Helper(name) => context.helper(name)?,
        StoragePolicy::Auto | StoragePolicy::Keyring => context.keyring()?,
    };
    let (name, remote) = (&profile.name, &profile.remote_url);
    let secret = encode_secret(&login.credential);
    let placed = vault.get(name, remote).and_then(|before| {
        let set = vault.set(name, remote, &secret);
        match set.and_then(|()| check_helper(&vault, profile, &secret)) {
            Ok(()) => Ok(before),
            Err(error) => {
                // It may be there all the same. Why it was not taken is the error to report.
                let _ = vault.restore(name, remote, before.as_ref());
                Err(error)
            }
        }
    });
    match placed {
        Ok(before) => Ok(Place::Vault { vault, before }),
        Err(reason) if login.storage == StoragePolicy::Auto && reason.allows_fallback() => {
            Ok(Place::FileInstead { reason })
        }
        Err(source) => Err(Error::vault(Some(&profile.name), vault.label(), source)),
    }
}

/// Not every helper can keep a secret under every name, and few say so.
fn check_helper(vault: &Vault, profile: &Profile, secret: &Secret) -> Result<(), VaultError> {
    if matches!(vault, Vault::Keyring(_))
        || vault.get(&profile.name, &profile.remote_url)?.as_ref() == Some(secret)
    {
        return Ok(());
    }
    let message = "it does not give back what it was given".to_owned();
    Err(VaultError::HelperFailed { program: vault.label().to_owned(), message })
}

/// A copy that stayed behind could be taken for the secret one day.
fn remove_old_copy(context: &Context, old: &Profile, new: &Profile, place: &Place) {
    let replaced = match (place, context.vault(old)) {
        (Place::Vault { vault, .. }, Ok(old_vault)) => {
            vault.label() == old_vault.label()
                // A helper keeps the secrets of each remote apart.
                && (matches!(**vault, Vault::Keyring(_)) || old.remote_url == new.remote_url)
        }
        _ => false,
    };
    // That there is no keyring has just been said.
    let is_known = old.in_file.is_some()
        && matches!(place, Place::FileInstead { reason: VaultError::NotAvailable { .. } });
    if replaced || is_known {
        return;
    }
    credentials::remove_copy(context, old);
}

/// The name that a login asks for, or one made from its user: the email (else the user id), the
/// host where it is not the default remote's, and more where that name is somebody else's.
fn choose_name(context: &Context, store: &Store, login: &Login) -> Result<ProfileName, Error> {
    if let Some(name) = &login.name {
        return Ok(name.clone());
    }
    let user = login.user.email.as_deref().unwrap_or(&login.user.user_id);
    let base = if login.remote.is_default() {
        user.to_owned()
    } else {
        format!("{user}:{}", login.remote.host_label())
    };
    let with_workspace = match &login.user.workspace_name {
        Some(workspace) => format!("{base}:{workspace}"),
        None => base.clone(),
    };
    let numbered = (2..).map(|number| format!("{with_workspace}:{number}"));
    let candidates = [base.clone(), with_workspace.clone()].into_iter().chain(numbered);
    store.read(context.clock(), |profiles| {
        for candidate in candidates {
            let name = ProfileName::new(candidate).map_err(Error::UserName)?;
            match profiles.get(&name) {
                Ok(Some(profile)) if !is_same(&profile, login) => {}
                Err(_) => {}
                Ok(_) => return Ok(name),
            }
        }
        Err(Error::UserName(crate::ProfileNameError::TooLong))
    })
}

/// Whether a stored profile is of the same remote, user and workspace, as far as it says.
fn is_same(profile: &Profile, login: &Login) -> bool {
    let stored = &profile.identity;
    let user = &login.user;
    profile.remote().is_ok_and(|remote| remote == login.remote)
        && stored.user_id.as_ref().is_none_or(|id| *id == user.user_id)
        && (stored.user_id.is_some() || stored.email.is_none() || stored.email == user.email)
        && (stored.workspace_name.is_none() || stored.workspace_name == user.workspace_name)
}
