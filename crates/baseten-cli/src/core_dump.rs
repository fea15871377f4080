//! A crash must not leave the tokens in memory behind in a file.

/// Forbids core dumps of this process, and of the helpers and browsers that it starts.
///
/// The limit and not `PR_SET_DUMPABLE`: with that, a keyring that asks its owner whether this
/// program may have a secret could not tell which program it is.
#[cfg(unix)]
pub(crate) fn forbid() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    // To lower a limit of one's own is always allowed.
    let _ = setrlimit(Resource::Core, limit);
}

/// Windows makes none unless its owner asks for them.
#[cfg(not(unix))]
pub(crate) fn forbid() {}
