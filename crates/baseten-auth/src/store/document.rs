//! The shape of `auth.json`: parse, change, render.
//!
//! Values stay raw JSON text until somebody asks for them. So every key that we do not know is
//! kept to the letter, the secrets of other profiles are never decoded, and a store of thousands
//! of profiles costs one scan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::expiry::{format_expiry, parse_expiry};
use crate::profile::{Identity, Profile, Storage};
use crate::token::is_visible_ascii;
use crate::{AuthType, Credential, OAuthCredential, ProfileName, Secret, StoragePolicy};

/// The newest version of the format that we know.
const VERSION: u64 = 1;

/// Why a text is not a store that we may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DocumentError {
    /// The text ends too early: a writer that works in place may not be done yet.
    Incomplete,
    /// Not the format; where and why, without a word of the content.
    Malformed(String),
    /// Written by a program newer than this one.
    Newer(u64),
}

impl From<serde_json::Error> for DocumentError {
    /// The error's own text can quote the content, so only the place is kept.
    fn from(error: serde_json::Error) -> Self {
        if error.is_eof() {
            return Self::Incomplete;
        }
        Self::Malformed(format!("line {} column {}", error.line(), error.column()))
    }
}

/// The raw text of a value: a part of what was read, or one that we made. That may be a secret, so
/// it is wiped.
#[derive(Clone)]
enum Raw<'a> {
    Read(&'a str),
    Made(Zeroizing<String>),
}

impl Deref for Raw<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Read(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl From<Zeroizing<String>> for Raw<'_> {
    fn from(text: Zeroizing<String>) -> Self {
        Self::Made(text)
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self::Read(value.get())
    }
}

/// A JSON object as its keys and the raw text of its values, in the order of the file.
struct Object<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl Object<'_> {
    /// Where a key stands twice the last one counts, as for other readers.
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| &**value)
    }

    /// The value of a key, unless it is missing or `null`.
    fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DocumentError> {
        self.get(key).map_or(Ok(None), |raw| {
            serde_json::from_str(raw)
                .map_err(|_| DocumentError::Malformed(format!("the value of {key:?}")))
        })
    }

    fn set(&mut self, key: &'static str, value: Zeroizing<String>) {
        self.remove(key);
        self.0.push((key.into(), value.into()));
    }

    fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// The object as JSON text: the keys of `order` first, then the others as they came.
    fn render(&self, order: &[&str]) -> Zeroizing<String> {
        let size = self.0.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
        let mut out = Zeroizing::new(String::with_capacity(size + 2));
        let known = order.iter().filter_map(|key| self.0.iter().rev().find(|(k, _)| k == key));
        let unknown = self.0.iter().filter(|(key, _)| !order.contains(&key.as_ref()));
        render_entries(&mut out, known.chain(unknown).map(|(key, value)| (key, value)));
        out
    }
}

fn render_entries<'e, 'a: 'e>(
    out: &mut String,
    entries: impl Iterator<Item = (&'e Cow<'a, str>, &'e Raw<'a>)>,
) {
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&quote(key));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

/// A text as a JSON string.
fn quote(text: &str) -> Zeroizing<String> {
    // As large as it can get, for a text that grows leaves copies behind.
    let mut quoted = Vec::with_capacity(6 * text.len() + 2);
    // A string always has a JSON form, which is text; an empty one could only stand for a defect
    // in serde_json.
    let _ = serde_json::to_writer(&mut quoted, text);
    String::from_utf8(quoted).unwrap_or_default().into()
}

/// Calls a function for each entry of a JSON object.
struct EntryVisitor<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for EntryVisitor<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry()? {
            (self.0)(key, value);
        }
        Ok(())
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn for_each_entry<'a>(
    text: &'a str,
    function: impl FnMut(Cow<'a, str>, &'a RawValue),
) -> Result<(), DocumentError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(EntryVisitor(function))?;
    Ok(deserializer.end()?)
}

fn object(text: &str) -> Result<Object<'_>, DocumentError> {
    // As many as a profile has.
    let mut entries = Vec::with_capacity(8);
    for_each_entry(text, |key, value| entries.push((key, value.into())))?;
    Ok(Object(entries))
}

/// Raw entries by name.
type Entries<'a> = BTreeMap<Cow<'a, str>, Raw<'a>>;

/// Reads the top of a store, and its profiles in the same pass: a store can be large.
fn read_top(text: &str) -> Result<(Object<'_>, Entries<'_>), DocumentError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parts = deserializer.deserialize_map(TopVisitor);
    let parts = parts.and_then(|parts| deserializer.end().map(|()| parts));
    parts.map_err(|error| {
        let last = text.lines().enumerate().last().map(|(index, line)| (index + 1, line.len()));
        // A number that is cut short is a wrong one to the parser.
        let is_cut = Some((error.line(), error.column())) == last && !text.ends_with('}');
        if is_cut { DocumentError::Incomplete } else { error.into() }
    })
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = (Object<'de>, Entries<'de>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut top = Object(Vec::new());
        let mut entries = Entries::new();
        while let Some(Key(key)) = map.next_key()? {
            if key == "profiles" {
                entries = map.next_value_seed(EntriesSeed)?;
            } else {
                let value: &RawValue = map.next_value()?;
                top.0.push((key, value.into()));
            }
        }
        Ok((top, entries))
    }
}

struct EntriesSeed;

impl<'de> DeserializeSeed<'de> for EntriesSeed {
    type Value = Entries<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for EntriesSeed {
    type Value = Entries<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Entries::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut entries = Vec::new();
        deserializer.deserialize_map(EntryVisitor(|name, value: &'de RawValue| {
            entries.push((name, value.into()));
        }))?;
        // They come sorted, as a rule: that is one comparison each, where inserting takes thirteen.
        Ok(entries.into_iter().collect())
    }
}

fn check_version(top: Object<'_>) -> Result<Object<'_>, DocumentError> {
    match top.value::<u64>("version")? {
        Some(version) if version > VERSION => Err(DocumentError::Newer(version)),
        _ => Ok(top),
    }
}

/// The profiles of a store, and which of them is current.
pub struct Profiles<'a> {
    top: Object<'a>,
    current: Option<String>,
    entries: Entries<'a>,
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

/// An entry that is not a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadProfile {
    /// The entry's name.
    pub name: String,
    /// What is wrong with it, without a word of its content.
    pub reason: String,
}

impl<'a> Profiles<'a> {
    /// Reads the text of a store. White space alone is a new store. Some editors put a byte order
    /// mark before it.
    pub(super) fn parse(text: &'a str) -> Result<Self, DocumentError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Ok(Self { top: Object(Vec::new()), current: None, entries: BTreeMap::new() });
        }
        let (top, entries) = match read_top(text) {
            Ok(parts) => parts,
            Err(DocumentError::Incomplete) => return Err(DocumentError::Incomplete),
            // A newer format may well have another shape; its version is what to say of it.
            Err(error) => return Err(object(text).and_then(check_version).err().unwrap_or(error)),
        };
        let top = check_version(top)?;
        let current = top.value::<String>("current")?.filter(|name| !name.is_empty());
        Ok(Self { top, current, entries })
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

    /// The profile of this name; `None` when there is none.
    ///
    /// [`BadProfile`] where the entry is not a profile.
    pub fn get(&self, name: &ProfileName) -> Result<Option<Profile>, BadProfile> {
        self.entries
            .get(name.as_str())
            .map(|raw| profile(name, raw))
            .transpose()
            .map_err(|error| bad_profile(name.as_str(), error))
    }

    /// What a list shows of every profile, sorted by name. No secret is decoded.
    pub fn summaries(
        &self,
        policy: &StoragePolicy,
    ) -> impl Iterator<Item = Result<Summary, BadProfile>> {
        self.entries
            .iter()
            .map(|(name, raw)| summary(name, raw, policy).map_err(|error| bad_profile(name, error)))
    }

    /// Adds a profile or replaces the one of its name. Keys that we do not know stay.
    ///
    /// The credential is written where `credential` is given; else the entry has none.
    pub fn insert(&mut self, profile: &Profile, credential: Option<&Credential>) {
        let old = self.entries.remove(profile.name.as_str());
        // An entry that is no object has no keys to keep.
        let mut entry = old.as_deref().and_then(|raw| object(raw).ok()).unwrap_or(Object(vec![]));
        entry.set("remote_url", quote(&profile.remote_url));
        entry.set("auth_type", quote(profile.auth_type.as_str()));
        for (key, value) in [
            ("user_id", &profile.identity.user_id),
            ("email", &profile.identity.email),
            ("workspace_name", &profile.identity.workspace_name),
            ("credential_helper", &profile.helper),
        ] {
            match value {
                Some(text) => entry.set(key, quote(text)),
                None => entry.remove(key),
            }
        }
        set_credential(&mut entry, credential);
        let text = entry.render(PROFILE_KEYS);
        self.entries.insert(profile.name.as_str().to_owned().into(), text.into());
    }

    /// Replaces the tokens of a profile that keeps them in the file.
    ///
    /// False, and nothing changed, where there is no such OAuth profile.
    pub fn set_tokens(&mut self, name: &ProfileName, tokens: &OAuthCredential) -> bool {
        let Some(raw) = self.entries.get(name.as_str()) else { return false };
        let Ok(mut entry) = object(raw) else { return false };
        if entry.value("auth_type") != Ok(Some(AuthType::OAuth.as_str().to_owned())) {
            return false;
        }
        set_credential(&mut entry, Some(&Credential::OAuth(tokens.clone())));
        let text = entry.render(PROFILE_KEYS);
        self.entries.insert(name.as_str().to_owned().into(), text.into());
        true
    }

    /// Removes a profile, also as the current one. False where there was none.
    pub fn remove(&mut self, name: &ProfileName) -> bool {
        if self.current.as_deref() == Some(name.as_str()) {
            self.current = None;
        }
        self.entries.remove(name.as_str()).is_some()
    }

    /// The whole store as the text of the file.
    pub(super) fn render(&self) -> Zeroizing<String> {
        let size = self.entries.iter().map(|(name, raw)| name.len() + raw.len() + 8).sum::<usize>();
        let mut entries = Zeroizing::new(String::with_capacity(size + 2));
        render_entries(&mut entries, self.entries.iter());
        let mut top = Object(self.top.0.clone());
        top.set("version", VERSION.to_string().into());
        top.set("profiles", entries);
        match &self.current {
            Some(name) => top.set("current", quote(name)),
            None => top.remove("current"),
        }
        super::pretty::pretty(&top.render(TOP_KEYS))
    }
}

const TOP_KEYS: &[&str] = &["version", "current", "profiles"];
const PROFILE_KEYS: &[&str] = &["remote_url", "auth_type", "oauth_credential", "api_key"];
const CREDENTIAL_KEYS: &[&str] = &["access_token", "refresh_token", "expiry"];

fn bad_profile(name: &str, error: DocumentError) -> BadProfile {
    let reason = match error {
        DocumentError::Malformed(what) => what,
        DocumentError::Incomplete | DocumentError::Newer(_) => "the entry".into(),
    };
    BadProfile { name: name.to_owned(), reason }
}

/// The entry of a profile. A place in it would be one in our own words, not in the file.
fn profile_entry(raw: &str) -> Result<Object<'_>, DocumentError> {
    object(raw).map_err(|_| DocumentError::Malformed("its entry is not an object of texts".into()))
}

fn summary(name: &str, raw: &str, policy: &StoragePolicy) -> Result<Summary, DocumentError> {
    let entry = profile_entry(raw)?;
    let auth_type = auth_type(&entry)?;
    let secret = match auth_type {
        AuthType::OAuth => "oauth_credential",
        AuthType::ApiKey => "api_key",
    };
    let in_file = entry.get(secret).is_some_and(|raw| !matches!(raw, "null" | "\"\"" | "{}"));
    let helper = helper(&entry);
    Ok(Summary {
        name: ProfileName::from_store(name.to_owned()),
        remote_url: remote_url(&entry)?,
        auth_type,
        identity: identity(&entry),
        storage: Storage::of(in_file, helper.as_deref(), policy),
    })
}

fn profile(name: &ProfileName, raw: &str) -> Result<Profile, DocumentError> {
    let entry = profile_entry(raw)?;
    let auth_type = auth_type(&entry)?;
    Ok(Profile {
        name: name.clone(),
        remote_url: remote_url(&entry)?,
        auth_type,
        identity: identity(&entry),
        helper: helper(&entry),
        in_file: match auth_type {
            AuthType::ApiKey => api_key(&entry)?.map(Credential::ApiKey),
            AuthType::OAuth => oauth(&entry)?.map(Credential::OAuth),
        },
    })
}

fn missing(key: &str) -> DocumentError {
    DocumentError::Malformed(format!("there is no {key:?}"))
}

fn auth_type(entry: &Object<'_>) -> Result<AuthType, DocumentError> {
    match entry.value::<String>("auth_type")?.as_deref() {
        Some("oauth") => Ok(AuthType::OAuth),
        Some("api_key") => Ok(AuthType::ApiKey),
        Some(_) => Err(DocumentError::Malformed("the value of \"auth_type\"".into())),
        None => Err(missing("auth_type")),
    }
}

fn remote_url(entry: &Object<'_>) -> Result<String, DocumentError> {
    entry.value("remote_url")?.ok_or_else(|| missing("remote_url"))
}

/// Ours, and only for information: of another shape, they are unknown.
fn identity(entry: &Object<'_>) -> Identity {
    Identity {
        user_id: entry.value("user_id").unwrap_or_default(),
        email: entry.value("email").unwrap_or_default(),
        workspace_name: entry.value("workspace_name").unwrap_or_default(),
    }
}

/// Ours too. Without it, the environment says which helper there is.
fn helper(entry: &Object<'_>) -> Option<String> {
    entry.value("credential_helper").unwrap_or_default()
}

/// A secret under the other type's key is never looked at. One that no header can carry is none:
/// it could only do harm, at a server or on the terminal that `auth token` prints to.
fn api_key(entry: &Object<'_>) -> Result<Option<Secret>, DocumentError> {
    Ok(entry.value::<Secret>("api_key")?.filter(is_visible_ascii))
}

fn oauth(entry: &Object<'_>) -> Result<Option<OAuthCredential>, DocumentError> {
    let Some(raw) = entry.get("oauth_credential").filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    read_tokens(raw)
}

/// Tokens as the file and the keyring both keep them; `None` where there is no access token.
pub(super) fn read_tokens(raw: &str) -> Result<Option<OAuthCredential>, DocumentError> {
    let tokens = object(raw)
        .map_err(|_| DocumentError::Malformed("the value of \"oauth_credential\"".into()))?;
    let secret =
        |key| Ok::<_, DocumentError>(tokens.value::<Secret>(key)?.filter(is_visible_ascii));
    let Some(access_token) = secret("access_token")? else { return Ok(None) };
    let expiry = match tokens.value::<String>("expiry")? {
        Some(text) => parse_expiry(&text)
            .map_err(|_| DocumentError::Malformed("the value of \"expiry\"".into()))?,
        None => None,
    };
    Ok(Some(OAuthCredential { access_token, refresh_token: secret("refresh_token")?, expiry }))
}

/// Tokens as compact JSON, with the unknown keys of an older text.
pub(super) fn write_tokens(tokens: &OAuthCredential, old: Option<&str>) -> Zeroizing<String> {
    let mut entry = old.and_then(|raw| object(raw).ok()).unwrap_or(Object(vec![]));
    entry.set("access_token", quote(tokens.access_token.expose()));
    let refresh_token = tokens.refresh_token.as_ref().map_or("", Secret::expose);
    entry.set("refresh_token", quote(refresh_token));
    entry.set("expiry", quote(&format_expiry(tokens.expiry)));
    entry.render(CREDENTIAL_KEYS)
}

fn set_credential(entry: &mut Object<'_>, credential: Option<&Credential>) {
    let old = entry.get("oauth_credential").map(|raw| Zeroizing::new(raw.to_owned()));
    entry.remove("oauth_credential");
    entry.remove("api_key");
    match credential {
        Some(Credential::ApiKey(key)) => entry.set("api_key", quote(key.expose())),
        Some(Credential::OAuth(tokens)) => {
            let old = old.as_ref().map(|text| text.as_str());
            entry.set("oauth_credential", write_tokens(tokens, old));
        }
        None => {}
    }
}

#[cfg(test)]
mod tests;
