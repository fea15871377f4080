//! The settings of each agent.

use std::path::PathBuf;

use baseten_auth::internal::Env;

use super::helper::Helper;
use crate::args::options::Agent;
use crate::settings::{Format, Path, Settings, SettingsError, Value};

/// A key in an agent's settings, and its value.
pub(super) struct Setting {
    pub(super) path: &'static Path,
    pub(super) value: Value,
}

/// The key of the command that prints Claude Code's token.
const API_KEY_HELPER: &Path = &["apiKeyHelper"];
/// The Codex provider that is set up, and its keys.
const PROVIDER: &Path = &["model_providers", "baseten"];
const COMMAND: &Path = &["model_providers", "baseten", "auth", "command"];
const ARGS: &Path = &["model_providers", "baseten", "auth", "args"];
const NAME: &Path = &["model_providers", "baseten", "name"];
/// Longer than any wait of `auth token`: if it were killed in the middle of a refresh, a session
/// would be lost.
const CODEX_TIMEOUT_MS: i64 = 100_000;

/// The model, which stays when the rest is removed.
pub(super) const MODEL: &Path = &["model"];

impl Agent {
    /// Its name for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
        }
    }

    /// Its name on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }

    /// Its settings file. The error is the variable that is missing.
    pub(super) fn file(self, env: &Env) -> Result<PathBuf, &'static str> {
        let (variable, directory, file) = match self {
            Self::ClaudeCode => ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
            Self::Codex => ("CODEX_HOME", ".codex", "config.toml"),
        };
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let of_home = || env.path(home).map(|home| home.join(directory));
        Ok(env.path(variable).or_else(of_home).ok_or(home)?.join(file))
    }

    /// The format of that file.
    pub(super) fn format(self) -> Format {
        match self {
            Self::ClaudeCode => Format::Json,
            Self::Codex => Format::Toml,
        }
    }

    /// The URL to set, for an inference URL.
    pub(super) fn base_url(self, inference_url: &str) -> String {
        match self {
            Self::ClaudeCode => inference_url.to_owned(),
            Self::Codex => format!("{inference_url}/v1"),
        }
    }

    /// The settings, in the order in which they are written.
    pub(super) fn settings(self, helper: &Helper, base_url: &str) -> Vec<Setting> {
        let setting = |path, value| Setting { path, value };
        match self {
            Self::ClaudeCode => vec![
                setting(API_KEY_HELPER, Value::Text(helper.line())),
                setting(&["env", "ANTHROPIC_BASE_URL"], base_url.into()),
            ],
            Self::Codex => vec![
                setting(&["model_provider"], "baseten".into()),
                setting(NAME, "Baseten".into()),
                setting(&["model_providers", "baseten", "base_url"], base_url.into()),
                setting(&["model_providers", "baseten", "wire_api"], "responses".into()),
                setting(COMMAND, helper.program().into()),
                setting(ARGS, Value::List(helper.arguments().to_vec())),
                setting(
                    &["model_providers", "baseten", "auth", "timeout_ms"],
                    Value::Number(CODEX_TIMEOUT_MS),
                ),
            ],
        }
    }

    /// The helper that an earlier `setup` has written, if there is one.
    pub(super) fn helper(self, settings: &Settings) -> Result<Option<Helper>, SettingsError> {
        Ok(match self {
            Self::ClaudeCode => match settings.get(API_KEY_HELPER)? {
                Some(Value::Text(line)) => Helper::recognize_line(&line),
                _ => None,
            },
            Self::Codex => match (settings.get(COMMAND)?, settings.get(ARGS)?) {
                (Some(Value::Text(program)), Some(Value::List(arguments))) => {
                    Helper::recognize([vec![program], arguments].concat())
                }
                _ => None,
            },
        })
    }

    /// Whether a key holds the helper itself.
    pub(super) fn is_helper(path: &Path) -> bool {
        [API_KEY_HELPER, COMMAND, ARGS].contains(&path)
    }

    /// Keys that the agent does not accept together with the helper.
    pub(super) fn excluded(self, settings: &Settings) -> Result<Option<String>, SettingsError> {
        let excluded: [(&Path, bool); 3] = [
            (&["model_providers", "baseten", "env_key"], false),
            (&["model_providers", "baseten", "requires_openai_auth"], true),
            (&["model_providers", "baseten", "experimental_bearer_token"], false),
        ];
        for (path, if_true) in excluded.into_iter().filter(|_| self == Self::Codex) {
            let is_set = match settings.get(path)? {
                Some(Value::Flag(flag)) => flag || !if_true,
                value => value.is_some(),
            };
            if is_set {
                return Ok(Some(path.join(".")));
            }
        }
        Ok(None)
    }

    /// Whether a key has to stay when the rest is removed: Codex does not start if a provider has
    /// keys but no name.
    pub(super) fn has_to_stay(path: &Path, settings: &Settings) -> Result<bool, SettingsError> {
        Ok(path == NAME && settings.keys(PROVIDER)?.is_some_and(|keys| keys > 1))
    }

    /// A variable in its environment or settings that makes it ignore the helper.
    pub(super) fn defeated_by(self, settings: &Settings, env: &Env) -> Option<&'static str> {
        let paths: [&'static Path; 2] =
            [&["env", "ANTHROPIC_AUTH_TOKEN"], &["env", "ANTHROPIC_API_KEY"]];
        let is_set = |path: &&'static Path| {
            path.last().is_some_and(|name| env.has(name))
                || matches!(settings.get(path), Ok(Some(_)))
        };
        let found = paths.into_iter().filter(|_| self == Self::ClaudeCode).find(is_set);
        found.and_then(|path| path.last().copied())
    }
}
