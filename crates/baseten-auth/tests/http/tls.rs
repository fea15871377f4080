//! Valid and invalid certificates, and trusted authorities.

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use baseten_auth::internal::{CertificateProblem, HttpError, Request};
use baseten_testing::certificates::{
    Authority, Identity, accept, identity, params, self_signed, serve,
};
use baseten_testing::server::{Act, Server, answer, dribble, read_request};
use rcgen::{BasicConstraints, IsCa, KeyPair, date_time_ymd};

use crate::http;

/// The name of the servers in these tests.
const HOST: &str = "api.localhost";

/// What a client with these variables gets from a server with this certificate.
fn get(identity: Identity, variables: &[(&str, &str)]) -> Result<u16, HttpError> {
    let server = Server::start([serve(identity)]);
    let url = format!("https://{HOST}:{}/", server.address.port());
    let request = Request::get(url).within(Duration::from_secs(10));
    http(variables).send(&request).map(|response| response.status)
}

fn problem(identity: Identity, variables: &[(&str, &str)]) -> CertificateProblem {
    let error = get(identity, variables).unwrap_err();
    assert!(error.surely_not_sent() && !error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(HOST), "{error}");
    match error {
        HttpError::Certificate { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_environment_names_trusted_authorities() {
    let authority = Authority::new("Private authority");
    for variables in [
        [("SSL_CERT_FILE", authority.file()), ("SSL_CERT_DIR", String::new())],
        [("SSL_CERT_FILE", String::new()), ("SSL_CERT_DIR", authority.directory())],
        [
            ("SSL_CERT_FILE", authority.file()),
            ("SSL_CERT_DIR", format!("/nonexistent:{}", authority.directory())),
        ],
    ] {
        let variables: Vec<_> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(get(authority.issue(HOST), &variables).unwrap(), 200, "{variables:?}");
    }
}

#[test]
fn a_bad_certificate_is_told_apart() {
    let authority = Authority::new("Private authority");
    let file = authority.file();
    let trusting = [("SSL_CERT_FILE", file.as_str())];

    let mut expired = params(HOST);
    expired.not_after = date_time_ymd(2020, 1, 1);
    assert_eq!(problem(authority.issue_with(&expired), &trusting), CertificateProblem::Expired);

    let mut early = params(HOST);
    early.not_before = date_time_ymd(2999, 1, 1);
    early.not_after = date_time_ymd(3000, 1, 1);
    assert_eq!(problem(authority.issue_with(&early), &trusting), CertificateProblem::NotYetValid);

    let other = authority.issue("other.localhost");
    assert_eq!(problem(other, &trusting), CertificateProblem::WrongHost);
}

#[test]
fn an_unknown_authority_is_told_apart() {
    let authority = Authority::new("Private authority");
    let file = authority.file();
    let trusting = [("SSL_CERT_FILE", file.as_str())];
    let stranger = Authority::new("Somebody else");
    let unknown = CertificateProblem::UnknownIssuer;
    assert_eq!(problem(stranger.issue(HOST), &trusting), unknown);
    // An authority with the same name is still another authority.
    let impostor = Authority::new("Private authority");
    assert!(get(impostor.issue(HOST), &trusting).is_err());
    // As the system stores it.
    assert_eq!(problem(authority.issue(HOST), &[]), unknown);
}

#[test]
fn a_self_signed_certificate_is_trusted_only_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.pem");
    let named = [("SSL_CERT_FILE", path.to_str().unwrap())];
    for is_ca in [false, true] {
        let (identity, _) = self_signed(HOST, is_ca);
        assert_eq!(problem(identity, &[]), CertificateProblem::UnknownIssuer);

        let (identity, pem) = self_signed(HOST, is_ca);
        fs::write(&path, pem).unwrap();
        assert_eq!(get(identity, &named).unwrap(), 200);

        // A certificate other than the one in the file.
        let (identity, _) = self_signed("other.localhost", is_ca);
        assert_eq!(problem(identity, &named), CertificateProblem::UnknownIssuer);

        let (identity, pem) = self_signed("other.localhost", is_ca);
        fs::write(&path, pem).unwrap();
        assert_eq!(problem(identity, &named), CertificateProblem::WrongHost);
    }
}

#[test]
fn an_expired_certificate_is_not_trusted_by_name_either() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.pem");
    let mut params = params(HOST);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(&path, certificate.pem()).unwrap();
    let named = [("SSL_CERT_FILE", path.to_str().unwrap())];
    let identity = identity(certificate.der().clone(), &key);
    assert_eq!(problem(identity, &named), CertificateProblem::Expired);
}

#[test]
fn a_certificate_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty.pem"), "").unwrap();
    fs::write(path("text.pem"), "-----BEGIN CERTIFICATE-----\nno\n").unwrap();
    for file in [path("missing.pem"), path("empty.pem"), path("text.pem"), path("")] {
        let client = http(&[("SSL_CERT_FILE", &file)]);
        let error = client.send(&Request::get("https://localhost:1/")).unwrap_err();
        assert!(matches!(error, HttpError::CertificateFile { .. }), "{error:?}");
        assert!(error.to_string().contains(&file) && error.to_string().contains("SSL_CERT_FILE"));
        assert!(error.surely_not_sent() && !error.is_transient());
        // Without TLS, the variable is not read.
        let server = Server::start([answer(200, "", "")]);
        assert!(client.send(&Request::get(server.url("localhost", "/"))).is_ok());
    }
}

#[test]
fn a_server_without_tls_has_its_own_error() {
    let act = Act::Custom(Box::new(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }));
    let server = Server::start([act]);
    let url = format!("https://{HOST}:{}/", server.address.port());
    let error = http(&[]).send(&Request::get(url)).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(error.surely_not_sent());
}

#[test]
fn a_handshake_that_breaks_or_hangs_has_sent_nothing() {
    for act in [Act::Reset, Act::Custom(Box::new(drop))] {
        let server = Server::start([act]);
        let url = format!("https://{HOST}:{}/", server.address.port());
        let error = http(&[]).send(&Request::get(url)).unwrap_err();
        assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
        assert!(error.surely_not_sent() && error.is_transient());
    }
    // A TLS record of 16 KiB that never ends.
    let endless = [&[22, 3, 3, 64, 0][..], &[0; 200]].concat();
    for act in [Act::Hang, Act::Custom(Box::new(move |stream| dribble(stream, endless)))] {
        let server = Server::start([act]);
        let url = format!("https://{HOST}:{}/", server.address.port());
        let start = Instant::now();
        let request = Request::get(url).within(Duration::from_millis(500));
        let error = http(&[]).send(&request).unwrap_err();
        assert!(matches!(error, HttpError::Timeout { sent: false, .. }), "{error:?}");
        assert!(error.surely_not_sent() && start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn a_body_that_dribbles_through_tls_is_bounded() {
    let authority = Authority::new("Private authority");
    let file = authority.file();
    let identity = authority.issue(HOST);
    let act = Act::Custom(Box::new(move |stream| {
        let mut stream = accept(&identity, stream);
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n");
        dribble(stream, vec![b'x'; 200]);
    }));
    let server = Server::start([act]);
    let url = format!("https://{HOST}:{}/", server.address.port());
    let start = Instant::now();
    let request = Request::get(url).within(Duration::from_millis(700));
    let error = http(&[("SSL_CERT_FILE", &file)]).send(&request).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { sent: true, .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(3));
}
