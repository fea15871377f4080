//! The lender: answers clients that may ask, on one thread per connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

use super::protocol::{
    Complaint, Grant, LentProfile, Listing, REQUEST_MAX, Request, Scheme, Wanted, failure, success,
};
use super::socket::{Peer, Socket};
use super::{At, LendError};
use crate::context::Context;
use crate::error::{Error, Failure};
use crate::profile::{AuthType, ProfileName};
use crate::session::demand::Demand;
use crate::session::resolve::select_stored;
use crate::session::{Authorization, Session};
use crate::wait::Task;

/// How many clients are answered at once. More wait in the socket's queue.
const CONNECTIONS: usize = 256;

/// How long a request may take to arrive, and an answer to be read.
const CLIENT_LIMIT: Duration = Duration::from_secs(5);

/// The same for a request, while all places are taken: a silent client must not keep others out.
const SHORT_LIMIT: Duration = Duration::from_millis(250);

/// How long a token may take. A client waits a little longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// The pause after the system could not give us a connection or a thread.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// What is lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// Whatever is selected at the moment of a request, as for any command.
    Selected,
    /// These stored profiles.
    Named(Vec<ProfileName>),
    /// Every stored profile.
    All,
}

/// What happens while something is lent.
#[derive(Debug)]
pub enum Lending<'a> {
    /// A token was given out.
    Granted {
        /// When.
        time: Timestamp,
        /// To whom.
        peer: Peer,
        /// The profile; empty for a credential of the lender's environment.
        profile: &'a str,
        /// When the token ends.
        expires_at: Option<Timestamp>,
    },
    /// A request failed.
    Failed {
        /// Who made it.
        peer: Peer,
        /// The answer to the client.
        complaint: &'a Complaint,
    },
}

/// Turns an error into the answer to a client.
type Explain = Box<dyn Fn(&Error) -> Complaint + Send + Sync>;
/// Receives what happens.
type Log = Box<dyn Fn(&Lending<'_>) + Send + Sync>;

/// Lends access tokens. Refresh tokens stay where they are.
pub struct Lender {
    context: Context,
    offer: Offer,
    /// The credential of the environment, if that is what is lent.
    environment: Option<Session>,
    /// Users who may ask, besides our own and root.
    allowed: Vec<u32>,
    max_ttl: Option<Duration>,
    explain: Explain,
    log: Log,
}

impl Lender {
    /// A lender for this offer. Does not read the store yet.
    pub fn new(
        context: &Context,
        offer: Offer,
        explain: impl Fn(&Error) -> Complaint + Send + Sync + 'static,
        log: impl Fn(&Lending<'_>) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let environment = match offer {
            Offer::Selected => Session::of_environment(context)?,
            Offer::Named(_) | Offer::All => None,
        };
        let (context, allowed, max_ttl) = (context.clone(), Vec::new(), None);
        let (explain, log): (Explain, Log) = (Box::new(explain), Box::new(log));
        Ok(Self { context, offer, environment, allowed, max_ttl, explain, log })
    }

    /// The same, also for these users.
    #[must_use]
    pub fn allowing(mut self, users: &[u32]) -> Self {
        self.allowed = users.to_vec();
        self
    }

    /// The same, for at most this long at a time.
    #[must_use]
    pub fn with_max_ttl(mut self, max_ttl: Option<Duration>) -> Self {
        self.max_ttl = max_ttl;
        self
    }

    /// The names of what is lent now.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        Ok(self.listing()?.profiles.into_iter().map(|lent| lent.profile).collect())
    }

    /// Answers until it is stopped, and then finishes the answers in progress.
    pub fn run(self, socket: &Socket, stop: &Stop) -> io::Result<()> {
        socket.listener.set_nonblocking(true)?;
        let lender = Arc::new(self);
        while stop.wait_for_place() && wait_for_client(&socket.listener, stop)? {
            match socket.listener.accept() {
                Ok((stream, _)) => lender.start(stream, stop),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // No descriptors are left, or the client is gone again.
                Err(_) => stop.pause(SHORTAGE_PAUSE),
            }
        }
        stop.wait_for_answers();
        Ok(())
    }

    /// Answers one client on a thread of its own.
    fn start(self: &Arc<Self>, stream: UnixStream, stop: &Stop) {
        let (lender, place, its_stop) = (Arc::clone(self), stop.take_place(), stop.clone());
        let talk = move || {
            lender.talk(&stream, &its_stop);
            drop(place);
        };
        // If no thread can be started, the connection is closed.
        if std::thread::Builder::new().spawn(talk).is_err() {
            stop.pause(SHORTAGE_PAUSE);
        }
    }

    /// One request, and its answer. A client that has disconnected is ignored.
    fn talk(self: &Arc<Self>, stream: &UnixStream, stop: &Stop) {
        let Ok(peer) = Peer::of(stream) else { return };
        // On some systems a connection inherits this from the listener.
        let _ = stream.set_nonblocking(false);
        let request = self.hear(stream, peer, stop);
        let _answering = stop.answer();
        let answer = match request {
            Ok(request) => self.answer(request, peer),
            Err(Some(error)) => self.refuse(peer, &error.into()),
            Err(None) => return,
        };
        let _ = self.send(stream, &answer);
    }

    /// Reads the request of a client that may ask. The error is `None` if the client is gone.
    fn hear(
        &self,
        stream: &UnixStream,
        peer: Peer,
        stop: &Stop,
    ) -> Result<Request, Option<LendError>> {
        if !self.may_ask(peer.uid) {
            return Err(Some(LendError::Foreign { uid: peer.uid }));
        }
        let wait = self.context.wait();
        let (deadline, short) = (wait.deadline(CLIENT_LIMIT), wait.deadline(SHORT_LIMIT));
        let in_time = || {
            let others_wait = wait.remaining(short).is_none() && stop.is_full();
            wait.remaining(deadline).is_some() && !others_wait
        };
        let line = read_line(stream, in_time)?;
        Request::parse(&line).map_err(|reason| Some(LendError::Request(reason)))
    }

    fn may_ask(&self, uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw() || self.allowed.contains(&uid)
    }

    /// The answer. If the work takes longer than a client would wait, the answer is an error, and
    /// the work goes on by itself: it may be a refresh.
    fn answer(self: &Arc<Self>, request: Request, peer: Peer) -> Zeroizing<Vec<u8>> {
        let answer = match request {
            Request::Profiles => self.in_time(|lender| Ok(success(&lender.listing()?, 0))),
            Request::Token(wanted) => {
                self.in_time(move |lender| lender.token(wanted)).map(|grant| {
                    let (time, profile) = (self.context.wait().now(), &*grant.profile);
                    let expires_at = grant.expires_at;
                    (self.log)(&Lending::Granted { time, peer, profile, expires_at });
                    success(&grant, grant.token.expose().len())
                })
            }
        };
        answer.unwrap_or_else(|error| self.refuse(peer, &error))
    }

    /// Does work on a thread of its own, and waits for at most [`ANSWER_LIMIT`].
    fn in_time<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let lender = Arc::clone(self);
        let task = Task::start(move || work(&lender));
        let task = task.map_err(|source| LendError::NoThread { source })?;
        let late = |_| LendError::Late { seconds: ANSWER_LIMIT.as_secs() };
        task.within(ANSWER_LIMIT).map_err(late)?
    }

    fn refuse(&self, peer: Peer, error: &Error) -> Zeroizing<Vec<u8>> {
        let complaint = (self.explain)(error);
        (self.log)(&Lending::Failed { peer, complaint: &complaint });
        failure(complaint)
    }

    fn send(&self, mut stream: &UnixStream, answer: &[u8]) -> io::Result<()> {
        let deadline = self.context.wait().deadline(CLIENT_LIMIT);
        let mut rest = answer;
        while !rest.is_empty() {
            let left = self.context.wait().remaining(deadline).ok_or(io::ErrorKind::TimedOut)?;
            stream.set_write_timeout(Some(left))?;
            let sent = stream.write(rest)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn token(&self, wanted: Wanted) -> Result<Grant, Error> {
        let session = self.session(wanted.profile.as_ref())?;
        let min_ttl = self.max_ttl.map_or(wanted.min_ttl, |most| wanted.min_ttl.min(most));
        let demand = Demand { min_ttl, refused: wanted.refused.into_iter().collect() };
        let authorization = session.authorization_for(&demand)?;
        Ok(Grant {
            profile: session.profile_name().unwrap_or_default().to_owned(),
            remote_url: session.remote_url().to_owned(),
            auth_type: session.auth_type(),
            token: authorization.token().clone(),
            token_type: match session.auth_type() {
                AuthType::ApiKey => Scheme::ApiKey,
                AuthType::OAuth | AuthType::Workload => Scheme::Bearer,
            },
            expires_at: self.end(&authorization),
        })
    }

    /// When the lent token ends: at its own end, or earlier if tokens are lent for a limited time.
    fn end(&self, authorization: &Authorization) -> Option<Timestamp> {
        let lent_until = self.max_ttl.and_then(|most| {
            self.context.wait().now().checked_add(SignedDuration::try_from(most).ok()?).ok()
        });
        authorization.expiry().into_iter().chain(lent_until).min()
    }

    /// The session of a profile that is lent. Reads the store again each time: the profile may have
    /// been switched, logged out or replaced.
    fn session(&self, wanted: Option<&ProfileName>) -> Result<Session, Error> {
        if let Some(session) = &self.environment {
            return match wanted {
                None => Ok(session.clone()),
                Some(name) => Err(not_lent(name)),
            };
        }
        let stored = |name| Session::of_store(&self.context, Some(name));
        let selected = || Session::of_store(&self.context, None);
        match (wanted, &self.offer) {
            (None, Offer::Selected | Offer::All) => selected(),
            (None, Offer::Named(names)) => match (self.selected(), names.as_slice()) {
                (Ok(name), _) if names.contains(&name) => stored(&name),
                (_, [only]) => stored(only),
                _ => Err(LendError::NoneSelected { place: At(None) }.into()),
            },
            (Some(name), Offer::All) => stored(name),
            (Some(name), Offer::Named(names)) if names.contains(name) => stored(name),
            (Some(name), Offer::Selected) => match selected()? {
                session if session.profile_name() == Some(name.as_str()) => Ok(session),
                _ => Err(not_lent(name)),
            },
            (Some(name), Offer::Named(_)) => Err(not_lent(name)),
        }
    }

    /// The name of the stored profile that is selected, as for any command.
    fn selected(&self) -> Result<ProfileName, Error> {
        let store = self.context.store()?;
        Ok(select_stored(&self.context, &store, None)?.profile.name)
    }

    /// What is lent now.
    fn listing(&self) -> Result<Listing, Error> {
        if let Some(session) = &self.environment {
            let lent = LentProfile {
                profile: String::new(),
                remote_url: session.remote_url().to_owned(),
                auth_type: session.auth_type(),
                email: None,
                workspace_name: None,
            };
            return Ok(Listing { current: Some(String::new()), profiles: vec![lent] });
        }
        let selected = match self.selected() {
            Ok(name) => Some(name),
            Err(error) if is_nobody(&error) => None,
            Err(error) => return Err(error),
        };
        let is_lent = |name: &ProfileName| match &self.offer {
            Offer::All => true,
            Offer::Named(names) => names.contains(name),
            Offer::Selected => selected.as_ref() == Some(name),
        };
        let policy = self.context.storage_policy()?;
        let store = self.context.store()?;
        let profiles: Vec<_> = store.read(|profiles| {
            // A broken profile does not hide the others.
            let good = profiles.summaries(&policy).filter_map(Result::ok);
            let lent = good.filter(|summary| is_lent(&summary.name)).map(|summary| LentProfile {
                profile: summary.name.to_string(),
                remote_url: summary.remote_url,
                auth_type: summary.auth_type,
                email: summary.identity.email,
                workspace_name: summary.identity.workspace_name,
            });
            Ok::<_, Error>(lent.collect())
        })?;
        let only = match &self.offer {
            Offer::Named(names) if names.len() == 1 => names.first().cloned(),
            _ => None,
        };
        let current = selected.clone().filter(is_lent).or(only).map(|name| name.to_string());
        Ok(Listing { current, profiles })
    }
}

impl fmt::Debug for Lender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lender").field("offer", &self.offer).finish_non_exhaustive()
    }
}

fn not_lent(profile: &ProfileName) -> Error {
    LendError::NotLent { profile: profile.clone(), place: At(None) }.into()
}

/// Whether an error says that no profile is selected, or that the selected one does not exist.
fn is_nobody(error: &Error) -> bool {
    matches!(error.failure(), Failure::NoCurrentProfile { .. } | Failure::NoSuchProfile { .. })
}

/// Waits for a client, or until the lender is stopped; true for a client.
fn wait_for_client(listener: &UnixListener, stop: &Stop) -> io::Result<bool> {
    let mut watched = [
        PollFd::new(listener, PollFlags::IN),
        PollFd::new(&stop.0.ended, PollFlags::IN | PollFlags::HUP),
    ];
    match poll(&mut watched, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!stop.is_stopping()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a line, without its end. A line that is too long or comes too late is an error. The error
/// is `None` if the client is gone.
fn read_line(
    mut stream: &UnixStream,
    in_time: impl Fn() -> bool,
) -> Result<Zeroizing<Vec<u8>>, Option<LendError>> {
    stream.set_read_timeout(Some(SHORT_LIMIT)).map_err(|_| None)?;
    let mut line = Zeroizing::new(vec![0; REQUEST_MAX]);
    let mut length = 0;
    loop {
        let Some(room) = line.get_mut(length..).filter(|room| !room.is_empty()) else {
            return Err(Some(LendError::Request("it is longer than 16 KiB")));
        };
        let read = match stream.read(room) {
            Ok(0) if length == 0 => return Err(None),
            Ok(0) => return Err(Some(LendError::Request("the line does not end"))),
            Ok(read) => read,
            Err(error) if is_interruption(&error) => 0,
            Err(_) => return Err(None),
        };
        let new = line.get(length..length + read).unwrap_or_default();
        if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
            line.truncate(length + end);
            return Ok(line);
        }
        if !in_time() {
            return Err(Some(LendError::Request("it did not arrive in time")));
        }
        length += read;
    }
}

/// Whether a read was only interrupted, or has timed out.
fn is_interruption(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Stops a lender. Clones stop the same one.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable once it is stopped.
    ended: UnixStream,
}

#[derive(Debug)]
struct State {
    connections: usize,
    answering: usize,
    /// Dropped to stop.
    running: Option<UnixStream>,
}

impl Stop {
    /// Makes one. Fails only if the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (running, ended) = UnixStream::pair()?;
        let state = State { connections: 0, answering: 0, running: Some(running) };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self(Arc::new(Shared { state, changed, ended })))
    }

    /// Makes the lender take no more clients, and end after the answers in progress.
    pub fn stop(&self) {
        self.state().running = None;
        self.0.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.state().running.is_none()
    }

    /// Waits until one more client can be taken; false if the lender is stopped.
    fn wait_for_place(&self) -> bool {
        let full = |state: &mut State| state.running.is_some() && state.connections >= CONNECTIONS;
        let state = self.0.changed.wait_while(self.state(), full);
        state.unwrap_or_else(PoisonError::into_inner).running.is_some()
    }

    /// Every answer has a time limit, so this ends.
    fn wait_for_answers(&self) {
        let busy = |state: &mut State| state.answering > 0;
        drop(self.0.changed.wait_while(self.state(), busy));
    }

    /// Waits for this time, or until the lender is stopped.
    fn pause(&self, time: Duration) {
        let running = |state: &mut State| state.running.is_some();
        drop(self.0.changed.wait_timeout_while(self.state(), time, running));
    }

    /// Takes one of the places for clients.
    fn take_place(&self) -> Counted {
        self.count(|state| &mut state.connections)
    }

    /// From here on a client gets an answer, even if the lender is stopped.
    fn answer(&self) -> Counted {
        self.count(|state| &mut state.answering)
    }

    /// Whether all places are taken, so that others wait for one.
    fn is_full(&self) -> bool {
        self.state().connections >= CONNECTIONS
    }

    fn count(&self, which: fn(&mut State) -> &mut usize) -> Counted {
        *which(&mut self.state()) += 1;
        Counted(self.clone(), which)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as one until it is dropped.
struct Counted(Stop, fn(&mut State) -> &mut usize);

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(stop, which) = self;
        *which(&mut stop.state()) -= 1;
        stop.0.changed.notify_all();
    }
}
