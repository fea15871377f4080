//! Remotes: the URL of an app, and the management URL that belongs to it.

use std::fmt;

use url::{Host, Url};

use crate::env::{Env, NotText};

/// An API of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// What it is for.
    pub name: &'static str,
    /// The first label of its host.
    label: &'static str,
    /// The variable that replaces its URL for one run.
    pub variable: &'static str,
}

static MANAGEMENT: Api =
    Api { name: "management", label: "api", variable: "BASETEN_MANAGEMENT_API_URL_OVERRIDE" };
static INFERENCE: Api =
    Api { name: "inference", label: "inference", variable: "BASETEN_INFERENCE_BASE_URL_OVERRIDE" };

/// The URL of an app, for example `https://app.baseten.co`: a scheme, a host and an optional port.
/// `http` is for this machine only. Two texts that mean the same remote give equal values: the case
/// of scheme and host, a final `/` and the scheme's default port are ignored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote(Origin);

/// The URL of the management API of a remote, for example `https://api.baseten.co`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ManagementUrl(Origin);

/// Why a text is not a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// There is no text.
    #[error("the URL is empty")]
    Empty,
    /// It does not start with `https://` or `http://`.
    #[error("the URL must start with https:// (or http:// for this machine)")]
    Scheme,
    /// `http` to another machine.
    #[error("http is allowed only to this machine (such as http://localhost:8000); use https")]
    Insecure,
    /// The host is missing or invalid.
    #[error("the URL has no valid host")]
    Host,
    /// It has a user name or a password.
    #[error("the URL must not contain a user name or password")]
    UserInfo,
    /// There is something after the host.
    #[error("the URL must not have a path")]
    Path,
    /// It has a `?`.
    #[error("the URL must not have a query")]
    Query,
    /// It has a `#`.
    #[error("the URL must not have a fragment")]
    Fragment,
    /// It is the URL of a management API.
    #[error("the URL is that of a management API (api.…); the remote is the app's URL (app.…)")]
    Management,
}

/// Why a remote's API has no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiUrlError {
    /// The overriding variable is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// The overriding variable is not a URL of scheme and host.
    #[error("{} cannot be used", api.variable)]
    Override {
        /// The API.
        api: &'static Api,
        /// What is wrong with it.
        source: RemoteError,
    },
    /// The API's host is derived from the remote's host name, and the remote has none.
    #[error(
        "{remote} has no {} URL: its host must be a name that {}. can be put before",
        api.name,
        api.label
    )]
    NoName {
        /// The remote.
        remote: Remote,
        /// The API.
        api: &'static Api,
    },
}

impl Remote {
    /// The remote that is used if none is named.
    pub const DEFAULT: &str = "https://app.baseten.co";

    /// Checks a URL and makes it a remote.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let origin = Origin::parse(text)?;
        if origin.host_text().starts_with("api.") {
            return Err(RemoteError::Management);
        }
        Ok(Self(origin))
    }

    /// The URL, without a final `/`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether this is [`Remote::DEFAULT`].
    pub fn is_default(&self) -> bool {
        self.as_str() == Self::DEFAULT
    }

    /// The host without `app.` and without a port, as profile names show it.
    pub fn host_label(&self) -> &str {
        let host = self.0.host_text();
        host.strip_prefix("app.").unwrap_or(host)
    }

    /// The URL of this remote's management API, or the one that the environment overrides it with.
    pub fn management_url(&self, env: &Env) -> Result<ManagementUrl, ApiUrlError> {
        self.url_of(&MANAGEMENT, env).map(ManagementUrl)
    }

    /// The URL of this remote's inference API, without a final `/`, or the one that the environment
    /// overrides it with.
    pub fn inference_url(&self, env: &Env) -> Result<String, ApiUrlError> {
        Ok(self.url_of(&INFERENCE, env)?.as_str().to_owned())
    }

    fn url_of(&self, api: &'static Api, env: &Env) -> Result<Origin, ApiUrlError> {
        if let Some(text) = env.text(api.variable)? {
            let failed = |source| ApiUrlError::Override { api, source };
            return Origin::parse(text).map_err(failed);
        }
        let no_name = || ApiUrlError::NoName { remote: self.clone(), api };
        let Some(Host::Domain(host)) = self.0.0.host() else { return Err(no_name()) };
        let rest = match host {
            "app.dev.baseten.co" => "mc-dev.baseten.co",
            host => host.strip_prefix("app.").filter(|rest| !rest.is_empty()).unwrap_or(host),
        };
        let mut url = self.0.0.clone();
        url.set_host(Some(&format!("{}.{rest}", api.label))).map_err(|_| no_name())?;
        Ok(Origin(url))
    }
}

impl Default for Remote {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, which a test parses")]
        Self::parse(Self::DEFAULT).expect("the default remote is a remote")
    }
}

impl std::str::FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remote({})", self.as_str())
    }
}

impl ManagementUrl {
    /// The URL, without a final `/`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL of an endpoint: this URL and a path, which starts with `/`.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }
}

impl fmt::Display for ManagementUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for ManagementUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ManagementUrl({})", self.as_str())
    }
}

/// Whether a URL leads to this machine, whatever a resolver says (RFC 6761 §6.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether the host is valid: an address, or a name with labels of 1 to 63 characters and no
/// wildcards (RFC 1035 §2.3.4).
fn is_possible(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            // A name may end in a dot, which is the root (RFC 1034 §3.1).
            let name = name.strip_suffix('.').unwrap_or(name);
            name.split('.').all(|label| (1..=63).contains(&label.len()) && !label.contains('*'))
        }
        host => host.is_some(),
    }
}

/// Whether a name is `localhost` or ends in `.localhost`.
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(start) = name.len().checked_sub("localhost".len()) else { return false };
    name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case("localhost"))
        && (start == 0 || name.as_bytes().get(start - 1) == Some(&b'.'))
}

/// A URL of scheme, host and an optional port, which is `https` or leads to this machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Origin(Url);

impl Origin {
    /// The URL parser accepts a lot (back slashes, line breaks, missing slashes, `/.`), so the text
    /// itself is searched for what is not allowed.
    fn parse(text: &str) -> Result<Self, RemoteError> {
        if text.is_empty() {
            return Err(RemoteError::Empty);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RemoteError::Scheme)?;
        if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(RemoteError::Scheme);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        for character in authority.chars() {
            match character {
                '/' => return Err(RemoteError::Path),
                '?' => return Err(RemoteError::Query),
                '#' => return Err(RemoteError::Fragment),
                '@' => return Err(RemoteError::UserInfo),
                '\\' => return Err(RemoteError::Host),
                c if c.is_control() || c.is_whitespace() => return Err(RemoteError::Host),
                _ => {}
            }
        }
        let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|_| RemoteError::Host)?;
        if !is_possible(&url) {
            return Err(RemoteError::Host);
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(RemoteError::Insecure);
        }
        Ok(Self(url))
    }

    fn as_str(&self) -> &str {
        let text = self.0.as_str();
        text.strip_suffix('/').unwrap_or(text)
    }

    fn host_text(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn management(remote: &str, env: &Env) -> String {
        match Remote::parse(remote).unwrap().management_url(env) {
            Ok(url) => url.as_str().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_same_remote_has_one_form() {
        assert!(Remote::default().is_default());
        for (text, form) in [
            ("https://app.baseten.co", "https://app.baseten.co"),
            ("https://app.baseten.co/", "https://app.baseten.co"),
            ("HTTPS://App.Baseten.CO:443/", "https://app.baseten.co"),
            ("https://app.baseten.co:8443", "https://app.baseten.co:8443"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://localhost:80", "http://localhost"),
            ("http://LOCALHOST:8000/", "http://localhost:8000"),
            ("http://app.localhost:8000", "http://app.localhost:8000"),
            ("http://127.1.2.3:8000", "http://127.1.2.3:8000"),
            ("http://[::1]:8000/", "http://[::1]:8000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(Remote::parse(text).map(|r| r.to_string()), Ok(form.to_owned()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        use RemoteError as E;
        for (text, error) in [
            ("", E::Empty),
            ("app.baseten.co", E::Scheme),
            ("ftp://app.baseten.co", E::Scheme),
            ("https:app.baseten.co", E::Scheme),
            (" https://app.baseten.co", E::Scheme),
            ("http://app.baseten.co", E::Insecure),
            ("http://localhost.example.com", E::Insecure),
            ("http://notlocalhost", E::Insecure),
            ("http://0.0.0.0:8000", E::Insecure),
            ("http://[::ffff:127.0.0.1]", E::Insecure),
            ("https://", E::Host),
            ("https://:443", E::Host),
            ("https://a b", E::Host),
            ("https://app.base\nten.co", E::Host),
            ("https://app.baseten.co\\x", E::Host),
            ("https://app.baseten.co:99999", E::Host),
            ("https://.", E::Host),
            ("https://a..b", E::Host),
            ("https://*.example.com", E::Host),
            ("https:///app.baseten.co", E::Path),
            ("https://app.baseten.co/x", E::Path),
            ("https://app.baseten.co/.", E::Path),
            ("https://app.baseten.co//", E::Path),
            ("https://app.baseten.co?", E::Query),
            ("https://app.baseten.co#x", E::Fragment),
            ("https://ada:pw@app.baseten.co", E::UserInfo),
            ("https://@app.baseten.co", E::UserInfo),
        ] {
            assert_eq!(Remote::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_management_url_follows_from_the_remote() {
        let env = Env::default();
        for (remote, url) in [
            ("https://app.baseten.co", "https://api.baseten.co"),
            ("https://app.staging.baseten.co", "https://api.staging.baseten.co"),
            ("https://app.dev.baseten.co", "https://api.mc-dev.baseten.co"),
            ("http://localhost:8000", "http://api.localhost:8000"),
            ("http://app.localhost:8000", "http://api.localhost:8000"),
            ("https://app.example.com:8443", "https://api.example.com:8443"),
            ("https://example.com", "https://api.example.com"),
            ("https://app.example.com.", "https://api.example.com."),
            ("https://app.", "https://api.app."),
            ("https://application.example.com", "https://api.application.example.com"),
        ] {
            assert_eq!(management(remote, &env), url, "{remote}");
        }
        for remote in ["http://127.0.0.1:8000", "http://[::1]:8000"] {
            assert!(management(remote, &env).starts_with(remote), "{remote}");
        }
    }

    #[test]
    fn the_inference_url_follows_from_the_remote() {
        let inference = |remote: &str, env: &Env| {
            Remote::parse(remote).unwrap().inference_url(env).unwrap_or_else(|e| e.to_string())
        };
        let (nothing, variable) = (Env::default(), "BASETEN_INFERENCE_BASE_URL_OVERRIDE");
        for (remote, url) in [
            ("https://app.baseten.co", "https://inference.baseten.co"),
            ("https://app.staging.baseten.co", "https://inference.staging.baseten.co"),
            ("https://app.dev.baseten.co", "https://inference.mc-dev.baseten.co"),
            ("http://localhost:8000", "http://inference.localhost:8000"),
        ] {
            assert_eq!(inference(remote, &nothing), url);
        }
        let env = [(variable, "http://localhost:9")].into_iter().collect();
        assert_eq!(inference("http://127.0.0.1:8000", &env), "http://localhost:9");
        assert!(inference("http://127.0.0.1:8000", &nothing).contains("no inference URL"));
    }

    #[test]
    fn the_override_wins_and_is_held_to_the_same_rules() {
        let with = |value: &str| [(MANAGEMENT.variable, value)].into_iter().collect::<Env>();
        let remote = "http://127.0.0.1:8000";
        assert_eq!(management(remote, &with("http://localhost:9/")), "http://localhost:9");
        assert_eq!(management("https://app.example.com", &with("")), "https://api.example.com");
        for bad in ["http://example.com", "https://example.com/v1", "example.com"] {
            let error = format!("{} cannot be used", MANAGEMENT.variable);
            assert_eq!(management(remote, &with(bad)), error);
        }
    }

    #[test]
    fn labels_have_no_app_and_no_port() {
        for (remote, label) in [
            ("https://app.staging.baseten.co", "staging.baseten.co"),
            ("https://app.example.com:8443", "example.com"),
            ("http://localhost:8000", "localhost"),
            ("http://[::1]:8000", "[::1]"),
        ] {
            assert_eq!(Remote::parse(remote).unwrap().host_label(), label);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            crate::fuzzing::remote_url(&text);
            crate::fuzzing::remote_url(&format!("https://{text}"));
            crate::fuzzing::remote_url(&format!("http://{text}localhost"));
        }

        #[test]
        fn a_remote_is_its_own_form(text in "https?://[a-zA-Z0-9.:\\[\\]-]{1,20}/?") {
            if let Ok(remote) = Remote::parse(&text) {
                let again = Remote::parse(remote.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&remote));
                prop_assert!(!remote.as_str().ends_with('/'));
                let _ = remote.management_url(&Env::default());
            }
        }
    }
}
