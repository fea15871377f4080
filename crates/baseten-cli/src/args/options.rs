//! The options of each command.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use baseten_auth::internal::ProfileName;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum, ValueHint};

/// The heading of the options that commands have in common.
pub(crate) const COMMON: &str = "Common options";

/// Options of `auth login`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct LoginArgs {
    /// Store the credential in plain text instead of the system keyring
    #[arg(long)]
    pub(crate) insecure_storage: bool,
    /// Print the URL and the code without opening a browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Store the profile without making it the current profile
    #[arg(long)]
    pub(crate) no_switch: bool,
    /// Print the URL and the code, and exit; --resume waits for the approval
    #[arg(long, conflicts_with_all = ["with_api_key", "resume"])]
    pub(crate) no_wait: bool,
    /// Name to store the profile under
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Baseten remote URL for this profile [default: https://app.baseten.co]
    #[arg(long, value_name = "URL")]
    pub(crate) remote_url: Option<String>,
    /// Wait for the approval of a login that --no-wait started
    #[arg(long, conflicts_with_all = ["with_api_key", "remote_url"])]
    pub(crate) resume: bool,
    /// Use browser login without interactive prompts
    #[arg(long)]
    pub(crate) web: bool,
    /// Read an API key from standard input
    #[arg(long, conflicts_with_all = ["web", "no_browser"])]
    pub(crate) with_api_key: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of the commands that only select a profile.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `auth switch`.
#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The profile that becomes the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `auth status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Ask the server whether the credential is valid, and whose it is
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `auth token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Fail, and print nothing, if the credential is for another remote
    #[arg(long, value_name = "URL")]
    pub(crate) expect_remote: Option<String>,
    /// Print the whole header line, `Authorization: …`
    #[arg(long)]
    pub(crate) header: bool,
    /// Refresh a token that has less time left than this, such as 10m (s, m or h; at least 60s)
    #[arg(long, value_name = "DURATION")]
    pub(crate) min_ttl: Option<MinTtl>,
    /// Read from standard input a token that a server refused (401), and print another one
    #[arg(long)]
    pub(crate) refused_stdin: bool,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `auth exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Set the variables of this client too; can be given more than once
    #[arg(long = "for", value_name = "CLIENT")]
    pub(crate) clients: Vec<Client>,
    /// Refresh a token that has less time left than this, such as 10m (s, m or h; at least 60s)
    #[arg(long, value_name = "DURATION")]
    pub(crate) min_ttl: Option<MinTtl>,
    /// The program and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// Options of `auth serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Lend every stored profile
    #[arg(long, conflicts_with = "profile")]
    pub(crate) all: bool,
    /// Let the programs of this user ask too; can be given more than once
    #[arg(long, value_name = "UID", value_parser = uid)]
    pub(crate) allow_uid: Vec<u32>,
    /// Lend for at most this long at a time, such as 10m (s, m or h; at least 60s)
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_ttl: Option<MinTtl>,
    /// Lend this stored profile; can be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<ProfileName>,
    /// Where to listen
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// What to print: text on stderr, or a line of JSON on stdout for each token [default: text]
    #[arg(short, long, value_name = "FORMAT", help_heading = COMMON)]
    pub(crate) output: Option<LogFormat>,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// A user id.
fn uid(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "use the user's number, as id -u prints it")
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people, on stderr
    Text,
    /// JSON, one record per line
    Jsonl,
    /// Nothing
    None,
}

/// Options of `auth setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The agent to set up
    #[arg(value_name = "AGENT")]
    pub(crate) agent: Agent,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace keys that are set to something else
    #[arg(long)]
    pub(crate) force: bool,
    /// The model that the agent uses
    #[arg(long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) model: Option<String>,
    /// Remove what this command has set, except the model
    #[arg(long, conflicts_with_all = ["force", "model"])]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A coding agent that can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Agent {
    /// Claude Code
    ClaudeCode,
    /// Codex
    Codex,
}

/// A program that reads its credential from its own variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// truss (its variables are always set)
    Truss,
    /// The OpenAI SDK, and programs that read the same variables
    Openai,
    /// The Anthropic SDK, and programs that read the same variables
    Anthropic,
}

/// How long a token has to be valid, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinTtl(pub(crate) Duration);

impl MinTtl {
    /// The minimum; shorter times count as this.
    pub(crate) const LEAST: Duration = Duration::from_mins(1);
}

impl std::str::FromStr for MinTtl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "use a whole number with s, m or h, such as 10m";
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(FORM)?;
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(FORM),
        };
        let is_whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| is_whole).ok_or(FORM)?;
        let seconds = number.checked_mul(seconds).ok_or("it is too long")?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell to print a script for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// A shell with a completion script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// PowerShell
    Powershell,
}

/// The option that selects a profile.
#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Use a specific stored profile for this command, overriding BASETEN_PROFILE and the current
    /// profile
    #[arg(long, value_name = "NAME", help_heading = COMMON)]
    pub(crate) profile: Option<ProfileName>,
}

/// What a command says and asks.
#[derive(Debug, Args)]
#[command(next_help_heading = COMMON)]
pub(crate) struct Talk {
    /// Never prompt, and do not let the keyring or a credential helper prompt
    #[arg(long)]
    pub(crate) no_input: bool,
    /// Enable verbose logging
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The options of every command that prints a report.
#[derive(Debug, Args)]
#[command(next_help_heading = COMMON)]
pub(crate) struct Common {
    /// Filter JSON output with a jq expression; implies --output json (or jsonl for lists)
    #[arg(short = 'q', long, value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) jq: Option<String>,
    /// Never prompt, and do not let the keyring or a credential helper prompt
    #[arg(long)]
    pub(crate) no_input: bool,
    /// Output format [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Print string results of --jq without quotes
    #[arg(short, long)]
    pub(crate) raw_output: bool,
    /// Enable verbose logging
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// JSON, indented by two
    Json,
    /// JSON, one record per line
    Jsonl,
    /// Nothing
    None,
}
