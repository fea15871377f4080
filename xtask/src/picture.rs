//! The picture of a login on the front page: the screen of a real login in tmux, in a session with
//! a real keyring, as SVG.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use fs_err as fs;

use crate::build::build;
use crate::demo::{Sandbox, approve};
use crate::needs::{self, Need};
use crate::process::{Outcome, cargo, command, output, poll, root, run, spawn};

const PICTURE: &str = "docs/login.svg";

const NEEDS: &[Need] = &[
    Need::Program("tmux", "tmux"),
    Need::Program("curl", "curl"),
    Need::Program("gnome-keyring-daemon", "gnome-keyring"),
    Need::Program("dbus-daemon", "dbus-daemon"),
    Need::Program("dbus-send", "dbus-bin"),
];

/// The window, in characters.
const COLUMNS: usize = 96;
const ROWS: usize = 40;

/// A character, in pixels.
const CELL: (f64, f64) = (7.8, 18.0);
const MARGIN: f64 = 18.0;
const TITLE_BAR: f64 = 30.0;

/// Logs in at a sandbox, looks at the status, uses the token, and draws the screen.
pub(crate) fn draw() -> Outcome {
    needs::meet(NEEDS)?;
    let build_both = ["build", "--locked", "--bin", "baseten", "--bin", "baseten-sandbox"];
    let programs = build(&mut cargo(build_both))?;
    let sandbox = Sandbox::start(&programs.path("baseten-sandbox")?, &[])?;
    let home = tempfile::tempdir()?;
    let url = home.path().join("url");
    let window = Window::open(home.path(), &programs.path("baseten")?, &url, &sandbox.remote)?;
    window.type_line("baseten auth login --web")?;
    window.wait_for("Waiting for the approval")?;
    approve(&written(&url)?)?;
    window.wait_for("Logged in as")?;
    window.type_line("baseten auth status")?;
    window.wait_for("Selected by")?;
    let api = sandbox.remote.replace("://", "://api.");
    window.type_line(&format!("baseten auth token --header | curl -sH @- {api}/v1/users/me"))?;
    let screen = window.wait_for("\"email\"")?;
    // Shows the sandbox's default port instead of the free one.
    let port = sandbox.remote.rsplit(':').next().unwrap_or_default();
    let screen = screen.replace(&format!("localhost:{port}"), "localhost:8000");
    let screen = screen.replace("\n$ ", "\n\n$ ");
    fs::write(root().join(PICTURE), svg(screen.trim_end().trim_end_matches('$')))?;
    println!("{}", root().join(PICTURE).display());
    Ok(())
}

/// What the browser was started with.
fn written(url: &Path) -> Outcome<String> {
    let read = || fs::read_to_string(url).ok().filter(|url| !url.is_empty());
    Ok(poll(Duration::from_secs(10), read).ok_or("the login opens no browser")?)
}

/// A separate tmux server, in a session with a keyring.
struct Window {
    server: String,
    session: Child,
}

impl Window {
    /// A shell that has this project's program, the session's keyring, and a browser that only
    /// writes down the page to open.
    fn open(home: &Path, program: &Path, url: &Path, remote_url: &str) -> Outcome<Self> {
        let browser = home.join("browser");
        fs::write(&browser, format!("#!/bin/sh\nprintf %s \"$1\" >{}\n", url.display()))?;
        run(command("chmod", ["+x"]).arg(&browser))?;
        let shell = format!(
            "env -i HOME={home} TERM=screen-256color LANG=C.UTF-8 PS1='$ ' \
             PATH={programs}:/usr/bin:/bin BASETEN_REMOTE_URL={remote_url} BROWSER={browser} \
             DBUS_SESSION_BUS_ADDRESS=\"$DBUS_SESSION_BUS_ADDRESS\" sh",
            home = home.display(),
            browser = browser.display(),
            programs = program.parent().unwrap_or(program).display(),
        );
        let server = format!("baseten-picture-{}", std::process::id());
        // The session ends with its standard input.
        let script = format!(
            "tmux -u -L {server} -f /dev/null new-session -d -x {COLUMNS} -y {ROWS} \"$1\"; cat"
        );
        let mut session = command("counterparts/keyrings/gnome.sh", ["--", "sh", "-c"]);
        session.args([&script, "sh", &shell]).stdin(Stdio::piped());
        let window = Self { server, session: spawn(&mut session)? };
        window.wait_for("$")?;
        Ok(window)
    }

    fn type_line(&self, line: &str) -> Outcome {
        self.tmux(&["send-keys", line, "Enter"]).map(|_| ())
    }

    /// The screen with its colors, as soon as it shows a text.
    fn wait_for(&self, text: &str) -> Outcome<String> {
        // The window appears only after the keyring has started.
        let screen = || self.tmux(&["capture-pane", "-p", "-e"]).ok();
        poll(Duration::from_secs(30), || screen().filter(|screen| screen.contains(text)))
            .ok_or_else(|| format!("the window never shows {text:?}").into())
    }

    fn tmux(&self, arguments: &[&str]) -> Outcome<String> {
        let mut tmux = command("tmux", ["-L", self.server.as_str()]);
        output(tmux.args(arguments))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
        drop(self.session.stdin.take());
        let _ = self.session.wait();
    }
}

/// A terminal window that shows a screen. It is dark with a border, so that it is readable on a
/// light and on a dark page.
fn svg(screen: &str) -> String {
    let body: String = screen.lines().enumerate().map(|(row, line)| drawn(line, row)).collect();
    let width = (units(COLUMNS) * CELL.0 + 2.0 * MARGIN).round();
    let height = top(screen.lines().count()) + MARGIN;
    let (inner_width, inner_height) = (width - 1.0, height - 1.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace" font-size="13">
<title>A login in the terminal</title>
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="9" fill="#1b2028" stroke="#57606a"/>
<g fill="#57606a"><circle cx="20" cy="18" r="6"/><circle cx="40" cy="18" r="6"/><circle cx="60" cy="18" r="6"/></g>
<g fill="#d6dde6" xml:space="preserve">
{body}</g>
</svg>
"##
    )
}

fn top(row: usize) -> f64 {
    TITLE_BAR + MARGIN / 2.0 + units(row) * CELL.1
}

/// The count is small enough for any number type.
fn units(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, f64::from)
}

/// Draws a line: each run of characters with the same style is as wide as its cells, whatever the
/// font is.
fn drawn(line: &str, row: usize) -> String {
    let (mut text, mut column, mut look) = (String::new(), 0, "");
    if let Some(typed) = line.strip_prefix("$ ") {
        return run_of("$", 0, row, r##" fill="#7ee787""##) + &run_of(typed, 2, row, BOLD);
    }
    for (index, piece) in line.split('\u{1b}').enumerate() {
        let (codes, piece) = piece.split_once('m').filter(|_| index > 0).unwrap_or(("", piece));
        look = match codes.trim_start_matches('[') {
            "1" => BOLD,
            "" if index == 0 => look,
            _ => "",
        };
        text += &run_of(piece, column, row, look);
        column += piece.chars().count();
    }
    text
}

const BOLD: &str = r##" font-weight="bold" fill="#fff""##;

fn run_of(text: &str, column: usize, row: usize, look: &str) -> String {
    let trimmed = text.trim_start();
    let column = column + text.chars().count() - trimmed.chars().count();
    let trimmed = trimmed.trim_end();
    if trimmed.is_empty() {
        return String::new();
    }
    let (x, y) = (MARGIN + units(column) * CELL.0, top(row) + CELL.1 * 0.76);
    let width = units(trimmed.chars().count()) * CELL.0;
    let escaped = trimmed.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{width:.1}\"{look}>{escaped}</text>\n")
}
