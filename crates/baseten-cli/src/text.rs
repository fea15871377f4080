//! Text from elsewhere, made safe for a terminal.

use baseten_auth::internal::is_harmful;

/// The text without characters that are harmful on a terminal. Newlines and tabs stay.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_harmful(*c)).collect()
}
