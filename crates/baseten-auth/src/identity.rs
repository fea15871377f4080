//! A workload's identity: the trust rule that accepts it, where its identity token comes from, and
//! the claims in that token (RFC 7519).

use std::fmt;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::env::IDENTITY_TOKEN;
use crate::oauth::answer::{self, ApiError};
use crate::secret::Secret;
use crate::text::display_text;

/// Names the file that the identity token is read from.
pub(crate) const FILE: &str = "BASETEN_IDENTITY_TOKEN_FILE";
/// The command that prints the identity token.
pub(crate) const COMMAND: &str = "BASETEN_IDENTITY_TOKEN_COMMAND";
/// The URL for requesting an identity token from GitHub Actions.
pub(crate) const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

/// The largest identity token, in bytes, including the white space around it.
pub(crate) const LIMIT: usize = 64 * 1024;

/// The id of a trust rule of the service, which decides whose identity tokens are exchanged: 1 to
/// 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRule(String);

/// A text that is not the id of a trust rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a trust rule has 1 to 255 visible ASCII characters, and no others")]
pub struct TrustRuleError;

impl TrustRule {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// White space around the id is dropped.
impl std::str::FromStr for TrustRule {
    type Err = TrustRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.trim();
        let is_visible = id.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && (1..=255).contains(&id.len()) {
            Ok(Self(id.to_owned()))
        } else {
            Err(TrustRuleError)
        }
    }
}

impl fmt::Display for TrustRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Where identity tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// The variable `BASETEN_IDENTITY_TOKEN`.
    Variable,
    /// The file that `BASETEN_IDENTITY_TOKEN_FILE` names, read again each time.
    File(PathBuf),
    /// The program in `BASETEN_IDENTITY_TOKEN_COMMAND`, run again each time. Its arguments may be
    /// secret.
    Command(String),
    /// GitHub Actions, asked again each time.
    GitHub,
}

impl IdentitySource {
    /// The variable that selects this source, or `GitHub Actions`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Variable => IDENTITY_TOKEN,
            Self::File(_) => FILE,
            Self::Command(_) => COMMAND,
            Self::GitHub => "GitHub Actions",
        }
    }
}

impl fmt::Display for IdentitySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable | Self::GitHub => formatter.write_str(self.name()),
            Self::File(path) => write!(formatter, "{} ({})", self.name(), path.display()),
            Self::Command(program) => write!(formatter, "{} ({program})", self.name()),
        }
    }
}

/// A CI system that issues identity tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ci {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Buildkite.
    Buildkite,
}

/// Why a workload has no access token, or none that is accepted. None of these texts contains a
/// token.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum WorkloadError {
    /// `BASETEN_TRUST_RULE` is not the id of a trust rule.
    #[error("BASETEN_TRUST_RULE is not usable")]
    TrustRule(#[source] TrustRuleError),
    /// No variable names a source for the identity token.
    #[error("nothing says where the identity token comes from")]
    Missing {
        /// The CI system that this appears to be.
        ci: Option<Ci>,
    },
    /// `BASETEN_IDENTITY_TOKEN_COMMAND` is not a command.
    #[error("{COMMAND} is not a command: a quotation mark is missing, or there is no word")]
    NoCommand,
    /// A secret must not be sent to the URL in `ACTIONS_ID_TOKEN_REQUEST_URL`.
    #[error("{GITHUB_URL} is not a URL of https, or of this machine")]
    GitHubUrl,
    /// The file does not exist, or cannot be read.
    #[error("cannot read {}, which {FILE} names", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The command cannot be started, fails, or does not end.
    #[error("{program}, the command of {COMMAND}, failed: {message}")]
    Command {
        program: String,
        /// What it said, or how it ended: one line without control characters.
        message: String,
    },
    /// GitHub Actions refused or failed.
    #[error("GitHub Actions gave no identity token")]
    GitHub(#[source] ApiError),
    /// There is nothing but white space.
    #[error("{origin} is empty")]
    Empty { origin: IdentitySource },
    /// It is not a JWT.
    #[error("{origin} is not a JWT")]
    NotJwt { origin: IdentitySource },
    /// It has expired, by this machine's clock.
    #[error("the identity token of {origin} has expired ({claims})")]
    Expired { origin: IdentitySource, claims: Claims },
    /// The service did not exchange the identity token (RFC 8693 §2.2.2).
    #[error("the identity token was not exchanged by trust rule '{rule}'")]
    Exchange {
        rule: TrustRule,
        origin: IdentitySource,
        claims: Claims,
        /// Whether it is not valid yet, by this machine's clock.
        is_early: bool,
        source: ApiError,
    },
    /// The management API refused the access token, or failed.
    #[error("the request to the management API failed")]
    Api { rule: TrustRule, source: ApiError },
    /// The server refuses an access token that was issued less than a minute ago.
    #[error("a new access token of trust rule '{rule}' was refused")]
    NewTokenRefused { rule: TrustRule },
}

/// An identity token (RFC 7519 in the compact form of RFC 7515 §3.1).
#[derive(Debug)]
pub(crate) struct IdentityToken {
    pub(crate) secret: Secret,
    pub(crate) claims: Claims,
}

impl IdentityToken {
    /// Drops the white space around a token; `None` if it is not a JWT.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > LIMIT {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.trim();
        let mut parts = text.split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        // An encrypted token has more parts.
        let is_whole = parts.next().is_none() && signature.bytes().all(|b| b.is_ascii_graphic());
        if !is_whole {
            return None;
        }
        let _: Header = decoded(header)?;
        let claims = decoded::<ClaimMembers>(payload)?.into();
        Some(Self { secret: Secret::from(text), claims })
    }
}

/// For checking that the header is one (RFC 7515 §4.1.1).
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "alg")]
    _algorithm: String,
}

fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    // Allocated at its full size, because a vector that grows leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(part.len()));
    BASE64_URL_SAFE_NO_PAD.decode_vec(part, &mut json).ok()?;
    answer::object(&json)
}

/// A token's claims (RFC 7519 §4.1), which are not verified here.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `iss`
    pub issuer: Option<String>,
    /// `sub`
    pub subject: Option<String>,
    /// `aud`, one or several
    pub audience: Vec<String>,
    /// `exp`
    pub expires_at: Option<Timestamp>,
    /// `nbf`
    pub not_before: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ClaimMembers {
    #[serde(default, deserialize_with = "answer::text")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "answer::text")]
    sub: Option<String>,
    #[serde(default)]
    aud: Value,
    #[serde(default, deserialize_with = "answer::seconds")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "answer::seconds")]
    nbf: Option<f64>,
}

impl From<ClaimMembers> for Claims {
    fn from(members: ClaimMembers) -> Self {
        let texts = |value| match value {
            Value::String(text) => vec![text],
            Value::Array(values) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let time = |seconds: Option<f64>| {
            let since_1970 = SignedDuration::try_from_secs_f64(seconds?).ok()?;
            Timestamp::from_duration(since_1970).ok()
        };
        Self {
            issuer: members.iss,
            subject: members.sub,
            audience: texts(members.aud),
            expires_at: time(members.exp),
            not_before: time(members.nbf),
        }
    }
}

/// One line, fit for display, to compare with a trust rule.
impl fmt::Display for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: Option<&str>| text.map_or("none".into(), display_text);
        let (issuer, subject) = (shown(self.issuer.as_deref()), shown(self.subject.as_deref()));
        let audience = self.audience.join(" and ");
        let audience = shown(Some(&*audience).filter(|audience| !audience.is_empty()));
        write!(formatter, "iss {issuer}, sub {subject}, aud {audience}, exp ")?;
        match self.expires_at {
            Some(end) => write!(formatter, "{end}"),
            None => formatter.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use baseten_testing::identity::{jwt, jwt_with};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_read_in_all_their_forms() {
        let parse =
            |claims: Value| IdentityToken::parse(jwt(&claims, "s").as_bytes()).unwrap().claims;
        let whole =
            parse(json!({ "iss": "i", "sub": "s", "aud": ["a", 7, "b"], "exp": 1.5, "nbf": "2" }));
        assert_eq!(whole.to_string(), "iss i, sub s, aud a and b, exp 1970-01-01T00:00:01.5Z");
        assert_eq!(whole.not_before, Some(Timestamp::from_second(2).unwrap()));
        let none = "iss none, sub none, aud none, exp none";
        for claims in [
            json!({}),
            json!({ "iss": 7, "sub": [], "aud": {}, "exp": {}, "nbf": null }),
            json!({ "exp": 1e300 }),
            json!({ "aud": [] }),
        ] {
            assert_eq!(parse(claims).to_string(), none);
        }
    }

    #[test]
    fn only_a_jwt_is_one() {
        let good = jwt(&json!({}), "");
        let parse = |text: &str| IdentityToken::parse(text.as_bytes());
        assert_eq!(parse(&format!(" {good}\r\n")).unwrap().secret.expose(), good);
        let padded = good.replace('.', "=.");
        let array = jwt_with(&json!([]), &json!({}), "s");
        let no_algorithm = jwt_with(&json!({ "typ": "JWT" }), &json!({}), "s");
        for text in ["", ".", "..", "a.b.c", &padded, &array, &no_algorithm, &good[1..], "e30.e30."]
        {
            assert!(parse(text).is_none(), "{text}");
        }
        for end in ["two words", ".x", "é", "\u{7}"] {
            assert!(parse(&format!("{good}{end}")).is_none(), "{end}");
        }
        assert!(IdentityToken::parse(b"\xff").is_none());
    }

    proptest! {
        #[test]
        fn a_token_is_its_input_without_white_space_and_says_harmless_things(
            bytes in any::<Vec<u8>>(), text in any::<String>(), claims in crate::test_support::json(),
        ) {
            crate::fuzzing::identity_token(&bytes);
            let claims = json!({ "iss": text, "sub": text, "aud": [text, claims], "exp": claims });
            let token = jwt(&claims, "s");
            prop_assert!(IdentityToken::parse(token.as_bytes()).is_some());
            crate::fuzzing::identity_token(format!("\n{token} ").as_bytes());
        }
    }
}
