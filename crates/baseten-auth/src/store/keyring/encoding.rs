//! The forms in which programs store text in the macOS keychain.
//! Programs that use the `security` program encode it, because that prints anything but plain ASCII
//! as hexadecimal; the others store it as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BASE64: &[u8] = b"go-keyring-base64:";
const HEX: &[u8] = b"go-keyring-encoded:";

/// The form that all of those programs can read.
pub(super) fn encode(secret: &str) -> Zeroizing<Vec<u8>> {
    let size = BASE64.len() + secret.len().div_ceil(3) * 4;
    // Allocated at its full size, because a vector that grows leaves copies behind.
    let mut stored = Zeroizing::new(vec![0; size]);
    let (prefix, text) = stored.split_at_mut(BASE64.len());
    prefix.copy_from_slice(BASE64);
    // The only error is a buffer that is too small.
    let _ = STANDARD.encode_slice(secret, text);
    stored
}

/// The text of any of the three forms, as bytes; `None` if it has a prefix but the rest is not in
/// that form.
pub(super) fn decode(stored: &[u8]) -> Option<Vec<u8>> {
    if let Some(text) = stored.strip_prefix(BASE64) {
        STANDARD.decode(text.trim_ascii()).ok()
    } else if let Some(text) = stored.strip_prefix(HEX) {
        decode_hex(text.trim_ascii())
    } else {
        Some(stored.to_vec())
    }
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?));
    rest.is_empty().then(|| bytes.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let text = r#"{"access_token":"é"}"#;
        for stored in [
            text,
            "go-keyring-base64:eyJhY2Nlc3NfdG9rZW4iOiLDqSJ9",
            "go-keyring-encoded:7b226163636573735f746f6b656e223a22c3a9227d",
            "go-keyring-encoded:7B226163636573735F746F6B656E223A22C3A9227D\n",
        ] {
            assert_eq!(decode(stored.as_bytes()).as_deref(), Some(text.as_bytes()), "{stored}");
        }
    }

    #[test]
    fn the_form_that_is_written_is_base64() {
        for (text, stored) in [
            ("", "go-keyring-base64:"),
            ("a", "go-keyring-base64:YQ=="),
            (r#"{"access_token":"é"}"#, "go-keyring-base64:eyJhY2Nlc3NfdG9rZW4iOiLDqSJ9"),
        ] {
            assert_eq!(String::from_utf8_lossy(&encode(text)), stored);
            assert_eq!(decode(&encode(text)).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn a_broken_form_is_refused() {
        for stored in [
            "go-keyring-base64:Y",
            "go-keyring-encoded:7",
            "go-keyring-encoded:7g",
            "go-keyring-encoded:+1",
        ] {
            assert_eq!(decode(stored.as_bytes()), None, "{stored}");
        }
    }
}
