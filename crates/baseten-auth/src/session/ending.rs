//! The tokens of a session that is about to end at the server.

use std::sync::Arc;

use super::credential::{self, Found};
use super::demand::Demand;
use super::fleet;
use crate::context::Operation;
use crate::error::Error;
use crate::profile::{AuthType, Credential, OAuthCredential, Profile};
use crate::store::openbao::{Claimed, Engine, OwnClaim};

/// The tokens of a session that is about to end. If other hosts share them, they are claimed: nobody
/// else presents the refresh token meanwhile.
pub(crate) struct Ending {
    pub(crate) tokens: OAuthCredential,
    claim: Option<(Arc<Engine>, OwnClaim)>,
}

impl Ending {
    /// Takes the tokens of a profile; `None` if there are none, and for an API key.
    pub(crate) fn begin(
        operation: &Operation<'_>,
        profile: &Profile,
    ) -> Result<Option<Self>, Error> {
        if profile.auth_type == AuthType::ApiKey {
            return Ok(None);
        }
        let Some(engine) = operation.engine_of(profile)? else {
            return Ok(match credential::find(operation, profile, &Demand::default())? {
                Some(Found { credential: Credential::OAuth(tokens), .. }) => {
                    Some(Self { tokens, claim: None })
                }
                _ => None,
            });
        };
        let may_be_refreshed = |tokens: &OAuthCredential| tokens.refresh_token.is_some();
        let claimed = engine.claim(&profile.name, &profile.remote_url, may_be_refreshed);
        Ok(match claimed.map_err(|source| fleet::failed(profile, &engine, source))? {
            Claimed::Held(held) => {
                Some(Self { tokens: held.tokens.clone(), claim: Some((engine, held)) })
            }
            Claimed::Fresh(tokens) => Some(Self { tokens, claim: None }),
            Claimed::Gone => None,
        })
    }

    /// Whether other hosts share the session.
    pub(crate) fn is_shared(&self) -> bool {
        self.claim.is_some()
    }

    /// Gives the claim up, because the session could not be ended.
    pub(crate) fn give_up(&self) {
        if let Some((engine, held)) = &self.claim {
            engine.release(held);
        }
    }
}
