//! Reads an API key from what a person, a pipe or a variable gives, and makes it fit a header.

use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::secret::Secret;

/// At most this many bytes are read where an API key is expected.
const MAX_INPUT_BYTES: usize = 64 * 1024;

/// Why a text is not an API key. None of these errors quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// There is nothing but white space.
    #[error("the API key is empty")]
    Empty,
    /// It has more than 64 KiB.
    #[error("the API key input is larger than 64 KiB")]
    TooLong,
    /// It has characters that a header can't carry, or that no key has.
    #[error("the API key contains white space, control characters or characters outside ASCII")]
    Malformed,
}

/// Reads a whole input, at most 64 KiB, and takes the API key from it as [`parse_api_key`] does.
/// The outer error is the reader's.
pub fn read_api_key(input: impl Read) -> io::Result<Result<Secret, ApiKeyError>> {
    // A buffer that is large enough from the start never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT_BYTES + 64));
    input.take(MAX_INPUT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(parse_api_key(&bytes))
}

/// Takes the first line that is not blank, without surrounding white space. The text is UTF-8, or
/// UTF-16 with a byte order mark.
pub fn parse_api_key(input: &[u8]) -> Result<Secret, ApiKeyError> {
    if input.len() > MAX_INPUT_BYTES {
        return Err(ApiKeyError::TooLong);
    }
    let text = decode(input)?;
    let key =
        text.lines().map(str::trim).find(|line| !line.is_empty()).ok_or(ApiKeyError::Empty)?;
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiKeyError::Malformed);
    }
    Ok(Secret::from(key))
}

/// The text without its byte order mark, which says whether it is UTF-16 (PowerShell's `>` writes
/// that) or UTF-8.
fn decode(input: &[u8]) -> Result<Zeroizing<String>, ApiKeyError> {
    let unit: fn([u8; 2]) -> u16 = match input {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let input = input.strip_prefix("\u{feff}".as_bytes()).unwrap_or(input);
            let text = std::str::from_utf8(input).map_err(|_| ApiKeyError::Malformed)?;
            return Ok(Zeroizing::new(text.to_owned()));
        }
    };
    let (units, rest) = input.as_chunks();
    // A text that is large enough from the start never moves and leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(input.len() * 2));
    for character in char::decode_utf16(units.iter().skip(1).map(|bytes| unit(*bytes))) {
        text.push(character.map_err(|_| ApiKeyError::Malformed)?);
    }
    if rest.is_empty() { Ok(text) } else { Err(ApiKeyError::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_the_first_line_that_is_not_blank() {
        for input in ["key", " key \n", "\u{feff}key\r\n", "\n \t\nkey\nother\n"] {
            assert_eq!(parse_api_key(input.as_bytes()), Ok("key".into()), "{input:?}");
        }
    }

    #[test]
    fn utf_16_is_recognized_by_its_byte_order_mark() {
        let units: Vec<u16> = "\u{feff}\r\n key \r\n".encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for input in [&little, &big] {
            assert_eq!(parse_api_key(input), Ok("key".into()));
            assert_eq!(parse_api_key(&input[..input.len() - 1]), Err(ApiKeyError::Malformed));
        }
        assert_eq!(parse_api_key(b"\xff\xfe\x00\xd8"), Err(ApiKeyError::Malformed));
    }

    #[test]
    fn refuses_what_no_header_carries() {
        let too_long = vec![b'k'; MAX_INPUT_BYTES + 1];
        for (input, expected) in [
            (&b""[..], ApiKeyError::Empty),
            (b" \n\t\n", ApiKeyError::Empty),
            (b"two words", ApiKeyError::Malformed),
            (b"bell\x07", ApiKeyError::Malformed),
            (b"\xff\xfe", ApiKeyError::Empty),
            (b"\xff\xff", ApiKeyError::Malformed),
            ("clé".as_bytes(), ApiKeyError::Malformed),
            (&too_long, ApiKeyError::TooLong),
        ] {
            assert_eq!(parse_api_key(input), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn a_key_is_a_part_of_its_input_that_a_header_carries(
            bytes in any::<Vec<u8>>(), text in "[\\s\u{feff}]{0,4}[!-~ é]{0,9}[\\s\\x00]{0,4}",
        ) {
            crate::fuzzing::api_key(&bytes);
            crate::fuzzing::api_key(text.as_bytes());
        }
    }
}
