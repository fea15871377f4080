//! OAuth 2.0 as the service speaks it: requests, answers, and what follows from them.

pub(crate) mod answer;
pub(crate) mod device;
pub(crate) mod exchange;
pub(crate) mod refresh;
pub(crate) mod token;
