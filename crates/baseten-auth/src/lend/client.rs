//! The client of a lender: asks at its socket, and keeps nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::LendError;
use super::protocol::{Grant, LentProfile, Listing, Request, Wanted, parse_answer};
use crate::env::{AUTH_SOCK, Env};
use crate::error::{Error, Failure};
use crate::profile::ProfileName;
use crate::source::SessionSource;
use crate::wait::{SLICE, Stopped, Task, Wait};

/// How long a lender may need. It says by itself when it needs longer than 35 s.
const LIMIT: Duration = Duration::from_secs(40);

/// The longest answer, in bytes: a list of very many profiles.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// How much of it is read at once, in bytes.
#[cfg(unix)]
const PART: usize = 16 * 1024;

/// A lender, by its socket.
#[derive(Debug, Clone)]
pub(crate) struct Lender {
    socket: PathBuf,
}

impl Lender {
    /// The lender that the environment names; `None` where it names none.
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
        // No header can carry another one.
        if !grant.token.is_visible_ascii() {
            return Err(LendError::NotProtocol { socket: self.socket.clone() }.into());
        }
        Ok(grant)
    }

    /// The profile of this name, or the one that the lender selects.
    pub(crate) fn select(
        &self,
        named: Option<(SessionSource, ProfileName)>,
        wait: &Wait,
    ) -> Result<(SessionSource, LentProfile), Error> {
        let Listing { current, profiles } = self.profiles(wait)?;
        let (source, name) = match named {
            Some((source, name)) => (source, name.to_string()),
            None => (SessionSource::AuthSockEnv, current.ok_or(LendError::NoneSelected)?),
        };
        let found = profiles.into_iter().find(|lent| lent.profile == name);
        let missing = || match ProfileName::new(name) {
            Ok(profile) => LendError::NotLent { profile },
            Err(_) => LendError::NotProtocol { socket: self.socket.clone() },
        };
        Ok((source, found.ok_or_else(missing)?))
    }

    /// Asks on a thread of its own, since a connection to a full queue cannot be interrupted.
    fn ask<T: for<'de> Deserialize<'de>>(&self, request: Request, wait: &Wait) -> Result<T, Error> {
        let (line, path) = (request.line(), self.socket.clone());
        let socket = || self.socket.clone();
        let gone = |source| LendError::Gone { socket: socket(), source };
        let silent = || LendError::Silent { socket: socket(), seconds: LIMIT.as_secs() };
        let task = Task::start(move || exchange(&path, &line)).map_err(gone)?;
        let deadline = wait.deadline(LIMIT);
        let answered = wait.poll(deadline, Duration::ZERO, || match task.within(SLICE) {
            Err(RecvTimeoutError::Timeout) => None,
            // Or the thread has ended without an answer.
            answered => Some(answered.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))),
        });
        let answer = match answered {
            Ok(answer) => answer,
            Err(Stopped::Canceled) => return Err(Failure::Canceled.into()),
            Err(Stopped::TimedOut) => return Err(silent().into()),
        };
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => silent(),
            io::ErrorKind::Unsupported => LendError::NoSockets,
            _ => gone(error),
        })?;
        let not_protocol = || LendError::NotProtocol { socket: socket() };
        match parse_answer(&answer).ok_or_else(not_protocol)? {
            Ok(answer) => Ok(answer),
            Err(complaint) => Err(LendError::Refused { complaint }.into()),
        }
    }
}

/// Sends a line, and reads the one that comes back.
#[cfg(unix)]
fn exchange(socket: &Path, line: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // A lender that refuses us may not have read it.
    let sent = stream.write_all(line);
    let (mut answer, mut part) = (Zeroizing::new(Vec::new()), Zeroizing::new([0; PART]));
    // Room for a token, so that no copies of it are left behind.
    answer.reserve(4 * PART);
    while !answer.ends_with(b"\n") && answer.len() < ANSWER_MAX {
        let read = stream.read(&mut *part)?;
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        if read == 0 {
            sent?;
            let ended = "the connection ended without an answer";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, ended));
        }
    }
    Ok(answer)
}

#[cfg(not(unix))]
fn exchange(_: &Path, _: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::ErrorKind::Unsupported.into())
}
