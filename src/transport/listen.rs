//! Accepts connections until it is told to stop.
//!
//! To stop a thread that waits in `accept` needs a connection, and a network may have none to give: the address may be
//! gone, or the loopback interface down. So this thread waits for two things at once: for a connection, and for the end
//! of a pair of local sockets, which need no network.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    stopped: UnixStream,
}

/// Stops the [`Listener`] that was made with it when it is dropped.
#[derive(Debug)]
pub(super) struct Stopper(UnixStream);

impl Drop for Stopper {
    fn drop(&mut self) {
        // Not only closed: a child of the program may have a copy of the descriptor. It cannot fail on a pair.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Listener {
    pub(super) fn new(socket: TcpListener) -> io::Result<(Listener, Stopper)> {
        socket.set_nonblocking(true)?;
        let (stopped, end) = UnixStream::pair()?;
        Ok((Listener { socket, stopped }, Stopper(end)))
    }

    /// Waits for the next connection. Returns `None` when it is told to stop.
    pub(super) fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            let mut waits = [PollFd::new(&self.stopped, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut waits, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done?,
            };
            if !waits[0].revents().is_empty() {
                return Ok(None);
            }
            match self.socket.accept() {
                // It was gone before it was accepted.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(error),
                Ok((tcp, addr)) => {
                    // Some systems pass the listener's mode on.
                    tcp.set_nonblocking(false)?;
                    return Ok(Some((tcp, addr)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;

    #[test]
    fn a_listener_gives_connections_that_wait_and_ends_without_one() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = socket.local_addr().expect("an address");
        let (listener, stopper) = Listener::new(socket).expect("a listener");
        let dialled = TcpStream::connect(addr).expect("connected");
        let (accepted, from) = listener.accept().expect("no error").expect("a connection");
        assert_eq!(from, dialled.local_addr().expect("an address"));
        // It waits for data: the next read is the end of the connection.
        drop(dialled);
        assert_eq!(io::Read::read(&mut &accepted, &mut [0]).expect("no error"), 0);
        let waiting = thread::spawn(move || listener.accept());
        drop(stopper);
        assert!(waiting.join().expect("no panic").expect("no error").is_none());
    }
}
