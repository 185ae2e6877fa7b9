//! How long may a peer take?
//!
//! A socket's own timeout bounds one read. A peer that sends one byte just before each timeout holds a thread for
//! hours: 11.6 s for a single TLS greeting were measured with a timeout of 100 ms. So the moment is fixed, and what
//! is left until then is what each read and write gets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::clock;
use crate::election::Instant;

/// A socket whose reads and writes all end at one moment.
#[derive(Debug)]
pub(crate) struct DeadlineSocket {
    pub(super) tcp: TcpStream,
    pub(super) deadline: Instant,
}

impl DeadlineSocket {
    /// What is left until the deadline, as a socket's timeout.
    fn left(&self) -> io::Result<Option<Duration>> {
        if self.deadline == Instant::NEVER {
            return Ok(None);
        }
        match self.deadline.since(clock::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    fn until_deadline<T>(
        &self,
        set_timeout: impl Fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            set_timeout(&self.tcp, self.left()?)?;
            match attempt(&self.tcp) {
                // A socket's timeout may end early: only the clock decides.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return done,
            }
        }
    }
}

impl Read for DeadlineSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.until_deadline(TcpStream::set_read_timeout, |mut tcp| tcp.read(buf))
    }
}

impl Write for DeadlineSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.until_deadline(TcpStream::set_write_timeout, |mut tcp| tcp.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
