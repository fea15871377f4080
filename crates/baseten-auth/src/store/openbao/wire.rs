//! The JSON of a KV version 2 engine.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::claim::{Claim, Found, Shared};
use crate::http::Response;
use crate::secret::Secret;

/// What to write.
pub(super) struct Draft<'a> {
    pub(super) credential: &'a Secret,
    pub(super) nonce: &'a str,
    /// Who refreshes, and until when.
    pub(super) claim: Option<(&'a str, Timestamp)>,
}

#[derive(Serialize)]
struct Write<'a> {
    options: Options,
    data: Members<'a>,
}

#[derive(Serialize)]
struct Options {
    cas: u64,
}

#[derive(Serialize)]
struct Members<'a> {
    credential: &'a str,
    nonce: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<StoredClaim>,
}

#[derive(Serialize, Deserialize)]
struct StoredClaim {
    by: String,
    until: Timestamp,
}

#[derive(Deserialize)]
struct Read {
    data: Option<Versioned>,
    errors: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<Stored>,
    metadata: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Stored {
    credential: Secret,
    #[serde(default)]
    nonce: String,
    claim: Option<StoredClaim>,
}

#[derive(Deserialize)]
struct Written {
    data: Version,
}

impl Draft<'_> {
    /// The body of a write that is made only on this version.
    pub(super) fn body(&self, on: u64) -> Zeroizing<Vec<u8>> {
        let claim = self.claim.map(|(by, until)| StoredClaim { by: by.to_owned(), until });
        let credential = self.credential.expose();
        let data = Members { credential, nonce: self.nonce, claim };
        // As large as it can get: a vector that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(6 * credential.len() + 1024));
        // Texts and numbers can always be written.
        let _ = serde_json::to_writer(&mut *body, &Write { options: Options { cas: on }, data });
        body
    }
}

/// What a look found, from an answer with 200 or 404; `None` if it is not such an engine's answer.
pub(super) fn found(response: &Response) -> Option<Found> {
    let read: Read = serde_json::from_slice(&response.body).ok()?;
    let Some(Versioned { data, metadata }) = read.data else {
        let never_was =
            response.status == 404 && read.errors.is_some_and(|errors| errors.is_empty());
        return never_was.then_some(Found { version: 0, secret: None });
    };
    let secret = data.map(|stored| Shared {
        credential: stored.credential,
        nonce: stored.nonce,
        claim: stored.claim.map(|StoredClaim { by, until }| Claim { by, until }),
    });
    Some(Found { version: metadata.version, secret })
}

/// Whether a server says that it belongs to no cluster.
pub(super) fn has_no_others(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Leader {
        ha_enabled: bool,
    }
    serde_json::from_slice(&response.body).is_ok_and(|it: Leader| !it.ha_enabled)
}

/// The version that a write has made.
pub(super) fn version(response: &Response) -> Option<u64> {
    let written: Written = serde_json::from_slice(&response.body).ok()?;
    Some(written.data.version)
}

/// What went wrong, from an answer that is neither a success nor a refusal. Its own text is not
/// repeated: it may be anything.
pub(super) fn trouble(response: &Response) -> String {
    let is_sealed = response.body.windows(6).any(|word| word == b"sealed");
    match response.status {
        503 if is_sealed => "it is sealed (HTTP 503)".to_owned(),
        status @ 300..=399 => {
            format!("it has no leader, or is not the server itself (HTTP {status})")
        }
        status => format!("it answered HTTP {status}"),
    }
}
