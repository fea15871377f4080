//! Limits that the operating system keeps for this process.

/// Forbids core dumps of this process, and of the helpers and browsers that it starts: a crash must
/// not leave the tokens in memory behind in a file.
///
/// The limit and not `PR_SET_DUMPABLE`: with that, a keyring that asks its owner whether this
/// program may have a secret could not tell which program it is.
#[cfg(unix)]
pub(crate) fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    // Lowering one's own limit is always allowed.
    let _ = setrlimit(Resource::Core, limit);
}

/// Windows makes none unless its owner asks for them.
#[cfg(not(unix))]
pub(crate) fn forbid_core_dumps() {}

/// Allows this process so many bytes of address space. macOS accepts the limit and does not keep it;
/// Windows has none.
#[cfg(unix)]
pub(crate) fn bound_memory(bytes: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let bytes = getrlimit(Resource::As).current.map_or(bytes, |current| current.min(bytes));
    let _ = setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) });
}

/// See above.
#[cfg(not(unix))]
pub(crate) fn bound_memory(_: u64) {}
