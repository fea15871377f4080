//! The binary: a sandbox on a port, until Ctrl-C.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use baseten_sandbox::{Config, Sandbox, TrustRule};
use clap::Parser;

/// A local Baseten remote for development, demos and tests. Development only: it keeps everything in
/// memory, has test users only, and listens on loopback only.
#[derive(Parser)]
#[command(name = "baseten-sandbox", version)]
struct Args {
    /// The port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8000)]
    port: u16,

    /// Delay every answer of the API by this
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,

    /// The interval between two polls of a device login, sent as given and enforced
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    device_interval: u64,

    /// How long a device login can be answered
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    device_code_lifetime: u64,

    /// How long an access token is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    access_token_lifetime: u64,

    /// Keep refresh tokens instead of replacing them at each refresh
    #[arg(long)]
    no_rotation: bool,

    /// Allow every device login at once as this user, without the approval page
    #[arg(long, value_name = "USER")]
    auto_approve: Option<String>,

    /// Exchange identity tokens by this rule: JSON with `id`, `issuer`, `audience`, `subject` (may
    /// end with `*`) and `user`. Can be given more than once
    #[arg(long, value_name = "JSON", value_parser = |rule: &str| serde_json::from_str::<TrustRule>(rule))]
    trust_rule: Vec<TrustRule>,

    /// Also print every user's API key
    #[arg(long)]
    print_keys: bool,

    /// Print one line of JSON instead: `remote_url`, `api_url` and `api_keys`, by user
    #[arg(long)]
    json: bool,
}

impl Args {
    fn config(&self) -> Config {
        Config {
            port: self.port,
            latency: Duration::from_millis(self.latency),
            device_interval: self.device_interval,
            device_code_lifetime: Duration::from_secs(self.device_code_lifetime),
            access_token_lifetime: Duration::from_secs(self.access_token_lifetime),
            rotate_refresh_tokens: !self.no_rotation,
            auto_approve: self.auto_approve.clone(),
            trust_rules: self.trust_rule.clone(),
            ..Config::default()
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            // If stderr is closed, there is nowhere else to report it.
            let _ = writeln!(std::io::stderr(), "baseten-sandbox: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sandbox = Sandbox::start(args.config())?;
    let mut stdout = std::io::stdout();
    stdout.write_all(announcement(args, &sandbox).as_bytes())?;
    stdout.flush()?;
    Ok(runtime.block_on(asked_to_stop())?)
}

/// What is printed on stdout once the sandbox answers.
fn announcement(args: &Args, sandbox: &Sandbox) -> String {
    let users = sandbox.users();
    if args.json {
        let keys: BTreeMap<_, _> = users.iter().map(|user| (&user.id, user.api_key())).collect();
        let line = serde_json::json!({
            "remote_url": sandbox.remote_url(),
            "api_url": sandbox.api_url(),
            "api_keys": keys,
        });
        return format!("{line}\n");
    }
    let mut text = format!("baseten-sandbox (development only) on {}\n", sandbox.remote_url());
    if args.print_keys {
        text.extend(users.iter().map(|user| format!("  {:14} {}\n", user.id, user.api_key())));
    }
    text
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
