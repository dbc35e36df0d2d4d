//! Connections that wait for their next request, and for a worker to serve it.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Open connections, of which workers take those that have something to read.
///
/// All workers wait on one epoll instance, in which each connection reports once and is then left
/// alone until it is put back. So exactly one worker serves a connection at a time, and no worker
/// waits for a client that has nothing to ask.
#[derive(Debug)]
pub(crate) struct ReadyConnections {
    epoll: OwnedFd,
    /// The connections that no worker serves, by the number that epoll reports them with.
    waiting: Mutex<HashMap<RawFd, TcpStream>>,
}

impl ReadyConnections {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: The call takes flags by value and touches no memory of ours.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            // SAFETY: The kernel has just opened this descriptor for us and nobody else knows it.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            waiting: Mutex::new(HashMap::new()),
        })
    }

    /// Adds a new connection.
    pub(crate) fn add(&self, connection: TcpStream) -> io::Result<()> {
        self.watch(connection, libc::EPOLL_CTL_ADD)
    }

    /// Puts a connection back after one of its requests was served.
    pub(crate) fn put_back(&self, connection: TcpStream) -> io::Result<()> {
        self.watch(connection, libc::EPOLL_CTL_MOD)
    }

    fn watch(&self, connection: TcpStream, operation: libc::c_int) -> io::Result<()> {
        let descriptor = connection.as_raw_fd();
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLONESHOT).cast_unsigned(),
            u64: u64::from(descriptor.cast_unsigned()),
        };
        // It must be in the map before epoll can report it to another worker.
        self.lock().insert(descriptor, connection);
        // SAFETY: Both descriptors are open: this object owns the one, and the map the other, which
        // nobody takes out before epoll reports it. The event is ours, and the call only reads it.
        let outcome = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &raw mut event)
        };
        check(outcome).map(drop)
    }

    /// Waits for a connection with something to read, which may be its end.
    pub(crate) fn take(&self) -> io::Result<TcpStream> {
        loop {
            let descriptor = self.wait()?;
            if let Some(connection) = self.lock().remove(&descriptor) {
                return Ok(connection);
            }
        }
    }

    fn wait(&self) -> io::Result<RawFd> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: The descriptor is open as long as this object lives, and the call writes at
            // most the one event that the pointer has room for.
            let outcome =
                unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, -1) };
            match check(outcome) {
                Ok(_) => return RawFd::try_from(event.u64).map_err(io::Error::other),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RawFd, TcpStream>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns the C convention for failure into Rust's.
fn check(outcome: libc::c_int) -> io::Result<libc::c_int> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
