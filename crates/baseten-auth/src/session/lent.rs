//! A session at a lender: asks for each token, and stores nothing.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::demand::Demand;
use crate::context::Context;
use crate::error::{Error, Failure};
use crate::lend::LendError;
use crate::lend::client::Lender;
use crate::lend::protocol::{Grant, LentProfile, Wanted};
use crate::profile::ProfileName;
use crate::remote::Remote;

/// A lender's profile.
#[derive(Debug)]
pub struct Lent {
    lender: Lender,
    pub(crate) profile: LentProfile,
    /// The token that came with the profile, until it is used.
    first: Mutex<Option<Grant>>,
}

impl Lent {
    /// Selects the profile of this name, or the one that the lender selects.
    pub(crate) fn select(
        context: &Context,
        lender: Lender,
        name: Option<&ProfileName>,
    ) -> Result<Self, Error> {
        let profile = lender.select(name, context.wait())?;
        Ok(Self { lender, profile, first: Mutex::default() })
    }

    /// The same, with a token that meets a demand: one request instead of two.
    pub(crate) fn with_token(
        context: &Context,
        lender: Lender,
        name: Option<&ProfileName>,
        demand: &Demand,
    ) -> Result<Self, Error> {
        let grant = match lender.token(wanted(name.cloned(), demand), context.wait()) {
            Err(error) if is_refused(&error) => {
                // If the profile is not lent, the list gives the better error.
                let listed = lender.select(name, context.wait());
                return Err(listed.err().filter(is_not_lent).unwrap_or(error));
            }
            grant => grant?,
        };
        if name.is_some_and(|name| name.as_str() != grant.profile) {
            return Err(LendError::NotProtocol { socket: lender.socket().to_owned() }.into());
        }
        let profile = LentProfile {
            profile: grant.profile.clone(),
            remote_url: grant.remote_url.clone(),
            auth_type: grant.auth_type,
            email: None,
            workspace_name: None,
        };
        Ok(Self { lender, profile, first: Mutex::new(Some(grant)) })
    }

    /// What the lender says about the profile.
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
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let now = context.wait().now();
        let is_good = |grant: &Grant| {
            !demand.refused.contains(&grant.token) && grant.expires_at.is_none_or(|end| end > now)
        };
        let grant = match first.filter(is_good) {
            Some(grant) => grant,
            None => self.lender.token(wanted(name.clone(), demand), context.wait())?,
        };
        // The profile may have been replaced. A token of one remote is never sent to another.
        let lent = &self.profile;
        if (&grant.profile, &grant.remote_url, grant.auth_type)
            != (&lent.profile, &lent.remote_url, lent.auth_type)
        {
            return Err(LendError::Replaced { socket: self.socket().to_owned() }.into());
        }
        let remaining = grant.expires_at.map(|end| end.duration_since(now));
        demand.report_if_short(context, name.as_ref(), remaining);
        Ok(grant)
    }
}

fn wanted(profile: Option<ProfileName>, demand: &Demand) -> Wanted {
    Wanted { profile, min_ttl: demand.min_ttl, refused: demand.refused.last().cloned() }
}

fn is_not_lent(error: &Error) -> bool {
    use LendError::{NoneSelected, NotLent};
    matches!(error.failure(), Failure::Lend(NotLent { .. } | NoneSelected { .. }))
}

fn is_refused(error: &Error) -> bool {
    matches!(error.failure(), Failure::Lend(LendError::Refused { .. }))
}
