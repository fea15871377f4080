//! What is shown while a browser login waits: where to go, a QR code, a countdown.

use std::io::Write as _;
use std::time::Duration;

use anstyle::Style;
use baseten_auth::internal::{Env, display_text};
use fast_qr::qr::QRBuilder;
use fast_qr::{ECL, QRCode};
use unicode_width::UnicodeWidthStr;

use crate::render::{self, talk};
use crate::terminal::interrupt::Interrupt;
use crate::terminal::window::{self, Echo, Leftover, Window};

/// Where the user goes to approve a login.
pub(crate) struct Invitation {
    text: String,
    picture: Option<Picture>,
}

/// A QR code as lines of half blocks.
struct Picture {
    text: String,
    lines: usize,
}

impl Invitation {
    /// The URL, which is plain ASCII, and the code. If no browser is started, also a QR code of the
    /// URL, if it fits the window.
    pub(crate) fn new(
        env: &Env,
        window: Option<Window>,
        url: &str,
        user_code: &str,
        notice: &str,
        opens: bool,
    ) -> Self {
        let user_code = display_text(user_code);
        let window = window.filter(|_| !opens);
        let inks = Inks::of(env);
        let picture = window.and_then(|window| Picture::new(url, window, inks));
        let room = window.zip(picture.as_ref()).map(|(window, picture)| {
            let lines = |width: usize| width.div_ceil(window.columns);
            let texts = lines(url.width() + INDENT) + lines(notice.width());
            window.rows.saturating_sub(picture.lines + 1 + texts)
        });
        let link = window::has_hyperlinks(env);
        let roomy = |what| roomy(what, url, &user_code, link);
        let (text, picture) = match room {
            Some(left) if left < COMPACT_LINES => (roomy(OPEN) + notice + "\n", None),
            Some(left) if left < ROOMY_LINES => {
                (compact(url, &user_code, link) + "\n" + notice, picture)
            }
            Some(_) => (roomy(OPEN_OR_SCAN) + notice + "\n", picture),
            None if opens => (roomy(OPENING) + notice + "\n", None),
            None => (roomy(OPEN) + notice + "\n", None),
        };
        Self { text, picture }
    }

    /// Shows it.
    pub(crate) fn show(&self) {
        talk(&self.text);
        if let Some(picture) = &self.picture {
            talk(&picture.text);
        }
    }
}

const OPEN: &str = "Open this page in a browser:";
const OPEN_OR_SCAN: &str = "Open this page, or scan its QR code:";
const OPENING: &str = "Opening this page in your browser:";

const INDENT: usize = 2;

/// The lines that [`roomy`] and [`compact`] take besides those of the URL and the notice.
const ROOMY_LINES: usize = 8;
const COMPACT_LINES: usize = 2;

/// The URL and the code, each on its own line, so that it can be copied.
fn roomy(what: &str, url: &str, user_code: &str, link: bool) -> String {
    let (url, bold) = (linked(url, link), BOLD);
    format!(
        "{what}\n\n  {url}\n\nand check that it shows this code:\n\n  \
         {bold}{user_code}{bold:#}\n\n"
    )
}

/// The same for a low window.
fn compact(url: &str, user_code: &str, link: bool) -> String {
    let (url, bold) = (linked(url, link), BOLD);
    format!("Open this page or scan it, and check its code:\n  {url}\n  {bold}{user_code}{bold:#}")
}

const BOLD: Style = Style::new().bold();

/// The URL as a hyperlink (OSC 8) whose text is the URL.
fn linked(url: &str, link: bool) -> String {
    let shown = format!("{BOLD}{url}{BOLD:#}");
    if link { format!("\x1b]8;;{url}\x1b\\{shown}\x1b]8;;\x1b\\") } else { shown }
}

/// The colours of a QR code.
#[derive(Clone, Copy)]
enum Inks {
    /// Fixed colours, whatever the terminal's are.
    Own,
    /// The terminal's own, if no colours are wanted.
    LightOnDark,
    DarkOnLight,
}

impl Inks {
    /// Only some terminals report their background, in `COLORFGBG`. Most others are dark. On a
    /// light one the code is inverted, and phones can read that too.
    fn of(env: &Env) -> Self {
        if render::has_colour() {
            return Self::Own;
        }
        let colours = env.text("COLORFGBG").ok().flatten().unwrap_or_default();
        match colours.rsplit(';').next().and_then(|background| background.parse().ok()) {
            Some(7 | 9..=15) => Self::DarkOnLight,
            _ => Self::LightOnDark,
        }
    }
}

impl Picture {
    /// The margin that scanners need around a code, in modules (ISO/IEC 18004 §9.1).
    const QUIET_ZONE: usize = 4;

    fn new(url: &str, window: Window, inks: Inks) -> Option<Self> {
        // A screen needs no error correction, and with fewer modules each one is larger.
        let code = QRBuilder::new(url).ecl(ECL::L).build().ok()?;
        let size = code.size + 2 * Self::QUIET_ZONE;
        let lines = size.div_ceil(2);
        let text = match inks {
            Inks::Own => black_on_white(&code),
            Inks::LightOnDark => half_blocks(&code, false).join("\n"),
            Inks::DarkOnLight => half_blocks(&code, true).join("\n"),
        };
        (size <= window.columns).then_some(Self { text, lines })
    }
}

/// Black on white, whatever the terminal's colours are: no theme changes these two of the 256.
fn black_on_white(code: &QRCode) -> String {
    let (start, end) = ("\x1b[38;5;16;48;5;231m", "\x1b[0m");
    let lines = half_blocks(code, true).join(&format!("{end}\n{start}"));
    format!("{start}{lines}{end}")
}

/// Two modules per character; either the dark or the light ones are drawn.
fn half_blocks(code: &QRCode, draw_dark: bool) -> Vec<String> {
    let size = code.size + 2 * Picture::QUIET_ZONE;
    let module = |at: usize| at.checked_sub(Picture::QUIET_ZONE).filter(|at| *at < code.size);
    let is_drawn = |row: usize, column: usize| {
        let dark = match (module(row), module(column)) {
            (Some(row), Some(column)) => code[row][column].value(),
            _ => false,
        };
        row < size && dark == draw_dark
    };
    let character = |row, column| match (is_drawn(row, column), is_drawn(row + 1, column)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    let line = |row| (0..size).map(|column| character(row, column)).collect();
    (0..size).step_by(2).map(line).collect()
}

/// Columns for the spinner, and for the `^C` that some terminals show: if that went to the next
/// line, the waiting line could not be cleared.
const RESERVED: usize = 5;

const SPINNER: [char; 8] = ['⠁', '⠂', '⠄', '⡀', '⢀', '⠠', '⠐', '⠈'];

/// The line that counts down while somebody approves the login.
pub(crate) struct Waiting {
    /// The window, if a line can be drawn.
    window: Option<Window>,
    interrupt: Interrupt,
    turn: usize,
}

impl Waiting {
    /// Starts the line below an invitation. If no line can be drawn, says once that the login
    /// waits.
    pub(crate) fn start(
        interrupt: &Interrupt,
        window: Option<Window>,
        invitation: Option<&Invitation>,
    ) -> Self {
        if window.is_none() {
            talk("Waiting for the approval in the browser…");
        }
        let picture = invitation.and_then(|invitation| invitation.picture.as_ref());
        let lines = picture.map_or(0, |picture| picture.lines);
        let leftover = window.map(|window| Leftover { lines, window, echo: Echo::off() });
        interrupt.leave(leftover);
        Self { window, interrupt: interrupt.clone(), turn: 0 }
    }

    /// Shows how long the code is still valid.
    pub(crate) fn tell(&mut self, left: Duration) {
        let Some(window) = self.window else { return };
        self.turn = (self.turn + 1) % SPINNER.len();
        let spinner = SPINNER.get(self.turn).unwrap_or(&' ');
        draw(&format!("\r{spinner} {}\x1b[K", countdown(left, window.columns)));
    }

    /// Removes the line, and the QR code above it.
    pub(crate) fn end(self) {
        if self.window.is_some() {
            window::clear(self.interrupt.take_leftover().as_ref());
        }
    }
}

/// Draws with a single write.
fn draw(text: &str) {
    // If stderr can't be written, there is nobody to show it to.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn countdown(left: Duration, columns: usize) -> String {
    let seconds = left.as_secs();
    let time = format!("{}:{:02}", seconds / 60, seconds % 60);
    let long = format!("Waiting for the approval in the browser (the code expires in {time})");
    let short = format!("Waiting for approval ({time} left)");
    let room = columns.saturating_sub(RESERVED);
    if long.len() <= room { long } else { short.chars().take(room).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_the_window() {
        let left = Duration::from_secs(899);
        assert!(countdown(left, 80).ends_with("(the code expires in 14:59)"));
        assert_eq!(countdown(left, 40), "Waiting for approval (14:59 left)");
        assert_eq!(countdown(left, 20), "Waiting for app");
        assert_eq!(countdown(left, 0), "");
    }

    #[test]
    fn the_lines_of_an_invitation_are_counted_right() {
        assert_eq!(roomy(OPEN, "u", "c", false).lines().count() + 1, ROOMY_LINES + 1);
        assert_eq!(compact("u", "c", false).lines().count(), COMPACT_LINES + 1);
    }

    #[test]
    fn a_picture_needs_a_wide_window() {
        let url = "https://app.example.com/device?user_code=BCDF-GHJK";
        let picture = |columns| Picture::new(url, Window { columns, rows: 24 }, Inks::Own);
        assert_eq!(picture(80).map(|picture| picture.lines), Some(19));
        assert!(picture(37).is_some());
        assert!(picture(36).is_none());
    }
}
