//! What can go wrong.

use std::io;

/// What went wrong with a sandbox, or with a request to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port can't be listened on, or the server's thread can't be started.
    #[error("the sandbox cannot start on port {port}")]
    Start {
        /// The requested port.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no user with this id.
    #[error("there is no user {0}")]
    NoSuchUser(String),
    /// A trust rule's issuer is not an `http` URL on this computer.
    #[error("the issuer {0} is not an http URL on this computer")]
    Issuer(String),
    /// This user code is unknown, expired or answered already.
    #[error("no device login waits for an answer under the code {0}")]
    NotPending(String),
}
