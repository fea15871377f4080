//! Rows of text in aligned columns.

use unicode_width::UnicodeWidthStr;

const GAP: usize = 2;

/// The lines of a table, with its heading first; `None` if they are wider than the window.
pub(crate) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
    window: Option<usize>,
) -> Option<Vec<String>> {
    let mut widths = heading.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let total = widths.iter().sum::<usize>() + GAP * N.saturating_sub(1);
    let fits = window.is_none_or(|window| total <= window);
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str), &widths));
    fits.then(|| std::iter::once(line(heading, &widths)).chain(rows).collect())
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N]) -> String {
    let mut line = String::with_capacity(widths.iter().sum::<usize>() + GAP * N);
    for (cell, widest) in cells.into_iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', widest - width(cell) + GAP));
    }
    line.truncate(line.trim_end().len());
    line
}

/// How many columns a text without control characters takes. The fast path is for long lists, whose
/// texts are mostly ASCII.
fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [["é".into(), "https://a.example".into()], ["日本".into(), "x".into()]];
        let expected = ["A     B", "é     https://a.example", "日本  x"].map(str::to_owned);
        assert_eq!(table(["A", "B"], &rows, None), Some(expected.to_vec()));
        assert_eq!(table(["A", "B"], &rows, Some(23)), Some(expected.to_vec()));
        assert_eq!(table(["A", "B"], &rows, Some(22)), None);
    }
}
