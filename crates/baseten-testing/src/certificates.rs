//! Certificate authorities, their certificates, and TLS servers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Act, http, read_request};

/// A certificate authority, and a directory with its certificate.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    /// An authority of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// The file with the authority's certificate.
    pub fn file(&self) -> String {
        self.directory.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// The directory, which contains only that file.
    pub fn directory(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }

    /// A server's certificate and key.
    pub fn issue(&self, host: &str) -> Identity {
        self.issue_with(&params(host))
    }

    /// A server's certificate with these parameters, and its key.
    pub fn issue_with(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        identity(certificate.der().clone(), &key)
    }
}

/// A server's certificate and key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A certificate, and the key that it is for.
pub fn identity(certificate: CertificateDer<'static>, key: &KeyPair) -> Identity {
    Identity { certificate, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
}

/// The parameters of a certificate for this host, a name or an address.
pub fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    params
}

/// The server's side of a TLS connection.
pub fn accept(identity: &Identity, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .unwrap();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
}

/// Answers one request over TLS with an empty JSON object.
pub fn serve(identity: Identity) -> Act {
    serve_answer(&Arc::new(identity), http(200, "", "{}"))
}

/// The same with this answer.
pub fn serve_answer(identity: &Arc<Identity>, answer: Vec<u8>) -> Act {
    let identity = Arc::clone(identity);
    Act::Custom(Box::new(move |stream| {
        let mut stream = accept(&identity, stream);
        if stream.conn.complete_io(&mut stream.sock).is_ok() {
            read_request(&mut stream);
            let _ = stream.write_all(&answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        } else {
            // Read the alert, or the client may see a reset before it has read the response.
            let _ = stream.sock.read(&mut [0; 1024]);
        }
    }))
}

/// A self-signed certificate: of an authority, as `openssl req -x509` makes them, or of a server.
pub fn self_signed(host: &str, is_ca: bool) -> (Identity, String) {
    let mut params = params(host);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (identity(certificate.der().clone(), &key), certificate.pem())
}
