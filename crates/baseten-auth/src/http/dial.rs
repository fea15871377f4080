//! From a URL to a connection: names, addresses, proxies. The request's time limits everything
//! here, even if the other side sends one byte at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout,
    SocksConnector, Transport, TransportAdapter,
};

use super::attempt::Attempt;
use super::proxy::is_socks;
use super::stream::Stream;
use super::tls;
use crate::remote::is_localhost;
use crate::wait::Task;

/// How long an address may take before the next one is tried as well (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses that have answered in this run, the latest first. They are tried first.
pub(super) type Good = Arc<Mutex<Vec<SocketAddr>>>;

/// Makes the connection for one request.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) attempt: Arc<Attempt>,
    pub(super) tls: Option<Arc<tls::Config>>,
    pub(super) good: Good,
}

impl Dialer {
    /// The agent for one request, so that nothing carries over from one connection to another.
    pub(super) fn agent(self, config: Config) -> ureq::Agent {
        let proxies = ().chain(SocksConnector::default()).chain(ConnectProxyConnector::default());
        let resolver = self.clone();
        ureq::Agent::with_parts(config, proxies.chain(self), resolver)
    }

    /// The addresses of a host, the best first.
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let mut found = if is_localhost(host) {
            here.map(|address| SocketAddr::new(address, port)).to_vec()
        } else if let Ok(address) = host.parse() {
            vec![SocketAddr::new(address, port)]
        } else {
            alternating(ask_system(host.to_owned(), port, self.attempt.left()?)?)
        };
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|address| {
            good.iter().position(|good| good == address).unwrap_or(usize::MAX)
        });
        Ok(found)
    }

    /// A connection to the first address that answers.
    fn reach(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        match addresses {
            [address] => TcpStream::connect_timeout(address, self.attempt.left()?),
            addresses => self.race(addresses),
        }
    }

    /// Tries one address after the other, each when the previous one has failed or has had its head
    /// start (RFC 8305 §5). Once one has answered, the other attempts are abandoned.
    fn race(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let (sender, outcomes) = mpsc::channel();
        let mut waiting = addresses.iter().copied();
        let mut running = 0;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        loop {
            let left = self.attempt.left()?;
            let mut wait = left;
            if let Some(address) = waiting.next() {
                running += 1;
                let connect = move || (address, TcpStream::connect_timeout(&address, left));
                let theirs = sender.clone();
                // Sending fails if another address was faster, which is fine.
                let thread = move || drop(theirs.send(connect()));
                if thread::Builder::new().spawn(thread).is_err() {
                    let _ = sender.send(connect());
                }
                if waiting.len() > 0 {
                    wait = HEAD_START.min(left);
                }
            } else if running == 0 {
                return Err(failure);
            }
            match outcomes.recv_timeout(wait) {
                Ok((address, Ok(stream))) => {
                    let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
                    good.retain(|known| *known != address);
                    good.insert(0, address);
                    return Ok(stream);
                }
                Ok((_, Err(error))) => {
                    running -= 1;
                    failure = error;
                }
                // Try the next address, or the time is over.
                Err(_) => {}
            }
        }
    }
}

/// The system's look-up has no time limit of its own.
fn ask_system(name: String, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let look_up = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
    Task::start(look_up)?.within(limit).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Alternates between the address families, so that one that leads nowhere costs only one head
/// start (RFC 8305 §4).
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut ranked: Vec<_> =
        first.into_iter().enumerate().chain(second.into_iter().enumerate()).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, address)| address).collect()
}

/// Finds addresses; `localhost` and names below it are this machine (RFC 6761 §6.3).
impl Resolver for Dialer {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let default_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default_port);
        let host = bare_host(uri);
        let of_proxy = uri.authority().is_none_or(|authority| *authority != *self.attempt.host);
        let of_socks = of_proxy && self.attempt.proxy.as_ref().is_some_and(is_socks);
        let found = self.addresses(host, port).and_then(|found| {
            // ureq itself connects to a SOCKS proxy, and would wait for seconds at a dead address.
            let unsure = of_socks && found.len() > 1 && !is_localhost(host);
            if unsure { Ok(vec![self.race(&found)?.peer_addr()?]) } else { Ok(found) }
        });
        let found = found.map_err(|error| {
            ureq::Error::Other(self.attempt.before_connecting(error.into(), of_proxy).into())
        })?;
        let mut addresses = self.empty();
        found.into_iter().take(16).for_each(|address| addresses.push(address));
        Ok(addresses)
    }
}

impl<In: Transport> Connector<In> for Dialer {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        tunnel: Option<In>,
    ) -> Result<Option<Wire>, ureq::Error> {
        let attempt = &self.attempt;
        let mut stream: Box<dyn Stream> = if let Some(tunnel) = tunnel {
            attempt.set_tunnelled();
            let tunnel: Box<dyn Transport> = Box::new(tunnel);
            let stream = TransportAdapter::new(tunnel, Arc::clone(&details.current_time));
            Box::new(Bounded::new(stream, attempt))
        } else {
            let stream = self.reach(&details.addrs)?;
            stream.set_nodelay(true)?;
            Box::new(Bounded::new(stream, attempt))
        };
        let is_tls = details.needs_tls();
        if is_tls {
            let tls = self.tls.as_ref().ok_or(ureq::Error::TlsRequired)?;
            stream = tls::secure(tls, bare_host(details.uri), stream)?;
        }
        // With a proxy, ureq calls this for the proxy only.
        if attempt.proxy.is_none() || details.config.proxy().is_some() {
            attempt.set_connected()?;
        }
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Wire { stream, buffers, is_tls }))
    }
}

/// The host of a URL; an IPv6 address without its brackets.
fn bare_host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// A connection that can be read and written while the request has time left.
struct Bounded<S> {
    stream: S,
    attempt: Arc<Attempt>,
    late_reads: u32,
}

/// An answer that has already arrived is read even after the deadline, because this process may
/// have been stopped, or the machine asleep. This limits how often.
const LATE_READS: u32 = 100;
const AT_ONCE: Duration = Duration::from_millis(1);

/// A connection whose reads and writes can be given a time limit.
trait Limited: Read + Write {
    fn limit(&mut self, left: Duration);
}

/// A connection that we made.
impl Limited for TcpStream {
    fn limit(&mut self, left: Duration) {
        // macOS refuses this if the other side has closed, but what it has sent can still be read.
        let _ = self.set_read_timeout(Some(left));
        let _ = self.set_write_timeout(Some(left));
    }
}

/// A connection that ureq made, through a proxy.
impl Limited for TransportAdapter {
    fn limit(&mut self, left: Duration) {
        self.set_timeout(NextTimeout { after: left.into(), ..NextTimeout::default() });
    }
}

impl<S: Limited> Bounded<S> {
    fn new(stream: S, attempt: &Arc<Attempt>) -> Self {
        Self { stream, attempt: Arc::clone(attempt), late_reads: 0 }
    }
}

impl<S: Limited> Read for Bounded<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = match self.attempt.left() {
                Err(_) if self.late_reads < LATE_READS => {
                    self.late_reads += 1;
                    AT_ONCE
                }
                left => left?,
            };
            self.stream.limit(left);
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map_err(timed_out),
            }
        }
    }
}

impl<S: Limited> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.limit(self.attempt.left()?);
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket returns `WouldBlock` when its time is over.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// The connection as the HTTP code sees it. The streams below have its time limits.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    buffers: LazyBuffers,
    is_tls: bool,
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Wire")
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(self.stream.write_all(self.buffers.output().get(..amount).unwrap_or_default())?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Each connection serves one request.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_of_addresses_take_turns() {
        let addresses = |ports: &[(&str, u16)]| -> Vec<SocketAddr> {
            ports.iter().map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), *port)).collect()
        };
        for (found, expected) in [
            (
                &[("::1", 1), ("::1", 2), ("::1", 3), ("1.1.1.1", 4), ("1.1.1.1", 5)][..],
                &[("::1", 1), ("1.1.1.1", 4), ("::1", 2), ("1.1.1.1", 5), ("::1", 3)][..],
            ),
            (&[("1.1.1.1", 1), ("::1", 2)], &[("1.1.1.1", 1), ("::1", 2)]),
            (&[("1.1.1.1", 1), ("1.1.1.1", 2)], &[("1.1.1.1", 1), ("1.1.1.1", 2)]),
            (&[], &[]),
        ] {
            assert_eq!(alternating(addresses(found)), addresses(expected));
        }
    }

    /// Always has another byte.
    struct Endless;

    impl Read for Endless {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(1)
        }
    }

    impl Write for Endless {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Limited for Endless {
        fn limit(&mut self, left: Duration) {
            assert_eq!(left, AT_ONCE);
        }
    }

    #[test]
    fn when_the_time_is_over_only_so_much_is_read_and_nothing_written() {
        let attempt = Arc::new(Attempt::new(String::new(), None, Duration::ZERO, None));
        let mut stream = Bounded::new(Endless, &attempt);
        let reads = (0..10_000).take_while(|_| stream.read(&mut [0]).is_ok()).count();
        assert_eq!(reads, LATE_READS as usize);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
