//! What each command prints, for `--help-output` and the reference page. The schemas come from the
//! types that are printed.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::commands::list::ListRecord;
use crate::commands::login::{LoginRecord, PendingRecord};
use crate::commands::logout::LogoutRecord;
use crate::commands::serve::{GrantRecord, ReadyRecord};
use crate::commands::setup::SetupRecord;
use crate::commands::status::StatusRecord;
use crate::commands::switch::SwitchRecord;
use crate::commands::token::TokenRecord;
use crate::commands::version::VersionRecord;
use crate::commands::whoami::WhoamiRecord;
use crate::exit::Exit;

/// What a command prints on stdout.
#[derive(Debug)]
pub struct Output {
    /// The command's words, after the program's name.
    pub command: &'static str,
    /// What the text format prints.
    pub text: &'static str,
    /// What the JSON formats print; empty for a command that has none.
    pub records: &'static [Record],
}

/// A JSON record that a command prints.
#[derive(Debug)]
pub struct Record {
    /// What it is, and when it is printed.
    pub what: &'static str,
    /// Its JSON schema.
    pub schema: fn() -> Schema,
}

/// What a command prints; `None` for one that only has other commands.
pub fn of(command: &str) -> Option<&'static Output> {
    OUTPUTS.iter().find(|output| output.command == command)
}

/// The exit statuses and their meanings.
pub fn exit_statuses() -> impl Iterator<Item = (u8, &'static str)> {
    Exit::MEANINGS.iter().map(|(exit, meaning)| (*exit as u8, *meaning))
}

/// The variables that the program reads, and what each is for.
pub const VARIABLES: &[(&str, &str)] = &[
    ("BASETEN_API_KEY", "An API key that is used instead of a stored profile"),
    ("BASETEN_PROFILE", "The stored profile to use instead of the current one"),
    (
        "BASETEN_REMOTE_URL",
        "The remote for a login, BASETEN_API_KEY and BASETEN_TRUST_RULE (default: \
         https://app.baseten.co)",
    ),
    (
        "BASETEN_TRUST_RULE",
        "The trust rule for exchanging a workload's identity token for an access token; used \
         instead of a stored profile",
    ),
    (
        "BASETEN_AUTH_SOCK",
        "The socket of `auth serve`; all credentials then come from there, and stored profiles are \
         not used",
    ),
    ("BASETEN_IDENTITY_TOKEN", "The identity token of a workload"),
    ("BASETEN_IDENTITY_TOKEN_FILE", "A file with the identity token; it is read again each time"),
    (
        "BASETEN_IDENTITY_TOKEN_COMMAND",
        "A command that prints the identity token; it is split into words as in a shell, but runs \
         without one",
    ),
    (
        "BASETEN_IDENTITY_AUDIENCE",
        "The audience to request for the identity token from GitHub Actions",
    ),
    (
        "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "Set by GitHub Actions; used to request the identity token if none of the \
         BASETEN_IDENTITY_TOKEN variables is set",
    ),
    ("BASETEN_CONFIG_DIR", "The directory that the profiles are kept in"),
    (
        "BASETEN_CREDENTIAL_STORE",
        "Where a login keeps its secret: auto (the default: the system keyring, or else the file), \
         keyring, file, helper:<name> for the program docker-credential-<name>, or \
         openbao:<mount>/<path> for a KV version 2 engine of OpenBao or Vault",
    ),
    ("BAO_ADDR, VAULT_ADDR", "The URL of the server of OpenBao or Vault that keeps secrets"),
    (
        "BAO_TOKEN, VAULT_TOKEN",
        "The token for that server (default: the contents of ~/.vault-token)",
    ),
    ("BAO_NAMESPACE, VAULT_NAMESPACE", "The namespace on that server"),
    ("BAO_CACERT, VAULT_CACERT", "A file of certificates to trust for that server"),
    (
        "BASETEN_KEYRING_TIMEOUT",
        "How many seconds a command may wait for the keyring or a helper (default: 3, or 60 if \
         somebody at a terminal or a display can unlock it)",
    ),
    ("BASETEN_NO_INPUT", "Never prompt, as with --no-input (0 and false: off)"),
    ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "The URL of the management API, for this run"),
    ("BASETEN_INFERENCE_BASE_URL_OVERRIDE", "The URL of the inference API, for this run"),
    ("CLAUDE_CONFIG_DIR", "The directory of Claude Code's settings (default: ~/.claude)"),
    ("CODEX_HOME", "The directory of Codex's settings (default: ~/.codex)"),
    ("BROWSER", "The program that opens the page of a login, even over SSH"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies, and the hosts to reach without one"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "Certificates to trust in addition to those of the system"),
    ("NO_COLOR", "No colors"),
];

/// Where the profiles are, by operating system.
pub const FILES: &[(&str, &str)] = &[
    ("Linux", "$XDG_CONFIG_HOME/baseten/auth.json, or ~/.config/baseten/auth.json"),
    ("macOS", "~/Library/Application Support/baseten/auth.json"),
    ("Windows", "%AppData%\\baseten\\auth.json"),
];

/// What each command prints.
pub const OUTPUTS: &[Output] = &[
    Output {
        command: "auth login",
        text: "\"Logged in as <email> (<workspace>) as profile <profile>\" on success. With \
               --no-wait, the URL to open, the code to confirm, and the command that comes next.",
        records: &[
            Record { what: "The new profile.", schema: schema::<LoginRecord> },
            Record { what: "With --no-wait: what to do next.", schema: schema::<PendingRecord> },
        ],
    },
    Output {
        command: "auth logout",
        text: "\"Logged out <profile>\" on success.",
        records: &[Record { what: "The removed profile.", schema: schema::<LogoutRecord> }],
    },
    Output {
        command: "auth switch",
        text: "\"Switched to <profile>\" on success.",
        records: &[Record { what: "The new current profile.", schema: schema::<SwitchRecord> }],
    },
    Output {
        command: "auth status",
        text: "A summary of the selected profile: its name, its remote URL and its type of \
               authentication, then where the credential is kept, when it expires, if \
               known, and what selected the profile.",
        records: &[Record { what: "The selected profile.", schema: schema::<StatusRecord> }],
    },
    Output {
        command: "auth list",
        text: "A table with a line for each profile; a star marks the current one.",
        records: &[Record {
            what: "An array of profiles; with jsonl, one per line.",
            schema: schema::<Vec<ListRecord>>,
        }],
    },
    Output {
        command: "auth token",
        text: "The access token or the API key, and nothing else. With --header, the whole \
               \"Authorization: …\" line.",
        records: &[Record { what: "The credential.", schema: schema::<TokenRecord> }],
    },
    Output {
        command: "auth serve",
        text: "Nothing. Messages go to stderr: where it listens and what it lends, then a line for \
               each token that it hands out.",
        records: &[
            Record {
                what: "Once it is ready: where it listens, and what it lends.",
                schema: schema::<ReadyRecord>,
            },
            Record { what: "For each token that it hands out.", schema: schema::<GrantRecord> },
        ],
    },
    Output { command: "auth exec", text: "What the program prints.", records: &[] },
    Output {
        command: "auth setup",
        text: "\"Set up <agent> in <file>\" on success, then a line for each key: + if it is \
               new, ~ if it had another value, - if it was removed.",
        records: &[Record { what: "What was set up.", schema: schema::<SetupRecord> }],
    },
    Output {
        command: "whoami",
        text: "One line each for the user's ID, email, name and workspace, if known.",
        records: &[Record { what: "The user.", schema: schema::<WhoamiRecord> }],
    },
    Output {
        command: "version",
        text: "The version, the commit it was built from, and the target it was built for.",
        records: &[Record { what: "The version.", schema: schema::<VersionRecord> }],
    },
    Output { command: "completion", text: "The script for the shell to load.", records: &[] },
];

fn schema<T: JsonSchema>() -> Schema {
    let whole = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
    SchemaSettings::draft2020_12()
        .with(whole)
        .with_transform(RecursiveTransform(never_null))
        .into_generator()
        .into_root_schema_for::<T>()
}

/// A field without a value is left out, and never `null`.
fn never_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
}
