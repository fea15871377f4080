//! One login for other machines: a lender hands out access tokens over a Unix socket
//! (`baseten auth serve`), and its clients find it in `BASETEN_AUTH_SOCK`.

pub(crate) mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod protocol;
#[cfg(unix)]
pub(crate) mod server;
#[cfg(unix)]
pub(crate) mod socket;

use std::fmt;
use std::io;
use std::path::PathBuf;

use self::protocol::Complaint;
use crate::profile::ProfileName;
use crate::remote::RemoteError;

/// Why a token is not lent, or cannot be borrowed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum LendError {
    /// What a client sent is not a request.
    #[error("this is not a request for a token: {0}")]
    Request(&'static str),
    /// The profile is not lent.
    #[error("the profile '{profile}' is not lent{place}")]
    NotLent { profile: ProfileName, place: At },
    /// A client named no profile, and the selected one is not lent.
    #[error("no profile was named, and the selected one is not lent{place}")]
    NoneSelected { place: At },
    /// The client belongs to a user who may not ask.
    #[error("user {uid} may not ask for a token here")]
    Foreign { uid: u32 },
    /// The lender has no thread for a request.
    #[error("the lender cannot start a thread")]
    NoThread { source: io::Error },
    /// The lender took too long for one request.
    #[error("the lender did not get the token within {seconds} s")]
    Late { seconds: u64 },
    /// The socket can't be made.
    #[error("cannot listen at {}", socket.display())]
    Bind { socket: PathBuf, source: io::Error },
    /// Another lender listens there.
    #[error("another lender already listens at {}", socket.display())]
    Taken { socket: PathBuf },
    /// Something else is in the socket's place.
    #[error("{} is not a socket", socket.display())]
    NotSocket { socket: PathBuf },
    /// Nobody listens at the socket of the environment.
    #[error("nobody answers at the socket {}", socket.display())]
    Gone { socket: PathBuf, source: io::Error },
    /// The lender did not answer in time.
    #[error("the lender at {} did not answer within {seconds} s", socket.display())]
    Silent { socket: PathBuf, seconds: u64 },
    /// What answers is not a lender.
    #[error("what answers at {} is not a lender that this program understands", socket.display())]
    NotProtocol { socket: PathBuf },
    /// The profile's remote is one that no credential may be sent to.
    #[error("the lender at {} has a remote URL that is not usable", socket.display())]
    Remote { socket: PathBuf, source: RemoteError },
    /// The lender has replaced the profile meanwhile.
    #[error("the lender at {} has replaced the profile meanwhile", socket.display())]
    Replaced { socket: PathBuf },
    /// The lender refuses, and says why.
    #[error("{}", complaint.message)]
    Refused { complaint: Complaint },
    /// This system has no Unix sockets, or this program does not use them there.
    #[error("lending a login needs Unix sockets, which this program does not have here")]
    NoSockets,
}

/// The socket at which something is not lent, for a client's message; `None` at the lender itself.
#[derive(Debug)]
pub struct At(pub(crate) Option<PathBuf>);

impl fmt::Display for At {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(socket) = self;
        socket.as_ref().map_or(Ok(()), |socket| write!(formatter, " at {}", socket.display()))
    }
}
