//! Limits of this process that the operating system enforces.

/// Forbids core dumps of this process, and of the helpers and browsers that it starts: a crash must
/// not leave the tokens in memory behind in a file.
///
/// `PR_SET_DUMPABLE` would do that too, but a keyring that asks its owner whether this program may
/// have a secret could not find out which program it is.
#[cfg(unix)]
pub(crate) fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    // Lowering one's own limit is always allowed.
    let _ = setrlimit(Resource::Core, limit);
}

/// Windows makes none by default.
#[cfg(not(unix))]
pub(crate) fn forbid_core_dumps() {}

/// Limits the address space of this process. macOS accepts the limit but does not enforce it.
#[cfg(unix)]
pub(crate) fn bound_memory(bytes: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let bytes = getrlimit(Resource::As).current.map_or(bytes, |current| current.min(bytes));
    let _ = setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) });
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn bound_memory(_: u64) {}
