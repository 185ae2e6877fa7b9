//! The messages between the supervisor, its guard, and the process that becomes the command.
//!
//! Each message is JSON, so that a trace of the system calls can be read. A pair of sockets keeps the messages apart.
//! Both ends are the same program.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::complain;

/// Every message is shorter than this.
const LONGEST_MESSAGE: usize = 128;

/// What the supervisor tells the guard. The guard passes the first two on to the process that becomes the command.
///
/// All times are nanoseconds on the clock of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToGuard {
    /// The first message. The input of the command comes with it.
    Input,
    Start {
        token: u64,
        /// For the guard: the end of the lease. For the process that becomes the command: from then on it must not
        /// start.
        until: u64,
    },
    /// The lease now ends at this time.
    Until(u64),
    Stop,
    Signal(i32),
}

/// What the guard tells the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromGuard {
    /// The process has become the command, or has failed to.
    Started,
    /// A signal has stopped the command, as SIGSTOP does.
    Suspended(i32),
    /// The command goes on after that.
    Resumed,
    /// The last message.
    Ended(GuardReport),
}

/// The end of the command, and of all that it has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GuardReport {
    /// How the command ended. `None` if it was too late to start it.
    pub(super) end: Option<CommandEnd>,
    /// Whether the command had been told to stop before it ended, or its time was up.
    pub(super) told: bool,
    /// How many processes live on, because the guard is not allowed to kill them.
    pub(super) left: usize,
}

/// How the process of the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommandEnd {
    Exited(i32),
    Killed(i32),
}

impl CommandEnd {
    /// The exit code that a shell would show.
    pub(super) fn code(self) -> u8 {
        let code = match self {
            CommandEnd::Exited(code) => code,
            CommandEnd::Killed(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandEnd::Exited(code) => write!(f, "exit code {code}"),
            CommandEnd::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Makes two connected sockets. Each receives what the other sends, and is told when the other is closed.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message. Never blocks: it fails if the other end does not read and the buffer is full.
pub(super) fn send(to: impl AsFd, message: &impl Serialize) -> Result<()> {
    send_with_files(to, message, &[])
}

/// Sends a message and up to one open file. Never blocks, like [`send`].
pub(super) fn send_with_files(to: impl AsFd, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> Result<()> {
    let text = serde_json::to_vec(message).expect("a message has only plain fields");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(attached.push(SendAncillaryMessage::ScmRights(files)), "there is space for one");
    }
    sendmsg(to, &[IoSlice::new(&text)], &mut attached, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

/// What [`receive`] found.
#[derive(Debug)]
pub(super) enum Received<T> {
    /// A message, and the file that came with it.
    Message(T, Option<OwnedFd>),
    Closed,
    /// No message yet. Only with `RecvFlags::DONTWAIT`.
    Nothing,
}

/// Receives a message. Blocks until one comes, except with `RecvFlags::DONTWAIT`. Skips what is no message.
pub(super) fn receive<T: DeserializeOwned>(from: impl AsFd, flags: RecvFlags) -> Received<T> {
    let mut text = [0; LONGEST_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut text)];
        let bytes = match recvmsg(&from, &mut into, &mut attached, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes > 0 => received.bytes.min(LONGEST_MESSAGE),
            // The kernel reports CONNRESET once if the other end closed without reading everything. The messages that
            // the other end sent before are still to come.
            Err(Errno::INTR | Errno::CONNRESET) => continue,
            Err(Errno::AGAIN) => return Received::Nothing,
            Ok(_) | Err(_) => return Received::Closed,
        };
        let mut file = None;
        for message in attached.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.last().or(file);
            }
        }
        match serde_json::from_slice(&text[..bytes]) {
            Ok(message) => return Received::Message(message, file),
            Err(error) => complain(&format!("found an unknown message: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes_back<T: Serialize + DeserializeOwned>(message: T) -> T {
        let (ours, theirs) = socket_pair().expect("a pair");
        send(&ours, &"no such message").expect("sent");
        send(&ours, &message).expect("sent");
        match receive(&theirs, RecvFlags::DONTWAIT) {
            Received::Message(message, None) => message,
            Received::Message(_, Some(_)) | Received::Closed | Received::Nothing => panic!("expected a message"),
        }
    }

    #[test]
    fn a_message_to_the_guard_is_read_as_it_was_written() {
        let (token, until) = (u64::MAX, u64::MAX);
        for message in
            [ToGuard::Input, ToGuard::Start { token, until }, ToGuard::Until(until), ToGuard::Stop, ToGuard::Signal(10)]
        {
            assert_eq!(comes_back(message), message);
        }
    }

    #[test]
    fn a_report_of_the_guard_is_read_as_it_was_written() {
        for end in [None, Some(CommandEnd::Exited(3)), Some(CommandEnd::Killed(9))] {
            for told in [true, false] {
                let report = FromGuard::Ended(GuardReport { end, told, left: usize::MAX });
                assert_eq!(comes_back(report), report);
            }
        }
        for report in [FromGuard::Started, FromGuard::Suspended(19), FromGuard::Resumed] {
            assert_eq!(comes_back(report), report);
        }
    }

    #[test]
    fn a_message_arrives_with_its_file_and_then_the_end_of_the_sender() {
        let (ours, theirs) = socket_pair().expect("a pair");
        assert!(matches!(receive::<ToGuard>(&theirs, RecvFlags::DONTWAIT), Received::Nothing));
        send_with_files(&ours, &ToGuard::Input, &[ours.as_fd()]).expect("sent");
        send(&ours, &ToGuard::Stop).expect("sent");
        let Received::Message(ToGuard::Input, Some(file)) = receive(&theirs, RecvFlags::empty()) else {
            panic!("expected a message with a file");
        };
        assert!(matches!(receive(&theirs, RecvFlags::empty()), Received::Message(ToGuard::Stop, None)));
        drop((file, ours));
        assert!(matches!(receive::<ToGuard>(&theirs, RecvFlags::empty()), Received::Closed));
    }

    #[test]
    fn the_last_message_arrives_though_its_sender_closed_without_reading_everything() {
        let (ours, theirs) = socket_pair().expect("a pair");
        send(&ours, &ToGuard::Until(1)).expect("sent");
        send(&theirs, &ToGuard::Stop).expect("sent");
        drop(theirs);
        assert!(matches!(receive(&ours, RecvFlags::empty()), Received::Message(ToGuard::Stop, None)));
        assert!(matches!(receive::<ToGuard>(&ours, RecvFlags::empty()), Received::Closed));
    }

    #[test]
    fn sending_to_an_end_that_does_not_read_fails_and_does_not_block() {
        let (ours, _theirs) = socket_pair().expect("a pair");
        let refused = (0..100_000).find_map(|_| send(&ours, &ToGuard::Stop).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
