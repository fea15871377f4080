//! A pseudo-terminal that runs the program, and the screen that a person would see.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::home::Home;
use crate::outcome::{Running, code};
use crate::program::baseten;
use crate::wait;

/// Written after the last output of a program. Terminals ignore it, and no program writes it.
const END: &[u8] = &[0; 8];

/// The key Enter.
pub const ENTER: &str = "\r";
/// The key Escape.
pub const ESCAPE: &str = "\x1b";
/// The arrow key down.
pub const DOWN: &str = "\x1b[B";
/// Ctrl-C.
pub const CONTROL_C: &str = "\x03";
/// Ctrl-D.
pub const CONTROL_D: &str = "\x04";
/// Suspends.
pub const CONTROL_Z: &str = "\x1a";

/// A terminal's window. It keeps its modes when a program in it ends, so that they can be compared.
pub struct Terminal {
    keyboard: File,
    window: File,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    bytes: Vec<u8>,
    screen: vt100::Parser,
}

impl Terminal {
    /// A terminal of the usual size.
    pub fn new() -> Self {
        Self::of_size(80, 24)
    }

    /// A terminal of this many columns and rows.
    pub fn of_size(columns: u16, rows: u16) -> Self {
        // A child that inherits it would keep the terminal open.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let window = File::options().read(true).write(true).open(path).unwrap();
        let (height, width) = (NonZero::new(rows).unwrap(), NonZero::new(columns).unwrap());
        let shown = Shown { bytes: Vec::new(), screen: vt100::Parser::new(height, width, 0) };
        let terminal =
            Self { keyboard: File::from(master), window, shown: Arc::new(Mutex::new(shown)) };
        terminal.stty(&["columns", &columns.to_string(), "rows", &rows.to_string()]);
        terminal.watch();
        terminal
    }

    /// Runs the program with these arguments.
    pub fn start(&self, home: &Home, arguments: &[&str]) -> OnTerminal<'_> {
        self.start_redirected(home, arguments, "")
    }

    /// The same with redirections, in shell syntax.
    pub fn start_redirected(
        &self,
        home: &Home,
        arguments: &[&str],
        redirections: &str,
    ) -> OnTerminal<'_> {
        let script = format!("exec \"$0\" \"$@\" {redirections}");
        self.spawn(home, &[&["sh", "-c", &script, baseten()], arguments].concat())
    }

    /// Runs a shell script, which finds the program as `$0`.
    pub fn start_script(&self, home: &Home, script: &str) -> OnTerminal<'_> {
        self.spawn(home, &["sh", "-c", script, baseten()])
    }

    /// Runs any program with its arguments in this home, with all streams on the terminal.
    pub fn spawn(&self, home: &Home, words: &[&str]) -> OnTerminal<'_> {
        self.spawn_command(home.command_of("setsid", &[&["--ctty"], words].concat()))
    }

    /// The same for a command whose program is `setsid --ctty`.
    pub fn spawn_command(&self, mut command: Command) -> OnTerminal<'_> {
        let stream = || Stdio::from(self.window.try_clone().unwrap());
        let modes = self.modes();
        command.stdin(stream()).stdout(stream()).stderr(stream());
        OnTerminal { terminal: self, modes, child: Running::start(&mut command) }
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that has been written to the terminal.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.shown().bytes).replace('\0', "")
    }

    /// What a person sees now, without the spaces at the ends of lines.
    pub fn screen(&self) -> String {
        let text = self.shown().screen.screen().contents();
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Whether the terminal echoes what is typed.
    pub fn echoes(&self) -> bool {
        self.has_mode("echo")
    }

    /// Whether `stty` says that this mode is on.
    pub fn has_mode(&self, wanted: &str) -> bool {
        self.stty(&["-a"]).split_ascii_whitespace().any(|mode| mode == wanted)
    }

    /// The modes, as `stty -g` prints them.
    fn modes(&self) -> String {
        self.stty(&["-g"])
    }

    fn stty(&self, arguments: &[&str]) -> String {
        let window = self.window.try_clone().unwrap();
        let output = Command::new("stty").args(arguments).stdin(window).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Reads what is written to the window, until the terminal is closed.
    fn watch(&self) {
        rustix::fs::fcntl_setfl(&self.keyboard, OFlags::NONBLOCK).unwrap();
        let mut master = self.keyboard.try_clone().unwrap();
        let shown = Arc::downgrade(&self.shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Some(shown) = shown.upgrade() {
                match master.read(&mut buffer) {
                    Ok(count) => {
                        let mut shown = shown.lock().unwrap();
                        shown.bytes.extend(&buffer[..count]);
                        shown.screen.process(&buffer[..count]);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    /// A counter that grows when a program on it has ended and all its output was read.
    fn ends(&self) -> usize {
        self.shown().bytes.windows(END.len()).filter(|bytes| *bytes == END).count()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap()
    }
}

/// A program on a terminal. Dropping it ends it.
pub struct OnTerminal<'a> {
    terminal: &'a Terminal,
    modes: String,
    child: Running,
}

impl OnTerminal<'_> {
    /// Waits until the screen shows this.
    pub fn shows(&mut self, text: &str) {
        self.until(&format!("'{text}' is shown"), |terminal| terminal.screen().contains(text));
    }

    /// Waits until the condition is true.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Terminal) -> bool) {
        let mut ended = None;
        let within = wait::within(wait::PATIENCE, || {
            if self.child.has_ended() {
                ended.get_or_insert_with(Instant::now);
            }
            // Its last output may not have been read yet.
            is_so(self.terminal) || ended.is_some_and(|at| at.elapsed() > Duration::from_secs(1))
        });
        let screen = self.terminal.screen();
        assert!(
            within && is_so(self.terminal),
            "timed out waiting until {what} (ended: {})\n{screen}",
            ended.is_some()
        );
    }

    /// Waits for a prompt and answers it. The prompt is ready when the terminal no longer echoes.
    pub fn answer(&mut self, prompt: &str, keys: &str) {
        self.asks(prompt);
        self.terminal.press(keys);
    }

    /// Waits for a prompt that reads keys.
    pub fn asks(&mut self, prompt: &str) {
        self.shows(prompt);
        self.until("the prompt listens", |terminal| !terminal.echoes());
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) {
        self.terminal.press(keys);
    }

    /// The program without its terminal, which can then be closed.
    pub fn detach(self) -> Running {
        self.child
    }

    /// Sends a signal only to the program.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Waits for the end, and checks that the terminal is as it was before.
    pub fn end(mut self) -> Ended {
        let terminal = self.terminal;
        let ended = wait::within(wait::PATIENCE, || self.child.has_ended());
        assert!(ended, "the command does not end\n{}", terminal.screen());
        let status = code(self.child.0.wait().unwrap());
        let earlier = terminal.ends();
        (&terminal.window).write_all(END).unwrap();
        wait::until("the terminal ends", || terminal.ends() > earlier);
        let ended = Ended { status, screen: terminal.screen() };
        assert_eq!(terminal.modes(), self.modes, "modes of the terminal\n{ended:?}");
        let shown = terminal.shown();
        let screen = shown.screen.screen();
        assert!(!screen.hide_cursor(), "the cursor is gone\n{ended:?}");
        assert!(!screen.bracketed_paste(), "pastes are left bracketed\n{ended:?}");
        assert!(!screen.alternate_screen(), "the other screen is left\n{ended:?}");
        ended
    }
}

/// The exit status, and what is left on the screen.
#[derive(Debug)]
pub struct Ended {
    /// The exit status as a shell shows it.
    pub status: i32,
    /// The text on the screen.
    pub screen: String,
}

/// Made for snapshots.
impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit: {}\n----- screen -----\n{}", self.status, self.screen)
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
