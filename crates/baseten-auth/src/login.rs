//! The last step of a login: names the profile, and stores everything or nothing.

use std::time::Duration;

use crate::context::{Context, Operation};
use crate::error::{Error, Failure};
use crate::event::Event;
use crate::logout::end_session;
use crate::management::{self, User};
use crate::oauth::answer::{ApiError, with_retries};
use crate::profile::{Credential, Identity, Profile, ProfileName, ProfileNameError};
use crate::remote::{ManagementUrl, Remote};
use crate::secret::{Secret, Wiped};
use crate::session::ending::Ending;
use crate::session::refresh::{is_shared, lock_profile};
use crate::session::resolve::management_url;
use crate::session::{Authorization, credential};
use crate::storage::{Keeper, StoragePolicy};
use crate::store::document::Profiles;
use crate::store::entry::Entry;
use crate::store::error::{PlaceError, StoreError};
use crate::store::file::Store;
use crate::store::place::Place;
use crate::store::secret_text::encode_secret;
use crate::wait::Cancel;

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

/// Stores a login, under its profile's lock. If that fails, the store and the vaults are as before.
/// A session that it replaces is ended at the server afterwards; if that fails, nothing is
/// reported.
pub fn store_login(context: &Context, login: &Login) -> Result<ProfileName, Error> {
    let store = context.store()?;
    loop {
        let name = choose_name(&store, login)?;
        let is_shared = matches!(login.storage, StoragePolicy::Kept(Keeper::Engine(_)))
            || is_shared(&context.operation()?, &store, &name)?;
        let _lock = lock_profile(context, &store, &name, is_shared)?;
        // While we waited, another login may have taken the name.
        if choose_name(&store, login)? == name {
            commit(&context.operation()?, &store, login, &name)?;
            return Ok(name);
        }
    }
}

/// Asks the server for the user of a new credential; `None` after a cancellation. Nobody wants to
/// repeat a browser login, so with its tokens a request that fails is sent up to four times.
pub fn identify(
    context: &Context,
    management: &ManagementUrl,
    credential: &Credential,
) -> Result<Option<User>, ApiError> {
    let header = Authorization::new(credential.clone()).header_value();
    let is_rare = matches!(credential, Credential::OAuth(_));
    let (away, management) = (context.clone(), management.clone());
    let ask = move || {
        let ask = |_| management::users_me(away.http(), &management, &header);
        if !is_rare {
            return ask(Duration::ZERO);
        }
        with_retries(away.wait(), away.observer(), ApiError::is_transient, ask)
    };
    context.wait().detached(ask).ok().transpose()
}

/// Ends the session of a login that could not be stored: nobody else would use or end it.
pub fn abandon(context: &Context, management: &ManagementUrl, credential: &Credential) {
    // If the login was canceled, that must not cancel this as well.
    let wait = context.wait().with_cancel(Cancel::default());
    let context = context.clone().with_wait(wait);
    if let Credential::OAuth(tokens) = credential {
        // The earlier error is the one to report.
        let _ = end_session(&context, management, tokens);
    }
}

fn commit(
    operation: &Operation<'_>,
    store: &Store,
    login: &Login,
    name: &ProfileName,
) -> Result<(), Error> {
    let context = operation.context;
    // An entry that is not a valid profile is replaced too.
    let old = context
        .read_settled(store, |profiles| Ok::<_, Error>(profiles.get(name).ok().flatten()))?;
    // The session that this login replaces can only be ended with its tokens.
    let ending = match old.as_ref().map(|old| Ending::begin(operation, old)) {
        Some(Err(error)) if error.is_canceled() => return Err(error),
        Some(begun) => begun.ok().flatten(),
        None => None,
    };
    let mut profile = Profile {
        name: name.clone(),
        remote_url: login.remote.as_str().to_owned(),
        auth_type: login.credential.auth_type(),
        identity: identity(&login.user),
        keeper: login.storage.keeper().cloned(),
        without_keyring: false,
        in_file: None,
    };
    let kept = match keep(operation, store, login, old.as_ref(), &mut profile) {
        Ok(kept) => kept,
        Err(error) => {
            ending.inspect(Ending::give_up);
            return Err(error);
        }
    };
    if let Kept::FileInstead { reason } = &kept {
        let file = store.path().to_owned();
        context.observer().notify(&Event::KeyringUnavailable { reason, file });
    }
    if let Some(old) = &old {
        let is_gone = remove_old_copy(operation, old, &profile, &kept);
        match (ending, management_url(context, old)) {
            (Some(ending), Ok(management)) if is_gone || !ending.is_shared() => {
                // The new login is stored, so a failure to end the old session is not reported.
                let _ = end_session(context, &management, &ending.tokens);
            }
            // An engine refused to delete the secret: other hosts go on with the session.
            (Some(ending), _) => ending.give_up(),
            (None, _) => {}
        }
    }
    Ok(())
}

/// The first step of a login if its profile's name was used for another remote.
///
/// A keyring finds secrets by profile name only. A program that read the old profile from the file
/// and then the new secret from the keyring would send it to the old remote. So the old secret is
/// removed first, then the profile in the file is changed, and then the new secret is stored.
struct MadeRoom<'a> {
    store: &'a Store,
    keyring: Place,
    old: &'a Profile,
    /// Its entry in the file, once that may have been changed.
    entry: Option<Wiped<String>>,
    secret: Option<Entry>,
}

impl<'a> MadeRoom<'a> {
    fn before(
        operation: &Operation<'_>,
        store: &'a Store,
        login: &Login,
        old: Option<&'a Profile>,
        new: &Profile,
    ) -> Result<Option<Self>, Error> {
        let goes_to_keyring = matches!(login.storage, StoragePolicy::Auto | StoragePolicy::Keyring);
        let Some(old) = old.filter(|old| goes_to_keyring && !old.is_like(new)) else {
            return Ok(None);
        };
        let keyring = operation.keyring();
        // The next step reports a keyring that cannot be used.
        let Ok(secret) = keyring.get(&old.name, &old.remote_url) else { return Ok(None) };
        let mut room = Self { store, keyring, old, entry: None, secret };
        match room.make(new) {
            Ok(()) => Ok(Some(room)),
            Err(error) => {
                room.undo();
                Err(error)
            }
        }
    }

    fn make(&mut self, new: &Profile) -> Result<(), Error> {
        let Self { store, keyring, old, entry, .. } = self;
        let failed = |source| Error::place(Some(&old.name), keyring, source);
        keyring.remove(&old.name, &old.remote_url).map_err(failed)?;
        store.update(|profiles| {
            *entry = profiles.entry(&old.name);
            profiles.insert(new);
            Ok::<_, StoreError>(())
        })?;
        Ok(())
    }

    /// Puts the old profile and then its secret back, also after a cancellation. The error that led here
    /// is the one to report.
    fn undo(self) {
        let Self { store, keyring, old, entry, secret } = self;
        let store = store.uncancelable();
        let is_there = |profiles: &Profiles<'_>| {
            Ok::<_, StoreError>(profiles.get(&old.name)?.is_some_and(|now| now.is_like(old)))
        };
        let put_back = |entry: Wiped<String>| {
            let change = |profiles: &mut Profiles<'_>| {
                profiles.put_back(&old.name, &entry);
                Ok::<_, StoreError>(())
            };
            store.update(change).is_ok()
        };
        // Without its profile, the secret would go to the new remote.
        let may_return =
            store.read_settled(is_there).unwrap_or(false) || entry.is_some_and(put_back);
        if may_return && secret.is_some() {
            let nothing = Secret::from("");
            let _ = keyring.restore(&old.name, &old.remote_url, &nothing, secret.as_ref());
        }
    }
}

/// Stores a login's secret and its profile, or neither.
fn keep(
    operation: &Operation<'_>,
    store: &Store,
    login: &Login,
    old: Option<&Profile>,
    profile: &mut Profile,
) -> Result<Kept, Error> {
    let room = MadeRoom::before(operation, store, login, old, profile)?;
    let kept = keep_both(operation, store, login, profile);
    if let (Err(_), Some(room)) = (&kept, room) {
        room.undo();
    }
    kept
}

fn keep_both(
    operation: &Operation<'_>,
    store: &Store,
    login: &Login,
    profile: &mut Profile,
) -> Result<Kept, Error> {
    let kept = keep_secret(operation, login, profile)?;
    profile.without_keyring =
        matches!(kept, Kept::FileInstead { reason: PlaceError::NotAvailable { .. } });
    if !matches!(kept, Kept::Elsewhere { .. }) {
        profile.in_file = Some(login.credential.clone());
    }
    let stored = store.update(|profiles| {
        profiles.insert(profile);
        if login.switch {
            profiles.set_current(Some(&profile.name));
        }
        Ok::<_, StoreError>(())
    });
    if let Err(error) = stored {
        kept.undo(profile);
        return Err(error.into());
    }
    Ok(kept)
}

fn identity(user: &User) -> Identity {
    Identity {
        user_id: Some(user.user_id.clone()),
        email: user.email.clone(),
        workspace_name: user.workspace_name.clone(),
    }
}

/// Where the secret of a login went, and how to undo that.
enum Kept {
    InFile,
    FileInstead { reason: PlaceError },
    Elsewhere { place: Place, secret: Secret, before: Option<Entry> },
}

impl Kept {
    fn undo(&self, profile: &Profile) {
        let Self::Elsewhere { place, secret, before } = self else { return };
        // The error that led here is the one to report.
        let _ = place.restore(&profile.name, &profile.remote_url, secret, before.as_ref());
    }
}

fn keep_secret(operation: &Operation<'_>, login: &Login, profile: &Profile) -> Result<Kept, Error> {
    let place = match &login.storage {
        StoragePolicy::File => return Ok(Kept::InFile),
        StoragePolicy::Kept(keeper) => operation.keeper(keeper)?,
        StoragePolicy::Auto | StoragePolicy::Keyring => operation.keyring(),
    };
    let (name, remote) = (&profile.name, &profile.remote_url);
    let secret = encode_secret(&login.credential, None);
    let kept = place.get(name, remote).and_then(|before| {
        let set = place.set(name, remote, &secret.clone().into());
        match set.and_then(|()| check_kept(&place, profile, &secret)) {
            Ok(()) => Ok(before),
            Err(error) => {
                // It may be stored despite the error, which is the one to report.
                let _ = place.restore(name, remote, &secret, before.as_ref());
                Err(error)
            }
        }
    });
    match kept {
        Ok(before) => Ok(Kept::Elsewhere { place, secret, before }),
        Err(reason) if login.storage == StoragePolicy::Auto && reason.allows_fallback() => {
            Ok(Kept::FileInstead { reason })
        }
        Err(source) => Err(Error::place(Some(name), &place, source)),
    }
}

/// Reads the secret back: not every helper can keep one under every name, and few report it.
fn check_kept(place: &Place, profile: &Profile, secret: &Secret) -> Result<(), PlaceError> {
    if place.takes_every_name()
        || place.get(&profile.name, &profile.remote_url)? == Some(secret.clone().into())
    {
        return Ok(());
    }
    let message = "it does not give back what it was given".to_owned();
    Err(PlaceError::HelperFailed { program: place.label().to_owned(), message })
}

/// Removes the old copy, which could later be mistaken for the secret. False if it is still there.
fn remove_old_copy(operation: &Operation<'_>, old: &Profile, new: &Profile, kept: &Kept) -> bool {
    let replaced = match (kept, operation.place(old)) {
        (Kept::Elsewhere { place, .. }, Ok(old_place)) => {
            place.label() == old_place.label()
                && (!place.tells_remotes_apart() || old.remote_url == new.remote_url)
        }
        _ => false,
    };
    // The missing keyring has just been reported.
    let is_known = old.in_file.is_some() && new.without_keyring;
    replaced || is_known || credential::remove_copy(operation, old)
}

/// The name that a login asks for, or one made from its user. If that name belongs to somebody
/// else, the workspace is added, and then a number.
fn choose_name(store: &Store, login: &Login) -> Result<ProfileName, Error> {
    if let Some(name) = &login.name {
        return Ok(name.clone());
    }
    let base = name_after(&login.user, &login.remote);
    let with_workspace = match &login.user.workspace_name {
        Some(workspace) => format!("{base}:{workspace}"),
        None => base.clone(),
    };
    let numbered = (2..).map(|number| format!("{with_workspace}:{number}"));
    let candidates = [base.clone(), with_workspace.clone()].into_iter().chain(numbered);
    // An outdated read could miss a new profile, and the login would replace it.
    store.read_settled(|profiles| {
        for candidate in candidates {
            let name = ProfileName::new(candidate).map_err(Failure::UserName)?;
            match profiles.get(&name) {
                Ok(Some(profile)) if !is_same(&profile, login) => {}
                Err(_) => {}
                Ok(_) => return Ok(name),
            }
        }
        Err(Failure::UserName(ProfileNameError::TooLong).into())
    })
}

/// The name of a login that asks for none: the user's email (or else their id), with the host of
/// the remote if it is not the default one.
pub fn name_after(user: &User, remote: &Remote) -> String {
    let name = user.email.as_deref().unwrap_or(&user.user_id);
    if remote.is_default() { name.to_owned() } else { format!("{name}:{}", remote.host_label()) }
}

/// Whether a stored profile is for the same remote, user and workspace, as far as it records them.
fn is_same(profile: &Profile, login: &Login) -> bool {
    let stored = &profile.identity;
    let user = &login.user;
    profile.remote().is_ok_and(|remote| remote == login.remote)
        && stored.user_id.as_ref().is_none_or(|id| *id == user.user_id)
        && (stored.user_id.is_some() || stored.email.is_none() || stored.email == user.email)
        && (stored.workspace_name.is_none() || stored.workspace_name == user.workspace_name)
}
