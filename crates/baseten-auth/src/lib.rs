//! Profiles, credentials and sessions for Baseten.

mod clock;
mod env;
mod event;
mod profile;
mod secret;
mod session;
mod store;

pub use clock::{Cancel, Clock, Deadline, SystemClock};
pub use env::{Env, NotText};
pub use event::{Event, Observer};
pub use profile::{AuthType, Credential, OAuthCredential, ProfileName, ProfileNameError};
pub use secret::Secret;
pub use session::SessionSource;
pub use store::{Helper, HelperNameError, Keyring, TimeoutError, Vault, VaultError, VaultOptions};
