//! One file for each command: arguments in, a report out.

pub(crate) mod completion;
pub(crate) mod exec;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod switch;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod version;
pub(crate) mod whoami;
