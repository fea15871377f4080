//! An issuer of identity tokens: it signs anything, and publishes its keys.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// The documents that an issuer publishes. If one is null, requests for it are never answered.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) discovery: Value,
    pub(crate) keys: Value,
}

pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) published: Arc<Mutex<Published>>,
    /// Receives a message for each request that is not answered.
    pub(crate) unanswered: Receiver<()>,
    key: EcdsaKeyPair,
}

impl Issuer {
    /// An issuer with a P-256 key named `ec`.
    pub(crate) fn start() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y),
            "kid": "ec", "alg": "ES256", "use": "sig" });

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let published = Published { discovery, keys: json!({ "keys": [jwk] }) };
        let published = Arc::new(Mutex::new(published));
        let documents = Arc::clone(&published);
        let (sender, unanswered) = mpsc::channel();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if let Some(stream) = answer(stream.unwrap(), &documents.lock().unwrap().clone()) {
                    open.push(stream);
                    let _ = sender.send(());
                }
            }
        });
        Self { url, published, unanswered, key }
    }

    /// Claims that are valid for ten minutes.
    pub(crate) fn claims(&self) -> Value {
        json!({ "iss": self.url, "sub": "repo:acme/models:ref:refs/heads/main", "aud": "baseten",
            "exp": now() + 600, "nbf": now() })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "ES256", "kid": "ec" }), claims)
    }

    /// Signs with the P-256 key, whatever the header says.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64(signature.as_ref()))
    }

    /// Publishes an RSA key in place of the P-256 key, and signs these claims with it.
    pub(crate) fn sign_with_rsa(&self, claims: &Value) -> String {
        let key = rsa_key();
        let public = key.public();
        let parts = RsaPublicKeyComponents::<Vec<u8>>::from(public);
        let jwk = json!({ "kty": "RSA", "n": base64(&parts.n), "e": base64(&parts.e) });
        self.published.lock().unwrap().keys = json!({ "keys": [jwk] });

        let message = unsigned(&json!({ "alg": "RS256" }), claims);
        let mut signature = vec![0; public.modulus_len()];
        let random = SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", base64(&signature))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token without its signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A new RSA key. ring cannot create one, so `openssl` does.
fn rsa_key() -> RsaKeyPair {
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "RSA", "-outform", "DER"]).stderr(Stdio::null());
    let der = openssl.output().expect("openssl is missing: install it with apt install openssl");
    // The format depends on the version.
    RsaKeyPair::from_der(&der.stdout).or_else(|_| RsaKeyPair::from_pkcs8(&der.stdout)).unwrap()
}

/// Answers one request, or returns its connection, which is to stay open without an answer.
fn answer(mut stream: TcpStream, published: &Published) -> Option<TcpStream> {
    let mut head = [0; 4096];
    let length = stream.read(&mut head).unwrap();
    let keys = head[..length].starts_with(b"GET /keys ");
    let document = if keys { &published.keys } else { &published.discovery };
    if document.is_null() {
        return Some(stream);
    }
    let body = document.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", body.len());
    write!(stream, "{head}\r\n\r\n{body}").unwrap();
    None
}
