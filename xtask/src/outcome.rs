//! The result of every chore.

/// The result of a chore: if it fails, an error with its own sentence.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
