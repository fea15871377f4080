//! What can go wrong with an engine.

use std::time::Duration;

use crate::env::NotText;
use crate::http::HttpError;
use crate::storage::EnginePath;

/// Why an engine did not do what it was asked. No message contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No variable says where the server is.
    #[error("neither BAO_ADDR nor VAULT_ADDR says where the server of the secrets is")]
    NoAddress,
    /// A variable is not the URL of a server.
    #[error("{variable} is not the URL of a server")]
    Address {
        /// The variable.
        variable: &'static str,
    },
    /// A variable is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// A token or a namespace cannot be sent in a header.
    #[error("{from} has characters that an HTTP header cannot carry")]
    NotHeader {
        /// The variable or the file that it is from.
        from: String,
    },
    /// There is no token for the server.
    #[error(
        "there is no token for the server of the secrets: BAO_TOKEN and VAULT_TOKEN are not set, and there is no ~/.vault-token"
    )]
    NoToken,
    /// The file of the token cannot be read.
    #[error("cannot read {}", path.display())]
    TokenFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server refuses the token, or its policy does not allow this (HTTP 403).
    #[error("{address} refused the token for {place}: it has ended, or its policy is not enough")]
    Denied {
        /// The server.
        address: String,
        /// The place of the secrets.
        place: EnginePath,
    },
    /// The server refuses the request for another reason.
    #[error("{address} refused the request for {place} (HTTP {status})")]
    Refused {
        /// The server.
        address: String,
        /// The place of the secrets.
        place: EnginePath,
        /// Its answer.
        status: u16,
    },
    /// What is stored, or what the server answered, is not what we store.
    #[error("what {address} has for {place} is not a credential")]
    NotProtocol {
        /// The server.
        address: String,
        /// The place of the secrets.
        place: EnginePath,
    },
    /// The request was repeated until the time was over.
    #[error("{address} did not give or take the secret for {} s: {trouble}", after.as_secs())]
    Away {
        /// The server.
        address: String,
        /// For how long.
        after: Duration,
        /// What happened last.
        trouble: String,
    },
    /// Another host is refreshing, and did not finish in time.
    #[error("another host has been refreshing the session in {place} for too long")]
    Busy {
        /// The place of the secrets.
        place: EnginePath,
    },
    /// The request can't be made.
    #[error(transparent)]
    Http(HttpError),
    /// The caller canceled it.
    #[error("canceled")]
    Canceled,
}
