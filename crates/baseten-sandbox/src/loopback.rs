//! Which addresses mean this computer.

use axum::http::Uri;

/// Whether this is `localhost`, a name under it, or a loopback address.
pub(crate) fn is_loopback(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| {
        let host = host.to_ascii_lowercase();
        matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
    })
}
