//! Text from elsewhere, made safe for a terminal.

use baseten_auth::internal::is_harmful;

/// The text without what is harmful on a terminal. Lines and columns stay.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_harmful(*c)).collect()
}
