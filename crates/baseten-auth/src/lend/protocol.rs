//! What a client and a lender say to each other: one line of JSON each way. The format is stable,
//! and described in the reference.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::profile::{AuthType, ProfileName};
use crate::secret::Secret;

/// The version of the format.
const VERSION: u32 = 1;

/// The longest request, in bytes.
pub(super) const REQUEST_MAX: usize = 16 * 1024;

/// Room for everything in an answer except its token, so that writing it leaves no copies of the
/// token behind.
const ROOM: usize = 16 * 1024;

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A token.
    Token(Wanted),
    /// What is lent.
    Profiles,
}

/// Which token a client asks for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The profile; `None` for the one that the lender selects.
    pub(crate) profile: Option<ProfileName>,
    /// It has at least this long to live.
    pub(crate) min_ttl: Duration,
    /// A server has answered 401 to this token.
    pub(crate) refused: Option<Secret>,
}

/// The members of a request. Others are ignored.
#[derive(Serialize, Deserialize)]
struct Members {
    v: u32,
    op: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_ttl: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Exposed>,
}

impl Request {
    /// Reads a line. The error says what is wrong, and does not quote the line: it may contain a
    /// token.
    pub(super) fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let members: Members =
            serde_json::from_slice(line).map_err(|_| "it is not a JSON object with v and op")?;
        if members.v != VERSION {
            return Err("its version v is not 1");
        }
        match members.op.as_str() {
            "profiles" => Ok(Self::Profiles),
            "token" => {
                let name = members.profile.filter(|name| !name.is_empty());
                let profile = name
                    .map(ProfileName::new)
                    .transpose()
                    .map_err(|_| "its profile is not a profile name")?;
                let min_ttl = Duration::from_secs(members.min_ttl.unwrap_or_default());
                let refused = members.refused.map(|Exposed(token)| token);
                Ok(Self::Token(Wanted { profile, min_ttl, refused }))
            }
            _ => Err("its op is neither token nor profiles"),
        }
    }

    /// The line that asks for it.
    pub(super) fn line(self) -> Zeroizing<Vec<u8>> {
        let members = |op: &str| Members {
            v: VERSION,
            op: op.to_owned(),
            profile: None,
            min_ttl: None,
            refused: None,
        };
        let members = match self {
            Self::Profiles => members("profiles"),
            Self::Token(Wanted { profile, min_ttl, refused }) => Members {
                profile: profile.map(|name| name.to_string()),
                min_ttl: Some(min_ttl.as_secs()).filter(|seconds| *seconds > 0),
                refused: refused.map(Exposed),
                ..members("token")
            },
        };
        let secret = members.refused.as_ref().map_or(0, |Exposed(token)| token.expose().len());
        line(&members, secret)
    }
}

/// The scheme of the `Authorization` header that a token goes into.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Scheme {
    Bearer,
    #[serde(rename = "Api-Key")]
    ApiKey,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::ApiKey => "Api-Key",
        }
    }
}

/// A token that is lent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// Empty if the lender uses a credential of its environment.
    pub(crate) profile: String,
    pub(crate) remote_url: String,
    pub(crate) auth_type: AuthType,
    #[serde(serialize_with = "exposed")]
    pub(crate) token: Secret,
    pub(crate) token_type: Scheme,
    /// When it ends (RFC 3339, UTC), if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<jiff::Timestamp>,
}

/// What is lent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listing {
    /// What a request without a profile gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Each of them.
    pub profiles: Vec<LentProfile>,
}

/// A profile that is lent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentProfile {
    /// Its name; empty if the lender uses a credential of its environment.
    pub profile: String,
    /// Its app URL.
    pub remote_url: String,
    /// The kind of credential.
    pub auth_type: AuthType,
    /// The user's email address, if the login recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The user's workspace, if the login recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_name: Option<String>,
}

/// Why a request failed, as a command at the lender would say it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Complaint {
    /// The exit status that the command would have.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// What to do about it, at the lender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An answer of either kind.
#[derive(Serialize, Deserialize)]
struct Answer<T> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Complaint>,
}

/// The line of a success. `secret` is the length of the token in it, if it has one.
pub(super) fn success<T: Serialize>(answer: &T, secret: usize) -> Zeroizing<Vec<u8>> {
    line(&Answer { v: VERSION, ok: Some(answer), error: None }, secret)
}

/// The line of a failure.
pub(super) fn failure(complaint: Complaint) -> Zeroizing<Vec<u8>> {
    line(&Answer::<()> { v: VERSION, ok: None, error: Some(complaint) }, 0)
}

/// Reads an answer; `None` if it is not an answer of this version.
pub(super) fn parse_answer<T: for<'de> Deserialize<'de>>(
    line: &[u8],
) -> Option<Result<T, Complaint>> {
    let answer: Answer<T> = serde_json::from_slice(line).ok()?;
    match answer {
        Answer { v: VERSION, ok: Some(ok), error: None } => Some(Ok(ok)),
        Answer { v: VERSION, ok: None, error: Some(complaint) } => Some(Err(complaint)),
        _ => None,
    }
}

fn line(message: &impl Serialize, secret: usize) -> Zeroizing<Vec<u8>> {
    // In JSON, a character of a token takes at most six bytes.
    let mut line = Zeroizing::new(Vec::with_capacity(ROOM + 6 * secret));
    // Writing cannot fail: all keys of a message are strings, and the buffer is in memory.
    let _ = serde_json::to_writer(&mut *line, message);
    line.push(b'\n');
    line
}

/// A secret that is written as it is: the message is for sending it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Exposed(#[serde(serialize_with = "exposed")] Secret);

fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lend::fuzzing::lent_line;

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(
            line in any::<Vec<u8>>(), profile in any::<String>(), min_ttl in any::<u64>(),
        ) {
            lent_line(&line);
            let request = serde_json::json!({"v": 1, "op": "token", "profile": profile,
                "min_ttl": min_ttl, "refused": profile});
            lent_line(request.to_string().as_bytes());
        }
    }

    fn parse(line: &str) -> Result<Request, &'static str> {
        Request::parse(line.as_bytes())
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let wanted = Wanted {
            profile: Some("alice".parse().unwrap()),
            min_ttl: Duration::from_mins(10),
            refused: Some("used-up".into()),
        };
        let line = Request::Token(wanted).line();
        assert_eq!(
            std::str::from_utf8(&line).unwrap(),
            "{\"v\":1,\"op\":\"token\",\"profile\":\"alice\",\"min_ttl\":600,\"refused\":\"used-up\"}\n"
        );
        let Ok(Request::Token(wanted)) = Request::parse(&line) else { panic!() };
        assert_eq!(wanted.profile.unwrap().as_str(), "alice");
        assert_eq!(wanted.min_ttl, Duration::from_mins(10));
        assert_eq!(wanted.refused.unwrap().expose(), "used-up");
        assert_eq!(&*Request::Profiles.line(), b"{\"v\":1,\"op\":\"profiles\"}\n");
    }

    #[test]
    fn unknown_members_are_ignored_and_an_empty_profile_is_none() {
        let line = r#"{"v":1,"op":"token","profile":"","more":[1],"refused":null}"#;
        let Ok(Request::Token(wanted)) = parse(line) else { panic!() };
        assert!(wanted.profile.is_none() && wanted.refused.is_none());
        assert_eq!(wanted.min_ttl, Duration::ZERO);
    }

    #[test]
    fn a_line_that_is_not_a_request_is_refused_and_not_quoted() {
        for line in [
            "",
            "canary",
            "[]",
            r#"{"op":"token"}"#,
            r#"{"v":2,"op":"token"}"#,
            r#"{"v":1}"#,
            r#"{"v":1,"op":"canary"}"#,
            r#"{"v":1,"op":"token","min_ttl":-1}"#,
            r#"{"v":1,"op":"token","profile":"canary\n"}"#,
            r#"{"v":1,"op":"token","refused":["canary"]}"#,
        ] {
            let Err(error) = parse(line) else { panic!("{line}") };
            assert!(!error.contains("canary"), "{line}");
        }
    }

    #[test]
    fn an_answer_is_a_success_or_a_failure_of_this_version() {
        let read = |line: &str| parse_answer::<Listing>(line.as_bytes());
        let listing = Listing { current: Some("a".into()), profiles: Vec::new() };
        let written = success(&listing, 0);
        assert_eq!(&*written, b"{\"v\":1,\"ok\":{\"current\":\"a\",\"profiles\":[]}}\n");
        assert!(matches!(parse_answer::<Listing>(&written), Some(Ok(_))));
        let failed = read(r#"{"v":1,"error":{"exit":3,"message":"no"}}"#);
        assert!(matches!(failed, Some(Err(Complaint { exit: 3, hint: None, .. }))));
        for line in ["", "HTTP/1.1 400 Bad Request", "{}", r#"{"v":2,"ok":{"profiles":[]}}"#] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
