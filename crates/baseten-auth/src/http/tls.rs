//! TLS, and which certificates are trusted: the system's store, and those that the environment
//! names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};

use super::error::{Cause, CertificateProblem, HttpError};
use super::stream::Stream;
use crate::env::Env;

/// What a connection needs to know of TLS.
pub(super) type Config = ClientConfig;

/// The TLS configuration for this environment. Takes a few milliseconds.
pub(super) fn config(
    env: &Env,
    authority: Option<&(&'static str, PathBuf)>,
) -> Result<Config, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut named = named_by_environment(env)?;
    if let Some((variable, path)) = authority {
        named.extend(read_named(variable, path.clone())?);
    }
    let verifiers: Vec<_> = [system_verifier(&provider), verifier_of(named.clone(), &provider)]
        .into_iter()
        .flatten()
        .collect();
    if verifiers.is_empty() {
        return Err(HttpError::NoTrustedCertificates);
    }
    let verifier = Arc::new(Verifier { verifiers, named, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| HttpError::NoTrustedCertificates)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// A TLS connection to `host` over another connection.
pub(super) fn secure(
    config: &Arc<Config>,
    host: &str,
    stream: Box<dyn Stream>,
) -> io::Result<Box<dyn Stream>> {
    let no_name = |_| io::Error::other(Error::General("the host is no name for TLS".to_owned()));
    let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(Box::new(stream))
}

/// Why there is no TLS connection.
pub(super) enum Refusal {
    /// The certificate, and what the verifier said if the problem does not say it all: the
    /// verifier's text is not for users.
    Certificate(CertificateProblem, Option<Cause>),
    Tls(Cause),
    /// Not a TLS error.
    Io(io::Error),
}

/// What an error of [`secure`] means.
pub(super) fn refusal(error: io::Error) -> Refusal {
    match error.downcast::<Error>() {
        Ok(Error::InvalidCertificate(error)) => match problem(&error) {
            problem @ CertificateProblem::Other => {
                Refusal::Certificate(problem, Some(Error::from(error).into()))
            }
            problem => Refusal::Certificate(problem, None),
        },
        Ok(error) => Refusal::Tls(error.into()),
        Err(error) => Refusal::Io(error),
    }
}

/// The certificates of `SSL_CERT_FILE` and of the directories in `SSL_CERT_DIR`.
/// The file must exist and contain a certificate. Others maintain a directory, so unreadable files
/// in it are skipped, as OpenSSL does.
fn named_by_environment(env: &Env) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let variable = "SSL_CERT_FILE";
    let file = env.path(variable).map(|path| read_named(variable, path));
    let directories = env.os("SSL_CERT_DIR").map(std::env::split_paths).into_iter().flatten();
    let mut certificates = file.transpose()?.unwrap_or_default();
    certificates.extend(directories.flat_map(|directory| read_directory(&directory)));
    Ok(certificates)
}

/// The certificates of a file that a variable names.
fn read_named(
    variable: &'static str,
    path: PathBuf,
) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    read_pem(&path).map_err(|source| HttpError::CertificateFile { variable, path, source })
}

/// At least one certificate.
fn read_pem(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&fs::read(path)?).flatten().collect();
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no PEM certificate"));
    }
    Ok(certificates)
}

fn read_directory(directory: &Path) -> Vec<CertificateDer<'static>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    // The directory has the same file under two or three names.
    let files: BTreeSet<_> =
        entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    let files = files.iter().filter(|path| path.is_file());
    files.filter_map(|file| read_pem(file).ok()).flatten().collect()
}

/// The operating system's verifier, on systems that have one.
#[cfg(any(target_vendor = "apple", windows))]
fn system_verifier(provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>> {
    let system = rustls_platform_verifier::Verifier::new(Arc::clone(provider)).ok()?;
    Some(Arc::new(system))
}

/// The system's collection of certificates, on systems that have one.
#[cfg(not(any(target_vendor = "apple", windows)))]
fn system_verifier(provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>> {
    /// The first of these that exists is used (Debian, Fedora, older Red Hat, SUSE, Alpine, BSD).
    const FILES: [&str; 6] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/etc/ssl/cert.pem",
    ];
    /// Used if none of the files exists.
    const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

    let mut system = FILES.iter().filter_map(|file| read_pem(Path::new(file)).ok());
    let certificates = system.next().unwrap_or_else(|| {
        DIRECTORIES.iter().flat_map(|directory| read_directory(Path::new(directory))).collect()
    });
    verifier_of(certificates, provider)
}

/// Trusts these certificates, as far as they can be read; `None` if none can.
fn verifier_of(
    certificates: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Some(verifier.build().ok()?)
}

/// Trusts what the system or the environment trusts, and a server's own certificate if the
/// environment names it.
#[derive(Debug)]
struct Verifier {
    verifiers: Vec<Arc<dyn ServerCertVerifier>>,
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut refusal = CertificateError::UnknownIssuer;
        for verifier in &self.verifiers {
            let verdict = verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            match verdict {
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(Error::InvalidCertificate(error)) => refusal = error,
                verdict => return verdict,
            }
        }
        if is_authority_as_server(&refusal) && self.named.iter().any(|named| named == end_entity) {
            // The dates were already checked.
            let certificate = webpki::EndEntityCert::try_from(end_entity)
                .map_err(|_| CertificateError::BadEncoding)?;
            return certificate
                .verify_is_valid_for_subject_name(server_name)
                .map(|()| ServerCertVerified::assertion())
                .map_err(|_| CertificateError::NotValidForName.into());
        }
        Err(refusal.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A server's certificate is marked as an authority's, as `openssl req -x509` makes it.
fn is_authority_as_server(error: &CertificateError) -> bool {
    let CertificateError::Other(error) = error else { return false };
    matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// What a verifier's error means to a caller.
fn problem(error: &CertificateError) -> CertificateProblem {
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
        error if is_authority_as_server(error) => CertificateProblem::UnknownIssuer,
        CertificateError::Other(error) => system_problem(&error.to_string()),
        _ => CertificateProblem::Other,
    }
}

/// The verifiers of Windows and macOS pass other errors on as text with the system's number.
fn system_problem(text: &str) -> CertificateProblem {
    match text.rsplit(' ').next().unwrap_or_default().trim_end_matches(')') {
        // `CERT_E_CHAINING` and `errSecNotTrusted`.
        "-2146762486" | "-67843" => CertificateProblem::UnknownIssuer,
        // `errSecCertificateExpired` and `errSecCertificateNotValidYet`.
        "-67818" => CertificateProblem::Expired,
        "-67819" => CertificateProblem::NotYetValid,
        _ => CertificateProblem::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_of_the_system_is_known_by_its_number() {
        for (text, expected) in [
            ("Broken chain (os error -2146762486)", CertificateProblem::UnknownIssuer),
            ("“x” certificate is not trusted: -67843", CertificateProblem::UnknownIssuer),
            ("“x” certificate is expired: -67818", CertificateProblem::Expired),
            ("not yet valid: -67819", CertificateProblem::NotYetValid),
            ("(os error -1)", CertificateProblem::Other),
            ("", CertificateProblem::Other),
        ] {
            assert_eq!(system_problem(text), expected, "{text}");
        }
    }
}
