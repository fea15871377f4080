//! What a run works with: the environment, a way to wait, an observer, the network, the keyring.

use std::sync::{Arc, OnceLock};

use crate::env::Env;
use crate::error::{Error, Failure};
use crate::event::{Event, Observer};
use crate::http::{Http, user_agent};
use crate::profile::{Profile, ProfileName};
use crate::storage::{EnginePath, Keeper, Storage, StoragePolicy};
use crate::store::budget::Budget;
use crate::store::document::Profiles;
use crate::store::error::{PlaceError, StoreError};
use crate::store::file::Store;
use crate::store::helper::Helper;
use crate::store::keyring::Keyring;
use crate::store::openbao::Engine;
use crate::store::place::Place;
use crate::wait::Wait;

/// Everything that a run touches, put together once. Making one costs nothing: the network, the
/// keyring and the file are opened when they are needed.
#[derive(Debug, Clone)]
pub struct Context {
    env: Env,
    wait: Wait,
    observer: Observer,
    may_prompt: bool,
    http: Arc<Http>,
    keyring: Arc<Keyring>,
}

impl Context {
    /// A context for this environment, with the machine's clock and without prompts.
    pub fn new(env: Env) -> Self {
        let (keyring, observer) = (Arc::new(Keyring::new(&env)), Observer::default());
        let user_agent = user_agent(env!("CARGO_PKG_VERSION"));
        let http = Arc::new(Http::new(env.clone(), user_agent, observer.clone()));
        Self { env, wait: Wait::default(), observer, may_prompt: false, http, keyring }
    }

    /// The same, with this observer.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Self {
        self.http = Arc::new(self.http.with_observer(observer.clone()));
        self.observer = observer;
        self
    }

    /// The same, with this `User-Agent`.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: String) -> Self {
        self.http = Arc::new(self.http.with_user_agent(user_agent));
        self
    }

    /// The same, with this way to wait.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The same, saying whether the keyring and credential helpers may prompt.
    #[must_use]
    pub fn with_prompt(mut self, may_prompt: bool) -> Self {
        self.may_prompt = may_prompt;
        self
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The clock, and what cancels this run's waits.
    pub fn wait(&self) -> &Wait {
        &self.wait
    }

    /// The observer that receives events.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The one HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where the environment wants secrets to be kept.
    pub fn storage_policy(&self) -> Result<StoragePolicy, Error> {
        Ok(StoragePolicy::from_env(&self.env)?)
    }

    /// The store, found but not opened.
    pub fn store(&self) -> Result<Store, Error> {
        Ok(Store::locate(&self.env, self.wait.clone())?.with_observer(self.observer.clone()))
    }

    /// Reads the store for a command, and notifies the observer; see [`Store::read`].
    pub fn read<T, E: From<StoreError>>(
        &self,
        store: &Store,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tell_read(store);
        store.read(look)
    }

    /// The same, before a change that cannot be undone; see [`Store::read_settled`].
    pub(crate) fn read_settled<T, E: From<StoreError>>(
        &self,
        store: &Store,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tell_read(store);
        store.read_settled(look)
    }

    fn tell_read(&self, store: &Store) {
        let path = store.path().display().to_string();
        self.observer.notify(&Event::StorageRead { storage: &path, outcome: Ok("read") });
    }

    /// Checks whether a login's secret can be stored as this policy says, as far as possible
    /// without using the place: the settings are valid, the helper is installed, there is a session
    /// bus. An error names the profile, if it has a name yet.
    pub fn check_storage(
        &self,
        policy: &StoragePolicy,
        profile: Option<&ProfileName>,
    ) -> Result<(), Error> {
        let operation = self.operation()?;
        let place = match policy {
            StoragePolicy::Auto | StoragePolicy::File => return Ok(()),
            StoragePolicy::Keyring => operation.keyring(),
            StoragePolicy::Kept(keeper) => operation.keeper(keeper)?,
        };
        place.check().map_err(|source| Error::place(profile, &place, source))
    }

    /// Starts an operation. All its work with the keyring and helpers shares one time budget.
    pub(crate) fn operation(&self) -> Result<Operation<'_>, Error> {
        let (wait, observer) = (self.wait.clone(), self.observer.clone());
        let budget = Budget::from_env(&self.env, self.may_prompt, wait, observer)?;
        Ok(Operation { context: self, budget, engine: OnceLock::new() })
    }
}

/// One operation of a caller, such as a login or a look-up of a token.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) context: &'a Context,
    pub(crate) budget: Budget,
    engine: OnceLock<Arc<Engine>>,
}

impl Operation<'_> {
    /// The system keyring.
    pub(crate) fn keyring(&self) -> Place {
        Place::keyring(Arc::clone(&self.context.keyring), self.budget.clone())
    }

    /// A credential helper or an engine.
    pub(crate) fn keeper(&self, keeper: &Keeper) -> Result<Place, Error> {
        let budget = self.budget.clone();
        Ok(match keeper {
            Keeper::Helper(name) => Place::helper(Helper::new(name, &self.context.env), budget),
            Keeper::Engine(path) => Place::engine(self.engine_at(path)?, budget),
        })
    }

    /// An engine of OpenBao or Vault. The first place that is asked for keeps its engine for the
    /// whole operation.
    fn engine_at(&self, path: &EnginePath) -> Result<Arc<Engine>, Error> {
        if let Some(engine) = self.engine.get().filter(|engine| engine.path() == path) {
            return Ok(Arc::clone(engine));
        }
        let failed = |source| {
            let storage = path.to_string();
            Failure::Place { profile: None, storage, source: PlaceError::Engine(source) }
        };
        let Context { env, http, wait, .. } = self.context;
        let engine = Arc::new(Engine::new(path, env, http, wait.clone()).map_err(failed)?);
        // A login may move a secret from one place to another. Only the first engine is kept.
        let _ = self.engine.set(Arc::clone(&engine));
        Ok(engine)
    }

    /// The engine that keeps a profile's secret for a fleet, if one does.
    pub(crate) fn engine_of(&self, profile: &Profile) -> Result<Option<Arc<Engine>>, Error> {
        self.shared_place(profile)?.map(|path| self.engine_at(&path)).transpose()
    }

    /// Whether other hosts share a profile's secret.
    pub(crate) fn shares(&self, profile: &Profile) -> Result<bool, Error> {
        Ok(self.shared_place(profile)?.is_some())
    }

    fn shared_place(&self, profile: &Profile) -> Result<Option<EnginePath>, Error> {
        // For a secret in the file, no variable matters, not even an invalid one.
        if profile.in_file.is_some() {
            return Ok(None);
        }
        let storage = profile.storage(&self.context.storage_policy()?);
        let Storage::Kept(Keeper::Engine(path)) = storage else { return Ok(None) };
        Ok(Some(path))
    }

    /// The place of a profile's secret outside the file: of the secret itself, or, if that is in
    /// the file, of a copy that another program may have stored.
    pub(crate) fn place(&self, profile: &Profile) -> Result<Place, Error> {
        let policy = self.context.storage_policy()?;
        match (&profile.keeper, policy.keeper()) {
            // A fleet's secret is not a copy of the one in this machine's file.
            (None, Some(Keeper::Engine(_))) if profile.in_file.is_some() => Ok(self.keyring()),
            (Some(keeper), _) | (None, Some(keeper)) => self.keeper(keeper),
            (None, None) => Ok(self.keyring()),
        }
    }
}
