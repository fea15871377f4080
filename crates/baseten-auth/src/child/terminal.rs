//! Who may use the terminal. A program that asks the user there is in our process group, because
//! the terminal stops any reader in another group.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, getpgid, getpgrp, getpid, kill_process, kill_process_group, test_kill_process,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::{Asks, KILL_GRACE, POLL};
use crate::wait::Wait;

/// How long a prompt may take to remove itself from the screen.
const LEAVE_GRACE: Duration = Duration::from_millis(250);

/// Starts a program that keeps running on Ctrl-C, on Ctrl-\ and when the terminal goes away.
const UNBROKEN: (&str, &[&str]) = ("/bin/sh", &["-c", r#"trap '' HUP INT QUIT; exec "$0" "$@""#]);

/// Starts a program in its own session, where it has no terminal.
const ALONE: (&str, &[&str]) = ("/usr/bin/setsid", &[]);

/// The variables that lead a program to a display, or to a terminal other than the controlling one.
const PLACES_TO_ASK: [&str; 3] = ["DISPLAY", "WAYLAND_DISPLAY", "GPG_TTY"];

/// The controlling terminal of this process, and its modes before a program used it.
pub(super) struct Terminal {
    file: File,
    modes: Termios,
}

/// The command as it has to be started, and the terminal, if the program shares it with us. Other
/// programs get their own process group, so that they can be ended together with everything that
/// they started.
pub(super) fn lend(mut command: Command, asks: Asks) -> (Command, Option<Terminal>) {
    let terminal = Terminal::open();
    if asks == Asks::Nobody {
        for variable in PLACES_TO_ASK {
            command.env_remove(variable);
        }
    }
    match (terminal, asks) {
        (Some(terminal), Asks::ItsPerson) if terminal.is_ours() => (command, Some(terminal.lent())),
        (Some(terminal), Asks::ItsPersonWhileStoring) if terminal.is_ours() && exists(UNBROKEN) => {
            (started_by(UNBROKEN, &command), Some(terminal.lent()))
        }
        (Some(_), _) if exists(ALONE) => (started_by(ALONE, &command), None),
        _ => {
            command.process_group(0);
            (command, None)
        }
    }
}

fn exists((program, _): (&str, &[&str])) -> bool {
    Path::new(program).exists()
}

fn started_by((program, arguments): (&str, &[&str]), command: &Command) -> Command {
    let mut starter = Command::new(program);
    starter.args(arguments).arg(command.get_program()).args(command.get_args());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => starter.env(variable, value),
            None => starter.env_remove(variable),
        };
    }
    starter
}

impl Terminal {
    fn open() -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let modes = tcgetattr(&file).ok()?;
        Some(Self { file, modes })
    }

    /// Prepares for a program that shares the terminal: processes that it leaves behind become our
    /// children, so that we can find them.
    fn lent(self) -> Self {
        adopt_orphans(true);
        self
    }

    /// Whether we are in its foreground. In the background, a program that reads from it would be
    /// stopped, and we with it.
    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.file).is_ok_and(|group| group == getpgrp())
    }

    fn has_changed(&self) -> bool {
        tcgetattr(&self.file).is_ok_and(|now| {
            (now.local_modes, now.input_modes, now.output_modes)
                != (self.modes.local_modes, self.modes.input_modes, self.modes.output_modes)
        })
    }

    /// Whether this child, or something that it started, has opened a terminal, or another process
    /// has changed the terminal's modes, as the prompt of an agent does.
    pub(super) fn is_used_by(&self, child: u32) -> bool {
        self.has_changed() || family(pid(child)).into_iter().any(has_terminal)
    }

    /// Puts the modes back. After a program that `broke_off`, typed input is dropped, or the shell
    /// would run it.
    pub(super) fn take_back(&self, broke_off: bool) {
        let when = if broke_off { OptionalActions::Flush } else { OptionalActions::Now };
        if (broke_off || self.has_changed()) && self.is_ours() {
            let _ = tcsetattr(&self.file, when, &self.modes);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        adopt_orphans(false);
    }
}

/// Ends a child that has its own process group, and everything that it started.
pub(super) fn end_group(child: u32) {
    // It may have just ended by itself.
    let _ = pid(child).map(|group| kill_process_group(group, Signal::KILL));
}

/// Ends a child that shares the terminal, if it still runs, and everything that it started. They
/// are asked to end first, so that a prompt can remove itself from the screen. After Ctrl-C they
/// are not asked again: a prompt that gets a second signal would leave its screen as it is.
pub(super) fn end_family(child: Option<u32>) {
    let family = family(child.and_then(pid));
    let wait = Wait::default();
    let end_within = |grace| {
        let ended = || family.iter().all(|process| has_ended(*process)).then_some(());
        let _ = wait.poll(wait.deadline(grace), POLL, ended);
    };
    let signal = |signal| {
        for process in family.iter().filter(|process| !has_ended(**process)) {
            let _ = kill_process(*process, signal);
        }
    };
    end_within(LEAVE_GRACE);
    signal(Signal::TERM);
    end_within(KILL_GRACE);
    signal(Signal::KILL);
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

/// A child and everything that it started, as far as the system can say: our descendants in our
/// process group. Daemons are not included.
fn family(child: Option<Pid>) -> Vec<Pid> {
    let mut descendants = vec![getpid()];
    let mut seen = 0;
    while let Some(parent) = descendants.get(seen) {
        let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()));
        let tasks = tasks.into_iter().flatten().flatten();
        let children = tasks.map(|task| fs::read_to_string(task.path().join("children")));
        let children: String = children.filter_map(Result::ok).collect();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok().and_then(pid));
        descendants.extend(children);
        seen += 1;
    }
    let group = getpgrp();
    let in_group = |process: &Pid| getpgid(Some(*process)).is_ok_and(|other| other == group);
    let others = descendants.into_iter().skip(1).filter(in_group);
    child.into_iter().chain(others.filter(|process| Some(*process) != child)).collect()
}

/// Whether a process has ended, though its parent may not have noticed yet.
fn has_ended(process: Pid) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())) {
        // The process name is in parentheses, and may contain parentheses.
        Ok(text) => text.rsplit(") ").next().is_some_and(|state| state.starts_with('Z')),
        Err(_) => test_kill_process(process).is_err(),
    }
}

fn has_terminal(process: Pid) -> bool {
    let files = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero()));
    let files = files.into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| {
        let file = file.as_os_str().as_encoded_bytes();
        file.starts_with(b"/dev/tty") || file.starts_with(b"/dev/pts/")
    })
}

/// Whether processes whose parent has ended become our children.
#[cfg(target_os = "linux")]
fn adopt_orphans(adopt: bool) {
    let _ = rustix::process::set_child_subreaper(adopt.then(getpid));
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans(_adopt: bool) {}
