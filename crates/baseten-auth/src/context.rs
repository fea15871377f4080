//! What a run works with: the environment, a clock, a listener, the network, the vaults.

use std::sync::{Arc, OnceLock};

use crate::http::Http;
use crate::store::{Helper, Keyring, Vault, VaultOptions};
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
    keyring: Arc<OnceLock<Arc<Vault>>>,
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
            keyring: Arc::default(),
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

    /// The same, with a flag that ends its waits.
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
        self.observer.notify(&Event::StorageRead { storage: &path, outcome: "profiles" });
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

    /// The credential helper of this name.
    pub(crate) fn helper(&self, name: &str) -> Result<Arc<Vault>, Error> {
        let helper = Helper::new(name, &self.env, self.vault_options()?)?;
        Ok(Arc::new(Vault::Helper(helper)))
    }

    /// The system keyring. All of a run's work with it shares one deadline.
    pub(crate) fn keyring(&self) -> Result<Arc<Vault>, Error> {
        if let Some(keyring) = self.keyring.get() {
            return Ok(Arc::clone(keyring));
        }
        let keyring = Arc::new(Vault::Keyring(Keyring::new(&self.env, self.vault_options()?)));
        Ok(Arc::clone(self.keyring.get_or_init(|| keyring)))
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
