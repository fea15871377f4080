//! The user at the terminal: prompts, the wait for an approval, signals, the browser.

pub(crate) mod browser;
mod editor;
pub(crate) mod interrupt;
pub(crate) mod prompt;
pub(crate) mod waiting;
pub(crate) mod window;
