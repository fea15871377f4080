//! Stores as a login or another program writes them.

use std::sync::atomic::{AtomicUsize, Ordering};

use baseten_sandbox::{Sandbox, Tokens};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::home::Home;
use crate::server::Act;

/// An expiry in the future.
pub const LIVES: &str = "2100-01-01T00:00:00Z";
/// An expiry in the past.
pub const EXPIRED: &str = "2020-01-01T00:00:00Z";
/// A remote that no request reaches: the homes of these tests override its API URL.
pub const REMOTE: &str = "https://app.example.com";

/// A profile name that no other test uses: all of a user's processes share the locks of profiles.
pub fn name(what: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// An expiry this many seconds from now.
pub fn ends_in(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string()
}

/// Tokens as the file and the keyring keep them.
pub fn tokens(access: &str, refresh: &str, expiry: &str) -> Value {
    json!({ "access_token": access, "refresh_token": refresh, "expiry": expiry })
}

/// The tokens of a session, stored with an expiry this many seconds from now.
pub fn session_tokens(session: &Tokens, seconds: i64) -> Value {
    tokens(&session.access_token, session.refresh_token.as_deref().unwrap(), &ends_in(seconds))
}

/// The tokens of a new session of this user, stored with an expiry this many seconds from now.
pub fn session(sandbox: &Sandbox, user: &str, seconds: i64) -> Value {
    session_tokens(&sandbox.new_session(user).unwrap(), seconds)
}

/// An OAuth profile whose tokens are in the file.
pub fn in_file(remote: &str, tokens: &Value) -> Value {
    json!({ "remote_url": remote, "auth_type": "oauth", "oauth_credential": tokens })
}

/// A profile with an API key in the file.
pub fn with_key(remote: &str, key: &str) -> Value {
    json!({ "remote_url": remote, "auth_type": "api_key", "api_key": key })
}

/// A profile whose secret is not in the file.
pub fn elsewhere(remote: &str, auth_type: &str) -> Value {
    json!({ "remote_url": remote, "auth_type": auth_type })
}

/// A store of these profiles, the first of them current.
pub fn store<'a>(profiles: impl IntoIterator<Item = (&'a str, Value)>) -> String {
    let profiles: Vec<_> = profiles.into_iter().collect();
    let current = profiles.first().map(|(name, _)| (*name).to_owned());
    let profiles: Map<String, Value> =
        profiles.into_iter().map(|(name, profile)| (name.to_owned(), profile)).collect();
    let store = json!({ "version": 1, "current": current, "profiles": profiles });
    format!("{store:#}\n")
}

/// Stores only this profile, under a new [`name`], and returns the name.
pub fn only_profile(home: &Home, what: &str, profile: Value) -> String {
    let name = name(what);
    home.write_store(&store([(name.as_str(), profile)]));
    name
}

/// The store as it is now.
pub fn read(home: &Home) -> Value {
    serde_json::from_str(&home.store()).unwrap()
}

/// A profile as it is stored now; null if there is none.
pub fn profile(home: &Home, name: &str) -> Value {
    read(home)["profiles"][name].clone()
}

/// The names of all profiles.
pub fn names(home: &Home) -> Vec<String> {
    read(home)["profiles"].as_object().unwrap().keys().cloned().collect()
}

/// The current profile; null if there is none.
pub fn current(home: &Home) -> Value {
    read(home)["current"].clone()
}

/// The tokens that a profile has in the file.
pub fn tokens_of(home: &Home, name: &str) -> Value {
    profile(home, name)["oauth_credential"].clone()
}

/// A home with the current OAuth profile `work`, whose requests go to a server with this script.
pub fn logged_in(expiry: &str, script: impl IntoIterator<Item = Act>) -> Home {
    let home = Home::with_script(script);
    let profile = in_file("https://app.baseten.co", &tokens("access", "refresh", expiry));
    home.write_store(&store([("work", profile)]));
    home
}
