//! The lines that a node writes and the demo reads, and the clock that both have in common.

use std::fmt;
use std::time::Duration;

use leadelect::{Role, Status};
use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since boot: the same for every process of this host.
pub(crate) fn now() -> Duration {
    Duration::try_from(clock_gettime(CLOCK)).expect("no moment is before boot")
}

pub(crate) enum Line {
    /// The lease that the node had at some moment from `before` to `after`: its token, or `None` if there was no valid
    /// one.
    Check {
        before: Duration,
        after: Duration,
        token: Option<u64>,
    },
    Status(Seen),
    Event(String),
}

/// What the table shows of a [`Status`].
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<usize>,
    pub(crate) token: Option<u64>,
    pub(crate) lease: Duration,
    pub(crate) peers_up: usize,
}

impl From<&Status> for Seen {
    fn from(status: &Status) -> Seen {
        Seen {
            role: status.role.to_string(),
            term: status.term.0,
            leader: status.leader.and_then(|id| id.as_str().parse().ok()),
            token: status.token.map(|token| token.0),
            lease: status.lease.at_most(Duration::MAX),
            peers_up: status.peers.iter().filter(|peer| peer.connected).count(),
        }
    }
}

impl Seen {
    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader.to_string() && self.token.is_some()
    }
}

pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Check { before, after, token } => {
                write!(f, "check {} {} {}", before.as_nanos(), after.as_nanos(), or_dash(*token))
            }
            Line::Status(seen) => {
                let Seen { role, term, lease, peers_up, .. } = seen;
                let (leader, token) = (or_dash(seen.leader), or_dash(seen.token));
                write!(f, "status {role} {term} {leader} {token} {} {peers_up}", lease.as_nanos())
            }
            Line::Event(text) => write!(f, "event {text}"),
        }
    }
}

impl Line {
    /// `None` if the line is not whole: the process that wrote it was killed.
    pub(crate) fn read(text: &str) -> Option<Line> {
        let (kind, rest) = text.split_once(' ')?;
        let words: Vec<&str> = rest.split(' ').collect();
        match (kind, words.as_slice()) {
            ("check", [before, after, token]) => {
                let (before, after) = (nanos(before)?, nanos(after)?);
                Some(Line::Check { before, after, token: token.parse().ok() })
            }
            ("status", [role, term, leader, token, lease, peers_up]) => Some(Line::Status(Seen {
                role: (*role).to_owned(),
                term: term.parse().ok()?,
                leader: leader.parse().ok(),
                token: token.parse().ok(),
                lease: nanos(lease)?,
                peers_up: peers_up.parse().ok()?,
            })),
            ("event", _) => Some(Line::Event(rest.to_owned())),
            _ => None,
        }
    }
}

fn nanos(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_nanos)
}
