//! How the environment describes the server of an engine, in the variables of OpenBao and Vault.

use std::io;
use std::path::PathBuf;

use url::Url;

use super::error::EngineError;
use super::key::on_the_wire;
use crate::env::{ENGINE_TOKENS, Env};
use crate::secret::Secret;
use crate::storage::EnginePath;
use crate::store::disk::{Refusal, read_private};

/// A server, and how to talk to it.
#[derive(Debug)]
pub(super) struct Settings {
    /// Its URL, without a slash at the end.
    pub(super) address: String,
    pub(super) token: Secret,
    pub(super) namespace: Option<String>,
    /// A file of certificates that are trusted too, and the variable that names it.
    pub(super) authority: Option<(&'static str, PathBuf)>,
}

impl Settings {
    /// OpenBao's names win over Vault's.
    pub(super) fn from_env(env: &Env) -> Result<Self, EngineError> {
        let (variable, text) =
            first(env, ["BAO_ADDR", "VAULT_ADDR"])?.ok_or(EngineError::NoAddress)?;
        let address = address(text).ok_or(EngineError::Address { variable })?;
        let namespace = first(env, ["BAO_NAMESPACE", "VAULT_NAMESPACE"])?;
        let authority = ["BAO_CACERT", "VAULT_CACERT"]
            .into_iter()
            .find_map(|variable| Some((variable, env.path(variable)?)));
        let namespace = namespace.map(|(variable, text)| in_header(variable, text)).transpose()?;
        let namespace = namespace.map(|text| text.expose().to_owned());
        Ok(Self { address, token: token(env)?, namespace, authority })
    }

    /// The URL of a secret's data or metadata.
    pub(super) fn url(&self, path: &EnginePath, what: &str, key: &str) -> String {
        let (mount, _) = path.parts();
        format!("{}/v1/{}/{what}/{}", self.address, on_the_wire(mount), on_the_wire(key))
    }
}

/// The first of two variables that is set to more than blanks, with its name.
fn first<'a>(
    env: &'a Env,
    variables: [&'static str; 2],
) -> Result<Option<(&'static str, &'a str)>, EngineError> {
    for variable in variables {
        if let Some(text) = env.text(variable)?.filter(|text| !text.trim().is_empty()) {
            return Ok(Some((variable, text)));
        }
    }
    Ok(None)
}

/// The URL of a server. It may have a path.
fn address(text: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then(|| url.as_str().trim_end_matches('/').to_owned())
}

fn token(env: &Env) -> Result<Secret, EngineError> {
    if let Some((variable, text)) = first(env, ENGINE_TOKENS)? {
        return in_header(variable, text);
    }
    let home = env.path("HOME").or_else(|| env.path("USERPROFILE"));
    let path = home.ok_or(EngineError::NoToken)?.join(".vault-token");
    let unreadable = |source| EngineError::TokenFile { path: path.clone(), source };
    let bytes = read_private(&path).map_err(|refusal| {
        unreadable(match refusal {
            Refusal::Io(source) => source,
            Refusal::NoFile => io::Error::other("it is not a regular file"),
            Refusal::TooLarge => io::Error::other("it is too large"),
        })
    })?;
    let bytes = bytes.ok_or(EngineError::NoToken)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| unreadable(io::ErrorKind::InvalidData.into()))?;
    if text.trim().is_empty() {
        return Err(EngineError::NoToken);
    }
    in_header(&path.display().to_string(), text)
}

/// A text that goes into a header of each request.
fn in_header(from: &str, text: &str) -> Result<Secret, EngineError> {
    let text = Secret::from(text.trim());
    if text.is_visible_ascii() {
        Ok(text)
    } else {
        Err(EngineError::NotHeader { from: from.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_openbao_win_and_an_address_is_a_url() {
        let read =
            |variables: &[(&str, &str)]| Settings::from_env(&variables.iter().copied().collect());
        let settings = read(&[
            ("VAULT_ADDR", "https://old"),
            ("BAO_ADDR", "https://new:8200/under/"),
            ("VAULT_TOKEN", "old"),
            ("BAO_TOKEN", " new\n"),
            ("VAULT_NAMESPACE", "team"),
        ])
        .unwrap();
        assert_eq!(
            (settings.address.as_str(), settings.token.expose()),
            ("https://new:8200/under", "new")
        );
        assert_eq!(settings.namespace.as_deref(), Some("team"));
        let url = settings.url(&"secret/x y".parse().unwrap(), "data", "x y/h/a%20b");
        assert_eq!(url, "https://new:8200/under/v1/secret/data/x%20y/h/a%2520b");
        for bad in ["nothing", "ftp://host", "https://user@host", "https://host/?q"] {
            let error =
                read(&[("BAO_ADDR", ""), ("VAULT_ADDR", bad), ("BAO_TOKEN", "t")]).unwrap_err();
            assert!(matches!(error, EngineError::Address { variable: "VAULT_ADDR" }), "{bad}");
        }
        assert!(matches!(read(&[]), Err(EngineError::NoAddress)));
        assert!(matches!(read(&[("BAO_ADDR", "https://x")]), Err(EngineError::NoToken)));
    }
    #[test]
    fn what_a_header_cannot_carry_is_named_and_blanks_count_as_unset() {
        let read = |variables: &[(&str, &str)]| {
            let address = ("BAO_ADDR", "https://x");
            Settings::from_env(&variables.iter().copied().chain([address]).collect())
        };
        let settings = read(&[("BAO_TOKEN", " \n"), ("VAULT_TOKEN", "theirs")]).unwrap();
        assert_eq!(settings.token.expose(), "theirs");
        for (variable, text) in [("BAO_TOKEN", "a\nb"), ("BAO_NAMESPACE", "équipe")] {
            let error = read(&[("VAULT_TOKEN", "t"), (variable, text)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{variable} has characters that an HTTP header cannot carry")
            );
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".vault-token")).unwrap();
        let error = read(&[("HOME", home.path().to_str().unwrap())]).unwrap_err();
        assert!(matches!(error, EngineError::TokenFile { .. }), "{error}");
    }
}
