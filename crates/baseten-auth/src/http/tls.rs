//! Whom to trust: the system's store, and the certificates that the environment names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use super::{CertificateProblem, HttpError};
use crate::Env;

/// TLS as this environment wants it. Takes some milliseconds.
pub(super) fn client_config(env: &Env) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let named = named_by_environment(env)?;
    let system = system_verifier(named.clone(), Arc::clone(&provider))?;
    let verifier = Arc::new(Verifier { system, named });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| HttpError::NoTrustedCertificates)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// The certificates of `SSL_CERT_FILE` and of the directories in `SSL_CERT_DIR`.
///
/// The file must be there and hold a certificate. A directory is a collection that others keep,
/// so what is unreadable in it is passed over, as OpenSSL does.
fn named_by_environment(env: &Env) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    const FILE: &str = "SSL_CERT_FILE";
    let mut certificates = Vec::new();
    if let Some(path) = env.path(FILE) {
        let unusable =
            |source| HttpError::CertificateFile { variable: FILE, path: path.clone(), source };
        certificates = read_pem(&path).map_err(unusable)?;
    }
    if let Some(directories) = env.os("SSL_CERT_DIR") {
        for directory in std::env::split_paths(directories) {
            certificates.extend(read_directory(&directory));
        }
    }
    certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    certificates.dedup();
    Ok(certificates)
}

/// At least one certificate.
fn read_pem(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let sections = CertificateDer::pem_file_iter(path).map_err(|error| match error {
        pem::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    })?;
    let mut certificates = Vec::new();
    for section in sections {
        match section {
            Ok(certificate) => certificates.push(certificate),
            Err(pem::Error::Io(error)) => return Err(error),
            Err(_) => {}
        }
    }
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no PEM certificate"));
    }
    Ok(certificates)
}

fn read_directory(directory: &Path) -> Vec<CertificateDer<'static>> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    // The same file is there under two or three names.
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    files.dedup();
    files.iter().filter_map(|file| read_pem(file).ok()).flatten().collect()
}

/// What the operating system decides, on systems that decide, and the environment's certificates
/// where the system knows better of none.
#[cfg(any(target_vendor = "apple", windows))]
fn system_verifier(
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    let system = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
        .map_err(|_| HttpError::NoTrustedCertificates)?;
    let named = if named.is_empty() { None } else { Some(verifier_of(named, provider)?) };
    Ok(Arc::new(SystemOrNamed { system, named }))
}

/// The system's verdict, unless a chain to a certificate that the environment names has a better.
#[cfg(any(target_vendor = "apple", windows))]
#[derive(Debug)]
struct SystemOrNamed {
    system: rustls_platform_verifier::Verifier,
    named: Option<Arc<dyn ServerCertVerifier>>,
}

#[cfg(any(target_vendor = "apple", windows))]
impl ServerCertVerifier for SystemOrNamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ask = |verifier: &dyn ServerCertVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let refusal = match ask(&self.system) {
            Err(error) => with_unknown_issuer(error),
            trusted => return trusted,
        };
        match self.named.as_deref().map(ask) {
            // It has nothing to do with the certificates that are named.
            None | Some(Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))) => {
                Err(refusal)
            }
            Some(verdict) => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// Windows has a word of its own for a chain that ends before a root, `CERT_E_CHAINING`; the
/// verifier passes it on as a text with that number.
#[cfg(any(target_vendor = "apple", windows))]
fn with_unknown_issuer(error: Error) -> Error {
    const CHAIN_ENDS_EARLY: &str = "os error -2146762486";
    match error {
        Error::InvalidCertificate(CertificateError::Other(ref other))
            if cfg!(windows) && other.to_string().contains(CHAIN_ENDS_EARLY) =>
        {
            CertificateError::UnknownIssuer.into()
        }
        error => error,
    }
}

/// The collection of certificates that the system keeps, on systems that keep one.
#[cfg(not(any(target_vendor = "apple", windows)))]
fn system_verifier(
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    /// The first of these that is there (Debian, Fedora, older Red Hat, SUSE, Alpine, BSD).
    const FILES: [&str; 6] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/etc/ssl/cert.pem",
    ];
    /// Where there is no such file.
    const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

    let mut system = FILES.iter().filter_map(|file| read_pem(Path::new(file)).ok());
    let mut certificates = system.next().unwrap_or_else(|| {
        DIRECTORIES.iter().flat_map(|directory| read_directory(Path::new(directory))).collect()
    });
    certificates.extend(named);
    certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    certificates.dedup();
    verifier_of(certificates, provider)
}

/// Trusts these certificates, as far as they can be read.
fn verifier_of(
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|_| HttpError::NoTrustedCertificates)
}

/// The system's verifier, which also tells a certificate that vouches for itself from one of an
/// unknown authority, and accepts a server's own certificate where the environment names it.
#[derive(Debug)]
struct Verifier {
    system: Arc<dyn ServerCertVerifier>,
    named: Vec<CertificateDer<'static>>,
}

/// A certificate is its own issuer.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is its own issuer")]
struct SelfSigned;

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.system.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let Err(Error::InvalidCertificate(error)) = verdict else { return verdict };
        let Ok(certificate) = webpki::EndEntityCert::try_from(end_entity) else {
            return Err(error.into());
        };
        if certificate.issuer() != certificate.subject() {
            return Err(error.into());
        }
        match error {
            // Comes after the dates are found good, and before anything else is looked at.
            CertificateError::Other(ref other) if is_authority_as_server(other) => {
                let named = self.named.iter().any(|named| named == end_entity);
                if named && certificate.verify_is_valid_for_subject_name(server_name).is_ok() {
                    return Ok(ServerCertVerified::assertion());
                }
                let error = if named { CertificateError::NotValidForName } else { self_signed() };
                Err(error.into())
            }
            CertificateError::UnknownIssuer => Err(self_signed().into()),
            other => Err(other.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

fn self_signed() -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(SelfSigned)))
}

/// A server shows a certificate that is marked as an authority's, as `openssl req -x509` makes it.
fn is_authority_as_server(error: &OtherError) -> bool {
    matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// What a verifier's error means to a caller.
pub(super) fn problem(error: &CertificateError) -> CertificateProblem {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateProblem::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateProblem::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::WrongHost
        }
        CertificateError::UnknownIssuer => CertificateProblem::UnknownIssuer,
        CertificateError::Revoked => CertificateProblem::Revoked,
        CertificateError::Other(other) if other.0.is::<SelfSigned>() => {
            CertificateProblem::SelfSigned
        }
        _ => CertificateProblem::Other,
    }
}
