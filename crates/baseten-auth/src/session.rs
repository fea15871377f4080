//! Which profile a command speaks for, and what selected it.

/// What selected the credential of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionSource {
    /// The `--profile` option.
    ProfileFlag,
    /// The `BASETEN_API_KEY` variable.
    ApiKeyEnv,
    /// The `BASETEN_PROFILE` variable.
    ProfileEnv,
    /// The store's current profile.
    Current,
}
