//! Rows of text in aligned columns, no wider than the window.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const GAP: usize = 2;
const LEAST_WIDTH: usize = 6;

/// A table with a heading. Where the window is too narrow, the widest columns are cut.
pub(crate) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
    window: Option<usize>,
) -> String {
    let mut widths = heading.map(UnicodeWidthStr::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if let Some(window) = window {
        narrow(&mut widths, window);
    }
    let heading = line(heading, &widths);
    rows.iter().fold(heading, |text, row| text + &line(row.each_ref().map(String::as_str), &widths))
}

/// Takes columns from the widest until the line fits, or nothing more can be taken.
fn narrow(widths: &mut [usize], window: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > window {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST_WIDTH => *widest -= 1,
            _ => return,
        }
    }
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(widths) {
        let cell = cut(cell, *width);
        let padding = width - cell.width() + GAP;
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(character);
    }
    out + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[String; 2]> {
        vec![["é".into(), "https://a.example".into()], ["日本".into(), "x".into()]]
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let text = table(["A", "B"], &rows(), None);
        assert_eq!(text, "A     B\né     https://a.example\n日本  x\n");
    }

    #[test]
    fn a_narrow_window_cuts_the_widest_column() {
        let text = table(["A", "B"], &rows(), Some(14));
        assert_eq!(text, "A     B\né     https:/…\n日本  x\n");
    }
}
