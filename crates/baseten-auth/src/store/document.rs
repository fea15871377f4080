//! The format of `auth.json`: parse, change, render.
//! An entry stays JSON text until it is needed. So whatever this program does not know is kept
//! exactly, the secrets of other profiles are never decoded, and a store of thousands of profiles
//! costs little more than reading it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::json::{Layout, Object, Raw, quote, render};
use super::secret_text::{read_tokens, write_tokens};
use crate::profile::{AuthType, Credential, Identity, OAuthCredential, Profile, ProfileName};
use crate::secret::{Secret, Wiped};
use crate::storage::{ENGINE, Keeper, Storage, StoragePolicy};

/// The newest version of the format that we know.
const VERSION: u64 = 1;

/// The order in which other programs write the members.
const TOP_KEYS: &[&str] = &["version", "current", "profiles"];
const PROFILE_KEYS: &[&str] = &["remote_url", "auth_type", "oauth_credential", "api_key"];

/// What a login writes if it found no keyring.
const NO_KEYRING: &str = "unavailable";

/// The depth of each part in the file, for the indent.
const PROFILES: Layout = Layout::Indented(1);
const PROFILE: Layout = Layout::Indented(2);
const TOKENS: Layout = Layout::Indented(3);

/// Why a text is not a store that we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DocumentError {
    /// The text ends too early: a writer that works in place may not be done yet.
    Incomplete,
    /// It does not follow the format. Says where and why, without any of the content.
    Malformed(String),
    /// Written by a program newer than this one.
    Newer(u64),
}

/// The profiles of a store, and which of them is current.
pub struct Profiles<'a> {
    /// For messages.
    path: &'a Path,
    top: Object<'a>,
    current: Option<String>,
    entries: BTreeMap<Cow<'a, str>, Raw<'a>>,
}

impl fmt::Debug for Profiles<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.entries.keys()).finish()
    }
}

/// What is known of a profile without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: ProfileName,
    /// Its app URL, as it was stored.
    pub remote_url: String,
    /// The kind of credential it has.
    pub auth_type: AuthType,
    /// Who is behind it.
    pub identity: Identity,
    /// Where its secret is kept.
    pub storage: Storage,
}

impl<'a> Profiles<'a> {
    /// Reads the text of a store; `path` is for messages. White space alone is a new store. A byte
    /// order mark, which some editors write, is skipped.
    pub(super) fn parse(text: &'a str, path: &'a Path) -> Result<Self, DocumentError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let top = if text.trim_ascii().is_empty() { Object::empty() } else { read_top(text)? };
        // A newer format may have another shape, so look at its version first.
        match value_of::<u64>(&top, "version")? {
            Some(version) if version > VERSION => return Err(DocumentError::Newer(version)),
            _ => {}
        }
        let current = value_of::<String>(&top, "current")?.filter(|name| !name.is_empty());
        let entries = match top.as_read("profiles") {
            Some("null") | None => Object::empty(),
            Some(text) => Object::parse(text).map_err(|_| bad_value("profiles"))?,
        };
        if let Some(key) = top.repeated().or(entries.repeated()) {
            return Err(DocumentError::Malformed(twice(key)));
        }
        // They are usually sorted: then this takes one comparison each, and inserting would take
        // thirteen.
        let entries = entries.into_members().collect();
        Ok(Self { path, top, current, entries })
    }

    /// The name of the current profile, which need not exist.
    pub fn current(&self) -> Option<ProfileName> {
        self.current.clone().map(ProfileName::from_store)
    }

    /// Makes a profile the current one, or none.
    pub fn set_current(&mut self, name: Option<&ProfileName>) {
        self.current = name.map(|name| name.as_str().to_owned());
    }

    /// Whether there is no profile.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = ProfileName> {
        self.entries.keys().map(|name| ProfileName::from_store(name.to_string()))
    }

    /// The profile of this name; `None` if there is none.
    /// [`StoreError::BadProfile`] if the entry is not a profile.
    pub fn get(&self, name: &ProfileName) -> Result<Option<Profile>, StoreError> {
        let entry = self.entries.get(name.as_str());
        entry.map(|text| self.read(name.as_str(), text, profile)).transpose()
    }

    /// What a list shows of each profile, sorted by name. No secret is decoded.
    pub fn summaries(
        &self,
        policy: &StoragePolicy,
    ) -> impl Iterator<Item = Result<Summary, StoreError>> {
        let summary = move |name: &str, entry: &Object<'_>| summary(name, entry, policy);
        self.entries.iter().map(move |(name, text)| self.read(name, text, summary))
    }

    fn read<T>(
        &self,
        name: &str,
        text: &str,
        read: impl FnOnce(&str, &Object<'_>) -> Result<T, String>,
    ) -> Result<T, StoreError> {
        let entry = read_entry(text);
        let result = entry.as_ref().map_err(String::clone).and_then(|entry| read(name, entry));
        result.map_err(|reason| StoreError::BadProfile {
            path: self.path.to_owned(),
            profile: name.to_owned(),
            reason,
            remote_url: entry.ok().and_then(|entry| remote_url(&entry).ok()),
        })
    }

    /// Adds a profile, or replaces the one of this name. Unknown members are kept.
    pub fn insert(&mut self, profile: &Profile) {
        let old = self.entries.remove(profile.name.as_str());
        let (helper, engine) = match &profile.keeper {
            Some(Keeper::Helper(name)) => (Some(name.as_str()), None),
            Some(Keeper::Engine(path)) => (None, Some(path.to_string())),
            None => (None, None),
        };
        // If an entry is not an object, or has a member twice, none of its members are kept.
        let entry = old.as_deref().and_then(|text| read_entry(text).ok());
        let mut entry = entry.unwrap_or(Object::empty());
        entry.set_text("remote_url", &profile.remote_url);
        entry.set_text("auth_type", profile.auth_type.as_str());
        for (key, value) in [
            ("user_id", profile.identity.user_id.as_deref()),
            ("email", profile.identity.email.as_deref()),
            ("workspace_name", profile.identity.workspace_name.as_deref()),
            ("credential_helper", helper),
            ("credential_store", engine.as_deref()),
            ("keyring", profile.without_keyring.then_some(NO_KEYRING)),
        ] {
            match value {
                Some(text) => entry.set_text(key, text),
                None => entry.remove(key),
            }
        }
        set_credential(&mut entry, profile.in_file.as_ref());
        let text = entry.render(PROFILE_KEYS, PROFILE);
        self.entries.insert(profile.name.as_str().to_owned().into(), Raw::Made(text));
    }

    /// The entry of a profile as it was read, for [`Self::put_back`].
    pub(crate) fn entry(&self, name: &ProfileName) -> Option<Wiped<String>> {
        self.entries.get(name.as_str()).map(|text| Wiped::from(text.to_string()))
    }

    /// Adds an earlier entry of a profile again, or replaces the present one by it.
    pub(crate) fn put_back(&mut self, name: &ProfileName, entry: &Wiped<String>) {
        self.entries.insert(name.as_str().to_owned().into(), Raw::Made(entry.clone()));
    }

    /// Replaces the tokens of a profile that keeps them in the file. Changes nothing if there is no
    /// such OAuth profile.
    pub fn set_tokens(&mut self, name: &ProfileName, tokens: &OAuthCredential) {
        let entry = self.entries.get(name.as_str()).and_then(|text| read_entry(text).ok());
        let is_oauth = |entry: &Object<'_>| auth_type(entry) == Ok(AuthType::OAuth);
        let Some(mut entry) = entry.filter(is_oauth) else { return };
        set_credential(&mut entry, Some(&Credential::OAuth(tokens.clone())));
        let text = entry.render(PROFILE_KEYS, PROFILE);
        self.entries.insert(name.as_str().to_owned().into(), Raw::Made(text));
    }

    /// Removes a profile; if it is current, there is no current one afterwards.
    pub fn remove(&mut self, name: &ProfileName) {
        if self.current.as_deref() == Some(name.as_str()) {
            self.current = None;
        }
        self.entries.remove(name.as_str());
    }

    /// The whole store as the text of the file, which ends in a newline. Unchanged parts are
    /// written as they were read.
    pub(super) fn render(&mut self) -> Wiped<String> {
        let entries = self.entries.iter().map(|(name, text)| (name.as_ref(), &**text));
        let profiles = render(entries, PROFILES);
        self.top.set("version", VERSION.to_string().into());
        self.top.set("profiles", profiles);
        match &self.current {
            Some(name) => self.top.set("current", quote(name)),
            None => self.top.remove("current"),
        }
        self.top.render(TOP_KEYS, Layout::File)
    }
}

/// Reads the top of a store.
fn read_top(text: &str) -> Result<Object<'_>, DocumentError> {
    Object::parse(text).map_err(|error| {
        let last = text.lines().enumerate().last().map(|(index, line)| (index + 1, line.len()));
        // To the parser, a truncated number is a wrong number.
        let is_cut = Some((error.line(), error.column())) == last && !text.ends_with('}');
        if error.is_eof() || is_cut {
            return DocumentError::Incomplete;
        }
        // The error's own text can quote the content, so keep only the position.
        DocumentError::Malformed(format!("line {} column {}", error.line(), error.column()))
    })
}

fn value_of<T: DeserializeOwned>(
    top: &Object<'_>,
    key: &'static str,
) -> Result<Option<T>, DocumentError> {
    top.value(key).map_err(bad_value)
}

fn bad_value(key: &str) -> DocumentError {
    DocumentError::Malformed(unreadable(key))
}

fn unreadable(key: &str) -> String {
    format!("the value of {key:?}")
}

/// If a member stands twice, other programs may use either, so that is an error.
fn read_entry(text: &str) -> Result<Object<'_>, String> {
    let entry = Object::parse(text).map_err(|_| "its entry is not an object".to_owned())?;
    entry.repeated().map_or(Ok(()), |key| Err(twice(key)))?;
    Ok(entry)
}

fn twice(key: &str) -> String {
    format!("it has {key:?} twice")
}

fn summary(name: &str, entry: &Object<'_>, policy: &StoragePolicy) -> Result<Summary, String> {
    let auth_type = auth_type(entry)?;
    let secret = match auth_type {
        AuthType::OAuth => "oauth_credential",
        AuthType::ApiKey | AuthType::Workload => "api_key",
    };
    let in_file = entry.text(secret).is_some_and(|text| !matches!(text, "\"\"" | "{}"));
    Ok(Summary {
        name: ProfileName::from_store(name.to_owned()),
        remote_url: remote_url(entry)?,
        auth_type,
        identity: identity(entry),
        storage: Storage::of(in_file, keeper(entry)?.as_ref(), policy),
    })
}

fn profile(name: &str, entry: &Object<'_>) -> Result<Profile, String> {
    let auth_type = auth_type(entry)?;
    Ok(Profile {
        name: ProfileName::from_store(name.to_owned()),
        remote_url: remote_url(entry)?,
        auth_type,
        identity: identity(entry),
        keeper: keeper(entry)?,
        without_keyring: entry.value("keyring") == Ok(Some(NO_KEYRING.to_owned())),
        in_file: match auth_type {
            AuthType::ApiKey => api_key(entry)?.map(Credential::ApiKey),
            AuthType::OAuth => oauth(entry)?.map(Credential::OAuth),
            // No stored profile has this type.
            AuthType::Workload => None,
        },
    })
}

fn required(entry: &Object<'_>, key: &'static str) -> Result<String, String> {
    entry.value(key).map_err(unreadable)?.ok_or_else(|| format!("there is no {key:?}"))
}

fn auth_type(entry: &Object<'_>) -> Result<AuthType, String> {
    match required(entry, "auth_type")?.as_str() {
        "oauth" => Ok(AuthType::OAuth),
        "api_key" => Ok(AuthType::ApiKey),
        _ => Err(unreadable("auth_type")),
    }
}

fn remote_url(entry: &Object<'_>) -> Result<String, String> {
    required(entry, "remote_url")
}

/// Only this program writes these members, and only for information: if one has another type, it
/// counts as unknown.
fn identity(entry: &Object<'_>) -> Identity {
    Identity {
        user_id: entry.value("user_id").unwrap_or_default(),
        email: entry.value("email").unwrap_or_default(),
        workspace_name: entry.value("workspace_name").unwrap_or_default(),
    }
}

/// Only this program writes this member. Without it, the environment names the helper or engine.
fn keeper(entry: &Object<'_>) -> Result<Option<Keeper>, String> {
    let text = |key| entry.value::<String>(key).unwrap_or_default();
    if let Some(store) = text("credential_store") {
        let path = store.strip_prefix(ENGINE).ok_or_else(|| unreadable("credential_store"))?;
        return path.parse().map(Keeper::Engine).map(Some).map_err(|error| error.to_string());
    }
    let name = text("credential_helper").map(|name| name.parse()).transpose();
    name.map(|name| name.map(Keeper::Helper)).map_err(|error| error.to_string())
}

/// A secret under the other type's key is never read. A secret that does not fit a header counts as
/// missing: it could only do harm, at a server or on the terminal that `auth token` prints to.
fn api_key(entry: &Object<'_>) -> Result<Option<Secret>, String> {
    let key = entry.secret("api_key").map_err(unreadable)?;
    Ok(key.filter(Secret::is_visible_ascii))
}

fn oauth(entry: &Object<'_>) -> Result<Option<OAuthCredential>, String> {
    entry.text("oauth_credential").map_or(Ok(None), read_tokens).map_err(unreadable)
}

fn set_credential(entry: &mut Object<'_>, credential: Option<&Credential>) {
    let written = credential.map(|credential| match credential {
        Credential::ApiKey(key) => ("api_key", quote(key.expose())),
        Credential::OAuth(tokens) => {
            let old = entry.text("oauth_credential");
            ("oauth_credential", write_tokens(tokens, old, TOKENS))
        }
    });
    entry.remove("oauth_credential");
    entry.remove("api_key");
    if let Some((key, text)) = written {
        entry.set(key, text);
    }
}

#[cfg(test)]
mod tests;
