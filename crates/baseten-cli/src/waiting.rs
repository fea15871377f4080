//! What a person sees while a browser login waits: where to go, a QR code, a line that counts down.

use std::time::Duration;

use baseten_auth::display_text;
use fast_qr::qr::QRBuilder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

/// The line that counts down while somebody approves the login.
pub(crate) struct Waiting(Option<ProgressBar>);

impl Waiting {
    /// Starts the line, where one can be drawn; else says once that we wait.
    pub(crate) fn start(host: &Host) -> Self {
        if !host.can_redraw() {
            talk("Waiting for the approval in the browser…");
            return Self(None);
        }
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            line.set_style(style);
        }
        Self(Some(line))
    }

    /// Tells how long the code is still good for.
    pub(crate) fn tell(&self, left: Duration) {
        let Some(line) = &self.0 else { return };
        let seconds = left.as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        line.set_message(format!(
            "Waiting for the approval (the code expires in {minutes}:{seconds:02})"
        ));
        line.tick();
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        if let Some(line) = self.0 {
            line.finish_and_clear();
        }
    }
}
