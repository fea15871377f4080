//! `baseten auth status`

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use baseten_auth::internal::variable::{API_KEY, AUTH_SOCK, PROFILE, TRUST_RULE};
use baseten_auth::internal::{
    Claims, Env, IdentitySource, Lent, Profile, Storage, Workload, plain_text,
};
use baseten_auth::{ErrorKind, Session, SessionSource};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::StatusArgs;
use crate::commands::user::UserRecord;
use crate::error::CliError;
use crate::host::Host;
use crate::report::Report;
use crate::words::{CURRENT, SOCKET, place_name, selected_by, when};

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// The JSON of a status.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusRecord {
    /// The selected profile; empty if `BASETEN_API_KEY` or `BASETEN_TRUST_RULE` was selected.
    profile: String,
    /// The remote that it logs in to.
    remote_url: String,
    /// The kind of credential.
    #[schemars(extend("enum" = ["oauth", "api_key", "workload"]))]
    auth_type: &'static str,
    /// The trust rule of a workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_rule: Option<String>,
    /// A workload's identity token: its `source`, the `path` of its file, and its claims `issuer`,
    /// `subject`, `audience` (an array) and `expires_at`, if they are known without running a
    /// command or sending a request. The claims are not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<IdentityRecord>,
    /// Where the credential is kept: `file`, `keyring`, `helper:<name>`, `openbao:<mount>/<path>`,
    /// or `socket` if it is lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
    /// The file that the credential is kept in, or the socket that it is lent at.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_path: Option<String>,
    /// When the access token ends, if that is known without asking the keyring.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// What selected the credential.
    #[schemars(extend("enum" = ["--profile", "BASETEN_API_KEY", "BASETEN_TRUST_RULE",
        "BASETEN_AUTH_SOCK", "BASETEN_PROFILE", "current profile"]))]
    selected_by: &'static str,
    /// What this selection overrides: `BASETEN_API_KEY`, `BASETEN_TRUST_RULE`, `BASETEN_AUTH_SOCK`,
    /// `BASETEN_PROFILE` and `current profile`, if they would select something else. With
    /// `BASETEN_API_KEY` and `BASETEN_TRUST_RULE`, stored profiles are not read.
    overrides: Vec<&'static str>,
    /// With `--check`: whether the server accepts the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<bool>,
    /// With `--check`: whose it is.
    #[serde(flatten)]
    user: Option<UserRecord>,
}

/// The JSON of an identity token.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct IdentityRecord {
    /// Where it comes from: a variable, or GitHub Actions.
    #[schemars(extend("enum" = ["BASETEN_IDENTITY_TOKEN", "BASETEN_IDENTITY_TOKEN_FILE",
        "BASETEN_IDENTITY_TOKEN_COMMAND", "GitHub Actions"]))]
    source: &'static str,
    /// The file that it is read from, if it is read from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Its issuer, `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// Its subject, `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Its audience, `aud`: one or several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    /// When it ends, `exp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

pub(crate) fn run(args: &StatusArgs, host: &Host) -> Result<Report, CliError> {
    let context = host.context();
    let session = Session::resolve(context, args.select.profile.as_ref())?;
    // First: it may refresh a profile's tokens, and tell what a workload is.
    let checked = args.check.then(|| session.user());
    let (mut text, mut record) = match (session.profile(), session.lent(), session.workload()) {
        (Some(profile), ..) => of_profile(profile, &session, host)?,
        (None, Some(lent), _) => of_lent(lent, &session, host.env()),
        (None, None, Some(workload)) => of_workload(workload, &session, host)?,
        (None, None, None) => of_api_key(&session, host.env()),
    };
    let Some(checked) = checked else { return Ok(Report::one(text, record)) };
    let failure = match checked {
        Ok(user) => {
            let user = UserRecord::new(user);
            let _ = writeln!(text, "  Valid: {GREEN}yes{GREEN:#}");
            for (label, value) in user.known() {
                let _ = writeln!(text, "  {label} {value}");
            }
            record.valid = Some(true);
            record.user = Some(user);
            None
        }
        Err(error) => {
            if error.kind() != ErrorKind::NotLoggedIn {
                return Err(error.into());
            }
            let _ = writeln!(text, "  Valid: {RED}no{RED:#}");
            record.valid = Some(false);
            Some(error.into())
        }
    };
    Ok(Report::one(text, record).failing(failure))
}

/// What all credentials have in common.
fn record(session: &Session, env: &Env) -> StatusRecord {
    StatusRecord {
        profile: session.profile_name().unwrap_or_default().to_owned(),
        remote_url: session.remote_url().to_owned(),
        auth_type: session.auth_type().as_str(),
        trust_rule: None,
        identity: None,
        storage: None,
        storage_path: None,
        expires_at: None,
        selected_by: selected_by(session.source()),
        overrides: overrides(session, env),
        valid: None,
        user: None,
    }
}

fn of_api_key(session: &Session, env: &Env) -> (String, StatusRecord) {
    let record = record(session, env);
    let remote = plain_text(&record.remote_url);
    let text = format!("Using API key from BASETEN_API_KEY\n  Remote: {remote}\n");
    (text + &overrides_line(&record.overrides), record)
}

fn of_lent(lent: &Lent, session: &Session, env: &Env) -> (String, StatusRecord) {
    let socket = lent.socket().display().to_string();
    let record = StatusRecord {
        storage: Some(SOCKET.to_owned()),
        storage_path: Some(socket.clone()),
        ..record(session, env)
    };
    let name =
        if record.profile.is_empty() { "A credential of the lender" } else { &record.profile };
    let text = format!(
        "{BOLD}{}{BOLD:#}\n  Remote: {}\n  Auth type: {}\n  Storage: socket ({})\n  \
         Selected by: {}\n",
        plain_text(name),
        plain_text(&record.remote_url),
        record.auth_type,
        plain_text(&socket),
        record.selected_by,
    );
    (text + &overrides_line(&record.overrides), record)
}

fn of_workload(
    workload: &Workload,
    session: &Session,
    host: &Host,
) -> Result<(String, StatusRecord), CliError> {
    let claims = session.identity_claims()?;
    let mut record = record(session, host.env());
    let (rule, source) = (workload.rule().as_str(), workload.source());
    let mut text = format!(
        "Using workload identity (trust rule {rule})\n  Remote: {}\n  Identity token: {}\n",
        plain_text(&record.remote_url),
        plain_text(&source.to_string()),
    );
    let mut identity = IdentityRecord {
        source: source.name(),
        path: match source {
            IdentitySource::File(path) => Some(path.display().to_string()),
            _ => None,
        },
        issuer: None,
        subject: None,
        audience: Vec::new(),
        expires_at: None,
    };
    if let Some(Claims { issuer, subject, audience, expires_at, .. }) = claims {
        let all = Some(audience.join(", ")).filter(|all| !all.is_empty());
        for (label, value) in [("Issuer", &issuer), ("Subject", &subject), ("Audience", &all)] {
            if let Some(value) = value {
                let _ = writeln!(text, "  {label}: {}", plain_text(value));
            }
        }
        if let Some(end) = expires_at {
            let now = host.context().wait().now();
            let expires = if end <= now { "expired" } else { "expires" };
            let _ = writeln!(text, "  Identity token {expires}: {}", when(end, now));
        }
        let expires_at = expires_at.map(|end| end.to_string());
        identity = IdentityRecord { issuer, subject, audience, expires_at, ..identity };
    }
    record.trust_rule = Some(rule.to_owned());
    record.identity = Some(identity);
    Ok((text + &overrides_line(&record.overrides), record))
}

fn of_profile(
    profile: &Profile,
    session: &Session,
    host: &Host,
) -> Result<(String, StatusRecord), CliError> {
    let storage = profile.storage(&host.context().storage_policy()?);
    let expiry = session.expiry();
    let path = match storage {
        Storage::File => Some(host.context().store()?.path().display().to_string()),
        Storage::Keyring | Storage::Kept(_) => None,
    };
    let record = StatusRecord {
        storage: Some(storage.to_string()),
        storage_path: path.clone(),
        expires_at: expiry.map(|expiry| expiry.to_string()),
        ..record(session, host.env())
    };
    let mut text = format!(
        "{BOLD}{}{BOLD:#}\n  Remote: {}\n  Auth type: {}\n",
        plain_text(&record.profile),
        plain_text(&record.remote_url),
        record.auth_type,
    );
    let place = place_name(&storage);
    let _ = match path {
        Some(path) => writeln!(text, "  Storage: {place} ({})", plain_text(&path)),
        None => writeln!(text, "  Storage: {place}"),
    };
    if let Some(expiry) = expiry {
        let _ = writeln!(text, "  Token {}", expires(expiry, host));
    }
    let _ = writeln!(text, "  Selected by: {}", record.selected_by);
    text += &overrides_line(&record.overrides);
    Ok((text, record))
}

fn expires(expiry: Timestamp, host: &Host) -> String {
    let now = host.context().wait().now();
    let when = when(expiry, now);
    if expiry <= now {
        format!("expired: {when}; it is refreshed when it is needed")
    } else {
        format!("expires: {when}")
    }
}

/// What else is set and would select something else. With a credential from the environment, stored
/// profiles are not read.
fn overrides(session: &Session, env: &Env) -> Vec<&'static str> {
    let lower: &[&'static str] = match session.source() {
        // With a lender, the name is looked up at the lender.
        SessionSource::Named => &[API_KEY, TRUST_RULE, PROFILE],
        SessionSource::ApiKeyEnv => &[TRUST_RULE, AUTH_SOCK, PROFILE],
        SessionSource::TrustRuleEnv => &[AUTH_SOCK, PROFILE],
        _ => &[],
    };
    let selected = session.profile_name();
    let selects_the_same =
        |variable| variable == PROFILE && selected == env.text(variable).ok().flatten();
    let variables = lower.iter().copied();
    let variables = variables.filter(|variable| env.has(variable) && !selects_the_same(*variable));
    variables.chain(session.hidden_current().map(|_| CURRENT)).collect()
}

fn overrides_line(overrides: &[&'static str]) -> String {
    if overrides.is_empty() {
        return String::new();
    }
    format!("  Overrides: {}\n", overrides.join(", "))
}
