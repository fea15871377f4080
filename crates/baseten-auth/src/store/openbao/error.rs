//! What can go wrong with an engine.

use std::time::Duration;

use crate::env::NotText;
use crate::http::HttpError;
use crate::storage::EnginePath;

/// Why an engine did not do what it was asked. No message contains a secret.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum EngineError {
    /// No variable says where the server is.
    #[error("neither BAO_ADDR nor VAULT_ADDR says where the server of the secrets is")]
    NoAddress,
    /// A variable is not the URL of a server.
    #[error("{variable} is not the URL of a server")]
    Address { variable: &'static str },
    /// A variable is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// A token or a namespace cannot be sent in a header.
    #[error("{from} has characters that an HTTP header cannot carry")]
    NotHeader { from: String },
    /// There is no token for the server.
    #[error(
        "there is no token for the server of the secrets: BAO_TOKEN and VAULT_TOKEN are not set, and there is no ~/.vault-token"
    )]
    NoToken,
    /// The file of the token cannot be read.
    #[error("cannot read {}", path.display())]
    TokenFile { path: std::path::PathBuf, source: std::io::Error },
    /// The server refuses the token, or its policy does not allow this (HTTP 403).
    #[error("{address} refused the token for {place}: it has ended, or its policy is not enough")]
    Denied { address: String, place: EnginePath },
    /// The server refuses the request for another reason.
    #[error("{address} refused the request for {place} (HTTP {status})")]
    Refused { address: String, place: EnginePath, status: u16 },
    /// What is stored, or what the server answered, is not what we store.
    #[error("what {address} has for {place} is not a credential")]
    NotProtocol { address: String, place: EnginePath },
    /// The request was repeated until the time was over.
    #[error("{address} did not give or take the secret for {} s: {trouble}", after.as_secs())]
    Away { address: String, after: Duration, trouble: String },
    /// Another host is refreshing, and did not finish in time.
    #[error("another host has been refreshing the session in {place} for too long")]
    Busy { place: EnginePath },
    /// The request can't be made.
    #[error(transparent)]
    Http(HttpError),
    /// The caller canceled it.
    #[error("canceled")]
    Canceled,
}
