//! Tokens and codes that cannot be guessed.

use std::fmt::Write as _;

/// How many letters a user code has, not counting the dash.
pub(crate) const USER_CODE_LETTERS: usize = 8;

/// No vowels, so that no words appear, and no digits (RFC 8628 §6.1).
const USER_CODE_ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// A token of 256 random bits. Its prefix names its kind, so that a test can search output for it.
pub(crate) fn token(prefix: &str) -> String {
    bytes::<32>().iter().fold(prefix.to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A code for people, `XXXX-XXXX`.
pub(crate) fn user_code() -> String {
    let mut code = String::with_capacity(USER_CODE_LETTERS + 1);
    while code.len() <= USER_CODE_LETTERS {
        for byte in bytes::<16>() {
            // 240 is the largest multiple of 20 in a byte: bytes above it would favour some letters.
            let letter = USER_CODE_ALPHABET.get(usize::from(byte % 20)).filter(|_| byte < 240);
            if code.len() == USER_CODE_LETTERS / 2 {
                code.push('-');
            }
            if code.len() <= USER_CODE_LETTERS {
                code.extend(letter.map(|letter| char::from(*letter)));
            }
        }
    }
    code
}

#[expect(clippy::expect_used, reason = "without randomness no token is safe")]
fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has no randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_codes_are_two_groups_of_four_consonants() {
        for _ in 0..200 {
            let code = user_code();
            let (left, right) = code.split_once('-').unwrap();
            assert_eq!((left.len(), right.len()), (4, 4), "{code}");
            assert!(code.bytes().all(|byte| byte == b'-' || USER_CODE_ALPHABET.contains(&byte)));
        }
    }

    #[test]
    fn tokens_have_256_bits_and_differ() {
        assert_eq!(token("").len(), 64);
        assert_ne!(token("a-"), token("a-"));
    }
}
