//! The performance targets, and whether they are met.

use super::cases::{
    AWS_LIST, CURL_ENGINE, EXEC, GH_STATUS, GH_TOKEN, HELLO, LIST, LIST_10_000, SECRET_TOOL_LOOKUP,
    STATIC, STATUS, STATUS_10_000, STATUS_JQ, SWITCH_10_000, TOKEN, TOKEN_ENGINE, TOKEN_KEYRING,
    TOKEN_SOCKET, TRUE, WRITE_10_000,
};
use super::results::{Figures, Results};

/// A target, and whether it is met.
pub(super) struct Target {
    pub(super) text: String,
    pub(super) measured: String,
    pub(super) met: bool,
}

impl Target {
    fn new(text: String, measured: f64, unit: &str, met: bool) -> Self {
        Self { text, measured: format!("{measured:.2} {unit}"), met }
    }
}

/// The targets that have all their measurements.
pub(super) fn targets(results: &Results) -> Vec<Target> {
    let sight = Sight(results);
    let memory = results.figures.get(STATUS).and_then(|figures| figures.memory);
    let baseten = results.sizes.iter().filter(|(name, _)| name.starts_with("baseten"));
    let largest = baseten.map(|(_, size)| *size).max();
    let mut targets = vec![
        sight.ratio(&format!("{STATUS}{STATIC}"), HELLO, 1.1),
        sight.ratio(&format!("{STATUS}{STATIC}"), &format!("{HELLO}{STATIC}"), 1.4),
        sight.ratio(STATUS, HELLO, 1.5),
        sight.difference(STATUS_JQ, STATUS, 1.0),
        sight.ratio(TOKEN_KEYRING, SECRET_TOOL_LOOKUP, 1.2),
        sight.ratio(TOKEN_SOCKET, TOKEN, 1.3),
        sight.ratio(TOKEN_ENGINE, CURL_ENGINE, 1.5),
        sight.exec(),
        sight.difference(STATUS_10_000, STATUS, 15.0),
        sight.difference(LIST_10_000, LIST, 15.0),
        sight.one_write(),
        memory.map(|memory| below("peak memory of `auth status`", memory, 6)),
        largest.map(|size| below("size of the largest build", size, 5)),
    ];
    let peers = [(GH_STATUS, STATUS), (AWS_LIST, STATUS), (GH_TOKEN, TOKEN)];
    targets.extend(peers.map(|(peer, ours)| sight.times_faster(ours, peer, 10.0)));
    targets.into_iter().flatten().collect()
}

fn below(what: &str, bytes: u64, mebibytes: u32) -> Target {
    let measured = mebibytes_of(bytes);
    let text = format!("{what}: under {mebibytes} MiB");
    Target::new(text, measured, "MiB", measured < f64::from(mebibytes))
}

#[expect(clippy::cast_precision_loss, reason = "nothing here has that many bytes")]
pub(super) fn mebibytes_of(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

struct Sight<'a>(&'a Results);

impl Sight<'_> {
    /// Milliseconds; `None` if it was not measured.
    fn wall(&self, name: &str) -> Option<f64> {
        self.0.figures.get(name).map(Figures::milliseconds)
    }

    fn ratio(&self, name: &str, to: &str, most: f64) -> Option<Target> {
        let ratio = self.wall(name)? / self.wall(to)?;
        let text = format!("{name}: at most {most} × {to}");
        Some(Target::new(text, ratio, "×", ratio <= most))
    }

    /// Compares `auth exec` with getting a token and running the program alone.
    fn exec(&self) -> Option<Target> {
        let ratio = self.wall(EXEC)? / (self.wall(TOKEN)? + self.wall(TRUE)?);
        let text = format!("{EXEC}: at most 1.3 × {TOKEN} and {TRUE}");
        Some(Target::new(text, ratio, "×", ratio <= 1.3))
    }

    fn difference(&self, name: &str, to: &str, most: f64) -> Option<Target> {
        let difference = self.wall(name)? - self.wall(to)?;
        let text = format!("{name}: at most {most} ms over {to}");
        Some(Target::new(text, difference, "ms", difference <= most))
    }

    /// Besides reading the store, a switch may take twice as long as writing it once: once for the
    /// write, and once for formatting, comparing and wiping the text.
    fn one_write(&self) -> Option<Target> {
        let beyond = self.wall(SWITCH_10_000)? - self.wall(STATUS_10_000)?;
        let writes = beyond / self.wall(WRITE_10_000)?;
        let text = format!("{SWITCH_10_000}: beyond reading them, less than 2 × {WRITE_10_000}");
        Some(Target::new(text, writes, "×", writes < 2.0))
    }

    fn times_faster(&self, ours: &str, theirs: &str, least: f64) -> Option<Target> {
        let times = self.wall(theirs)? / self.wall(ours)?;
        let text = format!("{ours}: at least {least} times as fast as {theirs}");
        Some(Target {
            measured: format!("{times:.0} ×"),
            ..Target::new(text, times, "×", times >= least)
        })
    }
}
