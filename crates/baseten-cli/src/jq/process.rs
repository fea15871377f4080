//! A filter in a separate process.
//!
//! A filter can run for ever, fill the memory or recurse without end, and jaq, which interprets it,
//! has no limits. So this program starts itself a second time to compile and apply the filter. That
//! process has limited memory and time, and may crash without harm. Records can contain secrets, so
//! they go through pipes, and the process has no stderr.

use std::io::{self, BufReader, BufWriter, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::de::IoRead;
use serde_json::{Deserializer, Value};

use crate::exit::Exit;
use crate::jq::language::{self, FilterError, Program};
use crate::{json, limits};

/// The argument with which this program starts itself.
pub(crate) const ARGUMENT: &str = "__filter";

/// The time limit for compiling, which takes milliseconds.
const TIME_TO_COMPILE: Duration = Duration::from_secs(2);

/// The time limit for applying the filter to all records.
const TIME_TO_APPLY: Duration = Duration::from_secs(7);

/// The limit on the address space of the process, in bytes. With the copy of the results in the
/// process that started it, both stay below 512 MiB.
const MEMORY: u64 = 256 << 20;

/// The stack for compiling and applying a filter, in bytes: enough for 10,000 levels of nesting.
const STACK: usize = 16 << 20;

/// What a filter is applied to, and how its results are printed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) records: Vec<Value>,
    pub(crate) raw: bool,
    pub(crate) indented: bool,
}

/// A process with a compiled filter. It ends when this is dropped or this program ends.
pub(crate) struct Filter {
    requests: BufWriter<ChildStdin>,
    answers: Deserializer<IoRead<BufReader<ChildStdout>>>,
    process: Child,
}

impl Filter {
    /// Starts the process, and has it compile the filter.
    pub(crate) fn start(expression: &str) -> Result<Self, FilterError> {
        let mut filter = Self::spawn().map_err(FilterError::NotStarted)?;
        match filter.ask(expression) {
            Ok(_) => Ok(filter),
            Err(error @ FilterError::Invalid { .. }) => Err(error),
            Err(_) => Err(FilterError::TooComplex),
        }
    }

    /// The results, as text.
    ///
    /// An error in any of them is an error of the whole.
    pub(crate) fn apply(mut self, job: &Job) -> Result<String, FilterError> {
        self.ask(job)
    }

    fn spawn() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // Ctrl-C must not end it: this process may be past the point where that cancels the command.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let answers = Deserializer::from_reader(BufReader::new(answers));
        Ok(Self { requests: BufWriter::new(requests), answers, process })
    }

    fn ask(&mut self, request: &(impl Serialize + ?Sized)) -> Result<String, FilterError> {
        // A process that can't be written to has no answer either.
        let _ = serde_json::to_writer(&mut self.requests, request);
        let _ = self.requests.flush();
        Result::deserialize(&mut self.answers).unwrap_or(Err(FilterError::Crashed))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process itself: answers the requests of [`Filter`].
pub(crate) fn serve() -> Exit {
    limits::bound_memory(MEMORY);
    // Some filters make jaq panic. A release build aborts then; this makes other builds do the same.
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    let mut requests = Deserializer::from_reader(BufReader::new(io::stdin()));
    let Ok(expression) = String::deserialize(&mut requests) else { return Exit::Usage };
    let (answer, answers) = mpsc::channel();
    let (job, jobs) = mpsc::channel::<Job>();
    let gone = answer.clone();
    let work = move || match language::compile(&expression) {
        Err(error) => drop(answer.send(Err(error))),
        Ok(program) => {
            let _ = answer.send(Ok(String::new()));
            if let Ok(job) = jobs.recv() {
                let _ = answer.send(job.run(&program));
            }
        }
    };
    if thread::Builder::new().stack_size(STACK).spawn(work).is_err() {
        return Exit::Failure;
    }
    print(answers.recv_timeout(TIME_TO_COMPILE));
    let Ok(request) = Job::deserialize(&mut requests) else { return Exit::Done };
    let _ = job.send(request);
    // The other end of the pipe is closed when nobody waits for the results any more.
    let watch = move || {
        let _ = requests.end();
        let _ = gone.send(Err(FilterError::Crashed));
    };
    let _ = thread::Builder::new().spawn(watch);
    print(answers.recv_timeout(TIME_TO_APPLY));
    Exit::Done
}

type Answer = Result<String, FilterError>;

fn print(answer: Result<Answer, mpsc::RecvTimeoutError>) {
    let answer = answer.unwrap_or(Err(FilterError::TookTooLong));
    let mut stdout = BufWriter::new(io::stdout());
    let _ = serde_json::to_writer(&mut stdout, &answer);
    let _ = stdout.flush();
}

impl Job {
    fn run(self, program: &Program) -> Answer {
        let Self { records, raw, indented } = self;
        let mut text = String::new();
        for record in records {
            language::apply(program, record, |result| {
                text += &match result {
                    Value::String(string) if raw => json::bare(&string),
                    result if indented => json::indented(&result),
                    result => json::one_line(&result),
                }
            })?;
        }
        Ok(text)
    }
}
