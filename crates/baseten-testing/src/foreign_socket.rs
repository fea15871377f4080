//! A socket at which another user of this machine listens.

#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::{Uid, set_thread_res_uid};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A listener of another user, which reads and never answers. Needs root.
pub struct ForeignSocket {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl ForeignSocket {
    /// Listens there.
    pub fn listen(address: &SocketAddrUnix) -> Self {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, address).unwrap();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        // The caller of `listen` counts as the peer. Only this thread changes its user.
        let thread = std::thread::spawn(move || {
            set_thread_res_uid(None, Uid::from_raw(NOBODY), None).unwrap();
            rustix::net::listen(&socket, 8).unwrap();
            read(&UnixListener::from(socket), &stopped)
        });
        crate::wait::until("the socket listens", || {
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
            rustix::net::connect(&socket, address).is_ok()
        });
        Self { stop, thread }
    }

    /// What was sent to it.
    pub fn received(self) -> Vec<u8> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn read(listener: &UnixListener, stopped: &AtomicBool) -> Vec<u8> {
    listener.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                // Only the first chunk: after it, the client waits for an answer.
                let mut chunk = [0; 1024];
                let amount = stream.read(&mut chunk).unwrap_or_default();
                received.extend_from_slice(&chunk[..amount]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stopped.load(Ordering::SeqCst) {
                    return received;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}
