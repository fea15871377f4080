//! `baseten auth login`

use std::fmt::Write as _;

use baseten_auth::internal::{
    Context, Credential, DeviceAuthorization, DeviceError, Failure, Login, ManagementUrl,
    OAuthCredential, Pending, ProfileName, Remote, StoragePolicy, abandon, identify, name_after,
    plain_text, read_api_key, remote_of_environment, start_device_login, store_login, variable,
    wait_for_approval,
};
use baseten_auth::{Error, Secret, User};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::LoginArgs;
use crate::commands::user::UserRecord;
use crate::error::CliError;
use crate::explanation::phrases::login_options;
use crate::host::Host;
use crate::notices;
use crate::render::{talk, warning};
use crate::report::Report;
use crate::terminal::prompt::{self, Method};
use crate::terminal::waiting::{Invitation, Waiting};
use crate::terminal::{browser, window};

/// The JSON of a login. What is not known is empty.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LoginRecord {
    /// The profile that was stored.
    profile: String,
    /// Who is behind it.
    #[serde(flatten)]
    user: UserRecord,
}

/// The JSON of the first of two steps.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PendingRecord {
    /// The page to open in a browser.
    verification_uri: String,
    /// The same page with the code filled in; empty if the server gives none.
    verification_uri_complete: String,
    /// The code that the page must show.
    user_code: String,
    /// When the code expires.
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
    /// The command that waits for the approval.
    next_step: String,
}

/// The command for the second of two steps.
const RESUME: &str = "baseten auth login --resume";

/// What a login will do, checked as far as possible without the network.
struct Plan {
    name: Option<ProfileName>,
    remote: Remote,
    /// Whether a login without --remote-url would use this remote too.
    is_usual_remote: bool,
    management: ManagementUrl,
    storage: StoragePolicy,
    switch: bool,
    /// Whether it uses `--no-wait` and `--resume`.
    two_steps: bool,
}

pub(crate) fn run(args: &LoginArgs, host: &Host) -> Result<Report, CliError> {
    if args.resume {
        return resume(args, host);
    }
    check_combination(args, host)?;
    let plan = Plan::new(args, host)?;
    match chosen_method(args).map_or_else(prompt::method, Ok)? {
        Method::Browser if args.no_wait => start_only(plan, host),
        Method::Browser => {
            let pending = start(&plan, host)?;
            let waiting = show(&plan, &pending, args, host);
            let tokens = wait(&plan.management, &pending, waiting, host);
            let tokens = tokens.map_err(|error| plan.failed(error))?;
            finish(plan, tokens, host)
        }
        Method::ApiKey => {
            let typed = window::stdin_is_terminal();
            let key = if typed { prompt::api_key(&plan.remote)? } else { read_key()? };
            let credential = Credential::ApiKey(key);
            // Check the key before asking for a name: it may be rejected.
            let user = plan.identify(&credential, host)?;
            let name = match &plan.name {
                Some(name) => name.clone(),
                None => prompt::profile_name(plan.suggestion(&user, host)?.as_ref())?,
            };
            let plan = Plan { name: Some(name), ..plan };
            host.interrupt().store(|| plan.store(credential, user, host))
        }
    }
}

/// Refuses combinations of options that can't work here.
fn check_combination(args: &LoginArgs, host: &Host) -> Result<(), CliError> {
    if chosen_method(args).is_none() {
        prompt::check(
            host,
            "use --web for the browser, or --with-api-key with the key on standard input",
        )?;
    }
    if args.with_api_key && window::stdin_is_terminal() && host.asks_nobody() {
        prompt::check(host, "pass the key on standard input")?;
    }
    if args.with_api_key && args.profile.is_none() && host.cannot_prompt().is_some() {
        return Err(CliError::usage(
            "without a terminal, --with-api-key needs --profile",
            "name the profile with --profile <profile>",
        ));
    }
    Ok(())
}

impl Plan {
    /// Checks everything that can be checked before the first request.
    fn new(args: &LoginArgs, host: &Host) -> Result<Self, CliError> {
        let context = host.context();
        let remote = match &args.remote_url {
            Some(text) => Remote::parse(text).map_err(|error| {
                let hint = "use a URL such as https://app.baseten.co";
                CliError::usage(format!("--remote-url cannot be used: {error}"), hint)
            })?,
            None => remote_of_environment(context)?.unwrap_or_default(),
        };
        let management = management_url(context, &remote)?;
        let plan = Self {
            name: args.profile.clone(),
            is_usual_remote: is_usual(&remote, host),
            remote,
            management,
            storage: storage(args.insecure_storage, host)?,
            switch: !args.no_switch,
            two_steps: args.no_wait,
        };
        plan.check(context)?;
        Ok(plan)
    }

    /// Checks that the login could be stored.
    fn check(&self, context: &Context) -> Result<(), CliError> {
        context.check_storage(&self.storage, self.name.as_ref())?;
        Ok(context.store()?.rehearse()?)
    }

    /// What the user is about to approve. Somebody else may have sent them the code of another
    /// login (RFC 8628 §5.4).
    fn notice(&self, host: &Host) -> String {
        let (machine, remote) = (host.machine(), self.remote.as_str());
        let remote = remote.trim_start_matches("https://");
        format!("Approve it only if you started it: on {machine}, for {remote}.")
    }

    /// Asks the server whose credential it is.
    fn identify(&self, credential: &Credential, host: &Host) -> Result<User, CliError> {
        let user = identify(host.context(), &self.management, credential);
        let user = user.map_err(|error| match credential {
            Credential::ApiKey(_) => CliError::Refused(error),
            Credential::OAuth(_) => self.failed(error.into()),
        })?;
        Ok(user.ok_or(Failure::Canceled).map_err(Error::from)?)
    }

    /// A name for an API key's profile that does not replace another profile.
    fn suggestion(&self, user: &User, host: &Host) -> Result<Option<ProfileName>, CliError> {
        let name = name_after(user, &self.remote);
        let names = host.profile_names()?;
        let candidates = [name.clone(), format!("{name}:api-key")];
        let mut candidates = candidates.into_iter().filter_map(|name| ProfileName::new(name).ok());
        Ok(candidates.find(|name| !names.contains(name)))
    }

    /// Stores the profile, and reports it.
    fn store(self, credential: Credential, user: User, host: &Host) -> Result<Report, CliError> {
        let Self { name, remote, storage, switch, .. } = self;
        let login = Login { name, remote, credential, user, switch, storage };
        let name = store_login(host.context(), &login)?;
        if switch {
            notices::still_wins(host.env(), Some(&name));
        }
        Ok(report(&name, login.user))
    }

    /// An error of the browser login, with the command that starts the same login again.
    fn failed(&self, error: DeviceError) -> CliError {
        let steps = if self.two_steps { " --no-wait" } else { "" };
        let name = self.name.as_ref().map(ProfileName::as_str);
        let remote = (!self.is_usual_remote).then(|| self.remote.as_str());
        let options = login_options(name, remote);
        let storage = if self.storage == StoragePolicy::File { " --insecure-storage" } else { "" };
        let switch = if self.switch { "" } else { " --no-switch" };
        let again = format!("baseten auth login --web{steps}{options}{storage}{switch}");
        CliError::Device { error, again }
    }
}

fn is_usual(remote: &Remote, host: &Host) -> bool {
    remote.is_default() && !host.env().has(variable::REMOTE_URL)
}

fn management_url(context: &Context, remote: &Remote) -> Result<ManagementUrl, CliError> {
    Ok(remote.management_url(context.env()).map_err(baseten_auth::Error::from)?)
}

/// How to log in, as far as the options say.
fn chosen_method(args: &LoginArgs) -> Option<Method> {
    if args.web || args.no_wait {
        Some(Method::Browser)
    } else {
        args.with_api_key.then_some(Method::ApiKey)
    }
}

fn read_key() -> Result<Secret, CliError> {
    read_api_key(std::io::stdin().lock()).map_err(CliError::Input)?.map_err(CliError::ApiKey)
}

/// Shows the user where to go, before any browser starts.
fn show(plan: &Plan, pending: &DeviceAuthorization, args: &LoginArgs, host: &Host) -> Waiting {
    let url = pending.page();
    let opens = !args.no_browser && browser::is_within_sight(host.env());
    let (env, window, notice) = (host.env(), host.window(), plan.notice(host));
    let invite = |opens| Invitation::new(env, window, url, &pending.user_code, &notice, opens);
    let mut invitation = invite(opens);
    invitation.show();
    if opens && let Err(problem) = browser::open(url, host.env()) {
        warning(&format!("no browser could be started: {problem}"));
        invitation = invite(false);
        invitation.show();
    }
    Waiting::start(host.interrupt(), host.window(), Some(&invitation))
}

fn start(plan: &Plan, host: &Host) -> Result<DeviceAuthorization, CliError> {
    let context = host.context();
    start_device_login(context.http(), context.wait(), context.observer(), &plan.management)
        .map_err(|error| plan.failed(error))
}

/// Waits until the user has approved.
fn wait(
    management: &ManagementUrl,
    pending: &DeviceAuthorization,
    mut waiting: Waiting,
    host: &Host,
) -> Result<OAuthCredential, DeviceError> {
    let context = host.context();
    let mut tick = |left| waiting.tell(left);
    let tokens = wait_for_approval(context.http(), context.wait(), management, pending, &mut tick);
    waiting.end();
    tokens
}

/// The login is approved: asks whose it is, and stores it. If that fails, or a signal arrives
/// meanwhile, the new session is ended at the server.
fn finish(plan: Plan, tokens: OAuthCredential, host: &Host) -> Result<Report, CliError> {
    let (context, management) = (host.context(), plan.management.clone());
    let credential = Credential::OAuth(tokens);
    let stored = host.interrupt().store(|| {
        let user = plan.identify(&credential, host)?;
        plan.store(credential.clone(), user, host)
    });
    if stored.is_err() {
        abandon(context, &management, &credential);
    }
    stored
}

fn report(name: &ProfileName, user: User) -> Report {
    let shown = |text: &str| plain_text(text);
    let mut text = format!("Logged in as {}", shown(user.label()));
    if let Some(workspace) = &user.workspace_name {
        let _ = write!(text, " ({})", shown(workspace));
    }
    let _ = writeln!(text, " as profile {}", shown(name.as_str()));
    let record = LoginRecord { profile: name.as_str().to_owned(), user: UserRecord::new(user) };
    Report::one(text, record)
}

/// The first of two steps: prints where to go.
fn start_only(plan: Plan, host: &Host) -> Result<Report, CliError> {
    let context = host.context();
    Pending::rehearse(&context.store()?)?;
    let authorization = start(&plan, host)?;
    if authorization.has_expired(context.wait().now()) {
        return Err(plan.failed(DeviceError::Expired));
    }
    let notice = plan.notice(host);
    let record = PendingRecord {
        verification_uri: authorization.verification_uri.clone(),
        verification_uri_complete: authorization
            .verification_uri_complete
            .clone()
            .unwrap_or_default(),
        user_code: authorization.user_code.clone(),
        expires_at: authorization.expires_at.to_string(),
        next_step: RESUME.to_owned(),
    };
    let pending = Pending {
        remote: plan.remote,
        name: plan.name,
        switch: plan.switch,
        insecure_storage: plan.storage == StoragePolicy::File,
        authorization,
    };
    host.interrupt().store(|| pending.save(&context.store()?).map_err(CliError::from))?;
    talk(&notice);
    let text = format!(
        "Open {}\nand confirm the code {}\nThen run: {RESUME}\n",
        pending.authorization.page(),
        plain_text(&pending.authorization.user_code),
    );
    Ok(Report::one(text, record))
}

/// The second of two steps: waits for the approval.
fn resume(args: &LoginArgs, host: &Host) -> Result<Report, CliError> {
    let context = host.context();
    let store = context.store()?;
    let pending = Pending::load(&store)?;
    let plan = Plan {
        name: args.profile.clone().or(pending.name),
        management: management_url(context, &pending.remote)?,
        is_usual_remote: is_usual(&pending.remote, host),
        remote: pending.remote,
        storage: storage(args.insecure_storage || pending.insecure_storage, host)?,
        switch: pending.switch && !args.no_switch,
        two_steps: true,
    };
    plan.check(context)?;
    let granted = if pending.authorization.has_expired(context.wait().now()) {
        Err(DeviceError::Expired)
    } else {
        let waiting = Waiting::start(host.interrupt(), host.window(), None);
        wait(&plan.management, &pending.authorization, waiting, host)
    };
    let is_used_up = granted.as_ref().map_or_else(DeviceError::ends_the_code, |_| true);
    let outcome = match granted {
        // First of all: these tokens come only once, and anything before this could be interrupted.
        Ok(tokens) => finish(plan, tokens, host),
        Err(error) => Err(plan.failed(error)),
    };
    if is_used_up {
        // So the file is no longer needed.
        let _ = Pending::forget(&store, &pending.authorization);
    }
    outcome
}

fn storage(insecure: bool, host: &Host) -> Result<StoragePolicy, CliError> {
    if insecure {
        return Ok(StoragePolicy::File);
    }
    Ok(host.context().storage_policy()?)
}
