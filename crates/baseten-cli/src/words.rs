//! Times, what selected a profile, and where its secret is kept, in words.

use baseten_auth::SessionSource;
use baseten_auth::internal::{Storage, plain_text};
use jiff::Timestamp;

/// The option, variable or state that selected a profile, as a person would write it.
pub(crate) fn selected_by(source: SessionSource) -> &'static str {
    match source {
        SessionSource::Named => "--profile",
        source => source.variable().unwrap_or(CURRENT),
    }
}

/// What selects a profile if nothing else does.
pub(crate) const CURRENT: &str = "current profile";

/// Where a stored secret is kept.
pub(crate) fn place_name(storage: &Storage) -> String {
    match storage {
        Storage::File => "file".to_owned(),
        Storage::Keyring => "system keyring".to_owned(),
        Storage::Kept(keeper) => plain_text(&keeper.label()),
    }
}

/// Where a lender's credential is kept.
pub(crate) const SOCKET: &str = "socket";

/// When something ends or ended: `in 12 minutes`, `3 hours ago`.
pub(crate) fn when(moment: Timestamp, now: Timestamp) -> String {
    let seconds = moment.duration_since(now).as_secs();
    let amount = amount(seconds.unsigned_abs());
    if seconds < 0 { format!("{amount} ago") } else { format!("in {amount}") }
}

fn amount(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (moment, words) in [
            ("2026-01-01T00:00:01Z", "in 1 second"),
            ("2026-01-01T00:12:59Z", "in 12 minutes"),
            ("2025-12-31T21:00:00Z", "3 hours ago"),
            ("2026-01-03T00:00:00Z", "in 2 days"),
        ] {
            assert_eq!(when(moment.parse().unwrap(), now), words);
        }
    }
}
