//! Makes text from a server or a file fit for a terminal: in messages, only visible characters;
//! where the text is the data, everything except what does harm there.

/// The longest text that [`display_text`] returns, in characters.
const DISPLAY_TEXT_MAX: usize = 300;

/// One line of at most 300 visible characters.
/// Hidden characters ([`is_hidden`]) are dropped, any white space becomes one space, and a
/// truncated text ends in `…`.
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
            // Room for this character, the space before it, and the `…`.
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

/// The text in one line, unchanged except that harmful characters ([`is_harmful`]) are dropped.
#[must_use]
pub fn plain_text(text: &str) -> String {
    // A shortcut for nearly every name and address: a list can have thousands.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let in_line = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c });
    in_line.filter(|character| !is_harmful(*character)).collect()
}

/// Whether a character must not be shown even in data: it is hidden, and is not a joiner or
/// variation selector, which emoji and the words of some languages need.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    let joins = matches!(character, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    is_hidden(character) && !joins
}

/// Whether a character moves, hides or reorders others instead of being visible itself: controls,
/// line separators, interlinear annotations, and Unicode's `Default_Ignorable_Code_Point`.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, joiners and fillers of individual scripts.
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

    #[test]
    fn data_stays_what_it_is() {
        for (text, shown) in [
            ("a  b ", "a  b "),
            (
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{3000}",
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{3000}",
            ),
            ("a\u{1b}[2J\u{202e}b\nc\u{9b}\u{2028}\u{200b}", "a[2Jb c"),
        ] {
            assert_eq!(plain_text(text), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through(text in any::<String>()) {
            prop_assert!(!plain_text(&text).chars().any(is_harmful));
        }

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
