//! Errors of files, locks, keyrings and lenders on this machine.

use std::io;
use std::io::ErrorKind;

use baseten_auth::internal::{
    EngineError, LendError, LockError, PendingError, PlaceError, ProfileName, StoreError,
    display_text, policy_for,
};

use super::phrases::{
    ANOTHER_FILE_SYSTEM, OTHERS_HANG, Words, options_to_replace, shown, with_causes, words,
};

pub(super) fn lock(profile: &ProfileName, error: &LockError) -> Words {
    let profile = shown(profile);
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

pub(super) fn lend(error: &LendError) -> Words {
    let hint = match error {
        LendError::Request(_) => "see `auth serve` in the reference for what a request is",
        LendError::NotLent { .. } => "see what is lent with: baseten auth list",
        LendError::NoneSelected { .. } => {
            "name a profile with --profile <profile> or BASETEN_PROFILE"
        }
        LendError::Foreign { uid } => {
            return words(with_causes(error), format!("start the lender with --allow-uid {uid}"));
        }
        LendError::Late { .. }
        | LendError::NoThread { .. }
        | LendError::Silent { .. }
        | LendError::Replaced { .. } => "try again; if it stays so, look at what the lender prints",
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

pub(super) fn store(error: &StoreError) -> Words {
    let hint = match error {
        StoreError::NoDirectory { .. } | StoreError::RelativeDirectory { .. } => {
            "set HOME, or BASETEN_CONFIG_DIR to the directory that the profiles are kept in"
        }
        StoreError::Environment(_) => "set it to plain text, or unset it",
        StoreError::Unreadable { source, .. }
            if source.kind() == ErrorKind::StaleNetworkFileHandle =>
        {
            "another host keeps replacing it, or the file system has lost it: try again"
        }
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

pub(super) fn place(profile: Option<&ProfileName>, error: &PlaceError) -> Words {
    let whose = profile.map(|profile| format!(" (profile {})", shown(profile)));
    let message = with_causes(error) + &whose.unwrap_or_default();
    let hint = match error {
        PlaceError::Engine(error) => return words(message, engine(error)),
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

/// What to do about an engine of OpenBao or Vault.
fn engine(error: &EngineError) -> String {
    match error {
        EngineError::NoAddress => "set BAO_ADDR to its URL, https://<host>:8200".to_owned(),
        EngineError::Address { variable } => {
            format!("set {variable} to a URL of the form https://<host>:8200")
        }
        EngineError::NotText(_) => "set it to plain text, or unset it".to_owned(),
        EngineError::NotHeader { .. } => {
            "put there visible ASCII characters alone, without a line break inside".to_owned()
        }
        EngineError::NoToken => "set BAO_TOKEN, or log in with: bao login".to_owned(),
        EngineError::TokenFile { .. } => "check the file's owner and mode".to_owned(),
        EngineError::Denied { place, .. } => {
            let policy = display_text(&policy_for(place));
            format!("get a new token, whose policy has: {policy}")
        }
        EngineError::Refused { place, .. } => {
            let (mount, _) = place.parts();
            let mount = display_text(mount);
            format!("check that {mount} is a KV engine of version 2, in the namespace that is set")
        }
        EngineError::NotProtocol { .. } => {
            "check the server's URL and the place, or log in again".to_owned()
        }
        EngineError::Away { .. } => "see how it is with: bao status".to_owned(),
        EngineError::Busy { .. } | EngineError::Canceled => "try again".to_owned(),
        EngineError::Http(_) => "check the server's URL, and BAO_CACERT".to_owned(),
    }
}

pub(crate) fn pending(error: &PendingError) -> Words {
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
