//! For a build without the feature `keyring`: there is no keyring.

use crate::env::Env;
use crate::store::budget::Call;
use crate::store::entry::Entry;
use crate::store::error::PlaceError;

pub(super) struct Backend;

#[expect(clippy::unused_self, reason = "the same form as with a keyring")]
impl Backend {
    pub(super) fn new(_env: &Env) -> Self {
        Self
    }

    pub(super) fn check(&self) -> Result<(), PlaceError> {
        Err(PlaceError::NotAvailable { source: "this program was built without it".into() })
    }

    pub(super) fn get(&mut self, _: &str, _: &Call) -> Result<Option<Entry>, PlaceError> {
        self.check().map(|()| None)
    }

    pub(super) fn set(&mut self, _: &str, _: &Entry, _: &Call) -> Result<(), PlaceError> {
        self.check()
    }

    pub(super) fn remove(&mut self, _: &str, _: &Call) -> Result<(), PlaceError> {
        self.check()
    }
}
