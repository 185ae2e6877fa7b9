//! The open connections, so that they can be closed under the threads that wait on them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::sync::lock;
use crate::tls::Turns;

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    closed: Condvar,
    stopped: AtomicBool,
    /// Their handshakes take turns.
    pub(super) turns: Turns,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    sockets: BTreeMap<u64, TcpStream>,
}

/// Keeps a connection listed while it lives.
#[derive(Debug)]
pub(super) struct Registration {
    connections: Arc<Connections>,
    pub(super) number: u64,
}

impl Connections {
    /// Lists a connection; fails when the node stops.
    pub(super) fn register(self: &Arc<Self>, socket: &TcpStream) -> io::Result<Registration> {
        let socket = socket.try_clone()?;
        let mut open = lock(&self.open);
        if self.is_stopped() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this node stops"));
        }
        let number = open.next;
        open.next += 1;
        open.sockets.insert(number, socket);
        Ok(Registration { connections: self.clone(), number })
    }

    /// Closes one of them under the thread that waits on it. It may be gone already.
    pub(super) fn close(&self, number: u64) {
        if let Some(socket) = lock(&self.open).sockets.get(&number) {
            // The peer may have closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        let open = lock(&self.open);
        self.stopped.store(true, Ordering::SeqCst);
        for socket in open.sockets.values() {
            // The peer may have closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.closed.notify_all();
    }

    pub(super) fn wait(&self, span: Duration) {
        let open = lock(&self.open);
        drop(self.closed.wait_timeout_while(open, span, |_| !self.is_stopped()));
    }

    pub(super) fn wait_until_closed(&self) {
        let open = lock(&self.open);
        drop(self.closed.wait_while(open, |open| !open.sockets.is_empty()));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.connections.open).sockets.remove(&self.number);
        self.connections.closed.notify_all();
    }
}
