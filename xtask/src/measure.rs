//! What a command costs: its time, its instructions, its memory.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::process::{Outcome, spawn};

/// A command to measure, in an environment with only these variables.
#[derive(Clone)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, OsString)>,
    /// What it gets on its standard input.
    pub(crate) input: String,
    /// Whether it is expected to fail.
    pub(crate) fails: bool,
}

impl Invocation {
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &str) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            input: String::new(),
            fails: false,
        }
    }

    pub(crate) fn with(mut self, variable: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((variable.into(), value.into()));
        self
    }

    /// From its start to its end.
    pub(crate) fn wall(&self) -> Outcome<Duration> {
        self.parallel(1)
    }

    /// Starts this many at once, and measures from the first start to the last end.
    pub(crate) fn parallel(&self, processes: usize) -> Outcome<Duration> {
        let started = Instant::now();
        let mut children = Vec::with_capacity(processes);
        for _ in 0..processes {
            let mut child = spawn(&mut self.command(&[]))?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(self.input.as_bytes())?;
            }
            children.push(child);
        }
        for mut child in children {
            let status = child.wait()?;
            if status.success() == self.fails {
                return Err(self.failed(&status));
            }
        }
        Ok(started.elapsed())
    }

    /// The instructions that it executes outside of the kernel.
    pub(crate) fn instructions(&self) -> Outcome<u64> {
        Ok(self.instructions_by_object()?.values().sum())
    }

    /// The same, by the file that contains them: the program, the dynamic loader, a library.
    pub(crate) fn instructions_by_object(&self) -> Outcome<BTreeMap<String, u64>> {
        let counts = tempfile::NamedTempFile::new()?;
        let file = format!("--callgrind-out-file={}", counts.path().display());
        self.run_under(&["valgrind", "--tool=callgrind", "--quiet", &file])?;
        Ok(by_object(&fs::read_to_string(counts.path())?))
    }

    /// The most memory that it uses at any time, in bytes.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        let peak = tempfile::NamedTempFile::new()?;
        let path = peak.path().to_string_lossy().into_owned();
        self.run_under(&["time", "--quiet", "-f", "%M", "-o", &path])?;
        Ok(fs::read_to_string(peak.path())?.trim().parse::<u64>()? * 1024)
    }

    fn run_under(&self, tool: &[&str]) -> Outcome {
        let mut child = spawn(&mut self.command(tool))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.input.as_bytes())?;
        }
        let status = child.wait()?;
        if status.success() == self.fails { Err(self.failed(&status)) } else { Ok(()) }
    }

    pub(crate) fn command(&self, tool: &[&str]) -> Command {
        let program = self.program.as_os_str();
        let mut words = tool.iter().map(OsString::from).chain([program.to_owned()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn failed(&self, how: &dyn std::fmt::Display) -> Box<dyn std::error::Error> {
        format!("{} {}: {how}", self.program.display(), self.arguments.join(" ")).into()
    }
}

/// Adds up callgrind's own counts (without those of called functions) by object file.
fn by_object(counts: &str) -> BTreeMap<String, u64> {
    let mut names = HashMap::new();
    let mut object = String::new();
    let mut totals = BTreeMap::new();
    let mut of_a_call = false;
    for line in counts.lines() {
        if let Some(reference) = line.strip_prefix("ob=") {
            object = resolve(reference, &mut names);
        } else if let Some(reference) = line.strip_prefix("cob=") {
            resolve(reference, &mut names);
        } else if line.starts_with("calls=") {
            of_a_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if !std::mem::take(&mut of_a_call) {
                *totals.entry(object.clone()).or_default() += cost.unwrap_or(0);
            }
        }
    }
    totals
}

/// A name that is written in full the first time, as `(1) /lib/ld.so`, and later only as `(1)`.
fn resolve(reference: &str, names: &mut HashMap<String, String>) -> String {
    match reference.split_once(' ') {
        Some((number, path)) => {
            let path = Path::new(path);
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            names.insert(number.to_owned(), name.clone());
            name
        }
        None => names.get(reference).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_object_itself() {
        let counts = "events: Ir\n\nob=(1) /lib/ld.so\nfl=(1) ???\nfn=(1) a\n0 10\n\
                      cob=(2) /x/baseten\ncfn=(2) b\ncalls=1 0\n0 500\n+3 5\n\n\
                      ob=(2)\nfn=(2)\n* 400\n100 100\n\ntotals: 515\n";
        let expected = BTreeMap::from([("ld.so".to_owned(), 15), ("baseten".to_owned(), 500)]);
        assert_eq!(by_object(counts), expected);
    }
}
