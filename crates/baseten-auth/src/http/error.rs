//! Errors of a request, as far as callers treat them differently.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A cause, for people to read.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a request has no answer. No variant contains a form value, a credential or a password.
/// A `host` is the server's, with the port if it is not the default.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum HttpError {
    /// `http` to another machine, or not a URL that we would send to at all.
    #[error("refusing to send to {host} without TLS")]
    Insecure { host: String },
    /// The credential has characters that no header may have.
    #[error("the credential has characters that an HTTP header cannot carry")]
    Credential,
    /// A file of trusted certificates can't be used.
    #[error("cannot read the certificates in {}, named by {variable}", path.display())]
    CertificateFile { variable: &'static str, path: PathBuf, source: io::Error },
    /// Neither the system nor the environment names a certificate to trust.
    #[error("this system has no trusted certificates; name a file of them in SSL_CERT_FILE")]
    NoTrustedCertificates,
    /// A variable names a proxy, but not as a URL that can be used.
    #[error("{variable} is not a proxy URL: it needs the form http://host:port")]
    ProxyUrl { variable: &'static str },
    /// The proxy is the one that failed.
    #[error("the proxy {proxy} {problem}")]
    Proxy {
        /// Its host and port.
        proxy: String,
        problem: ProxyProblem,
        source: Option<Cause>,
    },
    /// There is no connection: the name is unknown, nobody listens, the network is away.
    #[error("cannot connect to {host}")]
    Connect { host: String, source: Cause },
    /// The server's certificate cannot be trusted.
    #[error("the certificate of {host} {problem}")]
    Certificate {
        host: String,
        problem: CertificateProblem,
        /// What the verifier said, if the problem does not say it all.
        source: Option<Cause>,
    },
    /// There is no secure connection, for another reason.
    #[error("cannot make a secure connection to {host}")]
    Tls { host: String, source: Cause },
    /// It took too long.
    #[error("{host} did not answer within {} s", (limit.as_secs_f32() * 10.0).round() / 10.0)]
    Timeout {
        host: String,
        limit: Duration,
        /// Whether a part of the request was sent.
        sent: bool,
    },
    /// The machine was asleep, and there is not enough time for an answer any more.
    #[error(
        "it is too late to send the request to {host}: this machine was asleep, or its clock was set"
    )]
    TooLate { host: String },
    /// The connection broke after a part of the request was sent.
    #[error("the connection to {host} was lost")]
    Lost { host: String, source: Cause },
    /// The answer is not HTTP.
    #[error("the answer of {host} is not HTTP")]
    NotHttp { host: String },
    /// The answer is too long.
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge {
        host: String,
        /// What is read at most, in bytes.
        limit: usize,
    },
}

impl HttpError {
    /// The same error, for a caller that had this much time for several requests.
    pub(crate) fn of_all(mut self, time: Duration) -> Self {
        if let Self::Timeout { limit, .. } = &mut self {
            *limit = time;
        }
        self
    }

    /// Whether no part of the request left this machine, so that it is safe to send again.
    #[must_use]
    pub fn surely_not_sent(&self) -> bool {
        match self {
            Self::Insecure { .. }
            | Self::Credential
            | Self::CertificateFile { .. }
            | Self::NoTrustedCertificates
            | Self::ProxyUrl { .. }
            | Self::Proxy { .. }
            | Self::Connect { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::TooLate { .. } => true,
            Self::Timeout { sent, .. } => !sent,
            Self::Lost { .. } | Self::NotHttp { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the same request may well succeed in a moment, without any change on this machine.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Lost { .. } => true,
            Self::Proxy { problem, .. } => problem.is_transient(),
            Self::Insecure { .. }
            | Self::Credential
            | Self::CertificateFile { .. }
            | Self::NoTrustedCertificates
            | Self::ProxyUrl { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::TooLate { .. }
            | Self::NotHttp { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It has expired.
    Expired,
    /// It is not valid yet, or the machine's clock is wrong.
    NotYetValid,
    /// It belongs to another host.
    WrongHost,
    /// It is self-signed, or its issuer is not trusted here.
    UnknownIssuer,
    /// It was revoked.
    Revoked,
    /// Something else; the source says what.
    Other,
}

impl std::fmt::Display for CertificateProblem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Expired => "has expired",
            Self::NotYetValid => "is not valid yet",
            Self::WrongHost => "is for another host",
            Self::UnknownIssuer => {
                "is self-signed, or was issued by an authority that is not trusted here"
            }
            Self::Revoked => "was revoked",
            Self::Other => "is not acceptable",
        })
    }
}

/// What a proxy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProblem {
    /// There is no connection to it, or it broke.
    Unreachable,
    /// Its own certificate cannot be trusted.
    Certificate(CertificateProblem),
    /// It took too long.
    Timeout,
    /// It wants a user name and a password, or different ones (HTTP 407 or similar).
    Authentication,
    /// It did not connect to the server; an HTTP proxy says so with a status.
    Refused(Option<u16>),
    /// It did something that proxies don't do.
    Protocol,
}

impl ProxyProblem {
    fn is_transient(self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout => true,
            // The proxy could not reach the server.
            Self::Refused(status) => status.is_none_or(|status| status == 429 || status >= 500),
            Self::Certificate(_) | Self::Authentication | Self::Protocol => false,
        }
    }
}

impl std::fmt::Display for ProxyProblem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => formatter.write_str("cannot be reached"),
            Self::Certificate(problem) => write!(formatter, "has a certificate that {problem}"),
            Self::Timeout => formatter.write_str("did not answer in time"),
            Self::Authentication => {
                formatter.write_str("requires a user name and a password, or refused those given")
            }
            Self::Refused(None) => formatter.write_str("did not connect"),
            Self::Refused(Some(status)) => write!(formatter, "did not connect (HTTP {status})"),
            Self::Protocol => formatter.write_str("gave an answer that is not a proxy's"),
        }
    }
}
