//! What a person at a terminal sees while a browser login waits.

#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::process::Command;

use baseten_sandbox::Sandbox;
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::program::find;
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::terminal::{CONTROL_C, OnTerminal, Terminal};

/// Starts a browser login and returns what it shows before it waits.
fn start_login<'a>(terminal: &'a Terminal, home: &Home) -> (OnTerminal<'a>, String) {
    let mut login = terminal.start(home, WEB_LOGIN);
    login.until("it waits", |terminal| terminal.bytes().contains("Waiting"));
    let shown = terminal.bytes().split("Waiting").next().unwrap().to_owned();
    (login, shown)
}

/// Approves the login and returns what is shown from the waiting line on.
fn finish(login: OnTerminal<'_>, terminal: &Terminal, sandbox: &Sandbox) -> String {
    approve(sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    terminal.bytes().split_once("Waiting").unwrap().1.to_owned()
}

fn on_terminal(sandbox: &Sandbox) -> Home {
    Home::at(sandbox).with("TERM", "xterm-256color").with("LANG", "C.UTF-8")
}

/// The text without its escape sequences.
fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            plain.push(character);
        } else if characters.next() == Some('[') {
            let _ = characters.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    plain.replace('\r', "")
}

fn url(shown: &str) -> String {
    let plain = without_escapes(shown);
    let line = plain.lines().find(|line| line.trim().starts_with("http")).unwrap();
    line.trim().to_owned()
}

/// The lines of the QR code, without their escape sequences.
fn picture(shown: &str) -> Vec<String> {
    let is_picture = |line: &&str| line.contains(['█', '▀', '▄']) || line.contains("48;5;231");
    let lines = shown.lines().filter(is_picture);
    lines.map(without_escapes).collect()
}

/// What a scanner reads from half blocks in this ink on this paper, surrounded by the background of
/// the window.
fn scan(home: &Home, lines: &[String], (ink, paper): (u8, u8), background: u8) -> String {
    const SCALE: usize = 4;
    const MARGIN: usize = 12;
    let rows = lines.iter().flat_map(|line| {
        let half = |drawn: &'static [char]| {
            let ink = move |character| if drawn.contains(&character) { ink } else { paper };
            line.chars().map(ink).collect::<Vec<u8>>()
        };
        [half(&['█', '▀']), half(&['█', '▄'])]
    });
    let rows: Vec<Vec<u8>> = rows.collect();
    let side = (rows[0].len() + 2 * MARGIN) * SCALE;
    let height = (rows.len() + 2 * MARGIN) * SCALE;
    let mut image = format!("P2 {side} {height} 255\n");
    for y in 0..height {
        for x in 0..side {
            let at = |position: usize| (position / SCALE).checked_sub(MARGIN);
            let row = at(y).and_then(|row| rows.get(row));
            let shade = row.zip(at(x)).and_then(|(row, column)| row.get(column));
            write!(image, "{} ", shade.unwrap_or(&background)).unwrap();
        }
    }
    let file = home.path().join("picture.pgm");
    std::fs::write(&file, image).unwrap();
    let zbarimg = find("zbarimg", "zbar-tools");
    let output = Command::new(zbarimg).args(["-q", "--raw"]).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const BLACK: u8 = 0;
const WHITE: u8 = 255;

#[test]
fn a_scanner_reads_the_picture_on_dark_and_light_backgrounds() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    let terminal = Terminal::of_size(100, 40);
    let (login, shown) = start_login(&terminal, &home);
    let (picture, url) = (picture(&shown), url(&shown));
    assert!(url.contains("user_code="), "{url}");
    for background in [BLACK, WHITE] {
        assert_eq!(scan(&home, &picture, (BLACK, WHITE), background), url);
    }
    finish(login, &terminal, &sandbox);
}

#[test]
fn a_scanner_reads_the_picture_without_colours() {
    let sandbox = sandbox();
    // Some terminals report their foreground and background in `COLORFGBG`.
    for (told, inks, background) in [
        (None, (WHITE, BLACK), BLACK),
        (Some("15;0"), (WHITE, BLACK), BLACK),
        (Some("0;15"), (BLACK, WHITE), WHITE),
        (Some("0;default;7"), (BLACK, WHITE), WHITE),
    ] {
        let mut home = on_terminal(&sandbox).with("NO_COLOR", "1");
        if let Some(told) = told {
            home = home.with("COLORFGBG", told);
        }
        let terminal = Terminal::of_size(100, 40);
        let (login, shown) = start_login(&terminal, &home);
        assert!(!shown.contains("\u{1b}[38"), "{shown:?}");
        let (picture, url) = (picture(&shown), url(&shown));
        assert_eq!(scan(&home, &picture, inks, background), url, "{told:?}");
        finish(login, &terminal, &sandbox);
    }
}

#[test]
fn the_end_of_the_wait_takes_the_picture_away() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    let terminal = Terminal::of_size(80, 40);
    let (login, shown) = start_login(&terminal, &home);
    let lines = picture(&shown).len();
    let rest = finish(login, &terminal, &sandbox);
    let (before, result) = rest.split_once("Logged in as").expect("it ends with the result");
    assert!(before.contains(&format!("\u{1b}[{lines}A\u{1b}[J")), "{before:?}");
    assert!(result.contains("as profile ada@"), "{result:?}");
}

#[test]
fn typing_while_waiting_does_not_disturb_the_cleanup() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    for canceled in [false, true] {
        let terminal = Terminal::of_size(80, 40);
        let (mut login, _) = start_login(&terminal, &home);
        login.shows("Waiting");
        terminal.press("\r\rtyped\r");
        // The line would be shown by now.
        login.shows("14:58");
        if canceled {
            terminal.press(CONTROL_C);
        } else {
            approve(&sandbox, "ada");
        }
        let ended = login.end();
        assert!(!ended.screen.contains(['█', '▀', '▄']), "{ended}");
        assert!(!ended.screen.contains("Waiting") && !ended.screen.contains("typed"), "{ended}");
    }
}

#[test]
fn control_z_suspends_the_wait() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    let terminal = Terminal::of_size(80, 40);
    // An interactive shell restores the terminal's modes when a job stops.
    let script = "exec bash --norc -i -c 'set -m; \"$0\" auth login --web --insecure-storage; \
                  echo suspended; read line; echo \"got $line\"; fg' \"$0\"";
    let mut login = terminal.start_script(&home, script);
    login.until("it waits", |terminal| terminal.bytes().contains("Waiting"));
    terminal.press("\x1a");
    login.shows("suspended");
    terminal.press("a line\r");
    login.shows("got a line");
    approve(&sandbox, "ada");
    let ended = login.end();
    assert_eq!(ended.status, 0, "{ended}");
    assert!(ended.screen.contains("as profile ada@"), "{ended}");
}

#[test]
fn control_c_takes_the_picture_away() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    let terminal = Terminal::of_size(80, 40);
    let (login, shown) = start_login(&terminal, &home);
    assert!(terminal.screen().contains(picture(&shown)[4].trim_end()), "{}", terminal.screen());
    terminal.press(CONTROL_C);
    let ended = login.end();
    assert_eq!(ended.status, 130, "{ended}");
    assert!(ended.screen.contains(&url(&shown)), "{ended}");
    assert!(ended.screen.ends_with("\nCanceled.\n"), "{ended}");
    assert!(!ended.screen.contains(['█', '▀', '▄']), "{ended}");
}

#[test]
fn a_window_without_room_shows_the_url_and_no_picture() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox);
    for (columns, rows, has_picture) in [(80, 24, true), (36, 60, false), (80, 20, false)] {
        let terminal = Terminal::of_size(columns, rows);
        let (login, shown) = start_login(&terminal, &home);
        assert_eq!(!picture(&shown).is_empty(), has_picture, "{columns} {rows}");
        let lines = shown.lines().count();
        assert!(lines <= usize::from(rows), "{lines} lines in {columns} {rows}");
        assert!(terminal.screen().contains("Open this page"), "{}", terminal.screen());
        finish(login, &terminal, &sandbox);
    }
}

#[test]
fn with_a_browser_there_is_no_qr_code() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox).with("BROWSER", "true");
    let terminal = Terminal::of_size(100, 40);
    let (login, shown) = start_login(&terminal, &home);
    assert!(picture(&shown).is_empty(), "{shown:?}");
    finish(login, &terminal, &sandbox);
}

#[test]
fn where_no_browser_could_be_started_there_is_a_picture() {
    let sandbox = sandbox();
    let home = on_terminal(&sandbox).with("BROWSER", "false");
    let terminal = Terminal::of_size(100, 60);
    let (login, shown) = start_login(&terminal, &home);
    assert!(!picture(&shown).is_empty(), "{shown:?}");
    finish(login, &terminal, &sandbox);
}
