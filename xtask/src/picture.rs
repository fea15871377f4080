//! The picture of a login that the front page shows: what tmux shows of a real one, as SVG.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::Outcome;
use crate::build::build;
use crate::demo::{Sandbox, approve};
use crate::needs::{self, Need};
use crate::process::{cargo, command, output, root};

const PICTURE: &str = "docs/login.svg";

/// The window, in characters.
const COLUMNS: usize = 88;
const ROWS: usize = 40;

/// A character, in pixels.
const CELL: (f64, f64) = (8.0, 17.0);
const MARGIN: f64 = 16.0;

/// Logs in at a sandbox inside tmux, and draws what is seen while it waits and afterwards.
pub(crate) fn draw() -> Outcome {
    needs::meet(&[Need::Program("tmux", "tmux")])?;
    let build_both = ["build", "--locked", "--bin", "baseten", "--bin", "baseten-sandbox"];
    let programs = build(&mut cargo(build_both))?;
    let sandbox = Sandbox::start(&programs.path("baseten-sandbox")?, &[])?;
    let home = tempfile::tempdir()?;
    let window = Window::open(home.path(), &programs.path("baseten")?, &sandbox.remote)?;
    window.type_line("baseten auth login --web")?;
    let waiting = window.wait_for("Waiting for the approval")?;
    approve(&url(&waiting)?)?;
    window.wait_for("Logged in as")?;
    window.type_line("baseten auth status")?;
    let done = window.wait_for("Selected by")?;
    let home = home.path().display().to_string();
    let done = done.get(done.find("Logged in").unwrap_or(0)..).unwrap_or_default();
    fs::write(root().join(PICTURE), svg(&[&waiting, &done.replace(&home, "~")]))?;
    println!("{}", root().join(PICTURE).display());
    Ok(())
}

/// The URL that a screen shows.
fn url(screen: &str) -> Outcome<String> {
    let start = screen.find("http://").ok_or("the login shows no URL")?;
    let url = screen.get(start..).unwrap_or_default();
    Ok(url.chars().take_while(char::is_ascii_graphic).collect())
}

/// A tmux window of its own server, with a shell that has nothing but this project's program.
struct Window(String);

impl Window {
    fn open(home: &Path, program: &Path, remote_url: &str) -> Outcome<Self> {
        let window = Self(format!("baseten-picture-{}", std::process::id()));
        let shell = format!(
            "env -i HOME={home} TERM=screen-256color LANG=C.UTF-8 PS1='$ ' \
             PATH={programs}:/usr/bin:/bin BASETEN_CREDENTIAL_STORE=file BASETEN_REMOTE_URL={remote_url} sh",
            home = home.display(),
            programs = program.parent().unwrap_or(program).display(),
        );
        let (columns, rows) = (COLUMNS.to_string(), ROWS.to_string());
        window.tmux(&["-u", "new-session", "-d", "-x", &columns, "-y", &rows, &shell])?;
        window.wait_for("$")?;
        Ok(window)
    }

    fn type_line(&self, line: &str) -> Outcome {
        self.tmux(&["send-keys", line, "Enter"]).map(|_| ())
    }

    /// The screen with its colours, as soon as it shows a text.
    fn wait_for(&self, text: &str) -> Outcome<String> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            let screen = self.tmux(&["capture-pane", "-p", "-e", "-N"])?;
            if screen.contains(text) {
                return Ok(screen);
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Err(format!("the window never shows {text:?}").into())
    }

    fn tmux(&self, arguments: &[&str]) -> Outcome<String> {
        let mut tmux = command("tmux", ["-L", self.0.as_str(), "-f", "/dev/null"]);
        output(tmux.args(arguments))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

/// Screens below each other in one picture.
fn svg(screens: &[&str]) -> String {
    let mut body = String::new();
    let mut row = 0;
    for (index, screen) in screens.iter().enumerate() {
        if index > 0 {
            let y = top(row) + CELL.1 / 2.0;
            let right = MARGIN + units(COLUMNS) * CELL.0;
            let _ = writeln!(body, r##"<path d="M{MARGIN} {y}H{right}" stroke="#444c56"/>"##);
            row += 1;
        }
        let mut look = Look::default();
        for line in screen.trim_end().lines() {
            body += &drawn(line, row, &mut look);
            row += 1;
        }
    }
    let width = units(COLUMNS) * CELL.0 + 2.0 * MARGIN;
    let height = top(row) + MARGIN;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" shape-rendering="crispEdges">
<title>A login in the terminal</title>
<rect width="100%" height="100%" rx="8" fill="#22272e"/>
<g fill="#d0d7de" xml:space="preserve">
{body}</g>
</svg>
"##
    )
}

fn top(row: usize) -> f64 {
    MARGIN + units(row) * CELL.1
}

/// Few enough characters for any number.
fn units(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, f64::from)
}

/// How characters look from here on.
#[derive(Default)]
struct Look {
    bold: bool,
    picture: bool,
}

impl Look {
    fn change(&mut self, codes: &str) {
        match codes {
            "0" => *self = Self::default(),
            "1" => self.bold = true,
            "48;5;231" => self.picture = true,
            "49" => self.picture = false,
            _ => {}
        }
    }
}

/// A line: its text, and the QR code's half blocks as rectangles, which no font can tear apart.
fn drawn(line: &str, row: usize, look: &mut Look) -> String {
    let (mut modules, mut text) = (String::new(), String::new());
    let (mut column, mut light) = (0, None);
    for (index, piece) in line.split('\u{1b}').enumerate() {
        let (codes, piece) = piece.split_once('m').filter(|_| index > 0).unwrap_or(("", piece));
        look.change(codes.trim_start_matches('['));
        for character in piece.chars() {
            if look.picture {
                light.get_or_insert(column);
                modules += &module(character, column, row);
            } else {
                text += &glyph(character, column, row, look.bold);
            }
            column += 1;
        }
    }
    // All of it is light first.
    let paper = light.map(|first| {
        let width = units(column - first) * CELL.0;
        rectangle(MARGIN + units(first) * CELL.0, top(row), width, CELL.1, "#fff")
    });
    paper.unwrap_or_default() + &modules + &text
}

/// The dark halves of a character of the QR code.
fn module(character: char, column: usize, row: usize) -> String {
    let height = CELL.1 / 2.0;
    let (down, height) = match character {
        '█' => (0.0, CELL.1),
        '▀' => (0.0, height),
        '▄' => (height, height),
        _ => return String::new(),
    };
    rectangle(MARGIN + units(column) * CELL.0, top(row) + down, CELL.0, height, "#000")
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str) -> String {
    format!("<path d=\"M{x} {y}h{width}v{height}h-{width}z\" fill=\"{fill}\"/>\n")
}

fn glyph(character: char, column: usize, row: usize, bold: bool) -> String {
    if character == ' ' {
        return String::new();
    }
    let (x, y) = (MARGIN + units(column) * CELL.0, top(row) + CELL.1 * 0.76);
    let character = match character {
        '<' => "&lt;".to_owned(),
        '&' => "&amp;".to_owned(),
        other => other.to_string(),
    };
    let weight = if bold { r##" font-weight="bold" fill="#fff""## } else { "" };
    format!("<text x=\"{x}\" y=\"{y}\"{weight}>{character}</text>\n")
}
