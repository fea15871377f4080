//! Limits of this process that the operating system enforces.

/// Forbids core dumps of this process, and of the helpers and browsers that it starts: a crash must
/// not leave the tokens in memory behind in a file.
///
/// `PR_SET_DUMPABLE` would do that too, but a keyring that asks its owner whether this program may
/// have a secret could not find out which program it is.
#[cfg(unix)]
pub(crate) fn forbid_core_dumps() -> CoreLimit {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Core);
    let limit = Rlimit { current: Some(0), maximum: found.maximum };
    // A process may always lower its own limit.
    let _ = setrlimit(Resource::Core, limit);
    CoreLimit { found: found.current }
}

/// Windows makes none by default.
#[cfg(not(unix))]
pub(crate) fn forbid_core_dumps() -> CoreLimit {
    CoreLimit {}
}

/// The size of a core dump that was allowed at the start.
#[derive(Debug)]
pub(crate) struct CoreLimit {
    #[cfg(unix)]
    found: Option<u64>,
}

impl CoreLimit {
    /// Restores it, for a program that replaces this one.
    #[cfg(unix)]
    pub(crate) fn put_back(&self) {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = Rlimit { current: self.found, ..getrlimit(Resource::Core) };
        let _ = setrlimit(Resource::Core, limit);
    }

    /// Windows has none.
    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "as on other systems")]
    pub(crate) fn put_back(&self) {}
}

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
