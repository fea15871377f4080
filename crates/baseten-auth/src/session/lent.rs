//! A lender's session: each token is asked for, and nothing is kept.

use std::path::Path;

use super::credential::{Demand, tell_if_short_lived};
use crate::context::Context;
use crate::error::Error;
use crate::lend::LendError;
use crate::lend::client::Lender;
use crate::lend::protocol::{Grant, LentProfile, Wanted};
use crate::profile::ProfileName;
use crate::remote::Remote;

/// A profile that a lender has.
#[derive(Debug)]
pub struct Lent {
    pub(crate) lender: Lender,
    pub(crate) profile: LentProfile,
}

impl Lent {
    /// What the lender says of it.
    pub fn profile(&self) -> &LentProfile {
        &self.profile
    }

    /// The lender's socket.
    pub fn socket(&self) -> &Path {
        self.lender.socket()
    }

    pub(crate) fn remote(&self) -> Result<Remote, Error> {
        let parsed = Remote::parse(&self.profile.remote_url);
        Ok(parsed
            .map_err(|source| LendError::Remote { socket: self.socket().to_owned(), source })?)
    }

    /// A token that meets a demand.
    pub(crate) fn token(&self, context: &Context, demand: &Demand) -> Result<Grant, Error> {
        let name = ProfileName::new(&self.profile.profile).ok();
        let refused = demand.refused.last().cloned();
        let wanted = Wanted { profile: name.clone(), min_ttl: demand.min_ttl, refused };
        let grant = self.lender.token(wanted, context.wait())?;
        // It may have been replaced meanwhile: a token of one remote is never sent to another one.
        let lent = &self.profile;
        if (&grant.profile, &grant.remote_url, grant.auth_type)
            != (&lent.profile, &lent.remote_url, lent.auth_type)
        {
            return Err(LendError::Replaced { socket: self.socket().to_owned() }.into());
        }
        let now = context.wait().now();
        let remaining = grant.expires_at.map(|end| end.duration_since(now));
        tell_if_short_lived(context, name.as_ref(), remaining, demand);
        Ok(grant)
    }
}
