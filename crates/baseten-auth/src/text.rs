//! Text from a server or a file, made fit for a terminal.

/// The longest text that [`display_text`] returns, in characters.
pub const DISPLAY_TEXT_MAX: usize = 300;

/// One line of at most [`DISPLAY_TEXT_MAX`] characters that shows what it says.
///
/// Hidden characters ([`is_hidden`]) are dropped, white
/// space of any kind and length becomes one space, and a text that is cut ends in `…`.
#[must_use]
pub fn display_text(text: &str) -> String {
    if text.len() <= DISPLAY_TEXT_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut length = 0;
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() {
            space = length > 0;
        } else if !is_hidden(character) {
            // Room for this character, the space before it, and the mark of a cut.
            if length + usize::from(space) + 2 > DISPLAY_TEXT_MAX {
                shown.push('…');
                break;
            }
            if std::mem::take(&mut space) {
                shown.push(' ');
                length += 1;
            }
            shown.push(character);
            length += 1;
        }
    }
    shown
}

/// Whether a character moves, hides or reorders others instead of showing itself: controls, line
/// separators, interlinear annotations, and what Unicode calls `Default_Ignorable_Code_Point`.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, joiners and fillers of single scripts.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
            // Widths of zero, marks, embeddings, overrides, isolates, invisible operators.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Variation selectors, byte order mark, interlinear annotations.
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Controls of shorthand and of musical notation, tags.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_can_be_seen_is_left() {
        for (text, shown) in [
            ("", ""),
            ("Ada Lovelace", "Ada Lovelace"),
            ("  two\r\n lines\t\u{2028}here \n", "two lines here"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred[0m"),
            ("\u{9b}31m\u{7f}x\0", "31mx"),
            ("a\u{202e}b\u{2066}c\u{2069}d\u{200b}e\u{feff}f", "abcdef"),
            ("\u{200b} a", "a"),
            ("a\u{fe0f}\u{3164}\u{e0041}b", "ab"),
            ("é 漢字 🙂", "é 漢字 🙂"),
        ] {
            assert_eq!(display_text(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let exact = "x".repeat(DISPLAY_TEXT_MAX - 1);
        assert_eq!(display_text(&exact), exact);
        let shown = display_text(&"x".repeat(DISPLAY_TEXT_MAX * 10));
        assert_eq!(shown.chars().count(), DISPLAY_TEXT_MAX);
        assert!(shown.ends_with('…'));
    }

    proptest! {
        #[test]
        fn nothing_gets_through(text in any::<String>()) {
            let shown = display_text(&text);
            prop_assert!(shown.chars().count() <= DISPLAY_TEXT_MAX);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(!shown.chars().any(|c| c != ' ' && c.is_whitespace()));
            prop_assert!(!shown.contains("  ") && shown.trim() == shown);
            prop_assert_eq!(display_text(&shown), shown);
        }
    }
}
