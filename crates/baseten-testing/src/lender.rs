//! A running `baseten auth serve`.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use baseten_sandbox::Sandbox;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home::Home;
use crate::outcome::{Outcome, Running};
use crate::stored::{REMOTE, ends_in, in_file, only_profile, session, store, tokens, with_key};
use crate::wait;

/// A lender that is ready. Dropping it kills it.
pub struct Lender {
    /// Its process.
    pub running: Running,
    records: Arc<Mutex<Vec<Value>>>,
    socket: PathBuf,
}

impl Lender {
    /// Starts one in this home, and waits until it is ready.
    pub fn start(home: &Home, arguments: &[&str]) -> Self {
        let arguments = [&["auth", "serve", "-o", "jsonl"], arguments].concat();
        Self::run(&mut home.command(&arguments))
    }

    /// Starts one with this command, which prints records.
    pub fn run(command: &mut std::process::Command) -> Self {
        let mut running = Running::start(command);
        let records = Arc::<Mutex<Vec<Value>>>::default();
        let (heard, stdout) = (Arc::clone(&records), running.0.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let record = serde_json::from_str(&line.unwrap()).unwrap();
                heard.lock().unwrap().push(record);
            }
        });
        let ready = wait::until_some("the lender is ready, or has ended", || {
            let ready = records.lock().unwrap().first().cloned();
            if ready.is_none() && running.has_ended() { Some(Value::Null) } else { ready }
        });
        let Some(socket) = ready["socket"].as_str() else { panic!("{}", running.end()) };
        let socket = PathBuf::from(socket);
        Self { running, records, socket }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has printed: that it is ready, and a record for each token.
    pub fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }

    /// The home of a client, in which nothing is stored.
    pub fn client(&self) -> Home {
        Home::new().with("BASETEN_AUTH_SOCK", self.socket.to_str().unwrap())
    }

    /// Sends a line, and reads the answer.
    pub fn ask(&self, request: &Value) -> Value {
        ask(&self.socket, request)
    }
}

/// Sends a line to a lender, and reads the answer.
pub fn ask(socket: &Path, request: &Value) -> Value {
    say(socket, format!("{request}\n").as_bytes())
}

/// Sends bytes to a lender, and reads the answer.
pub fn say(socket: &Path, bytes: &[u8]) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    // A lender that has read enough ignores the rest.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.ends_with('\n'), "{answer:?}");
    serde_json::from_str(&answer).unwrap()
}

// What tests of lenders start with.

/// A home with a session that expires in this many seconds, and its profile.
pub fn with_session(sandbox: &Sandbox, seconds: i64) -> (Home, String) {
    let home = Home::at(sandbox);
    let profile = in_file(&sandbox.remote_url(), &session(sandbox, "ada", seconds));
    let name = only_profile(&home, "lent", profile);
    (home, name)
}

/// A home with two profiles, for which no requests are made.
pub fn with_two() -> Home {
    let session = in_file(REMOTE, &tokens("the-token", "canary-refresh", &ends_in(3600)));
    Home::with_store(&store([("session", session), ("key", with_key(REMOTE, "the-key"))]))
}

/// A failure of a client, and nothing on stdout.
#[track_caller]
pub fn failed(outcome: &Outcome, status: i32, part: &str) {
    assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
    assert!(outcome.stderr.contains(part), "{part}: {outcome}");
}

/// A request for a token.
pub fn token_request() -> Value {
    json!({"v": 1, "op": "token"})
}

/// The exit status in a failure of the protocol.
pub fn exit_of(answer: &Value) -> Option<i64> {
    answer["error"]["exit"].as_i64()
}

/// Ends it by a signal.
pub fn ends(running: Running, signal: Signal) -> Outcome {
    running.signal(signal);
    running.end()
}
