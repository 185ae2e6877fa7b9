//! The messages between the supervisor, its guard, and the process that becomes the command.
//!
//! Each message is one line of plain text. A pair of sockets keeps the messages apart. Both ends are the same program,
//! so text costs nothing, and a trace of the system calls can be read.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Every message is shorter than this.
const LONGEST_MESSAGE: usize = 128;

/// What the supervisor tells the guard. The guard passes the first two on to the process that becomes the command.
///
/// All times are nanoseconds on the clock of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToGuard {
    /// The first message. The input of the command comes with it.
    Input,
    /// Run the command.
    Start {
        /// The fencing token.
        token: u64,
        /// For the guard: the end of the lease. For the process that becomes the command: from then on it must not
        /// start.
        until: u64,
    },
    /// The lease now ends at this time.
    Until(u64),
    /// Tell the command to stop.
    Stop,
    /// Send this signal to the command.
    Signal(i32),
}

/// The last message of a guard: no process of the command is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GuardReport {
    /// How the command ended. `None` if it was too late to start it.
    pub(super) end: Option<CommandEnd>,
    /// Whether the command had been told to stop before it ended, or its time was up.
    pub(super) told: bool,
}

/// How the process of the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandEnd {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
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

impl fmt::Display for ToGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToGuard::Input => f.write_str("input"),
            ToGuard::Start { token, until } => write!(f, "start {token} {until}"),
            ToGuard::Until(until) => write!(f, "until {until}"),
            ToGuard::Stop => f.write_str("stop"),
            ToGuard::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl ToGuard {
    pub(super) fn parse(text: &str) -> Option<ToGuard> {
        let words: Vec<&str> = text.split(' ').collect();
        Some(match words[..] {
            ["input"] => ToGuard::Input,
            ["start", token, until] => ToGuard::Start { token: token.parse().ok()?, until: until.parse().ok()? },
            ["until", until] => ToGuard::Until(until.parse().ok()?),
            ["stop"] => ToGuard::Stop,
            ["signal", signal] => ToGuard::Signal(signal.parse().ok()?),
            _ => return None,
        })
    }
}

impl fmt::Display for GuardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = if self.told { "told" } else { "alone" };
        match self.end {
            None => write!(f, "{told} never 0"),
            Some(CommandEnd::Exited(code)) => write!(f, "{told} exited {code}"),
            Some(CommandEnd::Killed(signal)) => write!(f, "{told} killed {signal}"),
        }
    }
}

impl GuardReport {
    pub(super) fn parse(text: &str) -> Option<GuardReport> {
        let words: Vec<&str> = text.split(' ').collect();
        let [told @ ("told" | "alone"), how, number] = words[..] else {
            return None;
        };
        let number = number.parse().ok()?;
        let end = match how {
            "never" => None,
            "exited" => Some(CommandEnd::Exited(number)),
            "killed" => Some(CommandEnd::Killed(number)),
            _ => return None,
        };
        let told = told == "told";
        Some(GuardReport { end, told })
    }
}

/// Makes two connected sockets. Each receives what the other sends, and is told when the other is closed.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message. Never blocks: it fails if the other end does not read and the buffer is full.
pub(super) fn send(to: impl AsFd, message: &impl fmt::Display) -> Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(to, message.to_string().as_bytes(), flags).map(drop)
}

/// Sends a message and an open file. Never blocks, like [`send`].
pub(super) fn send_with_file(to: impl AsFd, message: &ToGuard, file: BorrowedFd<'_>) -> Result<()> {
    let text = message.to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    assert!(attached.push(SendAncillaryMessage::ScmRights(&files)), "there is space for one");
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut attached, flags).map(drop)
}

/// What [`receive`] found.
#[derive(Debug)]
pub(super) enum Received {
    /// A message, and the file that came with it.
    Message(String, Option<OwnedFd>),
    /// The other end is closed.
    Closed,
    /// No message yet. Only with `RecvFlags::DONTWAIT`.
    Nothing,
}

/// Receives a message. Blocks until one comes, except with `RecvFlags::DONTWAIT`.
pub(super) fn receive(from: impl AsFd, flags: RecvFlags) -> Received {
    let mut text = [0; LONGEST_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut text)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&from, &mut into, &mut attached, flags) {
            // The kernel reports CONNRESET once if the other end closed without reading everything. The messages that
            // the other end sent before are still to come.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            received => break received,
        }
    };
    let bytes = match received {
        Ok(received) if received.bytes > 0 => received.bytes.min(LONGEST_MESSAGE),
        Err(Errno::AGAIN) => return Received::Nothing,
        Ok(_) | Err(_) => return Received::Closed,
    };
    let mut file = None;
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last().or(file);
        }
    }
    Received::Message(String::from_utf8_lossy(&text[..bytes]).into_owned(), file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_to_the_guard_is_read_as_it_was_written() {
        let (token, until) = (u64::MAX, u64::MAX);
        for message in
            [ToGuard::Input, ToGuard::Start { token, until }, ToGuard::Until(until), ToGuard::Stop, ToGuard::Signal(10)]
        {
            let text = message.to_string();
            assert!(text.len() < LONGEST_MESSAGE, "{text}");
            assert_eq!(ToGuard::parse(&text), Some(message));
        }
        assert_eq!(ToGuard::parse("start 1"), None);
        assert_eq!(ToGuard::parse("until x"), None);
    }

    #[test]
    fn a_report_of_the_guard_is_read_as_it_was_written() {
        for end in [None, Some(CommandEnd::Exited(3)), Some(CommandEnd::Killed(9))] {
            for told in [true, false] {
                let report = GuardReport { end, told };
                assert_eq!(GuardReport::parse(&report.to_string()), Some(report));
            }
        }
        assert_eq!(GuardReport::parse("alone exited"), None);
        assert_eq!(GuardReport::parse("later exited 3"), None);
    }

    #[test]
    fn a_message_arrives_with_its_file_and_then_the_end_of_the_sender() {
        let (ours, theirs) = socket_pair().expect("a pair");
        assert!(matches!(receive(&theirs, RecvFlags::DONTWAIT), Received::Nothing));
        send_with_file(&ours, &ToGuard::Input, ours.as_fd()).expect("sent");
        send(&ours, &ToGuard::Stop).expect("sent");
        let Received::Message(text, Some(_file)) = receive(&theirs, RecvFlags::empty()) else {
            panic!("expected a message with a file");
        };
        assert_eq!(ToGuard::parse(&text), Some(ToGuard::Input));
        let Received::Message(text, None) = receive(&theirs, RecvFlags::empty()) else {
            panic!("expected a message");
        };
        assert_eq!(ToGuard::parse(&text), Some(ToGuard::Stop));
        drop((_file, ours));
        assert!(matches!(receive(&theirs, RecvFlags::empty()), Received::Closed));
    }

    #[test]
    fn the_last_message_arrives_though_its_sender_closed_without_reading_everything() {
        let (ours, theirs) = socket_pair().expect("a pair");
        send(&ours, &ToGuard::Until(1)).expect("sent");
        send(&theirs, &ToGuard::Stop).expect("sent");
        drop(theirs);
        let Received::Message(text, None) = receive(&ours, RecvFlags::empty()) else {
            panic!("expected a message");
        };
        assert_eq!(ToGuard::parse(&text), Some(ToGuard::Stop));
        assert!(matches!(receive(&ours, RecvFlags::empty()), Received::Closed));
    }

    #[test]
    fn sending_to_an_end_that_does_not_read_fails_and_does_not_block() {
        let (ours, _theirs) = socket_pair().expect("a pair");
        let refused = (0..100_000).find_map(|_| send(&ours, &ToGuard::Stop).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
