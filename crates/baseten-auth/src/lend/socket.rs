//! A lender's socket: where it is, who made it, who may use it, and who asks.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::LendError;
use crate::context::Context;
use crate::error::Error;
use crate::store::private::{create_directory, parent};
use crate::wait::Wait;

const FILE: &str = "auth.sock";

/// How long to wait for another lender that is about to listen in the same directory.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The program at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its process; `None` if the system does not say.
    pub pid: Option<u32>,
}

impl Peer {
    #[cfg(target_os = "linux")]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        // A process of another PID namespace has no number here.
        let pid = Some(peer.pid.as_raw_pid().cast_unsigned()).filter(|pid| *pid > 0);
        Ok(Self { uid: peer.uid.as_raw(), pid })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let (uid, _) = nix::unistd::getpeereid(stream)?;
        Ok(Self { uid: uid.as_raw(), pid: None })
    }
}

/// A socket that a lender listens at.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Its device and inode, if it was made here and is removed at the end.
    made: Option<(u64, u64)>,
}

impl Socket {
    /// The default path: `baseten/auth.sock` in the runtime directory of the user, or else
    /// `auth.sock` in the configuration directory.
    pub fn default_path(context: &Context) -> Result<PathBuf, Error> {
        let runtime = context.env().path("XDG_RUNTIME_DIR").filter(|runtime| runtime.is_dir());
        if let Some(runtime) = runtime {
            return Ok(runtime.join("baseten").join(FILE));
        }
        Ok(context.store()?.path().with_file_name(FILE))
    }

    /// The socket that systemd has handed over (`LISTEN_FDS`); `None` if there is none.
    pub fn handed_over() -> Result<Option<Self>, Error> {
        let failed = |source| LendError::Bind { socket: "LISTEN_FDS".into(), source };
        let taken = listenfd::ListenFd::from_env().take_unix_listener(0).map_err(failed)?;
        let Some(listener) = taken else { return Ok(None) };
        // Unlike the original, the copy is closed in the programs that we start.
        let listener = listener.try_clone().map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Some(Self { listener, path, made: None }))
    }

    /// Listens at a path. A socket that nobody listens at any more is replaced. A missing directory
    /// is created.
    ///
    /// With `for_others`, every user can reach the socket. Each client's user is always checked.
    pub fn bind(path: &Path, for_others: bool, wait: &Wait) -> Result<Self, Error> {
        let failed = |source| LendError::Bind { socket: path.to_owned(), source };
        let directory = parent(path);
        create(directory, if for_others { 0o711 } else { 0o700 }).map_err(failed)?;
        // Without locks, two lenders that start at once may remove each other's socket.
        let lock = fs::File::open(directory).map_err(failed)?;
        let attempt = || flock(&lock, FlockOperation::NonBlockingLockExclusive).ok();
        let _ = wait.poll(wait.deadline(LOCK_WAIT), LOCK_PAUSE, attempt);
        make_room(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let permissions = fs::Permissions::from_mode(if for_others { 0o666 } else { 0o600 });
        fs::set_permissions(path, permissions).map_err(failed)?;
        let there = fs::symlink_metadata(path).map_err(failed)?;
        let made = Some((there.dev(), there.ino()));
        Ok(Self { listener, path: path.to_owned(), made })
    }

    /// Its path; empty if it was handed over and has none.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the socket that was made here, unless another one has replaced it.
impl Drop for Socket {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path).ok().map(|it| (it.dev(), it.ino()));
        if self.made.is_some() && self.made == there {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a missing directory with this mode, and missing ones above it for their owner only. An
/// existing directory keeps its mode.
fn create(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    create_directory(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
}

/// Removes a socket that nobody listens at. Anything else stays, and is an error.
fn make_room(path: &Path) -> Result<(), LendError> {
    let failed = |source| LendError::Bind { socket: path.to_owned(), source };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !there.file_type().is_socket() {
        return Err(LendError::NotSocket { socket: path.to_owned() });
    }
    let taken = LendError::Taken { socket: path.to_owned() };
    match connect(path) {
        Ok(()) => Err(taken),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
            // If the queue is full, a lender is there as well.
            io::ErrorKind::WouldBlock => Err(taken),
            _ => Err(failed(error)),
        },
    }
}

/// Connects without waiting for a place in the queue.
fn connect(path: &Path) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?)
}
