//! The client of a lender: asks at its socket, and keeps nothing.

use std::io;
#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::protocol::{Grant, LentProfile, Listing, Request, Wanted, parse_answer};
use super::{At, LendError};
use crate::env::{AUTH_SOCK, Env};
use crate::error::{Error, Failure};
use crate::profile::ProfileName;
use crate::wait::Wait;
#[cfg(unix)]
use crate::wait::{Deadline, SLICE, Stopped};

/// How long a lender may take. After 35 s, it answers with an error.
const LIMIT: Duration = Duration::from_secs(40);

/// The longest answer, in bytes: a list of very many profiles.
#[cfg(unix)]
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// How much of an answer is read at once, in bytes.
#[cfg(unix)]
const PART: usize = 16 * 1024;

/// A lender, by its socket.
#[derive(Debug, Clone)]
pub(crate) struct Lender {
    socket: PathBuf,
}

impl Lender {
    /// The lender that the environment names; `None` if it names none.
    pub(crate) fn of_environment(env: &Env) -> Option<Self> {
        env.path(AUTH_SOCK).map(|socket| Self { socket })
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it lends.
    pub(crate) fn profiles(&self, wait: &Wait) -> Result<Listing, Error> {
        self.ask(Request::Profiles, wait)
    }

    /// A token.
    pub(crate) fn token(&self, wanted: Wanted, wait: &Wait) -> Result<Grant, Error> {
        let grant: Grant = self.ask(Request::Token(wanted), wait)?;
        // A header cannot carry any other token.
        if !grant.token.is_visible_ascii() {
            return Err(LendError::NotProtocol { socket: self.socket.clone() }.into());
        }
        Ok(grant)
    }

    /// The profile of this name, or the one that the lender selects.
    pub(crate) fn select(
        &self,
        name: Option<&ProfileName>,
        wait: &Wait,
    ) -> Result<LentProfile, Error> {
        let Listing { current, profiles } = self.profiles(wait)?;
        let place = || At(Some(self.socket.clone()));
        let name = match name {
            Some(name) => name.to_string(),
            None => current.ok_or_else(|| LendError::NoneSelected { place: place() })?,
        };
        let found = profiles.into_iter().find(|lent| lent.profile == name);
        let missing = || match ProfileName::new(name) {
            Ok(profile) => LendError::NotLent { profile, place: place() },
            Err(_) => LendError::NotProtocol { socket: self.socket.clone() },
        };
        Ok(found.ok_or_else(missing)?)
    }

    /// Sends the line of a request, and reads the answer.
    fn ask<T: for<'de> Deserialize<'de>>(&self, request: Request, wait: &Wait) -> Result<T, Error> {
        let socket = || self.socket.clone();
        let answer = exchange(&self.socket, &request.line(), wait).map_err(|error| -> Error {
            match error.kind() {
                CANCELED => return Failure::Canceled.into(),
                io::ErrorKind::TimedOut => {
                    LendError::Silent { socket: socket(), seconds: LIMIT.as_secs() }
                }
                io::ErrorKind::Unsupported => LendError::NoSockets,
                _ => LendError::Gone { socket: socket(), source: error },
            }
            .into()
        })?;
        let not_protocol = || LendError::NotProtocol { socket: socket() };
        match parse_answer(&answer).ok_or_else(not_protocol)? {
            Ok(answer) => Ok(answer),
            Err(complaint) => Err(LendError::Refused { complaint }.into()),
        }
    }
}

/// The error of an exchange that was canceled. A signal does not cause it: interrupted calls are
/// repeated.
const CANCELED: io::ErrorKind = io::ErrorKind::Interrupted;

#[cfg(unix)]
fn exchange(socket: &Path, line: &[u8], wait: &Wait) -> io::Result<Zeroizing<Vec<u8>>> {
    let exchange = Exchange { wait, deadline: wait.deadline(LIMIT) };
    let stream = exchange.connect(socket)?;
    // A lender that refuses us may answer without reading the request.
    let sent = exchange.send(&stream, line);
    let answer = exchange.receive(&stream)?;
    if answer.is_empty() {
        sent?;
    }
    if !answer.ends_with(b"\n") && answer.len() < ANSWER_MAX {
        let ended = "the connection ended without an answer";
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, ended));
    }
    Ok(answer)
}

#[cfg(not(unix))]
fn exchange(_: &Path, _: &[u8], _: &Wait) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How long an exchange may take, and what cancels it. Each system call blocks for at most a
/// [`SLICE`], so that no extra thread is needed.
#[cfg(unix)]
struct Exchange<'a> {
    wait: &'a Wait,
    deadline: Deadline,
}

#[cfg(unix)]
impl Exchange<'_> {
    /// Repeats a call until it neither times out nor is interrupted by a signal.
    fn retry<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let attempt = || match call() {
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => None,
            done => Some(done),
        };
        match self.wait.poll(self.deadline, Duration::ZERO, attempt) {
            Ok(done) => done,
            Err(Stopped::Canceled) => Err(CANCELED.into()),
            Err(Stopped::TimedOut) => Err(TimedOut.into()),
        }
    }

    /// Connects, even if the queue of the socket is full for a while.
    fn connect(&self, socket: &Path) -> io::Result<UnixStream> {
        let address = SocketAddrUnix::new(socket)?;
        let stream = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::ioctl_fioclex(&stream)?;
        let stream = UnixStream::from(stream);
        stream.set_read_timeout(Some(SLICE))?;
        // This limits the time for connecting, too.
        stream.set_write_timeout(Some(SLICE))?;
        self.retry(|| Ok(net::connect(&stream, &address)?))?;
        Ok(stream)
    }

    fn send(&self, mut stream: &UnixStream, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            let sent = self.retry(|| stream.write(line))?;
            line = line.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a line, or what came before the connection ended.
    fn receive(&self, mut stream: &UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
        let (mut answer, mut part) = (Zeroizing::new(Vec::new()), Zeroizing::new([0; PART]));
        // Room for a token, so that no copies of it are left behind.
        answer.reserve(4 * PART);
        while !answer.ends_with(b"\n") && answer.len() < ANSWER_MAX {
            let read = self.retry(|| stream.read(&mut *part))?;
            if read == 0 {
                break;
            }
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        Ok(answer)
    }
}
