//! Properties that hold for any input. Only the fuzz targets and property tests call these
//! functions.

use jiff::Timestamp;

use crate::api_key::parse_api_key;
use crate::env::Env;
use crate::http::Response;
use crate::identity::IdentityToken;
pub use crate::lend::fuzzing::lent_line;
use crate::oauth::answer::ApiError;
use crate::oauth::device::{self, DeviceError};
use crate::oauth::token::parse_tokens;
use crate::remote::Remote;
use crate::secret::Secret;
pub use crate::store::fuzzing::{auth_json, keyring_secret};
use crate::text::is_hidden;

/// A token answer gives either tokens that fit a header, or an error that shows only visible text
/// of the answer and never what was sent. The first two bytes are the status.
pub fn token_answer(data: &[u8]) {
    let Some(response) = response(data) else { return };
    match parse_tokens(&response, &[&Secret::from("canary-that-was-sent")]) {
        Ok(tokens) => {
            assert!((200..300).contains(&response.status), "tokens in an error");
            assert!(tokens.access_token.is_visible_ascii());
            assert!(tokens.refresh_token.as_ref().is_none_or(Secret::is_visible_ascii));
            let _ = tokens.into_credential(Timestamp::MAX, None);
        }
        Err(error) => {
            assert_presentable(&error);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary-that-was-sent"), "the server's echo is shown");
        }
    }
}

/// An identity token is its input without white space, fits a request, and has claims that are safe
/// to show.
pub fn identity_token(data: &[u8]) {
    let Some(token) = IdentityToken::parse(data) else { return };
    assert!(token.secret.is_visible_ascii());
    assert_eq!(token.secret.expose(), std::str::from_utf8(data).unwrap_or_default().trim());
    assert!(!token.claims.to_string().chars().any(is_hidden), "{:?}", token.claims);
}

/// A device answer gives pages that may be opened and a code that may be shown.
pub fn device_answer(data: &[u8]) {
    let Some(response) = response(data) else { return };
    match device::parse(&response, Timestamp::UNIX_EPOCH) {
        Ok(started) => {
            assert!(started.device_code.is_visible_ascii());
            assert!(!started.user_code.is_empty() && !started.user_code.chars().any(is_hidden));
            assert!(started.interval.as_secs() >= 1);
            let pages =
                [Some(&started.verification_uri), started.verification_uri_complete.as_ref()];
            for page in pages.into_iter().flatten() {
                assert!(page.bytes().all(|byte| byte.is_ascii_graphic()), "{page:?}");
                assert!(may_be_opened(page), "{page}");
            }
        }
        Err(DeviceError::Api(error)) => assert_presentable(&error),
        Err(_) => {}
    }
}

/// A remote is its own normal form, has nothing after the host, and is `https` or this machine.
pub fn remote_url(text: &str) {
    let Ok(remote) = Remote::parse(text) else { return };
    assert_eq!(Remote::parse(remote.as_str()).as_ref(), Ok(&remote), "not its own form");
    let url = remote.as_str();
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()) && may_be_opened(url), "{url:?}");
    let (_, rest) = url.split_once("://").unwrap_or_default();
    assert!(!rest.is_empty() && !rest.contains(['/', '?', '#', '@', '\\']), "{url:?}");
    if let Ok(management) = remote.management_url(&Env::default()) {
        assert!(may_be_opened(management.as_str()), "{management}");
    }
}

/// An API key is part of its input, fits a header, and parses to itself.
pub fn api_key(input: &[u8]) {
    let Ok(key) = parse_api_key(input) else { return };
    let text = key.expose().as_bytes();
    assert!(key.is_visible_ascii());
    // In UTF-16, there are zeros between the letters of a key.
    let is_wide = matches!(input, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    let input: Vec<u8> = input.iter().copied().filter(|byte| !(is_wide && *byte == 0)).collect();
    assert!(input.windows(text.len()).any(|part| part == text), "an invented key");
    assert_eq!(parse_api_key(text), Ok(key.clone()));
}

/// `https`, or a host that is this machine, and no user name that could pass for the host. Checked
/// in the text itself, because the program uses the URL parser.
fn may_be_opened(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let here = name == "localhost"
        || name.ends_with(".localhost")
        || host.starts_with("127.")
        || host == "[::1]";
    !host.is_empty()
        && !authority.contains('@')
        && (scheme == "https" || (scheme == "http" && here))
}

fn assert_presentable(error: &ApiError) {
    let text = error.to_string();
    assert!(!text.chars().any(is_hidden), "{text:?}");
}

fn response(data: &[u8]) -> Option<Response> {
    let (&[high, low], body) = data.split_first_chunk::<2>()?;
    let status = 100 + u16::from_be_bytes([high, low]) % 500;
    let host = "api.example".to_owned();
    Some(Response {
        host,
        status,
        retry_after: None,
        body: body.to_vec().into(),
        headers: ureq::http::HeaderMap::new(),
    })
}
