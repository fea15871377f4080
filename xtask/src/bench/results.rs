//! What a run of the bench has measured.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was measured of one command.
pub(super) struct Figures {
    pub(super) wall: Duration,
    pub(super) instructions: Option<u64>,
    /// In bytes.
    pub(super) memory: Option<u64>,
}

/// All measurements of a run.
pub(super) struct Results {
    pub(super) figures: BTreeMap<String, Figures>,
    /// Instructions by the file that contains them.
    pub(super) objects: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Sizes of programs, in bytes.
    pub(super) sizes: Vec<(&'static str, u64)>,
    pub(super) rounds: usize,
    pub(super) slow_rounds: usize,
}
