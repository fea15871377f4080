//! `baseten auth setup`: makes a coding agent ask this program for its token.

use std::env::current_exe;
use std::path::{Path, PathBuf};

use baseten_auth::Session;
use baseten_auth::internal::{Env, ProfileName, Remote, plain_text};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{Agent, SetupArgs};
use crate::error::CliError;
use crate::host::Host;
use crate::render::{talk, warning};
use crate::report::Report;
use crate::settings::{Key, Settings};

/// The JSON of what was set up.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SetupRecord {
    /// The coding agent.
    #[schemars(extend("enum" = ["claude-code", "codex"]))]
    agent: &'static str,
    /// Its settings.
    file: String,
    /// Whether they were changed; with --dry-run, whether they would be.
    changed: bool,
    /// What the agent runs for a token; empty with --remove.
    command: String,
    /// Where its requests go; empty with --remove.
    base_url: String,
}

/// A token is renewed while it has more time left than this: Claude Code uses one for 5 minutes, and
/// for one more request.
const MIN_TTL: &str = "6m";

/// Longer than anything that the helper waits for: killed in the middle of a refresh, it would lose
/// the session.
const CODEX_TIMEOUT_MS: u32 = 100_000;

const EXPECT_REMOTE: &str = "--expect-remote";

const CLAUDE_HELPER: Key = &["apiKeyHelper"];
const CLAUDE_URL: Key = &["env", "ANTHROPIC_BASE_URL"];
const CODEX_PROVIDER: Key = &["model_provider"];
const CODEX_NAME: Key = &["model_providers", "baseten", "name"];
const CODEX_URL: Key = &["model_providers", "baseten", "base_url"];
const CODEX_WIRE: Key = &["model_providers", "baseten", "wire_api"];
const CODEX_COMMAND: Key = &["model_providers", "baseten", "auth", "command"];
const CODEX_ARGUMENTS: Key = &["model_providers", "baseten", "auth", "args"];
const CODEX_TIMEOUT: Key = &["model_providers", "baseten", "auth", "timeout_ms"];
const MODEL: Key = &["model"];

/// What Codex does not take beside a helper.
const CODEX_RIVALS: [Key; 3] = [
    &["model_providers", "baseten", "env_key"],
    &["model_providers", "baseten", "requires_openai_auth"],
    &["model_providers", "baseten", "experimental_bearer_token"],
];

pub(crate) fn run(args: &SetupArgs, host: &Host) -> Result<Report, CliError> {
    let mut settings = Settings::read(file(args.agent, host.env())?)?;
    let earlier = Earlier::find(args.agent, &settings, host.env());
    if args.remove {
        let edits = earlier.map_or_else(Vec::new, |earlier| earlier.removals(&settings));
        let changed = apply(&mut settings, &edits)?;
        return finish(args, settings, changed, &Helper::default());
    }
    let helper = Helper::new(args.agent, host, args.select.profile.as_ref())?;
    check_rivals(args.agent, &settings)?;
    let wanted = wanted(args, &helper);
    for (key, value) in &wanted {
        check(key, value, &settings, earlier.as_ref(), args.force)?;
    }
    let edits: Vec<_> = wanted.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let changed = apply(&mut settings, &edits)?;
    warn(args, &settings, host.env());
    finish(args, settings, changed, &helper)
}

/// Where an agent has its settings.
fn file(agent: Agent, env: &Env) -> Result<PathBuf, CliError> {
    let (variable, directory, name) = match agent {
        Agent::ClaudeCode => ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
        Agent::Codex => ("CODEX_HOME", ".codex", "config.toml"),
    };
    if let Some(directory) = env.path(variable) {
        return Ok(directory.join(name));
    }
    let home = env.path(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
    home.map(|home| home.join(directory).join(name)).ok_or_else(|| {
        let message = "there is no home directory for the agent's settings";
        CliError::usage(message, format!("set HOME, or {variable} to the agent's directory"))
    })
}

/// What an agent runs for a token, and where it sends it.
#[derive(Debug, Default)]
struct Helper {
    program: String,
    arguments: Vec<String>,
    base_url: String,
}

impl Helper {
    fn new(agent: Agent, host: &Host, profile: Option<&ProfileName>) -> Result<Self, CliError> {
        let session = Session::resolve(host.context(), profile)?;
        let inference = session.inference_url()?;
        let base_url = match agent {
            Agent::ClaudeCode => inference,
            Agent::Codex => format!("{inference}/v1"),
        };
        let mut arguments: Vec<String> =
            ["auth", "token", "--no-input", "--min-ttl", MIN_TTL].map(str::to_owned).into();
        match session.profile_name() {
            // It must not be taken for an option.
            Some(name) if name.starts_with('-') => arguments.push(format!("--profile={name}")),
            Some(name) => arguments.extend(["--profile".to_owned(), name.to_owned()]),
            None => {}
        }
        arguments.extend([EXPECT_REMOTE.to_owned(), session.remote_url().to_owned()]);
        Ok(Self { program: program(host.env())?, arguments, base_url })
    }

    /// As a line for a shell.
    fn line(&self) -> String {
        let words = std::iter::once(self.program.as_str());
        let words = words.chain(self.arguments.iter().map(String::as_str));
        // Only a zero byte cannot be quoted, and no name or path has one.
        words.map(|word| shlex::try_quote(word).unwrap_or_default()).collect::<Vec<_>>().join(" ")
    }
}

/// The absolute path of this program. Where it is the one in `PATH`, by that name, which stays the
/// same when it is upgraded.
fn program(env: &Env) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::Start { program: "baseten".to_owned(), error };
    let own = current_exe().map_err(failed)?;
    let resolved = own.canonicalize().map_err(failed)?;
    let path = env.os("PATH").unwrap_or_default();
    let name = if cfg!(windows) { "baseten.exe" } else { "baseten" };
    let first = std::env::split_paths(path).map(|directory| directory.join(name));
    let first = first.filter(|path| path.is_absolute()).find(|path| path.is_file());
    let same = first.filter(|first| first.canonicalize().is_ok_and(|first| first == resolved));
    let program = same.unwrap_or(own);
    if may_vanish(&program) {
        let shown = plain_text(&program.to_string_lossy());
        warning(&format!("{shown} is in a temporary or cache directory, and may be removed"));
    }
    let text = program.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let message = "the path of this program is not valid UTF-8";
        CliError::usage(message, "install it in another directory")
    })
}

fn may_vanish(program: &Path) -> bool {
    let is_cache = |part: std::path::Component<'_>| {
        matches!(part.as_os_str().to_str(), Some(".cache" | "cache" | "Caches" | "Temp"))
    };
    program.starts_with(std::env::temp_dir())
        || program.starts_with("/tmp")
        || program.starts_with("/var/tmp")
        || program.components().any(is_cache)
}

/// The keys that an agent needs, and their values.
fn wanted(args: &SetupArgs, helper: &Helper) -> Vec<(Key, Value)> {
    let mut wanted: Vec<(Key, Value)> = match args.agent {
        Agent::ClaudeCode => vec![
            (CLAUDE_HELPER, helper.line().into()),
            (CLAUDE_URL, helper.base_url.clone().into()),
        ],
        Agent::Codex => vec![
            (CODEX_PROVIDER, "baseten".into()),
            (CODEX_NAME, "Baseten".into()),
            (CODEX_URL, helper.base_url.clone().into()),
            (CODEX_WIRE, "responses".into()),
            (CODEX_COMMAND, helper.program.clone().into()),
            (CODEX_ARGUMENTS, json!(helper.arguments)),
            (CODEX_TIMEOUT, CODEX_TIMEOUT_MS.into()),
        ],
    };
    if let Some(model) = &args.model {
        wanted.push((MODEL, model.clone().into()));
    }
    wanted
}

/// What an earlier run has set up, perhaps by another path and for another profile.
struct Earlier {
    agent: Agent,
    /// Where that run sent requests; empty where that is not known.
    base_url: String,
}

impl Earlier {
    fn find(agent: Agent, settings: &Settings, env: &Env) -> Option<Self> {
        let words = match agent {
            Agent::ClaudeCode => shlex::split(settings.get(CLAUDE_HELPER)?.as_str()?)?,
            Agent::Codex => {
                let command = settings.get(CODEX_COMMAND)?.as_str()?.to_owned();
                let arguments = settings.get(CODEX_ARGUMENTS)?;
                let arguments = arguments.as_array()?.iter().filter_map(Value::as_str);
                std::iter::once(command).chain(arguments.map(str::to_owned)).collect()
            }
        };
        let (program, arguments) = words.split_first()?;
        let is_ours = Path::new(program).file_stem().is_some_and(|name| name == "baseten")
            && arguments.starts_with(&["auth".to_owned(), "token".to_owned()]);
        let remote = arguments.iter().skip_while(|word| *word != EXPECT_REMOTE).nth(1);
        let inference = remote
            .and_then(|remote| Remote::parse(remote).ok())
            .and_then(|remote| remote.inference_url(env).ok());
        let base_url = match (agent, inference) {
            (Agent::ClaudeCode, Some(url)) => url,
            (Agent::Codex, Some(url)) => format!("{url}/v1"),
            (_, None) => String::new(),
        };
        is_ours.then_some(Self { agent, base_url })
    }

    /// Whether a value comes from that run.
    fn has_set(&self, key: Key, value: &Value) -> bool {
        match key {
            CLAUDE_HELPER | CODEX_COMMAND | CODEX_ARGUMENTS | CODEX_TIMEOUT => true,
            CLAUDE_URL | CODEX_URL => *value == self.base_url,
            CODEX_PROVIDER => value == "baseten",
            CODEX_NAME => value == "Baseten",
            CODEX_WIRE => value == "responses",
            _ => false,
        }
    }

    fn removals(&self, settings: &Settings) -> Vec<(Key, Option<Value>)> {
        let keys: &[Key] = match self.agent {
            Agent::ClaudeCode => &[CLAUDE_HELPER, CLAUDE_URL],
            Agent::Codex => &[
                CODEX_PROVIDER,
                CODEX_NAME,
                CODEX_URL,
                CODEX_WIRE,
                CODEX_COMMAND,
                CODEX_ARGUMENTS,
                CODEX_TIMEOUT,
            ],
        };
        let is_ours = |key: &Key| settings.get(key).is_some_and(|value| self.has_set(key, &value));
        keys.iter().copied().filter(is_ours).map(|key| (key, None)).collect()
    }
}

/// Refuses a key that somebody has set to something else.
fn check(
    key: Key,
    value: &Value,
    settings: &Settings,
    earlier: Option<&Earlier>,
    force: bool,
) -> Result<(), CliError> {
    let Some(found) = settings.get(key) else { return Ok(()) };
    let is_ours = earlier.is_some_and(|earlier| earlier.has_set(key, &found));
    if found == *value || is_ours || force {
        return Ok(());
    }
    Err(CliError::Taken { path: settings.path().to_owned(), key: key.join(".") })
}

/// Refuses what makes Codex refuse its own settings.
fn check_rivals(agent: Agent, settings: &Settings) -> Result<(), CliError> {
    if agent == Agent::ClaudeCode {
        return Ok(());
    }
    let is_set = |key: &&Key| settings.get(key).is_some_and(|value| value != false);
    match CODEX_RIVALS.iter().find(is_set) {
        Some(key) => Err(CliError::Rival { path: settings.path().to_owned(), key: key.join(".") }),
        None => Ok(()),
    }
}

/// Makes these edits, as far as they change something, and shows each; whether any did.
fn apply(settings: &mut Settings, edits: &[(Key, Option<Value>)]) -> Result<bool, CliError> {
    let mut changed = false;
    for (key, new) in edits {
        if settings.get(key) == *new {
            continue;
        }
        changed = true;
        let name = key.join(".");
        // Not what it was before: a helper that somebody wrote may have a secret in it.
        if let Some(new) = new {
            settings.set(key, new)?;
            talk(&format!("+ {name} = {}", plain_text(&new.to_string())));
        } else {
            settings.remove(key);
            talk(&format!("- {name}"));
        }
    }
    Ok(changed)
}

fn warn(args: &SetupArgs, settings: &Settings, env: &Env) {
    if settings.get(MODEL).is_none() {
        warning("no model is set: choose one that the remote serves, with --model <model>");
    }
    if args.agent == Agent::ClaudeCode {
        for variable in ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"] {
            if env.has(variable) {
                let instead = "Claude Code uses it instead of what is set up here";
                warning(&format!("{variable} is set, and {instead}"));
            }
        }
    }
}

/// Writes the settings, unless they are only to be shown.
fn finish(
    args: &SetupArgs,
    settings: Settings,
    changed: bool,
    helper: &Helper,
) -> Result<Report, CliError> {
    let file = settings.path().display().to_string();
    if changed && !args.dry_run {
        settings.write()?;
    }
    let (name, shown) = (args.agent.title(), plain_text(&file));
    let text = match (args.remove, changed) {
        _ if args.dry_run && changed => format!("Would change {shown}\n"),
        (true, true) => format!("{name} no longer asks baseten for its token ({shown})\n"),
        (true, false) => format!("{name} does not ask baseten for its token ({shown})\n"),
        (false, true) => format!("{name} asks baseten for its token ({shown})\n"),
        (false, false) => format!("{name} already asks baseten for its token ({shown})\n"),
    };
    let command = if args.remove { String::new() } else { helper.line() };
    let (agent, base_url) = (args.agent.name(), helper.base_url.clone());
    Ok(Report::one(text, SetupRecord { agent, file, changed, command, base_url }))
}
