//! `--jq`: a filter that is compiled before anything else happens, and applied to the records at
//! the end.

pub(crate) mod language;
pub(crate) mod process;
