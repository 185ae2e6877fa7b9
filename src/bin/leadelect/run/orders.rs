//! What a supervisor and its guard say to each other, over a pair of sockets that keeps messages whole.
//!
//! Words in plain text, one message each: both ends are the same program, and one can read them in a trace.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};

/// More than the longest message has.
const LONGEST_MESSAGE: usize = 128;

/// What the supervisor tells the guard. Moments are nanoseconds on the clock of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Comes first, and with it the input of the command.
    Input,
    /// Run the command.
    Start {
        /// The fencing token.
        token: u64,
        /// The end of the lease.
        until: u64,
    },
    /// The lease ends then.
    Until(u64),
    /// Have the command end.
    Stop,
    /// Pass this signal on to the command.
    Signal(i32),
}

/// What the guard tells last: nothing is left of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// How it ended. Nothing if it was too late to start it.
    pub(super) end: Option<End>,
    /// Whether it had been told to end, or its time was up.
    pub(super) told: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// The exit code that a shell would show.
    pub(super) fn code(self) -> u8 {
        let code = match self {
            End::Exited(code) => code,
            End::Killed(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(code) => write!(f, "exit code {code}"),
            End::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Input => f.write_str("input"),
            Order::Start { token, until } => write!(f, "start {token} {until}"),
            Order::Until(until) => write!(f, "until {until}"),
            Order::Stop => f.write_str("stop"),
            Order::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Order {
    pub(super) fn parse(text: &str) -> Option<Order> {
        let words: Vec<&str> = text.split(' ').collect();
        Some(match words[..] {
            ["input"] => Order::Input,
            ["start", token, until] => Order::Start { token: token.parse().ok()?, until: until.parse().ok()? },
            ["until", until] => Order::Until(until.parse().ok()?),
            ["stop"] => Order::Stop,
            ["signal", signal] => Order::Signal(signal.parse().ok()?),
            _ => return None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = if self.told { "told" } else { "alone" };
        match self.end {
            None => write!(f, "{told} never 0"),
            Some(End::Exited(code)) => write!(f, "{told} exited {code}"),
            Some(End::Killed(signal)) => write!(f, "{told} killed {signal}"),
        }
    }
}

impl Report {
    pub(super) fn parse(text: &str) -> Option<Report> {
        let words: Vec<&str> = text.split(' ').collect();
        let [told @ ("told" | "alone"), how, number] = words[..] else {
            return None;
        };
        let number = number.parse().ok()?;
        let end = match how {
            "never" => None,
            "exited" => Some(End::Exited(number)),
            "killed" => Some(End::Killed(number)),
            _ => return None,
        };
        let told = told == "told";
        Some(Report { end, told })
    }
}

/// Two ends, of which each reads what the other writes, and reads an end once the other is gone.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message, or fails: it never waits for an end that does not read.
pub(super) fn say(to: impl AsFd, message: &impl fmt::Display) -> Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    send(to, message.to_string().as_bytes(), flags).map(drop)
}

/// Sends a message, and with it a file.
pub(super) fn say_with(to: impl AsFd, message: &Order, file: BorrowedFd<'_>) -> Result<()> {
    let text = message.to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&files)), "there is space for one");
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut beside, flags).map(drop)
}

/// What was received.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message, and the file that came with it.
    Message(String, Option<OwnedFd>),
    /// The other end is gone.
    End,
    /// Nothing yet, and nothing was to be waited for.
    Nothing,
}

/// Receives a message; with `RecvFlags::DONTWAIT`, does not wait for one.
pub(super) fn hear(from: impl AsFd, flags: RecvFlags) -> Heard {
    let mut text = [0; LONGEST_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let heard = loop {
        let mut into = [IoSliceMut::new(&mut text)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&from, &mut into, &mut beside, flags) {
            // Reset, because the other end is gone and had not read everything: said once, and before the messages that
            // it has left.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            heard => break heard,
        }
    };
    let bytes = match heard {
        Ok(heard) if heard.bytes > 0 => heard.bytes.min(LONGEST_MESSAGE),
        Err(Errno::AGAIN) => return Heard::Nothing,
        Ok(_) | Err(_) => return Heard::End,
    };
    let mut file = None;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last().or(file);
        }
    }
    Heard::Message(String::from_utf8_lossy(&text[..bytes]).into_owned(), file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_said() {
        let (token, until) = (u64::MAX, u64::MAX);
        for order in [Order::Input, Order::Start { token, until }, Order::Until(until), Order::Stop, Order::Signal(10)]
        {
            let text = order.to_string();
            assert!(text.len() < LONGEST_MESSAGE, "{text}");
            assert_eq!(Order::parse(&text), Some(order));
        }
        assert_eq!(Order::parse("start 1"), None);
        assert_eq!(Order::parse("until x"), None);
    }

    #[test]
    fn a_report_is_read_as_it_was_said() {
        for end in [None, Some(End::Exited(3)), Some(End::Killed(9))] {
            for told in [true, false] {
                let report = Report { end, told };
                assert_eq!(Report::parse(&report.to_string()), Some(report));
            }
        }
        assert_eq!(Report::parse("alone exited"), None);
        assert_eq!(Report::parse("later exited 3"), None);
    }

    #[test]
    fn a_message_arrives_with_its_file_and_an_end_that_is_gone_is_heard() {
        let (ours, theirs) = pair().expect("a pair");
        assert!(matches!(hear(&theirs, RecvFlags::DONTWAIT), Heard::Nothing));
        say_with(&ours, &Order::Input, ours.as_fd()).expect("said");
        say(&ours, &Order::Stop).expect("said");
        let Heard::Message(text, Some(_file)) = hear(&theirs, RecvFlags::empty()) else {
            panic!("expected a message with a file");
        };
        assert_eq!(Order::parse(&text), Some(Order::Input));
        let Heard::Message(text, None) = hear(&theirs, RecvFlags::empty()) else {
            panic!("expected a message");
        };
        assert_eq!(Order::parse(&text), Some(Order::Stop));
        drop((_file, ours));
        assert!(matches!(hear(&theirs, RecvFlags::empty()), Heard::End));
    }

    #[test]
    fn the_last_words_of_an_end_that_is_gone_are_heard_though_it_had_not_read_everything() {
        let (ours, theirs) = pair().expect("a pair");
        say(&ours, &Order::Until(1)).expect("said");
        say(&theirs, &Order::Stop).expect("said");
        drop(theirs);
        let Heard::Message(text, None) = hear(&ours, RecvFlags::empty()) else {
            panic!("expected a message");
        };
        assert_eq!(Order::parse(&text), Some(Order::Stop));
        assert!(matches!(hear(&ours, RecvFlags::empty()), Heard::End));
    }

    #[test]
    fn whoever_does_not_read_holds_nobody_up() {
        let (ours, _theirs) = pair().expect("a pair");
        let refused = (0..100_000).find_map(|_| say(&ours, &Order::Stop).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
