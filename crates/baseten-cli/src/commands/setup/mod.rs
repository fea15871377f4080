//! `baseten auth setup`: makes a coding agent ask this program for its token.

mod agent;
mod helper;

use std::cmp::Reverse;
use std::path::Path as FilePath;

use baseten_auth::Session;
use baseten_auth::internal::{Change, Env, read_settings, update_settings};
use schemars::JsonSchema;
use serde::Serialize;

use self::agent::{MODEL, Setting};
use self::helper::Helper;
use crate::args::options::{Agent, SetupArgs};
use crate::error::CliError;
use crate::host::Host;
use crate::render;
use crate::report::Report;
use crate::settings::{Path, Settings, SettingsError, SetupError, Value};
use crate::text::sanitize;

/// The JSON of an agent that was set up.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SetupRecord {
    /// The agent.
    #[schemars(extend("enum" = ["claude-code", "codex"]))]
    agent: &'static str,
    /// Its settings file.
    file: String,
    /// Whether the file was changed, or with --dry-run would be.
    changed: bool,
    /// The command that prints its token, as a line for a shell; not with --remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// The URL that it sends its requests to; not with --remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
}

/// What was done to the settings, for people.
#[derive(Default)]
struct Done {
    lines: Vec<String>,
    warnings: Vec<String>,
}

pub(crate) fn run(args: &SetupArgs, host: &Host) -> Result<Report, CliError> {
    let agent = args.agent;
    let no_home = |variable| SetupError::NoHome { agent: agent.title(), variable };
    let file = agent.file(host.env()).map_err(no_home)?;
    let mut record = SetupRecord {
        agent: agent.word(),
        file: file.to_string_lossy().into_owned(),
        changed: false,
        command: None,
        base_url: None,
    };
    let done = if args.remove {
        edit(args, &file, |settings| remove(agent, settings, host.env()))?
    } else {
        let session = Session::resolve(host.context(), args.select.profile.as_ref())?;
        let base_url = agent.base_url(&session.inference_url()?);
        let program = helper::own_program(host.env()).map_err(SetupError::Program)?;
        let helper = Helper::new(&program, session.profile_name(), session.remote_url());
        let mut wanted = agent.settings(&helper, &base_url);
        let model = args.model.as_deref().map(Value::from);
        wanted.extend(model.map(|value| Setting { path: MODEL, value }));
        let done = edit(args, &file, |settings| set(args, settings, &wanted, host.env()))?;
        if helper::is_short_lived(FilePath::new(&program), host.env()) {
            render::warning(&format!(
                "{program} may be removed, for its directory is one of temporary files or a cache; \
                 install the program elsewhere and run this again"
            ));
        }
        record.command = Some(helper.line());
        record.base_url = Some(base_url);
        done
    };
    done.warnings.iter().for_each(|warning| render::warning(warning));
    record.changed = !done.lines.is_empty();
    let text = sanitize(&format!("{}\n{}", headline(args, &record), done.lines.concat()));
    Ok(Report::one(text, record))
}

fn headline(args: &SetupArgs, record: &SetupRecord) -> String {
    let (agent, file) = (args.agent.title(), &record.file);
    match (args.remove, record.changed, args.dry_run) {
        (false, true, false) => format!("Set up {agent} in {file}"),
        (false, true, true) => format!("Would set up {agent} in {file}"),
        (false, false, _) => format!("{agent} is set up already in {file}"),
        (true, true, false) => format!("Removed the setup of {agent} from {file}"),
        (true, true, true) => format!("Would remove the setup of {agent} from {file}"),
        (true, false, _) => format!("{agent} is not set up in {file}"),
    }
}

/// Changes the settings file, unless this is a dry run.
fn edit(
    args: &SetupArgs,
    file: &FilePath,
    change: impl Fn(&mut Settings) -> Result<Done, SettingsError>,
) -> Result<Done, SetupError> {
    let changed = |old: Option<&[u8]>| {
        let mut settings = Settings::parse(args.agent.format(), old)?;
        let done = change(&mut settings)?;
        Ok::<_, SettingsError>((settings.change(), done))
    };
    let done = if args.dry_run {
        let old = read_settings(file).map_err(SettingsError::from);
        old.and_then(|old| changed(old.as_deref())).map(|(_, done): (Change, Done)| done)
    } else {
        update_settings(file, changed)
    };
    done.map_err(|source| SetupError::Settings { file: file.to_owned(), source })
}

fn set(
    args: &SetupArgs,
    settings: &mut Settings,
    wanted: &[Setting],
    env: &Env,
) -> Result<Done, SettingsError> {
    let agent = args.agent;
    if let Some(key) = agent.excluded(settings)? {
        return Err(SettingsError::Excluded(key));
    }
    let earlier = Earlier::find(agent, settings, env)?;
    let (mut done, mut taken) = (Done::default(), Vec::new());
    for Setting { path, value } in wanted {
        let now = settings.get(path)?;
        if now.as_ref() == Some(value) {
            continue;
        }
        if now.as_ref().is_some_and(|now| !earlier.has_set(path, now)) && !args.force {
            taken.push(path.join("."));
            continue;
        }
        settings.set(path, value)?;
        // The old value is not shown: it may be a secret.
        let sign = if now.is_some() { '~' } else { '+' };
        done.lines.push(format!("  {sign} {}: {}\n", path.join("."), shown(value)));
    }
    if !taken.is_empty() {
        return Err(SettingsError::Taken(taken));
    }
    if settings.get(MODEL)?.is_none() {
        done.warnings.push(format!(
            "no model is set for {}; choose one of the remote's with --model <model>",
            agent.title()
        ));
    }
    if let Some(variable) = agent.defeated_by(settings, env) {
        done.warnings
            .push(format!("{variable} is set, so Claude Code ignores this setup; unset it"));
    }
    Ok(done)
}

fn remove(agent: Agent, settings: &mut Settings, env: &Env) -> Result<Done, SettingsError> {
    let earlier = Earlier::find(agent, settings, env)?;
    let mut done = Done::default();
    let mut paths: Vec<_> = earlier.settings.iter().map(|setting| setting.path).collect();
    // The deepest keys first, and a provider's name after its other keys.
    paths.sort_by_key(|path| (Reverse(path.len()), path.ends_with(&["name"]), *path));
    paths.dedup();
    for path in paths {
        let Some(now) = settings.get(path)? else { continue };
        let key = path.join(".");
        if earlier.has_set(path, &now) && !Agent::has_to_stay(path, settings)? {
            settings.remove(path)?;
            done.lines.push(format!("  - {key}\n"));
        } else {
            done.warnings.push(format!("{key} stays, since it was changed or others need it"));
        }
    }
    Ok(done)
}

/// What an earlier run has set, as far as its helper shows.
struct Earlier {
    settings: Vec<Setting>,
}

impl Earlier {
    fn find(agent: Agent, settings: &Settings, env: &Env) -> Result<Self, SettingsError> {
        let Some(helper) = agent.helper(settings)? else {
            return Ok(Self { settings: Vec::new() });
        };
        let remote = helper.remote();
        // Both with and without the environment's override of the URL.
        let urls = [env, &Env::default()].map(|env| remote.as_ref()?.inference_url(env).ok());
        let urls = urls.map(|url| url.map(|url| agent.base_url(&url)).unwrap_or_default());
        let settings = urls.iter().flat_map(|url| agent.settings(&helper, url)).collect();
        Ok(Self { settings })
    }

    /// Whether an earlier run has set this value of a key.
    fn has_set(&self, path: &Path, now: &Value) -> bool {
        let mut settings = self.settings.iter().filter(|setting| setting.path == path);
        settings.any(|setting| setting.value == *now || Agent::is_helper(path))
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::List(words) => shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Other => String::new(),
    }
}
