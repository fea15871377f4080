//! A secret as the file, the keyring and credential helpers store it: an API key as it is, tokens
//! as a JSON object.

use super::expiry::{format_expiry, parse_expiry};
use super::json::{Layout, Object};
use crate::api_key::parse_api_key;
use crate::profile::{Credential, OAuthCredential};
use crate::secret::{Secret, Wiped};

/// The order in which other programs write the members.
const ORDER: &[&str] = &["access_token", "refresh_token", "expiry", "issued_at"];

/// Reads tokens; `None` if there is no access token, or one that does not fit a header. The error
/// is the key that cannot be read.
pub(super) fn read_tokens(text: &str) -> Result<Option<OAuthCredential>, &'static str> {
    let tokens = Object::parse(text).map_err(|_| "oauth_credential")?;
    if tokens.repeated().is_some() {
        return Err("oauth_credential");
    }
    let secret = |key| {
        let secret = tokens.secret(key)?;
        Ok::<_, &'static str>(secret.filter(Secret::is_visible_ascii))
    };
    let Some(access_token) = secret("access_token")? else { return Ok(None) };
    let expiry = match tokens.value::<String>("expiry")? {
        Some(text) => parse_expiry(&text).map_err(|_| "expiry")?,
        None => None,
    };
    // Only this program writes it, and only for a check: in another form, it counts as unknown.
    let issued_at = tokens.value::<String>("issued_at").ok().flatten();
    let issued_at = issued_at.and_then(|text| parse_expiry(&text).ok().flatten());
    let refresh_token = secret("refresh_token")?;
    Ok(Some(OAuthCredential { access_token, refresh_token, expiry, issued_at }))
}

/// Writes tokens, and keeps unknown members of an older text.
pub(super) fn write_tokens(
    tokens: &OAuthCredential,
    old: Option<&str>,
    layout: Layout,
) -> Wiped<String> {
    let old = old.and_then(|text| Object::parse(text).ok());
    let mut object = old.filter(|old| old.repeated().is_none()).unwrap_or(Object::empty());
    object.set_text("access_token", tokens.access_token.expose());
    let refresh_token = tokens.refresh_token.as_ref().map_or("", Secret::expose);
    object.set_text("refresh_token", refresh_token);
    object.set_text("expiry", &format_expiry(tokens.expiry));
    match tokens.issued_at {
        Some(issued_at) => object.set_text("issued_at", &issued_at.to_string()),
        None => object.remove("issued_at"),
    }
    object.render(ORDER, layout)
}

/// Reads a secret that is kept outside of the file; `None` if it is neither tokens nor an API key.
pub(crate) fn decode_secret(secret: &Secret) -> Option<Credential> {
    let text = secret.expose().trim();
    if !text.starts_with('{') {
        return parse_api_key(text.as_bytes()).ok().map(Credential::ApiKey);
    }
    if let Ok(Some(tokens)) = read_tokens(text) {
        return Some(Credential::OAuth(tokens));
    }
    // Some programs write an API key in this form.
    let key = Object::parse(text).ok()?.secret("api_key").ok()??;
    let key = parse_api_key(key.expose().as_bytes()).ok()?;
    // If such a key were stored as it is, it could not be read again.
    (!key.expose().starts_with('{')).then_some(Credential::ApiKey(key))
}

/// Writes a secret in the form that other programs read. Tokens keep unknown members of the older
/// secret.
pub(crate) fn encode_secret(credential: &Credential, old: Option<&Secret>) -> Secret {
    match credential {
        Credential::ApiKey(key) => key.clone(),
        Credential::OAuth(tokens) => {
            let text = write_tokens(tokens, old.map(Secret::expose), Layout::Compact);
            Secret::from(text.as_str())
        }
    }
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::AuthType;
    use crate::store::fuzzing::keyring_secret;
    use crate::test_support::json;

    #[test]
    fn reads_every_form_and_nothing_else() {
        let kind = |text: &str| decode_secret(&text.into()).map(|secret| secret.auth_type());
        assert_eq!(kind("key"), Some(AuthType::ApiKey));
        assert_eq!(kind("key\n"), Some(AuthType::ApiKey));
        assert_eq!(kind(r#"{"api_key":"key"}"#), Some(AuthType::ApiKey));
        assert_eq!(kind(r#"{"access_token":"a"}"#), Some(AuthType::OAuth));
        assert_eq!(kind(r#"{"access_token":""}"#), None);
        assert_eq!(kind(r#"{"access_token":"a"#), None);
        assert_eq!(kind("{}"), None);
        assert_eq!(kind(r#"{"api_key":"{"}"#), None);
        assert_eq!(kind(""), None);
    }

    #[test]
    fn tokens_are_compact_json() {
        let tokens = OAuthCredential {
            access_token: "a".into(),
            refresh_token: Some("r".into()),
            expiry: None,
            issued_at: None,
        };
        let secret = encode_secret(&Credential::OAuth(tokens.clone()), None);
        assert_eq!(
            secret.expose(),
            r#"{"access_token":"a","refresh_token":"r","expiry":"0001-01-01T00:00:00Z"}"#
        );
        assert_eq!(decode_secret(&secret), Some(Credential::OAuth(tokens)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(
            text in any::<String>(),
            access_token in prop_oneof![Just("a".into()), json()],
            refresh_token in prop_oneof![Just("r".into()), json()],
            expiry in prop_oneof![Just("2026-08-07T09:35:48.12-05:00".into()), json()],
        ) {
            keyring_secret(&text);
            keyring_secret(&serde_json::json!({
                "access_token": access_token, "refresh_token": refresh_token, "expiry": expiry,
            }).to_string());
            keyring_secret(&serde_json::json!({"api_key": access_token}).to_string());
        }

        #[test]
        fn what_is_written_is_read(
            access_token in "[!-~]{1,40}", refresh_token in prop::option::of("[!-~]{1,40}"),
        ) {
            let key = Credential::ApiKey(access_token.as_str().into());
            // A key that looks like an object is read as one; the service has no such keys.
            if !access_token.starts_with('{') {
                prop_assert_eq!(decode_secret(&encode_secret(&key, None)), Some(key));
            }
            let tokens = Credential::OAuth(OAuthCredential {
                access_token: access_token.into(),
                refresh_token: refresh_token.map(Secret::from),
                expiry: Some(jiff::Timestamp::UNIX_EPOCH),
                issued_at: Some(jiff::Timestamp::UNIX_EPOCH),
            });
            prop_assert_eq!(decode_secret(&encode_secret(&tokens, None)), Some(tokens));
        }
    }
}
