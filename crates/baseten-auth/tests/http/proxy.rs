//! Proxies: which requests go through them, and how they fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use baseten_auth::internal::{CertificateProblem, HttpError, ProxyProblem, Request};
use baseten_testing::certificates::{Authority, accept, serve};
use baseten_testing::server::{Act, Server, answer, dribble, read_request};

use crate::http;

/// A host that only the proxies of these tests can reach.
const URL: &str = "https://api.example.com/v1/users/me";

/// A proxy that needs a password and connects every client to one server.
fn tunnel(to: &Server) -> Act {
    let to = to.address;
    Act::Custom(Box::new(move |mut stream| {
        let request = read_request(&mut stream).to_lowercase();
        assert!(request.starts_with("connect api.example.com:443 http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: api.example.com:443\r\n"), "{request}");
        assert!(!request.contains("bearer"), "{request}");
        // ada:c@nary
        if !request.contains("\r\nproxy-authorization: basic ywrhomnabmfyeq==\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        stream.write_all(b"HTTP/1.1 200 Connected\r\nX: y\r\n\r\n").unwrap();
        join(stream, TcpStream::connect(to).unwrap());
    }))
}

/// Copies in both directions until both have ended.
fn join(near: TcpStream, far: TcpStream) {
    let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let up = std::thread::spawn(move || {
        let _ = std::io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(std::net::Shutdown::Write);
    });
    let (mut near, mut far) = (near, far);
    let _ = std::io::copy(&mut far, &mut near);
    let _ = near.shutdown(std::net::Shutdown::Both);
    up.join().unwrap();
}

/// A `GET` through this proxy; `{}` stands for its port.
fn get(authority: &Authority, proxy: &Server, variable: &str, url: &str) -> Result<u16, HttpError> {
    let (file, url) = (authority.file(), url.replace("{}", &proxy.address.port().to_string()));
    let client = http(&[("SSL_CERT_FILE", &file), (variable, &url)]);
    let secret = "Bearer canary".into();
    let request = Request::get(URL).authorization(&secret).within(Duration::from_secs(3));
    client.send(&request).map(|response| response.status)
}

fn problem(result: Result<u16, HttpError>) -> ProxyProblem {
    let error = result.unwrap_err();
    assert!(error.surely_not_sent());
    assert!(error.to_string().starts_with("the proxy localhost:"), "{error}");
    assert!(!format!("{error:?} {error}").contains("nary"), "{error:?}");
    match error {
        HttpError::Proxy { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tunnel_with_a_password() {
    let authority = Authority::new("Private authority");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let server = Server::start([serve(authority.issue("api.example.com"))]);
        let proxy = Server::start([tunnel(&server)]);
        let result = get(&authority, &proxy, variable, "http://ada:c%40nary@localhost:{}");
        assert_eq!(result.unwrap(), 200);
    }
}

#[test]
fn the_certificate_is_checked_behind_a_proxy_too() {
    let (authority, stranger) = (Authority::new("Private authority"), Authority::new("Proxy Inc."));
    let server = Server::start([serve(stranger.issue("api.example.com"))]);
    let proxy = Server::start([tunnel(&server)]);
    let result = get(&authority, &proxy, "HTTPS_PROXY", "http://ada:c%40nary@localhost:{}");
    let error = result.unwrap_err();
    assert!(matches!(
        error,
        HttpError::Certificate { problem: CertificateProblem::UnknownIssuer, .. }
    ));
}

#[test]
fn a_proxy_that_speaks_tls_itself() {
    let authority = Authority::new("Private authority");
    let stranger = Authority::new("Somebody else");
    let result = |issuer: &Authority| {
        let server = Server::start([serve(authority.issue("api.example.com"))]);
        let (identity, to) = (issuer.issue("localhost"), server.address);
        let proxy = Server::start([Act::Custom(Box::new(move |stream| {
            let mut near = accept(&identity, stream);
            if near.conn.complete_io(&mut near.sock).is_err() {
                let _ = near.sock.read(&mut [0; 1024]);
                return;
            }
            read_request(&mut near);
            near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            exchange(near, TcpStream::connect(to).unwrap());
        }))]);
        get(&authority, &proxy, "HTTPS_PROXY", "https://localhost:{}")
    };
    assert_eq!(result(&authority).unwrap(), 200);
    let unknown = ProxyProblem::Certificate(CertificateProblem::UnknownIssuer);
    assert_eq!(problem(result(&stranger)), unknown);
}

/// Copies in both directions, in turns: two threads cannot use one connection.
fn exchange(mut near: impl Read + Write, mut far: TcpStream) {
    far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 16 * 1024];
    // The client writes first, and everything it sends is answered.
    while let Ok(amount @ 1..) = near.read(&mut buffer) {
        far.write_all(&buffer[..amount]).unwrap();
        while let Ok(amount @ 1..) = far.read(&mut buffer) {
            if near.write_all(&buffer[..amount]).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_proxy_that_refuses_has_its_own_error() {
    let authority = Authority::new("Private authority");
    let server = Server::start([]);
    let wrong = Server::start([tunnel(&server), tunnel(&server)]);
    let login = |url| problem(get(&authority, &wrong, "HTTPS_PROXY", url));
    assert_eq!(login("http://localhost:{}"), ProxyProblem::Authentication);
    assert_eq!(login("http://ada:canary@localhost:{}"), ProxyProblem::Authentication);

    for (act, expected) in [
        (answer(401, "", "<html>"), ProxyProblem::Authentication),
        (answer(403, "", "<html>"), ProxyProblem::Refused(Some(403))),
        (answer(502, "", "<html>"), ProxyProblem::Refused(Some(502))),
        (answer(302, "Location: http://localhost/\r\n", ""), ProxyProblem::Refused(Some(302))),
        (Act::Answer(b"SSH-2.0-x\r\n\r\n".to_vec()), ProxyProblem::Protocol),
        (Act::Answer(b"x".repeat(64 * 1024)), ProxyProblem::Protocol),
        (Act::Close, ProxyProblem::Unreachable),
        (Act::Reset, ProxyProblem::Unreachable),
    ] {
        let proxy = Server::start([act]);
        let result = get(&authority, &proxy, "HTTPS_PROXY", "http://ada:canary@localhost:{}");
        assert_eq!(problem(result), expected);
    }
    let gone = Server::start([]);
    while TcpStream::connect(gone.address).is_ok() {}
    for scheme in ["http", "https", "socks5h"] {
        let url = format!("{scheme}://ada:canary@localhost:{{}}");
        let result = get(&authority, &gone, "HTTPS_PROXY", &url);
        assert_eq!(problem(result), ProxyProblem::Unreachable, "{scheme}");
    }
}

#[test]
fn a_proxy_that_hangs_or_dribbles_is_bounded() {
    let authority = Authority::new("Private authority");
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 200]].concat();
    for (scheme, act) in [
        ("http", Act::Hang),
        ("https", Act::Hang),
        ("socks5h", Act::Hang),
        ("http", Act::Custom(Box::new(|stream| dribble(stream, endless)))),
    ] {
        let proxy = Server::start([act]);
        let file = authority.file();
        let url = format!("{scheme}://localhost:{}", proxy.address.port());
        let client = http(&[("SSL_CERT_FILE", &file), ("HTTPS_PROXY", &url)]);
        let start = Instant::now();
        let request = Request::get(URL).within(Duration::from_millis(500));
        let result = client.send(&request).map(|response| response.status);
        assert_eq!(problem(result), ProxyProblem::Timeout, "{scheme}");
        assert!(start.elapsed() < Duration::from_secs(2), "{scheme}");
    }
}

/// A SOCKS 5 proxy (RFC 1928, RFC 1929) that connects every client to one server.
fn socks(to: &Server, password: &'static [u8]) -> Act {
    let to = to.address;
    Act::Custom(Box::new(move |mut stream| {
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).map(|()| bytes).unwrap()
        };
        let count = read(2)[1];
        assert!(read(count.into()).contains(&2));
        stream.write_all(&[5, 2]).unwrap();
        let mut login = vec![1, 3];
        login.extend_from_slice(b"ada");
        login.push(u8::try_from(password.len()).unwrap());
        login.extend_from_slice(password);
        let mut sent = vec![0; login.len()];
        stream.read_exact(&mut sent).unwrap();
        if sent != login {
            let _ = stream.write_all(&[1, 1]);
            return;
        }
        stream.write_all(&[1, 0]).unwrap();
        let mut target = vec![0; 5 + "api.example.com".len() + 2];
        stream.read_exact(&mut target).unwrap();
        assert_eq!(&target[..4], [5, 1, 0, 3]);
        assert_eq!(&target[5..], [b"api.example.com".as_slice(), &[1, 187]].concat());
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).unwrap();
        join(stream, TcpStream::connect(to).unwrap());
    }))
}

#[test]
fn socks_with_a_password() {
    let authority = Authority::new("Private authority");
    let server = Server::start([serve(authority.issue("api.example.com"))]);
    let proxy = Server::start([socks(&server, b"canary"), socks(&server, b"word")]);
    let url = "socks5h://ada:canary@localhost:{}";
    assert_eq!(get(&authority, &proxy, "ALL_PROXY", url).unwrap(), 200);
    let refused = problem(get(&authority, &proxy, "ALL_PROXY", url));
    assert_eq!(refused, ProxyProblem::Authentication);
}

#[test]
fn this_machine_is_never_reached_through_a_proxy() {
    let proxy = Server::start([answer(502, "", "")]);
    let url = proxy.url("localhost", "");
    let variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, url.as_str()));
    for host in ["localhost", "api.localhost", "127.0.0.1"] {
        let server = Server::start([answer(200, "", "")]);
        let response = http(&variables).send(&Request::get(server.url(host, "/"))).unwrap();
        assert_eq!(response.status, 200);
    }
    assert!(proxy.requests().is_empty());
}

#[test]
fn an_invalid_proxy_is_named_but_not_its_password() {
    for url in ["ftp://ada:canary@proxy", "http://ada:canary@", "http://ada:canary@a b"] {
        let error = http(&[("HTTPS_PROXY", url)]).send(&Request::get(URL)).unwrap_err();
        assert!(matches!(error, HttpError::ProxyUrl { variable: "HTTPS_PROXY" }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
}
