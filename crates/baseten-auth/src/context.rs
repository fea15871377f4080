//! What a run works with: the environment, a clock, a listener, the network, the vaults.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::Http;
use crate::store::{Helper, Keyring, Vault, VaultOptions, lock_directory};
use crate::{
    Cancel, Clock, Env, Error, Event, Observer, Profile, ProfileName, Profiles, Session,
    StoragePolicy, Store, StoreError, SystemClock, session, user_agent,
};

/// Everything that a run touches, put together once. Making one costs nothing: the network, the
/// keyring and the file are opened when they are needed.
#[derive(Debug, Clone)]
pub struct Context {
    env: Env,
    clock: Arc<dyn Clock>,
    observer: Observer,
    cancel: Cancel,
    can_prompt: bool,
    http: Arc<Http>,
    /// The vaults of this run, by their helpers' names; the keyring has none.
    vaults: Arc<Mutex<HashMap<Option<String>, Arc<Vault>>>>,
}

impl Context {
    /// A context for this environment, with the machine's clock and nobody to prompt.
    pub fn new(env: Env) -> Self {
        let observer = Observer::default();
        Self {
            http: http(&env, &observer),
            env,
            clock: Arc::new(SystemClock),
            observer,
            cancel: Cancel::default(),
            can_prompt: false,
            vaults: Arc::default(),
        }
    }

    /// The same, telling this observer what happens.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Self {
        self.http = http(&self.env, &observer);
        self.observer = observer;
        self
    }

    /// The same, with this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same, with a flag that ends its waits for locks, vaults and the end of a session.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The same, where somebody at a terminal can answer the keyring's unlock prompt.
    #[must_use]
    pub fn with_prompt(mut self, can_prompt: bool) -> Self {
        self.can_prompt = can_prompt;
        self
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where time comes from.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Who is told what happens.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The flag that ends this run's waits.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The one HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The store, found but not opened.
    pub fn store(&self) -> Result<Store, Error> {
        Ok(Store::locate(&self.env)?)
    }

    /// Reads the store for a command, and tells the observer; see [`Store::read`].
    pub fn read<T, E: From<StoreError>>(
        &self,
        store: &Store,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = store.path().display().to_string();
        self.observer.notify(&Event::StorageRead { storage: &path, outcome: Ok("read") });
        store.read(self.clock(), look)
    }

    /// Who a command speaks for; see [`session::resolve`].
    pub fn session(&self, profile: Option<&ProfileName>) -> Result<Session, Error> {
        session::resolve(self, profile)
    }

    /// Where this profile's secret is kept when it is not in the file.
    pub(crate) fn vault(&self, profile: &Profile) -> Result<Arc<Vault>, Error> {
        match profile.vault(&StoragePolicy::from_env(&self.env)?).helper() {
            Some(name) => self.helper(name),
            None => self.keyring(),
        }
    }

    /// Whether a login's secret can go where this policy wants it, as far as that is known without
    /// asking anybody: the settings make sense, the helper is installed, there is a session bus, and
    /// locks can be had. An error names the profile, if it has a name yet.
    pub fn check_storage(
        &self,
        policy: &StoragePolicy,
        profile: Option<&ProfileName>,
    ) -> Result<(), Error> {
        lock_directory().map_err(Error::LockDirectory)?;
        let vault = match policy {
            StoragePolicy::Auto | StoragePolicy::File => return self.vault_options().map(drop),
            StoragePolicy::Keyring => self.keyring()?,
            StoragePolicy::Helper(name) => self.helper(name)?,
        };
        vault.check().map_err(|source| Error::vault(profile, vault.label(), source))
    }

    /// The credential helper of this name.
    pub(crate) fn helper(&self, name: &str) -> Result<Arc<Vault>, Error> {
        self.kept(Some(name), |options| Ok(Vault::Helper(Helper::new(name, &self.env, options)?)))
    }

    /// The system keyring.
    pub(crate) fn keyring(&self) -> Result<Arc<Vault>, Error> {
        self.kept(None, |options| Ok(Vault::Keyring(Keyring::new(&self.env, options))))
    }

    /// A vault that is the same for the whole run: all work with it shares one deadline.
    fn kept(
        &self,
        helper: Option<&str>,
        open: impl FnOnce(VaultOptions) -> Result<Vault, Error>,
    ) -> Result<Arc<Vault>, Error> {
        let mut vaults = self.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        let key = helper.map(str::to_owned);
        if let Some(vault) = vaults.get(&key) {
            return Ok(Arc::clone(vault));
        }
        let vault = Arc::new(open(self.vault_options()?)?);
        vaults.insert(key, Arc::clone(&vault));
        Ok(vault)
    }

    fn vault_options(&self) -> Result<VaultOptions, Error> {
        let (cancel, observer) = (self.cancel.clone(), self.observer.clone());
        Ok(VaultOptions::from_env(&self.env, self.can_prompt, cancel, observer)?)
    }
}

fn http(env: &Env, observer: &Observer) -> Arc<Http> {
    let user_agent = user_agent(env!("CARGO_PKG_VERSION"));
    Arc::new(Http::new(env.clone(), user_agent, observer.clone()))
}
