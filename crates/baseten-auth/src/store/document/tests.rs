//! Stores that other programs wrote: read, kept, and never damaged.

use proptest::prelude::*;

use super::*;
use crate::store::fuzzing::auth_json;
use crate::test_support::json;

const STORE: &str = r#"{
  "version": 1,
  "current": "alice@example.com",
  "profiles": {
    "alice@example.com": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "oauth",
      "oauth_credential": {
        "access_token": "a\u003c\u0026\u003e",
        "refresh_token": "r",
        "expiry": "2026-08-07T09:35:48.12-05:00",
        "scope": [
          1e400
        ]
      },
      "color": "red"
    },
    "bot": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "api_key",
      "api_key": "k"
    }
  },
  "hosts": {
    "old": {}
  }
}
"#;

fn parse(text: &str) -> Result<Profiles<'_>, DocumentError> {
    Profiles::parse(text, Path::new("auth.json"))
}

fn name(text: &str) -> ProfileName {
    ProfileName::new(text).unwrap()
}

fn api_key_profile(text: &str) -> Profile {
    Profile {
        name: name(text),
        remote_url: "https://app.baseten.co".into(),
        auth_type: AuthType::ApiKey,
        identity: Identity::default(),
        keeper: None,
        without_keyring: false,
        in_file: None,
    }
}

#[test]
fn renders_what_it_read_to_the_letter() {
    assert_eq!(parse(STORE).unwrap().render().as_str(), STORE);
}

#[test]
fn reads_escapes_offsets_and_types() {
    let profiles = parse(STORE).unwrap();
    assert_eq!(profiles.current(), Some(name("alice@example.com")));
    let alice = profiles.get(&name("alice@example.com")).unwrap().unwrap();
    let Some(Credential::OAuth(tokens)) = alice.in_file else { panic!("no tokens") };
    assert_eq!(tokens.access_token.expose(), "a<&>");
    assert_eq!(tokens.expiry, Some("2026-08-07T14:35:48.12Z".parse().unwrap()));
    let bot = profiles.get(&name("bot")).unwrap().unwrap();
    assert_eq!(bot.in_file, Some(Credential::ApiKey("k".into())));
    assert!(profiles.get(&name("nobody")).unwrap().is_none());
}

#[test]
fn a_secret_of_the_other_type_is_never_used() {
    let text = r#"{"version":1,"profiles":{"a":{"remote_url":"https://x","auth_type":"oauth","api_key":"k"}}}"#;
    let profile = parse(text).unwrap().get(&name("a")).unwrap().unwrap();
    assert_eq!(profile.in_file, None);
}

#[test]
fn new_tokens_keep_every_unknown_key() {
    let mut profiles = parse(STORE).unwrap();
    let tokens = OAuthCredential {
        access_token: "a2".into(),
        refresh_token: Some("r2".into()),
        expiry: None,
        issued_at: None,
    };
    profiles.set_tokens(&name("alice@example.com"), &tokens);
    let expected = STORE
        .replace("a\\u003c\\u0026\\u003e", "a2")
        .replace("\"r\"", "\"r2\"")
        .replace("2026-08-07T09:35:48.12-05:00", "0001-01-01T00:00:00Z");
    assert_eq!(profiles.render().as_str(), expected);
    profiles.set_tokens(&name("bot"), &tokens);
    profiles.set_tokens(&name("nobody"), &tokens);
    assert_eq!(profiles.render().as_str(), expected);
}

#[test]
fn a_replaced_profile_keeps_its_unknown_keys_and_loses_its_old_secret() {
    let mut profiles = parse(STORE).unwrap();
    let in_file = Some(Credential::ApiKey("new".into()));
    profiles.insert(&Profile { in_file, ..api_key_profile("alice@example.com") });
    let text = profiles.render();
    assert!(text.contains("\"color\": \"red\"") && text.contains("\"api_key\": \"new\""));
    assert!(!text.contains("oauth"));
}

#[test]
fn the_first_profile_makes_the_store() {
    let mut profiles = parse("").unwrap();
    profiles.insert(&api_key_profile("bot"));
    profiles.set_current(Some(&name("bot")));
    let expected = r#"{
  "version": 1,
  "current": "bot",
  "profiles": {
    "bot": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "api_key"
    }
  }
}
"#;
    assert_eq!(profiles.render().as_str(), expected);
}

#[test]
fn removing_the_current_profile_leaves_none_current() {
    let mut profiles = parse(STORE).unwrap();
    profiles.remove(&name("alice@example.com"));
    assert_eq!(profiles.names().collect::<Vec<_>>(), [name("bot")]);
    assert_eq!(profiles.current(), None);
    assert!(!profiles.render().contains("current"));
    profiles.remove(&name("alice@example.com"));
}

#[test]
fn what_is_no_store_is_told_apart() {
    for (text, expected) in [
        ("{\"version\": 1, \"pro", DocumentError::Incomplete),
        ("{\"version\": 2, \"profiles\": 7}", DocumentError::Newer(2)),
        ("[]", DocumentError::Malformed("line 1 column 0".into())),
        ("{\"version\": \"canary\"}", DocumentError::Malformed("the value of \"version\"".into())),
        ("{\"profiles\": []}", DocumentError::Malformed("the value of \"profiles\"".into())),
        ("{\"a\": 1, \"a\": 2}", DocumentError::Malformed("it has \"a\" twice".into())),
        (
            "{\"profiles\": {\"b\": {}, \"a\": 1, \"b\": {}}}",
            DocumentError::Malformed("it has \"b\" twice".into()),
        ),
    ] {
        assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    }
    for empty in ["", " \n", "{}", "{\"profiles\": null, \"current\": null}"] {
        assert!(parse(empty).unwrap().is_empty(), "{empty}");
    }
}

#[test]
fn a_store_cut_short_is_incomplete_or_whole() {
    for end in 0..STORE.len() {
        match parse(&STORE[..end]) {
            Err(error) => assert_eq!(error, DocumentError::Incomplete, "{end}"),
            Ok(profiles) => assert!(end == 0 || !profiles.is_empty(), "{end}"),
        }
    }
}

#[test]
fn a_broken_profile_is_named_and_harms_no_other() {
    let text = r#"{"profiles":{"bad":{"remote_url":5,"auth_type":"oauth"},"ok":{"remote_url":"https://x","auth_type":"oauth"}}}"#;
    let profiles = parse(text).unwrap();
    let error = profiles.get(&name("bad")).unwrap_err();
    assert!(matches!(error, StoreError::BadProfile { profile, .. } if profile == "bad"));
    assert!(profiles.get(&name("ok")).unwrap().is_some());
}

/// An entry of the map of profiles: known keys with values of any type, and unknown ones.
fn entry() -> impl Strategy<Value = serde_json::Value> {
    let tokens = serde_json::json!({"access_token": "a", "refresh_token": "r", "scope": [1]});
    let known = (
        prop_oneof![Just("oauth".into()), Just("api_key".into()), json()],
        prop_oneof![Just(tokens), json()],
        prop_oneof![Just("key".into()), json()],
        prop::collection::btree_map(
            "[a-z_]{1,9}|user_id|email|workspace_name|credential_helper|credential_store|keyring",
            json(),
            0..3,
        ),
    );
    prop_oneof![
        9 => known.prop_map(|(auth_type, oauth_credential, api_key, unknown)| {
            let mut entry = serde_json::json!({
                "remote_url": "https://app.baseten.co", "auth_type": auth_type,
                "oauth_credential": oauth_credential, "api_key": api_key,
            });
            if let Some(members) = entry.as_object_mut() {
                members.extend(unknown);
            }
            entry
        }),
        1 => json(),
    ]
}

proptest! {
    #[test]
    fn any_store_keeps_what_is_not_ours(
        profiles in prop::collection::btree_map("edited|[a-c\"é]{1,2}", entry(), 0..4),
        current in prop_oneof![Just("edited".into()), json()],
        unknown in prop::collection::btree_map("[a-z]{1,9}", json(), 0..3),
        pretty: bool,
    ) {
        let mut store = serde_json::json!({"profiles": profiles, "current": current});
        if let Some(members) = store.as_object_mut() {
            members.extend(unknown);
        }
        auth_json(&if pretty { format!("{store:#}") } else { store.to_string() });
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        auth_json(&text);
        auth_json(&format!(r#"{{"profiles": {{"edited": {text}}}}}"#));
    }

}
