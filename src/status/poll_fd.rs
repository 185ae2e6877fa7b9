//! A file descriptor for programs that wait for more than one thing: an eventfd, which only Linux and Android have.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::{io, os::fd::AsFd, os::fd::BorrowedFd};

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::event::{EventfdFlags, eventfd};

/// Made by the first call of `fd`: most readers wait without it.
#[derive(Debug, Default)]
pub(super) struct PollFd(OnceLock<OwnedFd>);

impl PollFd {
    /// The descriptor. A new one is readable if `rung`. The caller makes sure that no other call runs meanwhile.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn fd(&self, rung: bool) -> io::Result<BorrowedFd<'_>> {
        if let Some(fd) = self.0.get() {
            return Ok(fd.as_fd());
        }
        let made = eventfd(u32::from(rung), EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(self.0.get_or_init(|| made).as_fd())
    }

    /// Makes it readable. Never waits.
    pub(super) fn ring(&self) {
        if let Some(fd) = self.0.get() {
            // Fails only after 2^64 - 2 rings, when it is readable already.
            let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
        }
    }

    /// Makes it unreadable. Never waits.
    pub(super) fn hush(&self) {
        if let Some(fd) = self.0.get() {
            // Fails only when it is unreadable already.
            let _ = rustix::io::read(fd, &mut [0; 8]);
        }
    }
}
