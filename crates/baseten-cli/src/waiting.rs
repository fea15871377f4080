//! What a person sees while a browser login waits: where to go, a QR code, a line that counts down.

use std::io::Write as _;
use std::time::Duration;

use baseten_auth::display_text;
use fast_qr::qr::QRBuilder;

use crate::host::Host;
use crate::render::talk;

/// The URL and the code, each alone on a line, so that it can be copied.
pub(crate) fn invitation(host: &Host, url: &str, user_code: &str) -> String {
    const BOLD: anstyle::Style = anstyle::Style::new().bold();
    let url = display_text(url);
    let shown =
        if host.has_hyperlinks() { format!("\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\") } else { url };
    let user_code = display_text(user_code);
    format!(
        "Open this page in a browser:\n\n  {shown}\n\nand check that it shows this code:\n\n  {BOLD}{user_code}{BOLD:#}\n"
    )
}

/// The URL as a QR code of half blocks, where the window has room for it.
pub(crate) fn qr_code(host: &Host, url: &str) -> Option<String> {
    const QUIET_ZONE: usize = 2;
    let columns = host.columns()?;
    let code = QRBuilder::new(url).build().ok()?;
    let size = code.size + 2 * QUIET_ZONE;
    if size > columns {
        return None;
    }
    let dark = |row: usize, column: usize| {
        let module = |at: usize| at.checked_sub(QUIET_ZONE).filter(|at| *at < code.size);
        match (module(row), module(column)) {
            (Some(row), Some(column)) => code[row][column].value(),
            _ => false,
        }
    };
    let mut text = String::new();
    for row in (0..size).step_by(2) {
        // Black on white by the code's own colours, whatever the terminal's are.
        text.push_str("\x1b[30;107m");
        for column in 0..size {
            text.push(match (dark(row, column), row + 1 < size && dark(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push_str("\x1b[0m\n");
    }
    Some(text)
}

/// Columns for the spinner, and for the `^C` that terminals show: were that on a line of its own,
/// the waiting line above it could not be cleared.
const RESERVED: usize = 5;

const SPINNER: [char; 8] = ['⠁', '⠂', '⠄', '⡀', '⢀', '⠠', '⠐', '⠈'];

/// The line that counts down while somebody approves the login.
pub(crate) struct Waiting {
    /// Whether a line can be drawn at all.
    draws: bool,
    turn: usize,
}

impl Waiting {
    /// Starts the line, where one can be drawn; else says once that we wait.
    pub(crate) fn start(host: &Host) -> Self {
        let draws = host.can_redraw();
        if !draws {
            talk("Waiting for the approval in the browser…");
        }
        Self { draws, turn: 0 }
    }

    /// Tells how long the code is still good for.
    pub(crate) fn tell(&mut self, left: Duration) {
        let seconds = left.as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let text = format!("Waiting for the approval (the code expires in {minutes}:{seconds:02})");
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let shown: String = text.chars().take(columns.saturating_sub(RESERVED)).collect();
        self.turn = (self.turn + 1) % SPINNER.len();
        let spinner = SPINNER.get(self.turn).unwrap_or(&' ');
        self.draw(&format!("{spinner} {shown}"));
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        self.draw("");
    }

    /// Draws the line anew, at once, so that nobody sees half of it.
    fn draw(&self, text: &str) {
        if self.draws {
            // A waiting line that cannot be seen is nobody's loss.
            let _ = std::io::stderr().write_all(format!("\r{text}\x1b[K").as_bytes());
        }
    }
}
