//! When a token expires, as text: RFC 3339 with any offset, and the year 1 for "unknown".

use jiff::Timestamp;

/// What other writers store for "no expiry known".
const UNKNOWN: &str = "0001-01-01T00:00:00Z";

/// A text that is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadExpiry;

/// Reads an expiry; `None` if the text stands for "no expiry known".
pub(super) fn parse_expiry(text: &str) -> Result<Option<Timestamp>, BadExpiry> {
    // The year 1 means "unknown" with every offset; some offsets move it into the year before.
    if text.is_empty() || stands_for_none(text) {
        return Ok(None);
    }
    match text.parse::<Timestamp>() {
        // Others move a time into the year 1, where it would be written as "unknown".
        Ok(expiry) => Ok(Some(expiry).filter(|expiry| !stands_for_none(&expiry.to_string()))),
        // The last day that can be written may be later than the last that a `Timestamp` can hold.
        Err(_) if text.starts_with("9999-12-3") => Ok(Some(Timestamp::MAX)),
        Err(_) => Err(BadExpiry),
    }
}

fn stands_for_none(text: &str) -> bool {
    text.starts_with("0001-") || text.starts_with("0000-")
}

/// Writes an expiry in UTC.
pub(super) fn format_expiry(expiry: Option<Timestamp>) -> String {
    expiry.map_or_else(|| UNKNOWN.to_owned(), |expiry| expiry.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_other_writers_write() {
        let noon: Timestamp = "2026-08-07T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-08-07T12:00:00Z", Ok(Some(noon))),
            ("2026-08-07T07:00:00.000000000-05:00", Ok(Some(noon))),
            ("2026-08-07T17:30:00+05:30", Ok(Some(noon))),
            ("0001-01-01T00:00:00Z", Ok(None)),
            ("0001-01-01T00:00:00-05:00", Ok(None)),
            ("0002-01-01T00:00:00+00:07", Ok(None)),
            ("9999-12-31T23:59:59-12:00", Ok(Some(Timestamp::MAX))),
            ("", Ok(None)),
            ("tomorrow", Err(BadExpiry)),
        ] {
            assert_eq!(parse_expiry(text), expected, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let expiry = parse_expiry("2026-08-07T09:35:48.12-05:00").unwrap();
        assert_eq!(format_expiry(expiry), "2026-08-07T14:35:48.12Z");
        assert_eq!(parse_expiry(&format_expiry(expiry)), Ok(expiry));
        assert_eq!(parse_expiry(&format_expiry(None)), Ok(None));
    }

    proptest! {
        #[test]
        fn every_time_is_read_as_it_was_written(
            seconds in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
            nanoseconds in 0..1_000_000_000,
        ) {
            let Ok(expiry) = Timestamp::new(seconds, nanoseconds) else { return Ok(()) };
            let text = format_expiry(Some(expiry));
            // The years 0 and 1 mean "unknown", and no token expires earlier.
            if !text.starts_with('-') && !text.starts_with("0000-") && !text.starts_with("0001-") {
                prop_assert_eq!(parse_expiry(&text), Ok(Some(expiry)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{0,20}[Z+-]?[0-9:]{0,8}") {
            if let Ok(expiry) = parse_expiry(&text) {
                prop_assert!(parse_expiry(&format_expiry(expiry)).is_ok());
            }
        }
    }
}
