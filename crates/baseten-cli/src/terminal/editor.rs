//! A line of text that the user types, and a list to choose from.
//! Only typed and pasted text is inserted: a control chord never types its letter. Ctrl-C, Ctrl-D
//! and Escape cancel, Ctrl-Z suspends.

use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use crossterm::cursor::{MoveToColumn, MoveUp, Show};
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use crossterm::event::{KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{Clear, ClearType, disable_raw_mode, enable_raw_mode};
use crossterm::{execute, queue};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use zeroize::{Zeroize as _, Zeroizing};

use crate::render;
use crate::terminal::window::Window;

const CHOSEN: Style = AnsiColor::Cyan.on_default();
const PROBLEM: Style = AnsiColor::Red.on_default();
const PLAIN: Style = Style::new();

/// How many choices are shown at a time.
const PAGE: usize = 7;

/// Room for a secret, in bytes, so that it is not copied when it grows.
const ROOM: usize = 16 << 10;

/// Somebody who types pauses for longer than this. A paste does not, so it is drawn only once.
const PAUSE: Duration = Duration::from_millis(1);

/// What is shown for a hidden answer.
const HIDDEN: &str = "********";

/// A question that is answered with a line of text.
pub(super) struct Line<'q> {
    pub(super) question: &'q str,
    /// The answer if only Enter is pressed.
    pub(super) default: Option<&'q str>,
    /// Whether the answer is a secret.
    pub(super) hidden: bool,
    /// What is wrong with an answer.
    pub(super) problem: fn(&str) -> Option<String>,
}

impl Line<'_> {
    /// Asks until the answer is valid; `None` if it is canceled.
    pub(super) fn ask(&self) -> io::Result<Option<String>> {
        let mut screen = Screen::open()?;
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        let mut problem = None;
        loop {
            if !event::poll(PAUSE)? {
                screen.draw(&self.question_line(&text), problem.iter().map(|it| (PROBLEM, it)))?;
            }
            match key()? {
                Key::Text(typed) => text.push_str(&typed),
                Key::Backspace => drop(text.pop()),
                Key::Erase => text.zeroize(),
                Key::Cancel => return Ok(None),
                Key::Suspend => screen.suspend()?,
                Key::Enter => {
                    if text.is_empty() {
                        text.push_str(self.default.unwrap_or_default());
                    }
                    problem = (self.problem)(&text);
                    if problem.is_none() {
                        let shown = if self.hidden { HIDDEN } else { text.as_str() };
                        screen.leave(self.question, shown)?;
                        return Ok(Some(std::mem::take(&mut *text)));
                    }
                }
                Key::Up | Key::Down | Key::Redraw => {}
            }
        }
    }

    fn question_line(&self, text: &str) -> String {
        let default = self.default.map(|default| format!(" ({default})")).unwrap_or_default();
        let mut question = format!("{}{default} ", self.question);
        // A long answer is cut to fit the window.
        let (length, room) = (text.chars().count(), Screen::columns());
        if self.hidden {
            question + &"*".repeat(length.min(room / 2))
        } else {
            question.extend(text.chars().skip(length.saturating_sub(room)));
            question
        }
    }
}

/// Asks for one of several choices; `None` if it is canceled. Typing filters them.
pub(super) fn choose(
    question: &str,
    choices: &[String],
    start: usize,
    help: &str,
) -> io::Result<Option<usize>> {
    let mut screen = Screen::open()?;
    let (mut text, mut position) = (String::new(), start);
    loop {
        let typed = text.to_lowercase();
        let matches = |choice: &&(usize, &String)| choice.1.to_lowercase().contains(&typed);
        let choices: Vec<_> = choices.iter().enumerate().filter(|it| matches(&it)).collect();
        let count = choices.len();
        let first = position.saturating_sub(PAGE / 2).min(count.saturating_sub(PAGE));
        let page = choices.iter().enumerate().skip(first).take(PAGE);
        let page = page.map(|(at, (_, choice))| {
            if at == position {
                (CHOSEN, format!("> {choice}"))
            } else {
                (PLAIN, format!("  {choice}"))
            }
        });
        let help = (PLAIN, format!("[{help}]"));
        if !event::poll(PAUSE)? {
            screen.draw(&format!("{question} {text}"), page.chain([help]))?;
        }
        match key()? {
            Key::Text(typed) => (text, position) = (text + typed.as_str(), 0),
            Key::Backspace => (_, position) = (text.pop(), 0),
            Key::Erase => (text, position) = (String::new(), 0),
            Key::Up if count > 0 => position = (position + count - 1) % count,
            Key::Down if count > 0 => position = (position + 1) % count,
            Key::Cancel => return Ok(None),
            Key::Suspend => screen.suspend()?,
            Key::Enter => {
                if let Some((index, choice)) = choices.get(position) {
                    screen.leave(question, choice)?;
                    return Ok(Some(*index));
                }
            }
            Key::Up | Key::Down | Key::Redraw => {}
        }
    }
}

/// A key that the user pressed, or pasted text.
enum Key {
    Text(Zeroizing<String>),
    Backspace,
    Erase,
    Up,
    Down,
    Enter,
    Cancel,
    Suspend,
    Redraw,
}

fn key() -> io::Result<Key> {
    loop {
        let key = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => of_key(key.code, key.modifiers),
            Event::Paste(text) => Some(Key::Text(text.into())),
            Event::Resize(..) => Some(Key::Redraw),
            _ => None,
        };
        if let Some(key) = key {
            return Ok(key);
        }
    }
}

fn of_key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    const ALT_GR: KeyModifiers = KeyModifiers::CONTROL.union(KeyModifiers::ALT);
    let is_text = modifiers.difference(KeyModifiers::SHIFT).is_empty()
        || cfg!(windows) && modifiers.contains(ALT_GR);
    Some(match code {
        KeyCode::Char(character) if is_text => Key::Text(String::from(character).into()),
        KeyCode::Char(letter) if modifiers == KeyModifiers::CONTROL => match letter {
            'c' | 'd' => Key::Cancel,
            'h' => Key::Backspace,
            'u' => Key::Erase,
            'z' => Key::Suspend,
            _ => return None,
        },
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Cancel,
        _ => return None,
    })
}

/// The lines of a question on stderr. When this is dropped, they are gone, and the terminal is as it
/// was before.
struct Screen {
    /// The line of the cursor, counted from the first.
    row: usize,
}

impl Screen {
    fn open() -> io::Result<Self> {
        raw()?;
        Ok(Self { row: 0 })
    }

    fn columns() -> usize {
        Window::of(&io::stderr()).map_or(80, |window| window.columns)
    }

    /// Shows a question, with the cursor at its end, and lines below it.
    fn draw<S: AsRef<str>>(
        &mut self,
        question: &str,
        below: impl Iterator<Item = (Style, S)>,
    ) -> io::Result<()> {
        // The last column stays free: some terminals wrap there, and some do not.
        let columns = Self::columns().saturating_sub(1).max(1);
        let mut lines = wrapped(&format!("? {question}"), columns);
        let (row, column) = (lines.len() - 1, lines.last().map_or(0, |line| line.width()));
        for (style, line) in below {
            let line = wrapped(line.as_ref(), columns).swap_remove(0);
            let styled = format!("{style}{line}{style:#}");
            lines.push(if render::has_colour() { styled } else { line });
        }
        let mut stderr = io::stderr().lock();
        self.clear()?;
        write!(stderr, "{}", lines.join("\r\n"))?;
        up(lines.len() - 1 - row)?;
        queue!(stderr, MoveToColumn(u16::try_from(column).unwrap_or_default()))?;
        self.row = row;
        stderr.flush()
    }

    /// Leaves the question and its answer on the screen.
    fn leave(&mut self, question: &str, answer: &str) -> io::Result<()> {
        self.clear()?;
        let answer = if render::has_colour() {
            format!("{CHOSEN}{answer}{CHOSEN:#}")
        } else {
            answer.to_owned()
        };
        write!(io::stderr(), "> {question} {answer}\r\n")
    }

    /// Removes everything from the screen.
    fn clear(&mut self) -> io::Result<()> {
        up(std::mem::take(&mut self.row))?;
        queue!(io::stderr(), MoveToColumn(0), Clear(ClearType::FromCursorDown))
    }

    /// Stops the job, as the terminal does on Ctrl-Z when it is not in raw mode.
    fn suspend(&mut self) -> io::Result<()> {
        self.clear()?;
        cooked();
        #[cfg(unix)]
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        raw()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.clear();
        cooked();
    }
}

/// Turns raw mode on: each key arrives at once, and is not echoed.
fn raw() -> io::Result<()> {
    enable_raw_mode()?;
    // Not every terminal supports bracketed paste.
    let _ = execute!(io::stderr(), EnableBracketedPaste);
    Ok(())
}

fn cooked() {
    let _ = execute!(io::stderr(), DisableBracketedPaste, Show);
    let _ = disable_raw_mode();
}

fn up(rows: usize) -> io::Result<()> {
    // `MoveUp(0)` moves up by one.
    if rows == 0 {
        return Ok(());
    }
    queue!(io::stderr(), MoveUp(u16::try_from(rows).unwrap_or_default()))
}

/// The text in lines of at most `columns`, broken at spaces if possible.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut width) = (String::new(), 0);
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width > columns && !line.is_empty() {
            let rest = line.rfind(' ').map(|blank| line.split_off(blank + 1)).unwrap_or_default();
            lines.push(std::mem::replace(&mut line, rest));
            width = line.width() + character.width().unwrap_or(0);
        }
        line.push(character);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chord_types_nothing() {
        for letter in 'a'..='z' {
            for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT, KeyModifiers::SUPER] {
                let key = of_key(KeyCode::Char(letter), modifiers);
                assert!(!matches!(key, Some(Key::Text(_))), "{modifiers:?} {letter}");
            }
        }
        let capital = of_key(KeyCode::Char('A'), KeyModifiers::SHIFT);
        assert!(matches!(capital, Some(Key::Text(text)) if *text == "A"));
    }

    #[test]
    fn lines_are_wrapped_by_what_is_seen() {
        assert_eq!(wrapped("", 3), [""]);
        assert_eq!(wrapped("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        assert_eq!(wrapped("日本語", 1), ["日", "本", "語"]);
        assert_eq!(wrapped("How do you do", 6), ["How ", "do ", "you do"]);
    }
}
