//! Every way in which a command fails, as one sentence, a hint, and an exit status.

use std::error::Error as StdError;
use std::io;

use baseten_auth::{
    ApiError, ApiKeyError, AuthType, CertificateProblem, DeviceError, Error, HttpError, LockError,
    ManagementUrlError, PendingError, ProfileName, ProxyProblem, Remote, Session, SessionSource,
    Storage, StoreError, VaultError, display_text, plain_text,
};

use crate::exit::Exit;
use crate::jq::language::FilterError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line is wrong: what, and what would be right.
    Usage { message: String, hint: String },
    /// An API key was given that is none.
    ApiKey(ApiKeyError),
    /// The input that an API key was expected on can't be read.
    Input(io::Error),
    /// The `--jq` filter does not compile, or failed on a record.
    Filter(FilterError),
    /// The library failed.
    Library(Error),
    /// The library failed with a credential that was selected.
    Session { error: Box<Error>, origin: Origin },
    /// The browser login failed, and this command starts it again.
    Device { error: DeviceError, again: String },
    /// A two-step login can't be kept, or there is none to resume.
    Pending(PendingError),
    /// The server does not take an API key that was given, or does not say whose it is.
    Refused(ApiError),
    /// There is no profile to choose from.
    NothingToChoose,
    /// A prompt failed, other than by being canceled.
    Prompt(inquire::InquireError),
    /// stdout can't be written.
    Output(io::Error),
    /// Ctrl-C, Escape at a prompt, or SIGTERM.
    Canceled(Exit),
}

/// What another login to the same profile has to be told.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) remote_url: String,
    pub(crate) auth_type: AuthType,
}

/// What is said of an error.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// An error of what a session does, which knows where its credential came from.
    pub(crate) fn of_session(error: Error, session: &Session) -> Self {
        let origin = Origin {
            remote_url: session.remote_url().to_owned(),
            auth_type: session.profile().map_or(AuthType::ApiKey, |profile| profile.auth_type),
        };
        match error {
            Error::Canceled => error.into(),
            error => Self::Session { error: Box::new(error), origin },
        }
    }

    /// The one place that turns what went wrong into words and a status.
    pub(crate) fn explain(&self) -> Told {
        match self {
            Self::Usage { message, hint } => told(Exit::Usage, message.clone(), hint.clone()),
            Self::ApiKey(error) => told(
                Exit::Usage,
                error.to_string(),
                "give the key alone, on one line: \
                 echo $API_KEY | baseten auth login --with-api-key --profile <profile>",
            ),
            Self::Input(error) => told(
                Exit::Failure,
                format!("cannot read the API key from standard input: {error}"),
                "pipe the key in: echo $API_KEY | baseten auth login --with-api-key --profile <profile>",
            ),
            Self::Filter(error) => filter(error),
            Self::Library(error) => library(error, None),
            Self::Session { error, origin } => library(error, Some(origin)),
            Self::Device { error, again } => device(error, again),
            Self::Pending(error) => pending(error),
            Self::Refused(error) => api(error, &Whose::Given),
            Self::NothingToChoose => told(
                Exit::NotLoggedIn,
                "no profile is stored, so there is none to switch to",
                LOG_IN,
            ),
            Self::Prompt(error) => told(
                Exit::Failure,
                format!("cannot ask on this terminal: {error}"),
                "use the options instead of prompts; see --help",
            ),
            Self::Output(error) => told(
                Exit::Failure,
                format!("cannot write to standard output: {error}"),
                "check the disk or the pipe that standard output leads to",
            ),
            Self::Canceled(exit) => {
                Told { exit: *exit, message: "Canceled.".to_owned(), hint: None }
            }
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::Canceled => Self::Canceled(Exit::Interrupted),
            error => Self::Library(error),
        }
    }
}

impl From<FilterError> for CliError {
    fn from(error: FilterError) -> Self {
        Self::Filter(error)
    }
}

impl From<PendingError> for CliError {
    fn from(error: PendingError) -> Self {
        Self::Pending(error)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Library(error.into())
    }
}

const LOG_IN: &str = "log in with: baseten auth login";
const OTHERS_HANG: &str = "try again; if other baseten processes hang, stop them";

fn told(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Told {
    Told { exit, message: message.into(), hint: Some(hint.into()) }
}

/// An error and what caused it, as one sentence fit for a terminal.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause.
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    display_text(&sentence)
}

fn shown(name: &ProfileName) -> String {
    format!("'{}'", plain_text(name.as_str()))
}

/// A word as a shell takes it, where that is safe to copy.
fn quoted(word: &str) -> String {
    let word = plain_text(word);
    let plain = |c: char| c.is_alphanumeric() || "@._-:+/[]".contains(c);
    if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The option that names a profile, also one whose name looks like an option.
fn profile_option(name: &ProfileName) -> String {
    let separator = if name.as_str().starts_with('-') { '=' } else { ' ' };
    format!("--profile{separator}{}", quoted(name.as_str()))
}

/// The options that lead a login to this profile and this remote.
pub(crate) fn login_options(name: Option<&ProfileName>, remote_url: Option<&str>) -> String {
    let profile = name.map(|name| format!(" {}", profile_option(name)));
    // Without it, the login would be at the default remote and replace the profile.
    let other_remote = remote_url.filter(|url| *url != Remote::DEFAULT);
    let remote = other_remote.map(|url| format!(" --remote-url {}", quoted(url)));
    profile.unwrap_or_default() + &remote.unwrap_or_default()
}

/// The command that gives a profile a new credential.
pub(crate) fn log_in_again(name: &ProfileName, origin: Option<&Origin>) -> String {
    let with_key = match origin.map(|origin| origin.auth_type) {
        Some(AuthType::ApiKey) => " --with-api-key",
        Some(AuthType::OAuth) | None => "",
    };
    let options = login_options(Some(name), origin.map(|origin| &*origin.remote_url));
    format!("log in again with: baseten auth login{with_key}{options}")
}

fn filter(error: &FilterError) -> Told {
    let (exit, hint) = match error {
        FilterError::Invalid { .. } | FilterError::TooComplex => {
            (Exit::Usage, "try the filter '.' to see the whole output")
        }
        FilterError::NotStarted(_) => (Exit::Failure, "try again, or leave out --jq"),
        FilterError::Failed(_) | FilterError::TookTooLong | FilterError::Crashed => {
            (Exit::Failure, "the command succeeded; only the --jq filter failed")
        }
    };
    told(exit, with_causes(error), hint)
}

fn library(error: &Error, origin: Option<&Origin>) -> Told {
    let sentence = with_causes(error);
    match error {
        Error::Store(error) => store(error),
        Error::StoragePolicy(_) => {
            told(Exit::Usage, sentence, "correct BASETEN_CREDENTIAL_STORE, or unset it")
        }
        Error::HelperName(_) => told(
            Exit::Failure,
            format!("{sentence}, and the one in the profile is not"),
            "log in again to store the credential elsewhere: baseten auth login",
        ),
        Error::KeyringTimeout(_) => {
            told(Exit::Usage, sentence, "set it to a number such as 5, or unset it")
        }
        Error::NotText(_) => told(Exit::Usage, sentence, "set it to plain text, or unset it"),
        Error::ApiKeyEnv(_) => {
            told(Exit::Usage, sentence, "set BASETEN_API_KEY to the key alone, or unset it")
        }
        Error::ProfileEnv(_) => {
            told(Exit::Usage, sentence, "set BASETEN_PROFILE to a stored name, or unset it")
        }
        Error::RemoteEnv(_) => told(
            Exit::Usage,
            sentence,
            "set BASETEN_REMOTE_URL to a URL such as https://app.baseten.co, or unset it",
        ),
        Error::ManagementUrl(ManagementUrlError::NoName { .. }) => told(
            Exit::Usage,
            sentence,
            "use a remote with a name, such as http://localhost:8000, \
             or set BASETEN_MANAGEMENT_API_URL_OVERRIDE to its management URL",
        ),
        Error::ManagementUrl(_) => {
            told(Exit::Usage, sentence, "correct BASETEN_MANAGEMENT_API_URL_OVERRIDE, or unset it")
        }
        Error::StoredRemote { profile, source } => told(
            Exit::Failure,
            format!("the remote URL of profile {} cannot be used: {source}", shown(profile)),
            format!(
                "log in again with: baseten auth login {} --remote-url <url>",
                profile_option(profile)
            ),
        ),
        Error::UserName(error) => told(
            Exit::Server,
            format!("the server's name for this user cannot name a profile: {error}"),
            "choose a name with --profile <profile>",
        ),
        Error::NoCurrentProfile { any_stored: true } => told(
            Exit::NotLoggedIn,
            "no profile is current",
            "choose one with: baseten auth switch --profile <profile> (baseten auth list shows them)",
        ),
        Error::NoCurrentProfile { any_stored: false } => {
            told(Exit::NotLoggedIn, "not logged in: no profile is stored", LOG_IN)
        }
        Error::NoSuchProfile { name, selected_by } => no_such_profile(name, *selected_by),
        Error::LoggedOutMeanwhile { profile } => told(
            Exit::NotFound,
            format!("profile {} was logged out by another process meanwhile", shown(profile)),
            log_in_again(profile, origin),
        ),
        Error::CredentialMissing { profile, storage } => told(
            Exit::NotLoggedIn,
            format!("the credential of profile {} is not in {}", shown(profile), place(storage)),
            log_in_again(profile, origin),
        ),
        Error::SessionEnded { profile } => told(
            Exit::NotLoggedIn,
            format!("the session of profile {} has expired or was revoked", shown(profile)),
            log_in_again(profile, origin),
        ),
        Error::Vault { profile, storage: _, source } => vault(profile.as_ref(), source),
        Error::LockDirectory(_) => {
            told(Exit::Failure, sentence, "check the owner and mode of that directory")
        }
        Error::ProfileLock { profile, source } => lock(profile, source),
        Error::Api { profile: Some(profile), source } => {
            api(source, &Whose::Profile(profile, origin))
        }
        Error::Api { profile: None, source } => api(source, &Whose::Environment),
        Error::Token { profile, source } => {
            let mut told = api(source, &Whose::Profile(profile, origin));
            let profile = shown(profile);
            told.message =
                format!("cannot refresh the session of profile {profile}: {}", told.message);
            told
        }
        Error::Canceled => {
            Told { exit: Exit::Interrupted, message: "Canceled.".into(), hint: None }
        }
    }
}

fn lock(profile: &ProfileName, error: &LockError) -> Told {
    let profile = shown(profile);
    match error {
        LockError::TimedOut(wait) => told(
            Exit::Failure,
            format!(
                "another process has been busy with profile {profile} for {} s",
                wait.as_secs()
            ),
            OTHERS_HANG,
        ),
        LockError::Io(_) => told(
            Exit::Failure,
            format!("cannot lock profile {profile}: {}", with_causes(error)),
            "check the owner and mode of that directory",
        ),
        LockError::Canceled => told(
            Exit::Failure,
            format!("cannot lock profile {profile}: {}", with_causes(error)),
            OTHERS_HANG,
        ),
    }
}

fn place(storage: &Storage) -> String {
    match storage {
        Storage::File => "the file".to_owned(),
        Storage::Keyring => "the system keyring".to_owned(),
        Storage::Helper(name) => format!("docker-credential-{name}"),
    }
}

fn no_such_profile(name: &ProfileName, selected_by: SessionSource) -> Told {
    let name = shown(name);
    let message = match selected_by {
        SessionSource::ProfileFlag | SessionSource::ApiKeyEnv => format!("no profile named {name}"),
        SessionSource::ProfileEnv => {
            format!("no profile named {name}, which BASETEN_PROFILE selects")
        }
        SessionSource::Current => format!("the current profile {name} does not exist any more"),
    };
    told(
        Exit::NotFound,
        message,
        "see the profiles with: baseten auth list, or log in with: baseten auth login",
    )
}

fn store(error: &StoreError) -> Told {
    let sentence = with_causes(error);
    let hint = match error {
        StoreError::NoDirectory { .. } | StoreError::RelativeDirectory { .. } => {
            "set HOME, or BASETEN_CONFIG_DIR to the directory that the profiles are kept in"
        }
        StoreError::Environment(_) => "set it to plain text, or unset it",
        StoreError::Unreadable { .. } => "check the file's owner and mode",
        StoreError::Unwritable { .. } | StoreError::Lock { source: LockError::Io(_), .. } => {
            "check the directory's owner, mode and free space, or set BASETEN_CONFIG_DIR to another"
        }
        StoreError::Malformed { .. } => {
            "fix the file, or move it away and log in again; nothing was changed"
        }
        StoreError::BadProfile { source, .. } => {
            let name = ProfileName::new(source.name.clone());
            let options = login_options(name.as_ref().ok(), None);
            let login = format!("fix the entry, or replace it with: baseten auth login{options}");
            return told(Exit::Failure, sentence, login);
        }
        StoreError::Newer { .. } => "update baseten; nothing was changed",
        StoreError::Lock { .. } => OTHERS_HANG,
    };
    told(Exit::Failure, sentence, hint)
}

fn vault(profile: Option<&ProfileName>, error: &VaultError) -> Told {
    let whose = profile.map(|profile| format!(" (profile {})", shown(profile)));
    let message = with_causes(error) + &whose.unwrap_or_default();
    let hint = match error {
        VaultError::NotAvailable { .. } | VaultError::Failed { .. } => {
            "start the keyring of your desktop session, or log in with --insecure-storage"
        }
        VaultError::Locked | VaultError::Dismissed => {
            "unlock the keyring, or log in with --insecure-storage"
        }
        VaultError::TimedOut { vault, .. } if vault.starts_with("docker-credential-") => {
            "check that the helper answers, or give it more seconds in BASETEN_KEYRING_TIMEOUT"
        }
        VaultError::TimedOut { .. } => {
            "check that the keyring answers, or give it more seconds in BASETEN_KEYRING_TIMEOUT"
        }
        VaultError::TooLarge { .. } => "log in with --insecure-storage",
        VaultError::HelperMissing { .. } | VaultError::HelperFailed { .. } => {
            "check the helper, or set BASETEN_CREDENTIAL_STORE to another store"
        }
        VaultError::Canceled => "try again",
    };
    told(Exit::Failure, message, hint)
}

fn pending(error: &PendingError) -> Told {
    match error {
        PendingError::None => told(
            Exit::NotLoggedIn,
            "there is no login to resume",
            "start one with: baseten auth login --web --no-wait",
        ),
        PendingError::Malformed { .. } => told(
            Exit::Failure,
            with_causes(error),
            "start again with: baseten auth login --web --no-wait",
        ),
        PendingError::Store(error) => store(error),
        PendingError::Io { .. } => {
            told(Exit::Failure, with_causes(error), "check the directory's owner, mode and space")
        }
    }
}

fn device(error: &DeviceError, again: &str) -> Told {
    let again = || format!("start again with: {again}");
    match error {
        DeviceError::Denied => {
            told(Exit::NotLoggedIn, "the login was denied in the browser", again())
        }
        DeviceError::Expired => {
            told(Exit::NotLoggedIn, "the code expired before the login was approved", again())
        }
        DeviceError::UnsafeVerificationUrl => told(
            Exit::Server,
            "the server sent a login page whose URL is not https",
            "check the remote URL, and whether a proxy is in between",
        ),
        DeviceError::Api(error) => api(error, &Whose::Nobody { again: again() }),
    }
}

/// Whose credential a request carried.
enum Whose<'a> {
    /// A stored profile's.
    Profile(&'a ProfileName, Option<&'a Origin>),
    /// The API key of the environment.
    Environment,
    /// The API key that is to be stored.
    Given,
    /// There was none yet, and this is how to start again.
    Nobody { again: String },
}

impl Whose<'_> {
    fn name(&self) -> String {
        match self {
            Self::Profile(profile, _) => format!("the credential of profile {}", shown(profile)),
            Self::Environment => "the API key in BASETEN_API_KEY".to_owned(),
            Self::Given => "the credential".to_owned(),
            Self::Nobody { .. } => "the login".to_owned(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Profile(profile, origin) => log_in_again(profile, *origin),
            Self::Environment => "set BASETEN_API_KEY to a key that is valid at this remote, \
                                  or unset it to use a stored profile"
                .to_owned(),
            Self::Given => "check that the key is valid, and that it belongs to this remote: \
                            baseten auth login --with-api-key --profile <profile> --remote-url <url>"
                .to_owned(),
            Self::Nobody { again } => again.clone(),
        }
    }
}

/// The status of an OAuth error code, and of an HTTP status.
fn api(error: &ApiError, whose: &Whose<'_>) -> Told {
    let sentence = with_causes(error);
    match error {
        ApiError::Http(error) => http(error),
        ApiError::OAuth { code, status, .. } => match code.as_str() {
            "access_denied" | "expired_token" | "invalid_grant" | "invalid_client" => {
                told(Exit::NotLoggedIn, sentence, whose.hint())
            }
            code => of_status(status_of_oauth(code, *status), sentence, whose.hint()),
        },
        ApiError::Status { status: 401 | 403, .. } => {
            let message = format!("the server refused {}: {sentence}", whose.name());
            told(Exit::NotLoggedIn, message, whose.hint())
        }
        ApiError::Status { status, .. } => of_status(*status, sentence, whose.hint()),
        ApiError::NotProtocol { .. } => told(
            Exit::Server,
            sentence,
            "check the remote URL; a proxy or a login page of the network may be in between",
        ),
    }
}

/// An error is one whatever the status says: a success stands for the 400 that it should have been
/// (RFC 6749 §5.2), or for the 500 of the two codes that mean one (§4.1.2.1).
fn status_of_oauth(code: &str, status: u16) -> u16 {
    match (status, code) {
        (200..=299, "server_error" | "temporarily_unavailable") => 500,
        (200..=299, _) => 400,
        _ => status,
    }
}

fn of_status(status: u16, message: String, log_in: String) -> Told {
    match status {
        401 | 403 => told(Exit::NotLoggedIn, message, log_in),
        404 => told(Exit::NotFound, message, "check the remote URL"),
        407 => told(Exit::Server, message, "check the user name and password in the proxy's URL"),
        400..=499 => told(Exit::Refused, message, "try again later; update baseten if it persists"),
        300..=399 => {
            told(Exit::Server, message, "check the remote URL: the server redirects elsewhere")
        }
        _ => told(Exit::Server, message, "try again later"),
    }
}

fn http(error: &HttpError) -> Told {
    const INTERCEPTED: &str = "a company proxy may be intercepting the connection: \
                               name its certificate authority's file in SSL_CERT_FILE";
    let (exit, hint) = match error {
        HttpError::Insecure { .. } => (Exit::Usage, "use an https remote URL"),
        HttpError::Credential => (Exit::Usage, "log in again with: baseten auth login"),
        HttpError::CertificateFile { .. } => (Exit::Failure, "correct the variable, or unset it"),
        HttpError::NoTrustedCertificates => {
            (Exit::Failure, "install the system's certificates (on Debian: ca-certificates)")
        }
        HttpError::ProxyUrl { .. } => (Exit::Usage, "correct the variable, or unset it"),
        HttpError::Proxy { problem: ProxyProblem::Authentication, .. } => (
            Exit::Server,
            "put them into the proxy's URL, special characters percent-encoded: \
             http://user:password@host:port",
        ),
        HttpError::Proxy { .. } => (Exit::Server, "check HTTPS_PROXY, ALL_PROXY and NO_PROXY"),
        HttpError::Connect { .. } => {
            (Exit::Server, "check the network and the remote URL; behind a proxy, set HTTPS_PROXY")
        }
        HttpError::Certificate {
            problem: CertificateProblem::Expired | CertificateProblem::NotYetValid,
            ..
        } => (
            Exit::Server,
            "check this machine's clock; a company proxy may also be intercepting the connection",
        ),
        HttpError::Certificate { problem: CertificateProblem::WrongHost, .. } => (
            Exit::Server,
            "check the remote URL; a company proxy may also be intercepting the connection",
        ),
        HttpError::Certificate { .. } => (Exit::Server, INTERCEPTED),
        HttpError::Tls { .. } => (
            Exit::Server,
            "check the remote URL: there may be no TLS at that port, or a proxy in between",
        ),
        HttpError::Timeout { .. } | HttpError::Lost { .. } => {
            (Exit::Server, "check the network, and try again")
        }
        HttpError::NotHttp { .. } | HttpError::TooLarge { .. } => {
            (Exit::Server, "check the remote URL; a proxy may be in between")
        }
    };
    told(exit, with_causes(error), hint)
}
