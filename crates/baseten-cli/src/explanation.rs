//! The library's errors for a person: one sentence, and what to do next.

use std::error::Error as StdError;
use std::io;

use baseten_auth::internal::{
    ApiError, ApiUrlError, CertificateProblem, Ci, Claims, DeviceError, Failure, HttpError,
    IdentitySource, LendError, LockError, PendingError, PlaceError, ProfileName, ProxyProblem,
    Storage, StoreError, TrustRule, WorkloadError, display_text, plain_text,
};
use baseten_auth::{AuthType, Error, ErrorKind, SessionSource};

use crate::exit::Exit;

/// What is printed for an error.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Explanation {
    /// A sentence and a hint for an error with this exit status.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: Some(hint.into()) }
    }

    fn of(kind: ErrorKind, (message, hint): Words) -> Self {
        Self::new(Exit::of(kind), message, hint)
    }

    /// The command was canceled by a signal or at a prompt.
    pub(crate) fn canceled(exit: Exit) -> Self {
        Self { exit, message: "Canceled.".to_owned(), hint: None }
    }

    /// The library failed.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Canceled => Self::canceled(Exit::Interrupted),
            kind => Self::of(kind, library(error)),
        }
    }

    /// The browser login failed; `again` is the command that starts it again.
    pub(crate) fn of_device(error: &DeviceError, again: &str) -> Self {
        match error.kind() {
            ErrorKind::Canceled => Self::canceled(Exit::Interrupted),
            kind => Self::of(kind, device(error, again)),
        }
    }

    /// A two-step login can't be saved, or there is none to resume.
    pub(crate) fn of_pending(error: &PendingError) -> Self {
        Self::of(error.kind(), pending(error))
    }

    /// There is no such profile, and this one was probably meant.
    pub(crate) fn of_missing_profile(
        name: &ProfileName,
        selected_by: SessionSource,
        meant: Option<&ProfileName>,
    ) -> Self {
        Self::of(ErrorKind::NotFound, no_such_profile(name, selected_by, meant))
    }

    /// The server rejected an API key that was given, or did not say whose it is.
    pub(crate) fn of_given_key(error: &ApiError) -> Self {
        Self::of(error.kind(), api(error, &Whose::Given))
    }
}

/// A sentence and a hint.
type Words = (String, String);

fn words(message: impl Into<String>, hint: impl Into<String>) -> Words {
    (message.into(), hint.into())
}

/// The command for a person who has no profile yet.
pub(crate) const LOG_IN: &str = "log in with: baseten auth login";
const ANOTHER_FILE_SYSTEM: &str = "set BASETEN_CONFIG_DIR to a directory of another file system";
const OTHERS_HANG: &str = "try again; if other baseten processes hang, stop them";

/// An error and its causes as one sentence that is safe to print.
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

fn shown(name: &str) -> String {
    format!("'{}'", plain_text(name))
}

/// A word, quoted for a shell where that is needed.
fn quoted(word: &str) -> String {
    let word = plain_text(word);
    let plain = |c: char| c.is_alphanumeric() || "@._-:+/[]".contains(c);
    if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The option that names a profile, even one whose name looks like an option.
fn profile_option(name: &str) -> String {
    let separator = if name.starts_with('-') { '=' } else { ' ' };
    format!("--profile{separator}{}", quoted(name))
}

/// The options of a login to this profile at this remote.
pub(crate) fn login_options(name: Option<&str>, remote_url: Option<&str>) -> String {
    let profile = name.map(|name| format!(" {}", profile_option(name)));
    let remote = remote_url.map(|url| format!(" --remote-url {}", quoted(url)));
    profile.unwrap_or_default() + &remote.unwrap_or_default()
}

/// The options of another login to a stored profile. They always name the remote: at another one,
/// which `BASETEN_REMOTE_URL` may name too, the login would replace the profile by something else.
fn options_to_replace(name: &str, remote_url: Option<&str>) -> String {
    let unknown = if remote_url.is_none() { " --remote-url <url>" } else { "" };
    login_options(Some(name), remote_url) + unknown
}

/// The command that gives a profile a new credential, of the kind that it had.
pub(crate) fn log_in_again(
    name: &str,
    remote_url: Option<&str>,
    auth_type: Option<AuthType>,
) -> String {
    let with_key = match auth_type {
        Some(AuthType::ApiKey) => " --with-api-key",
        _ => "",
    };
    let options = options_to_replace(name, remote_url);
    format!("log in again with: baseten auth login{with_key}{options}")
}

/// The same command for the profile of an error.
fn login_for(profile: &ProfileName, error: &Error) -> String {
    log_in_again(profile.as_str(), error.remote_url(), error.auth_type())
}

fn library(error: &Error) -> Words {
    let sentence = with_causes(error);
    match error.failure() {
        Failure::Store(error) => store(error),
        Failure::StoragePolicy(_) => {
            words(sentence, "correct BASETEN_CREDENTIAL_STORE, or unset it")
        }
        Failure::KeyringTimeout(_) => words(sentence, "set it to a number such as 5, or unset it"),
        Failure::NotText(_) => words(sentence, "set it to plain text, or unset it"),
        Failure::ProfileName(_) => words(sentence, "give it another name"),
        Failure::ApiKeyEnv(_) => {
            words(sentence, "set BASETEN_API_KEY to the key alone, or unset it")
        }
        Failure::Workload(error) => workload(error),
        Failure::Lend(error) => lend(error),
        Failure::ProfileEnv(_) => {
            words(sentence, "set BASETEN_PROFILE to a stored name, or unset it")
        }
        Failure::RemoteEnv(_) => words(
            sentence,
            "set BASETEN_REMOTE_URL to a URL such as https://app.baseten.co, or unset it",
        ),
        Failure::ApiUrl(ApiUrlError::NoName { api, .. }) => words(
            sentence,
            format!(
                "use a remote with a name, such as http://localhost:8000, or set {} to its {} URL",
                api.variable, api.name
            ),
        ),
        Failure::ApiUrl(ApiUrlError::Override { api, .. }) => {
            words(sentence, format!("correct {}, or unset it", api.variable))
        }
        Failure::ApiUrl(ApiUrlError::NotText(error)) => {
            words(sentence, format!("correct {}, or unset it", error.variable))
        }
        Failure::StoredRemote { profile, source } => words(
            format!(
                "the remote URL of profile {} cannot be used: {source}",
                shown(profile.as_str())
            ),
            log_in_again(profile.as_str(), None, error.auth_type()),
        ),
        Failure::UserName(error) => words(
            format!("the profile cannot be named after this user: {error}"),
            "choose a name with --profile <profile>",
        ),
        Failure::NoCurrentProfile { any_stored: true } => words(
            "there is no current profile",
            "choose one with: baseten auth switch --profile <profile> (baseten auth list shows them)",
        ),
        Failure::NoCurrentProfile { any_stored: false } => {
            words("not logged in: no profile is stored", LOG_IN)
        }
        Failure::NoSuchProfile { name, selected_by } => no_such_profile(name, *selected_by, None),
        Failure::LoggedOutMeanwhile { profile } => words(
            format!("another process has logged out profile {}", shown(profile.as_str())),
            login_for(profile, error),
        ),
        Failure::CredentialMissing { profile, storage } => words(
            format!(
                "the credential of profile {} is missing from {}",
                shown(profile.as_str()),
                place_name(storage)
            ),
            login_for(profile, error),
        ),
        Failure::SessionEnded { profile } => words(
            format!(
                "the session of profile {} has expired or was revoked",
                shown(profile.as_str())
            ),
            login_for(profile, error),
        ),
        Failure::NewTokenRefused { profile } => words(
            format!(
                "the server refused a token of profile {} that is less than a minute old",
                shown(profile.as_str())
            ),
            "check that the request goes to the profile's remote, and what its user may do there",
        ),
        Failure::ApiKeyRefused => words(
            "the server refused the API key, and there is no other one",
            "check the key, and that the request goes to its remote",
        ),
        Failure::Place { profile, storage: _, source } => place(profile.as_ref(), source),
        Failure::ProfileLock { profile, source } => lock(profile, source),
        Failure::Api { profile: Some(profile), source } => {
            api(source, &Whose::Profile(profile, error))
        }
        Failure::Api { profile: None, source } => api(source, &Whose::Environment),
        Failure::Token { profile, source } => {
            let (message, hint) = api(source, &Whose::Profile(profile, error));
            let profile = shown(profile.as_str());
            (format!("cannot refresh the session of profile {profile}: {message}"), hint)
        }
        Failure::Canceled => words(sentence, "try again"),
    }
}

fn lock(profile: &ProfileName, error: &LockError) -> Words {
    let profile = shown(profile.as_str());
    let cannot_lock = || format!("cannot lock profile {profile}: {}", with_causes(error));
    match error {
        LockError::TimedOut(wait) => {
            let seconds = wait.as_secs();
            let held = "another process has held the lock of profile";
            words(format!("{held} {profile} for {seconds} s"), OTHERS_HANG)
        }
        LockError::Io(error) if is_unsupported(error) => words(cannot_lock(), ANOTHER_FILE_SYSTEM),
        LockError::Io(_) => words(cannot_lock(), "check the owner and mode of that directory"),
        LockError::Canceled => words(cannot_lock(), OTHERS_HANG),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

fn lend(error: &LendError) -> Words {
    let hint = match error {
        LendError::Request(_) => "see `auth serve` in the reference for what a request is",
        LendError::NotLent { .. } => "see what is lent with: baseten auth list",
        LendError::NoneSelected => "name a profile with --profile <profile> or BASETEN_PROFILE",
        LendError::Foreign { uid } => {
            return words(with_causes(error), format!("start the lender with --allow-uid {uid}"));
        }
        LendError::Late { .. } | LendError::Silent { .. } | LendError::Replaced { .. } => {
            "try again; if it stays so, look at what the lender prints"
        }
        LendError::Bind { .. } => "name another place with --socket <path>",
        LendError::Taken { .. } => "use that one, or stop it, or name another place with --socket",
        LendError::NotSocket { .. } => "move it away, or name another place with --socket <path>",
        LendError::Gone { .. } => {
            "start `baseten auth serve` where the login is kept, or unset BASETEN_AUTH_SOCK"
        }
        LendError::NotProtocol { .. } | LendError::Remote { .. } => {
            "check that BASETEN_AUTH_SOCK names the socket of `baseten auth serve`"
        }
        LendError::Refused { complaint } => {
            let hint = complaint.hint.as_deref().unwrap_or("look at what the lender prints");
            let hint = format!("where the login is kept: {}", display_text(hint));
            return words(display_text(&complaint.message), hint);
        }
        LendError::NoSockets => "use an API key, or log in here",
    };
    words(with_causes(error), hint)
}

fn place_name(storage: &Storage) -> String {
    match storage {
        Storage::File => "the file".to_owned(),
        Storage::Keyring => "the system keyring".to_owned(),
        Storage::Helper(name) => name.program(),
    }
}

fn no_such_profile(
    name: &ProfileName,
    selected_by: SessionSource,
    meant: Option<&ProfileName>,
) -> Words {
    let name = shown(name.as_str());
    let message = match selected_by {
        SessionSource::ProfileEnv => {
            format!("no profile named {name}, which BASETEN_PROFILE selects")
        }
        SessionSource::Current => format!("the current profile {name} no longer exists"),
        _ => format!("no profile named {name}"),
    };
    let hint = match (meant, selected_by) {
        (Some(meant), SessionSource::Named) => {
            format!("did you mean {}?", profile_option(meant.as_str()))
        }
        (Some(meant), _) => format!("did you mean {}?", shown(meant.as_str())),
        (None, _) => "see the profiles with: baseten auth list, or log in with: baseten auth login"
            .to_owned(),
    };
    words(message, hint)
}

fn store(error: &StoreError) -> Words {
    let hint = match error {
        StoreError::NoDirectory { .. } | StoreError::RelativeDirectory { .. } => {
            "set HOME, or BASETEN_CONFIG_DIR to the directory that the profiles are kept in"
        }
        StoreError::Environment(_) => "set it to plain text, or unset it",
        StoreError::Unreadable { .. } => "check the file's owner and mode",
        StoreError::Lock { source: LockError::Io(error), .. } if is_unsupported(error) => {
            ANOTHER_FILE_SYSTEM
        }
        StoreError::Unwritable { .. } | StoreError::Lock { source: LockError::Io(_), .. } => {
            "check the directory's owner, mode and free space, or set BASETEN_CONFIG_DIR to another"
        }
        StoreError::Mounted { .. } => "mount the directory that it is in instead",
        StoreError::TooLarge { .. } => "log out of profiles that you do not need",
        StoreError::Malformed { .. } => {
            "fix the file, or move it away and log in again (nothing was changed)"
        }
        StoreError::BadProfile { profile, remote_url, .. } => {
            let options = options_to_replace(profile, remote_url.as_deref());
            let login = format!("fix the entry, or replace it with: baseten auth login{options}");
            return words(with_causes(error), login);
        }
        StoreError::Newer { .. } => "update baseten (nothing was changed)",
        StoreError::Lock { .. } | StoreError::KeepsChanging { .. } | StoreError::Canceled => {
            OTHERS_HANG
        }
    };
    words(with_causes(error), hint)
}

fn place(profile: Option<&ProfileName>, error: &PlaceError) -> Words {
    let whose = profile.map(|profile| format!(" (profile {})", shown(profile.as_str())));
    let message = with_causes(error) + &whose.unwrap_or_default();
    let hint = match error {
        PlaceError::NotAvailable { .. } | PlaceError::Failed { .. } => {
            "start your desktop's keyring, or log in with --insecure-storage"
        }
        PlaceError::Locked | PlaceError::Dismissed => {
            "unlock the keyring, or log in with --insecure-storage"
        }
        PlaceError::TimedOut { place, .. } if place.starts_with("docker-credential-") => {
            "check the helper, or allow more seconds with BASETEN_KEYRING_TIMEOUT"
        }
        PlaceError::TimedOut { .. } => {
            "check the keyring, or allow more seconds with BASETEN_KEYRING_TIMEOUT"
        }
        PlaceError::TooLarge { .. } => "log in with --insecure-storage",
        PlaceError::HelperMissing { .. } | PlaceError::HelperFailed { .. } => {
            "check the helper, or set BASETEN_CREDENTIAL_STORE to another store"
        }
        PlaceError::Canceled => "try again",
    };
    words(message, hint)
}

fn pending(error: &PendingError) -> Words {
    match error {
        PendingError::None => words(
            "there is no login to resume",
            "start one with: baseten auth login --web --no-wait",
        ),
        PendingError::Malformed { .. } => {
            words(with_causes(error), "start again with: baseten auth login --web --no-wait")
        }
        PendingError::Store(error) => store(error),
        PendingError::Io { .. } => {
            words(with_causes(error), "check the directory's owner, mode and space")
        }
    }
}

fn device(error: &DeviceError, again: &str) -> Words {
    let again = format!("start again with: {again}");
    match error {
        DeviceError::Denied => words("the login was denied in the browser", again),
        DeviceError::Expired => words("the code expired before the login was approved", again),
        DeviceError::UnsafeVerificationUrl => words(
            "the server sent a login page whose URL is not https",
            "check the remote URL, and whether a proxy is in between",
        ),
        DeviceError::Canceled => words(error.to_string(), again),
        DeviceError::Api(error) => api(error, &Whose::Nobody { again }),
    }
}

/// A workload has no access token, or it is not accepted.
fn workload(error: &WorkloadError) -> Words {
    match error {
        WorkloadError::TrustRule(_) => words(
            with_causes(error),
            "set BASETEN_TRUST_RULE to the id of the trust rule, or unset it",
        ),
        WorkloadError::Exchange { rule, origin, claims, is_early, source } => {
            exchange(rule, origin, claims, *is_early, source)
        }
        WorkloadError::Api { rule, source } => api(source, &Whose::Workload(rule)),
        WorkloadError::NewTokenRefused { rule } => words(
            format!(
                "the server refused an access token of trust rule {} that is less than a minute old",
                shown(rule.as_str())
            ),
            "check that the request goes to the rule's remote, and what the rule allows there",
        ),
        WorkloadError::Missing { ci: Some(Ci::GitHub) } => words(
            "this job of GitHub Actions is not allowed to ask for an identity token",
            "add to the job: permissions: { id-token: write, contents: read }",
        ),
        WorkloadError::Missing { ci } => words(
            "BASETEN_TRUST_RULE is set, and there is no identity token: \
             no variable says where it comes from",
            match ci {
                Some(Ci::GitLab) => {
                    "add to the job: id_tokens: { BASETEN_IDENTITY_TOKEN: { aud: <audience> } }"
                }
                Some(Ci::Buildkite) => {
                    "add to the step's env: BASETEN_IDENTITY_TOKEN_COMMAND: \
                     buildkite-agent oidc request-token --audience <audience>"
                }
                Some(Ci::GitHub) | None => {
                    "set one: BASETEN_IDENTITY_TOKEN_FILE=<path>, \
                     BASETEN_IDENTITY_TOKEN_COMMAND=<command> or BASETEN_IDENTITY_TOKEN=<token>"
                }
            },
        ),
        WorkloadError::NoCommand => words(
            with_causes(error),
            "write it as for a shell: \
             BASETEN_IDENTITY_TOKEN_COMMAND='buildkite-agent oidc request-token'",
        ),
        WorkloadError::GitHubUrl => {
            words(with_causes(error), "leave it as GitHub Actions sets it, or unset it")
        }
        WorkloadError::File { .. } if error.kind() == ErrorKind::Usage => words(
            with_causes(error),
            "have the token written there, or name its file: BASETEN_IDENTITY_TOKEN_FILE=<path>",
        ),
        WorkloadError::File { .. } => words(with_causes(error), "check the file's owner and mode"),
        WorkloadError::Command { .. } => words(
            with_causes(error),
            "run the command of BASETEN_IDENTITY_TOKEN_COMMAND by hand to see what is wrong",
        ),
        WorkloadError::GitHub(source) => {
            let hint = match (source, source.kind()) {
                (ApiError::Http(error), _) => http(error).1,
                (_, ErrorKind::NotLoggedIn) => "ask while the job runs, and check that it has: \
                                                permissions: { id-token: write, contents: read }"
                    .to_owned(),
                _ => "try again later".to_owned(),
            };
            (with_causes(error), hint)
        }
        WorkloadError::Empty { origin } | WorkloadError::NotJwt { origin } => words(
            plain_text(&error.to_string()),
            match origin {
                IdentitySource::File(_) => "have the token alone written to that file",
                IdentitySource::Command(_) => "let the command print the token alone",
                IdentitySource::Variable | IdentitySource::GitHub => {
                    "set it to the token alone: BASETEN_IDENTITY_TOKEN=<token>"
                }
            },
        ),
        WorkloadError::Expired { origin, claims } => words(
            format!(
                "the identity token from {} has expired ({claims})",
                plain_text(&origin.to_string())
            ),
            match origin {
                IdentitySource::Variable => {
                    "a variable cannot be renewed: use BASETEN_IDENTITY_TOKEN_FILE=<path> or \
                     BASETEN_IDENTITY_TOKEN_COMMAND=<command>, or ask sooner"
                }
                IdentitySource::File(_) => {
                    "check that the file is renewed, and this machine's clock"
                }
                IdentitySource::Command(_) | IdentitySource::GitHub => "check this machine's clock",
            },
        ),
    }
}

/// The service did not exchange a workload's identity token.
fn exchange(
    rule: &TrustRule,
    origin: &IdentitySource,
    claims: &Claims,
    is_early: bool,
    error: &ApiError,
) -> Words {
    let rule = shown(rule.as_str());
    match error {
        ApiError::OAuth { code, .. } if code == "invalid_grant" => words(
            format!(
                "Baseten did not accept the identity token from {} by trust rule {rule} \
                 (invalid_grant); the token says: {claims}",
                plain_text(&origin.to_string()),
            ),
            match origin {
                _ if is_early => "the token is not valid yet: check this machine's clock",
                IdentitySource::GitHub => {
                    "compare that with the rule's issuer, subject and audience, and check the \
                     rule's id; BASETEN_IDENTITY_AUDIENCE=<audience> sets the audience"
                }
                _ => {
                    "compare that with the rule's issuer, subject and audience, and check the \
                     rule's id and the remote"
                }
            },
        ),
        _ => {
            let again = "check the trust rule and the remote (BASETEN_REMOTE_URL)".to_owned();
            let (message, hint) = api(error, &Whose::Nobody { again });
            let hint = match error.kind() {
                ErrorKind::NotFound => "check the remote URL; workload identity is a private \
                                        preview, which this remote may not have"
                    .to_owned(),
                _ => hint,
            };
            (format!("cannot exchange the identity token by trust rule {rule}: {message}"), hint)
        }
    }
}

/// Whose credential a request had.
enum Whose<'a> {
    /// A stored profile's; the error knows its remote and type.
    Profile(&'a ProfileName, &'a Error),
    /// The API key of the environment.
    Environment,
    /// The access token of a workload, by this trust rule.
    Workload(&'a TrustRule),
    /// The API key that is to be stored.
    Given,
    /// There was none yet; `again` is how to start again.
    Nobody { again: String },
}

impl Whose<'_> {
    fn name(&self) -> String {
        match self {
            Self::Profile(profile, _) => {
                format!("the credential of profile {}", shown(profile.as_str()))
            }
            Self::Environment => "the API key in BASETEN_API_KEY".to_owned(),
            Self::Workload(rule) => {
                format!("the access token of trust rule {}", shown(rule.as_str()))
            }
            Self::Given => "this API key".to_owned(),
            Self::Nobody { .. } => "the login".to_owned(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Profile(profile, error) => login_for(profile, error),
            Self::Environment => "set BASETEN_API_KEY to a key that is valid at this remote, \
                                  or unset it to use a stored profile"
                .to_owned(),
            Self::Workload(_) => "check what the trust rule allows, and that it is one of this \
                                  remote (BASETEN_REMOTE_URL)"
                .to_owned(),
            Self::Given => "check that the key is valid, and that it belongs to this remote: \
                            baseten auth login --with-api-key --profile <profile> --remote-url <url>"
                .to_owned(),
            Self::Nobody { again } => again.clone(),
        }
    }
}

fn api(error: &ApiError, whose: &Whose<'_>) -> Words {
    let sentence = with_causes(error);
    let hint = match (error, error.kind(), error.status()) {
        (ApiError::Http(HttpError::Credential), ..) => return words(sentence, whose.hint()),
        (ApiError::Http(error), ..) => return http(error),
        (ApiError::Status { status, message, .. }, ErrorKind::NotLoggedIn, _) => {
            let detail = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            let message = format!("Baseten rejected {} (HTTP {status}){detail}", whose.name());
            return words(message, whose.hint());
        }
        (ApiError::NotProtocol { .. }, ..) => {
            "check the remote URL; a proxy or the network's login page may be in between"
        }
        (_, ErrorKind::NotLoggedIn, _) => return words(sentence, whose.hint()),
        (_, ErrorKind::NotFound, _) => "check the remote URL",
        (_, ErrorKind::Refused, _) => "try again later; if it keeps happening, update baseten",
        (.., Some(407)) => "check the user name and password in the proxy's URL",
        (.., Some(300..=399)) => "check the remote URL: the server redirects elsewhere",
        _ => "try again later",
    };
    words(sentence, hint)
}

fn http(error: &HttpError) -> Words {
    let hint = match error {
        HttpError::Insecure { .. } => "use an https remote URL",
        HttpError::Credential => "log in again with: baseten auth login",
        HttpError::CertificateFile { .. } | HttpError::ProxyUrl { .. } => {
            "correct the variable, or unset it"
        }
        HttpError::NoTrustedCertificates => {
            "install the system's certificates (on Debian: ca-certificates)"
        }
        HttpError::Proxy { problem: ProxyProblem::Authentication, .. } => {
            "put them in the proxy's URL, with special characters percent-encoded: \
             http://user:password@host:port"
        }
        HttpError::Proxy { .. } => "check HTTPS_PROXY, ALL_PROXY and NO_PROXY",
        HttpError::Connect { .. } => {
            "check the network and the remote URL; behind a proxy, set HTTPS_PROXY"
        }
        HttpError::Certificate {
            problem: CertificateProblem::Expired | CertificateProblem::NotYetValid,
            ..
        } => "check this machine's clock; a company proxy may also be intercepting the connection",
        HttpError::Certificate { problem: CertificateProblem::WrongHost, .. } => {
            "check the remote URL; a company proxy may also be intercepting the connection"
        }
        HttpError::Certificate { .. } => {
            "a company proxy may be intercepting the connection: \
             set SSL_CERT_FILE to the file of its certificate authority"
        }
        HttpError::Tls { .. } => {
            "check the remote URL: there may be no TLS at that port, or a proxy in between"
        }
        HttpError::Timeout { .. } | HttpError::Lost { .. } => "check the network, and try again",
        HttpError::NotHttp { .. } | HttpError::TooLarge { .. } => {
            "check the remote URL; a proxy may be in between"
        }
    };
    words(with_causes(error), hint)
}
