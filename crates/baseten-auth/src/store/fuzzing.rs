//! Properties that hold for any text of `auth.json` and for any secret in a keyring.
#![expect(clippy::missing_panics_doc, reason = "to panic where it does not hold is the purpose")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::value::RawValue;

use super::document::Profiles;
use super::json::Object;
use super::secret_text::{decode_secret, encode_secret};
use crate::profile::{AuthType, Credential, Identity, OAuthCredential, Profile, ProfileName};
use crate::secret::Secret;

/// The name of the profile that is edited.
const EDITED: &str = "edited";

/// If a text is accepted as a store, then what we write reads as the same store, an edit keeps all
/// keys that we do not know, and no secret has characters that a header can't carry.
pub fn auth_json(text: &str) {
    let Ok(mut profiles) = Profiles::parse(text, path()) else { return };
    for profile in all(&profiles).into_iter().flatten().flatten() {
        match &profile.in_file {
            Some(Credential::ApiKey(key)) => assert!(key.is_visible_ascii()),
            Some(Credential::OAuth(tokens)) => {
                assert!(tokens.access_token.is_visible_ascii());
                assert!(tokens.refresh_token.as_ref().is_none_or(Secret::is_visible_ascii));
            }
            None => {}
        }
    }
    assert_stable(&mut profiles);
    let before = untouched(text);
    for edit in EDITS {
        let mut edited = parsed(text);
        edit(&mut edited);
        assert_stable(&mut edited);
        assert_eq!(untouched(&edited.render()), before, "an edit lost or changed something else");
    }
}

/// A secret from a keyring, once read, is written so that it reads as the same.
pub fn keyring_secret(text: &str) {
    let Some(credential) = decode_secret(&text.into()) else { return };
    let written = encode_secret(&credential, Some(&text.into()));
    assert_eq!(decode_secret(&written), Some(credential), "not its own form");
}

const EDITS: &[fn(&mut Profiles<'_>)] = &[
    |profiles| profiles.set_current(Some(&name())),
    |profiles| profiles.insert(&profile(AuthType::OAuth, Some(Credential::OAuth(tokens())))),
    |profiles| profiles.insert(&profile(AuthType::ApiKey, Some(Credential::ApiKey("k".into())))),
    |profiles| profiles.insert(&profile(AuthType::ApiKey, None)),
    |profiles| profiles.set_tokens(&name(), &tokens()),
];

fn name() -> ProfileName {
    ProfileName::from_store(EDITED.to_owned())
}

fn tokens() -> OAuthCredential {
    OAuthCredential {
        access_token: "a".into(),
        refresh_token: Some("r".into()),
        expiry: None,
        issued_at: None,
    }
}

fn profile(auth_type: AuthType, in_file: Option<Credential>) -> Profile {
    Profile {
        name: name(),
        remote_url: "https://app.baseten.co".to_owned(),
        auth_type,
        identity: Identity::default(),
        keeper: None,
        without_keyring: false,
        in_file,
    }
}

fn parsed(text: &str) -> Profiles<'_> {
    match Profiles::parse(text, path()) {
        Ok(profiles) => profiles,
        Err(error) => unreachable!("it was parsed before: {error:?}"),
    }
}

fn path() -> &'static Path {
    Path::new("auth.json")
}

fn all(profiles: &Profiles<'_>) -> Vec<Result<Option<Profile>, String>> {
    profiles.names().map(|name| profiles.get(&name).map_err(|error| error.to_string())).collect()
}

/// What is written is JSON that another program reads as the same, and writing it again changes
/// nothing.
fn assert_stable(profiles: &mut Profiles<'_>) {
    let written = profiles.render();
    let mut again = parsed(&written);
    assert_eq!(again.render().as_str(), written.as_str(), "written differently the second time");
    assert_eq!(again.current(), profiles.current());
    assert_eq!(all(&again), all(profiles), "read differently");
    assert!(serde_json::from_str::<serde::de::IgnoredAny>(&written).is_ok(), "not JSON");
}

/// The entries of a JSON object as text; empty if it is not an object. This does not use the code
/// that is being tested.
fn entries(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap_or_default()
}

fn names_nothing_twice(text: &str) -> bool {
    Object::parse(text).is_ok_and(|entry| entry.repeated().is_none())
}

/// Every entry of a store that an edit of one profile must not change, by its path.
fn untouched(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |place: &str, entries: &BTreeMap<String, Box<RawValue>>, known: &[&str]| {
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            found.insert(format!("{place}{key:?}"), value.get().to_owned());
        }
    };
    let top = entries(text);
    add("top ", &top, &["version", "current", "profiles"]);
    let profiles = top.get("profiles").map(|raw| entries(raw.get())).unwrap_or_default();
    add("profile ", &profiles, &[EDITED]);
    // An object with a duplicate key is replaced as a whole.
    let edited = profiles.get(EDITED).map(|raw| raw.get()).filter(|text| names_nothing_twice(text));
    add("edited ", &edited.map(entries).unwrap_or_default(), OURS);
    found
}

/// The keys of a profile that a login replaces or removes. The seed `every-key-of-a-login` contains
/// all of them; add new keys there too.
const OURS: &[&str] = &[
    "remote_url",
    "auth_type",
    "oauth_credential",
    "api_key",
    "user_id",
    "email",
    "workspace_name",
    "credential_helper",
    "credential_store",
    "keyring",
];
