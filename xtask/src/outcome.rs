//! How every chore ends.

/// What a chore ends with: its own sentence where it fails.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
