//! A secret as a vault keeps it: an API key as it is, tokens as compact JSON.

use zeroize::Zeroizing;

use super::document::{read_tokens, write_tokens};
use crate::{Credential, Secret, parse_api_key};

/// The other form of an API key that some programs write.
#[derive(serde::Deserialize)]
struct ApiKeyObject {
    api_key: Secret,
}

/// Reads a vault's secret; `None` where it is neither tokens nor an API key.
pub(crate) fn decode_secret(secret: &Secret) -> Option<Credential> {
    let text = secret.expose().trim();
    if !text.starts_with('{') {
        return parse_api_key(text.as_bytes()).ok().map(Credential::ApiKey);
    }
    if let Ok(Some(tokens)) = read_tokens(text) {
        return Some(Credential::OAuth(tokens));
    }
    let object: ApiKeyObject = serde_json::from_str(text).ok()?;
    let key = parse_api_key(object.api_key.expose().as_bytes()).ok()?;
    // Stored as it is, such a key would not be read again.
    (!key.expose().starts_with('{')).then_some(Credential::ApiKey(key))
}

/// Writes a secret in the form that other programs read.
pub(crate) fn encode_secret(credential: &Credential) -> Secret {
    match credential {
        Credential::ApiKey(key) => key.clone(),
        Credential::OAuth(tokens) => {
            let text: Zeroizing<String> = write_tokens(tokens, None);
            Secret::from(text.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::fuzzing::keyring_secret;
    use crate::test_support::json;
    use crate::{AuthType, OAuthCredential};

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
        };
        let secret = encode_secret(&Credential::OAuth(tokens.clone()));
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
            // A key that looks like an object is taken for one; the service has none such.
            if !access_token.starts_with('{') {
                prop_assert_eq!(decode_secret(&encode_secret(&key)), Some(key));
            }
            let tokens = Credential::OAuth(OAuthCredential {
                access_token: access_token.into(),
                refresh_token: refresh_token.map(Secret::from),
                expiry: Some(jiff::Timestamp::UNIX_EPOCH),
            });
            prop_assert_eq!(decode_secret(&encode_secret(&tokens)), Some(tokens));
        }
    }
}
