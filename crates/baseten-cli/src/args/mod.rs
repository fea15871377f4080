//! The command line as types.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read")]

pub(crate) mod options;
pub(crate) mod rewrite;

use std::convert::identity;
use std::ffi::OsString;
use std::ops::Deref;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::options::{
    COMMON, Common, CompletionArgs, ExecArgs, LoginArgs, SelectArgs, ServeArgs, SetupArgs,
    StatusArgs, SwitchArgs, TokenArgs,
};

/// The program's name is followed by the version, its commit and its target. Other programs parse
/// the number after the word `version`.
pub(crate) const VERSION_LINE: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILD_COMMIT"),
    ", ",
    env!("BUILD_TARGET"),
    ")"
);

/// The option that adds the schema of a command's output to its help.
pub(crate) const HELP_OUTPUT: &str = "help-output";

/// The examples of a command, from pairs of a sentence and a command line.
macro_rules! examples {
    ($($what:literal, $line:literal);+ $(;)?) => {
        concat!("Examples:\n", $("  ", $what, "\n    ", $line, "\n",)+)
    };
}

/// Parses the arguments, the program's name first.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Command, clap::Error> {
    // Never freed: the process is short, and freeing the tree takes a tenth of the startup time.
    let command = Box::leak(Box::new(lazy_command()));
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches_mut(&mut matches);
    Ok(cli.map_err(|error| error.format(command))?.command)
}

/// The whole command tree, with the options of all commands. Documentation and help use it.
pub fn command() -> clap::Command {
    let mut command = lazy_command();
    command.build();
    command
}

/// The command tree for a completion: only the commands among the words have their options.
pub(crate) fn command_for(words: &[OsString]) -> clap::Command {
    let mut command = lazy_command().mut_subcommands(|command| with_options_if_in(words, command));
    command.build();
    command
}

fn with_options_if_in(words: &[OsString], command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(|command| with_options_if_in(words, command));
    let is_named = words.iter().any(|word| word == command.get_name());
    // The other commands get an empty function instead of the one that adds their options.
    if is_named || command.has_subcommands() { command } else { command.defer(identity) }
}

/// The command tree. The options of a command are added when it is parsed.
fn lazy_command() -> clap::Command {
    Cli::command().mut_subcommands(finished)
}

/// What all commands have in common: if an option is given twice, the last one wins, and help is
/// listed below a command's own options.
fn finished(command: clap::Command) -> clap::Command {
    let command = command.args_override_self(true);
    if command.has_subcommands() {
        return command.mut_subcommands(finished);
    }
    // Below the command's own options, which are added later.
    let help = |name| {
        let help = Arg::new(name).long(name).action(ArgAction::Help);
        help.help_heading(COMMON).display_order(usize::MAX)
    };
    command
        .disable_help_flag(true)
        .arg(help("help").short('h').help("Print help (use --help for more)"))
        .arg(
            help(HELP_OUTPUT)
                .help("Print help with the output's JSON schema and the exit statuses"),
        )
}

/// The command that the arguments name; its options follow in the slice.
pub(crate) fn named<'c>(
    command: &'c clap::Command,
    arguments: &[OsString],
) -> (&'c clap::Command, Vec<&'c str>) {
    let (mut command, mut path) = (command, Vec::new());
    for word in arguments.iter().skip(1) {
        let Some(next) = word.to_str().and_then(|word| command.find_subcommand(word)) else {
            break;
        };
        command = next;
        path.push(next.get_name());
    }
    (command, path)
}

/// Log in to Baseten from the command line
#[derive(Debug, Parser)]
#[command(
    name = "baseten",
    version = VERSION_LINE,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage authentication
    ///
    /// Log in, log out, and manage Baseten credentials.
    ///
    /// Each set of credentials is a named profile. Choose one for a single command with --profile
    /// or the BASETEN_PROFILE environment variable, or set the default with `baseten auth switch`.
    /// Credentials are kept in the system keyring if there is one, otherwise in plain text in the
    /// configuration directory.
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Auth {
        #[command(subcommand)]
        command: AuthCommand,
    },
    /// Show the user behind the selected credential
    ///
    /// Asks the server who the selected credential belongs to.
    #[command(after_help = examples!("Show who you are", "baseten whoami"))]
    Whoami(Lazy<SelectArgs>),
    /// Show the version of this program
    #[command(after_help = examples!(
        "Show the version", "baseten version";
        "Print just the version's number", "baseten version --jq '.version' -r"
    ))]
    Version(Lazy<Common>),
    /// Print a completion script for your shell
    ///
    /// Print a script that makes a shell complete commands, options and the names of the stored
    /// profiles. Load it in the startup file of your shell.
    #[command(after_help = examples!(
        "bash, in ~/.bashrc", "source <(baseten completion bash)";
        "zsh, in ~/.zshrc, after compinit", "source <(baseten completion zsh)";
        "fish, in ~/.config/fish/config.fish", "baseten completion fish | source";
        "PowerShell, in $PROFILE",
        "baseten completion powershell | Out-String | Invoke-Expression"
    ))]
    Completion(Lazy<CompletionArgs>),
}

impl Command {
    /// Whether it works on the profiles stored here, so that it makes no sense with a lent login.
    pub(crate) fn keeps_logins(&self) -> bool {
        use AuthCommand::{Login, Logout, Serve, Switch};
        let Self::Auth { command } = self else { return false };
        matches!(command, Login(_) | Logout(_) | Serve(_) | Switch(_))
    }

    /// Whether it may take so long that it needs signal handling. The other commands only read one
    /// file, unless they ask a lender, which may be slow.
    pub(crate) fn may_wait(&self, borrows: bool) -> bool {
        match self {
            Self::Auth { command: AuthCommand::Status(args) } => {
                args.check || args.common.jq.is_some() || borrows
            }
            Self::Auth { command: AuthCommand::List(common) } => common.jq.is_some() || borrows,
            Self::Auth { .. } | Self::Whoami(_) => true,
            Self::Version(_) | Self::Completion(_) => false,
        }
    }
}

/// What `baseten auth` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Log in through the browser or with an API key
    ///
    /// Log in to Baseten through your browser (OAuth device flow) or with an API key, and store a
    /// named profile.
    ///
    /// On a terminal, asks which of the two you want. --web goes straight to the browser login,
    /// even without a terminal. --with-api-key reads an API key from standard input or, on a
    /// terminal, from a hidden prompt.
    ///
    /// A browser login names the profile after your email. If the remote is not the default one,
    /// its host is added, as in alice@example.com:localhost. An API key needs a name in --profile.
    /// The new profile becomes the current one, unless you use --no-switch.
    #[command(after_help = examples!(
        "Log in through the browser (OAuth device flow)", "baseten auth login --web";
        "Take an API key from standard input, as a named profile",
        "echo $API_KEY | baseten auth login --with-api-key --profile <profile>";
        "Print just the new profile's name", "baseten auth login --web --jq '.profile'"
    ))]
    Login(Lazy<LoginArgs>),
    /// Remove a profile and its credential
    ///
    /// Remove a stored profile and its credential: the current profile, or the one that --profile
    /// names. The session of a browser login is ended at the server as well.
    #[command(after_help = examples!(
        "Log out the current profile", "baseten auth logout";
        "Log out a specific profile", "baseten auth logout --profile <profile>";
        "Print just the name of the profile that was logged out",
        "baseten auth logout --jq '.profile'"
    ))]
    Logout(Lazy<SelectArgs>),
    /// Choose the current profile
    ///
    /// Set the profile that is used when neither --profile nor BASETEN_PROFILE selects one. On a
    /// terminal, offers a list to choose from.
    #[command(after_help = examples!(
        "Switch to a specific profile, without a prompt",
        "baseten auth switch --profile <profile>";
        "Print just the new current profile",
        "baseten auth switch --profile <profile> --jq '.profile'"
    ))]
    Switch(Lazy<SwitchArgs>),
    /// Show the selected profile
    ///
    /// Show the resolved authentication state: the profile, its remote and its type of
    /// authentication. Asks neither the keyring nor the server, unless you use --check.
    #[command(after_help = examples!(
        "Show the current state", "baseten auth status";
        "Ask the server whether the credential is valid", "baseten auth status --check";
        "Print just the type of authentication", "baseten auth status --jq '.auth_type'"
    ))]
    Status(Lazy<StatusArgs>),
    /// List the stored profiles
    ///
    /// List every profile with its remote, type of authentication and storage. The current one is
    /// marked.
    #[command(after_help = examples!(
        "List the profiles", "baseten auth list";
        "Print their names, one per line", "baseten auth list --jq '.profile' -r"
    ))]
    List(Lazy<Common>),
    /// Print a valid credential
    ///
    /// Print a valid access token or API key of the selected profile, refreshed if needed, for
    /// programs that make their own requests.
    #[command(after_help = examples!(
        "Make a request with curl, which reads the header from its input",
        "baseten auth token --header | curl -H @- https://api.baseten.co/v1/models";
        "Print when the token expires",
        "baseten auth token --jq '.expires_at'"
    ))]
    Token(Lazy<TokenArgs>),
    /// Run a program with the credential in its environment
    ///
    /// Run a program with a valid credential of the selected profile in its environment. The
    /// variables are those that truss reads and, with --for, those of the OpenAI and Anthropic
    /// clients.
    ///
    /// The program's token is not replaced when it expires. For a long run, ask for a longer
    /// lifetime with --min-ttl, or let the program run `baseten auth token` again.
    #[command(after_help = examples!(
        "Push a model with truss", "baseten auth exec -- truss push";
        "Run a script that uses the OpenAI client, with a token for at least half an hour",
        "baseten auth exec --for openai --min-ttl 30m -- python chat.py"
    ))]
    Exec(Lazy<ExecArgs>),
    /// Lend access tokens to other programs and machines
    ///
    /// Hand out access tokens over a Unix socket until Ctrl-C. Refresh tokens stay here, and each
    /// is used once for all clients. If BASETEN_AUTH_SOCK names the socket, every command that
    /// needs a credential asks there, and stores nothing.
    ///
    /// Lends the profile that is selected at the moment of a request, unless you use --profile or
    /// --all. Only programs of your user, of root and of the users in --allow-uid may ask.
    ///
    /// Without --socket, listens at the socket that systemd hands over, or else at
    /// $XDG_RUNTIME_DIR/baseten/auth.sock, or else at auth.sock in the configuration directory.
    #[command(after_help = examples!(
        "Lend the current profile", "baseten auth serve";
        "Lend two profiles to a container that has only this directory",
        "baseten auth serve --socket ~/lend/auth.sock --profile prod --profile dev"
    ))]
    Serve(Lazy<ServeArgs>),
    /// Set up a coding agent to get its token from this program
    ///
    /// Change the settings of Claude Code or Codex so that requests go to Baseten, with a token
    /// that the agent gets from `baseten auth token` whenever it needs one. No secret is written.
    ///
    /// Everything else in the settings stays as it is. A key that is set to something else is
    /// replaced only with --force. --remove deletes what this command has set, except the model.
    #[command(after_help = examples!(
        "Set up Claude Code with the current profile",
        "baseten auth setup claude-code --model <model>";
        "Show what would be changed for Codex", "baseten auth setup codex --dry-run";
        "Undo it", "baseten auth setup claude-code --remove"
    ))]
    Setup(Lazy<SetupArgs>),
}

/// The arguments of a command. They are only built for the command that is named: building them for
/// all commands would take longer than the rest of the startup.
#[derive(Debug)]
pub(crate) struct Lazy<T>(T);

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(with_arguments::<T>)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }

    fn group_id() -> Option<clap::Id> {
        T::group_id()
    }
}

/// Adds the arguments to a command, which keeps its own description.
fn with_arguments<T: Args>(command: clap::Command) -> clap::Command {
    let (about, long_about) = (command.get_about().cloned(), command.get_long_about().cloned());
    T::augment_args(command).about(Resettable::from(about)).long_about(Resettable::from(long_about))
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::options::Format;
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn an_option_may_be_given_twice() {
        let words = ["baseten", "auth", "status", "-o", "json", "-otext", "-vv", "--profile=a"];
        let command = parse(words.map(OsString::from).into()).unwrap();
        let Command::Auth { command: AuthCommand::Status(args) } = command else { panic!() };
        assert_eq!(args.common.output, Some(Format::Text));
        assert!(args.common.verbose);
    }
}
