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
    /// A context for this environment, with the machine's clock and nobody to prompt.
    pub fn new(env: Env) -> Self {
        let (keyring, observer) = (Arc::new(Keyring::new(&env)), Observer::default());
        let user_agent = user_agent(env!("CARGO_PKG_VERSION"));
        let http = Arc::new(Http::new(env.clone(), user_agent, observer.clone()));
        Self { env, wait: Wait::default(), observer, may_prompt: false, http, keyring }
    }

    /// The same, telling this observer what happens.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Self {
        self.http = Arc::new(self.http.with_observer(observer.clone()));
        self.observer = observer;
        self
    }

    /// The same, naming itself so to servers.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: String) -> Self {
        self.http = Arc::new(self.http.with_user_agent(user_agent));
        self
    }

    /// The same, waiting so.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The same, where somebody can answer a prompt of the keyring or of a credential helper.
    #[must_use]
    pub fn with_prompt(mut self, may_prompt: bool) -> Self {
        self.may_prompt = may_prompt;
        self
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The clock, and what ends this run's waits.
    pub fn wait(&self) -> &Wait {
        &self.wait
    }

    /// Who is told what happens.
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

    /// Reads the store for a command, and tells the observer; see [`Store::read`].
    pub fn read<T, E: From<StoreError>>(
        &self,
        store: &Store,
        look: impl FnOnce(&Profiles<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tell_read(store);
        store.read(look)
    }

    /// The same, for what cannot be undone; see [`Store::read_settled`].
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

    /// Whether a login's secret can go where this policy wants it, as far as that is known without
    /// asking anybody: the settings make sense, the helper is installed, and there is a session bus.
    /// An error names the profile, if it has a name yet.
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

    /// Starts an operation, whose keyring and helper work shares one budget.
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

    /// An engine of OpenBao or Vault: for the first place that is asked for, the same one for the
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
        // A login may move a secret from one place to another: that one is not kept.
        let _ = self.engine.set(Arc::clone(&engine));
        Ok(engine)
    }

    /// The engine that keeps a profile's secret for a fleet, where one does.
    pub(crate) fn engine_of(&self, profile: &Profile) -> Result<Option<Arc<Engine>>, Error> {
        self.shared_place(profile)?.map(|path| self.engine_at(&path)).transpose()
    }

    /// Whether other hosts share a profile's secret.
    pub(crate) fn shares(&self, profile: &Profile) -> Result<bool, Error> {
        Ok(self.shared_place(profile)?.is_some())
    }

    fn shared_place(&self, profile: &Profile) -> Result<Option<EnginePath>, Error> {
        // What is in the file is there whatever a variable says, also one that is wrong.
        if profile.in_file.is_some() {
            return Ok(None);
        }
        let storage = profile.storage(&self.context.storage_policy()?);
        let Storage::Kept(Keeper::Engine(path)) = storage else { return Ok(None) };
        Ok(Some(path))
    }

    /// Where a profile's secret is when it is not in the file, or another program's copy of it when
    /// it is.
    pub(crate) fn place(&self, profile: &Profile) -> Result<Place, Error> {
        let policy = self.context.storage_policy()?;
        match (&profile.keeper, policy.keeper()) {
            // What a fleet shares is no copy of what this machine keeps in its file.
            (None, Some(Keeper::Engine(_))) if profile.in_file.is_some() => Ok(self.keyring()),
            (Some(keeper), _) | (None, Some(keeper)) => self.keeper(keeper),
            (None, None) => Ok(self.keyring()),
        }
    }
}
