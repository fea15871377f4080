//! What a person at the terminal sees and does: prompts, the wait for an approval, Ctrl-C, the browser.

pub(crate) mod browser;
mod editor;
pub(crate) mod interrupt;
pub(crate) mod prompt;
pub(crate) mod waiting;
pub(crate) mod window;
