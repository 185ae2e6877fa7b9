//! A file descriptor for programs that wait for more than one thing: an eventfd, which only Linux and Android have.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use eventfd::PollFd;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use nothing::PollFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod eventfd {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::OnceLock;

    use rustix::event::{EventfdFlags, eventfd};

    /// Made by the first call of `fd`: most readers wait without it.
    #[derive(Debug, Default)]
    pub(in crate::status) struct PollFd(OnceLock<OwnedFd>);

    impl PollFd {
        /// The descriptor. A new one is readable if `rung`. The caller makes sure that no other call runs meanwhile.
        pub(in crate::status) fn fd(&self, rung: bool) -> io::Result<BorrowedFd<'_>> {
            if let Some(fd) = self.0.get() {
                return Ok(fd.as_fd());
            }
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let made = eventfd(u32::from(rung), flags)?;
            Ok(self.0.get_or_init(|| made).as_fd())
        }

        /// Makes it readable. Never waits.
        pub(in crate::status) fn ring(&self) {
            if let Some(fd) = self.0.get() {
                // Fails only after 2^64 - 2 rings, when it is readable already.
                let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
            }
        }

        /// Makes it unreadable. Never waits.
        pub(in crate::status) fn hush(&self) {
            if let Some(fd) = self.0.get() {
                // Fails only when it is unreadable already.
                let _ = rustix::io::read(fd, &mut [0; 8]);
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod nothing {
    #[derive(Debug, Default)]
    pub(in crate::status) struct PollFd;

    impl PollFd {
        pub(in crate::status) fn ring(&self) {}
        pub(in crate::status) fn hush(&self) {}
    }
}
