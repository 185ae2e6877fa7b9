//! Which lines about others are worth the log?
//!
//! Each peer has a throttle of its own. It says a kind of trouble once when it begins, and then at most every hour with
//! the number of times. All strangers together share another throttle. It says a kind once, too: a peer whose
//! certificate has ended is a stranger, and dials every second. So no stranger can hide the trouble of a member, and no
//! member that of another.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::printable;
use crate::clock;
use crate::election::{Instant, NodeId};
use crate::sync::lock;

/// Strangers get at most one line in this time, all together. So does each peer.
const ONE_LINE: Duration = Duration::from_secs(1);
/// The same trouble of the same peer is said again after this time, if it lasts.
const SAME_AGAIN: Duration = Duration::from_secs(3600);
/// After this time without trouble, with a connection, the trouble of a peer is over. What comes then is news.
const WELL: Duration = Duration::from_secs(60);
/// The most kinds of trouble that are remembered of a peer, and of all strangers. No member has more at a time, unless
/// it makes them up.
const MOST_KINDS: usize = 16;

/// Whom a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Somebody who has not shown the certificate of a member.
    Stranger,
    Peer(NodeId),
}

/// What has been said about others, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    strangers: Strangers,
    peers: BTreeMap<NodeId, Peer>,
}

/// When the next line may come, and how many were not logged since the last.
#[derive(Debug, Default)]
struct Throttle {
    next_at: Instant,
    more: u64,
}

#[derive(Debug, Default)]
struct Strangers {
    all: Throttle,
    /// When each kind of trouble was said and seen last.
    kinds: BTreeMap<String, (Instant, Instant)>,
}

#[derive(Debug, Default)]
struct Peer {
    next_at: Instant,
    well_since: Option<Instant>,
    kinds: BTreeMap<String, Throttle>,
}

impl Complaints {
    /// The line to log, if `text` is worth one now. It says how many others were not.
    pub(super) fn line(&self, about: About, text: &str) -> Option<String> {
        let (now, mut said) = (clock::now(), lock(&self.0));
        let (more, what) = match about {
            About::Stranger => (said.strangers.may_say(now, text)?, "about strangers"),
            About::Peer(peer) => (said.peers.entry(peer).or_default().may_say(now, text)?, "like this"),
        };
        drop(said);
        Some(match more {
            0 => printable(text),
            1 => format!("{} (1 more line {what})", printable(text)),
            _ => format!("{} ({more} more lines {what})", printable(text)),
        })
    }

    /// This node has a connection to the peer.
    pub(super) fn connected(&self, peer: NodeId) {
        lock(&self.0).peers.entry(peer).or_default().well_since = Some(clock::now());
    }
}

impl Throttle {
    /// If a line may come now, how many did not since the last.
    fn may_say(&mut self, now: Instant, again_after: Duration) -> Option<u64> {
        if now < self.next_at {
            self.more += 1;
            return None;
        }
        self.next_at = now + again_after;
        Some(std::mem::take(&mut self.more))
    }
}

impl Strangers {
    fn may_say(&mut self, now: Instant, text: &str) -> Option<u64> {
        let kind = kind(text);
        // What has not come for a minute is over.
        self.kinds.retain(|_, (_, seen_at)| now.since(*seen_at) < WELL);
        if let Some((said_at, seen_at)) = self.kinds.get_mut(&kind) {
            *seen_at = now;
            if now.since(*said_at) < SAME_AGAIN {
                self.all.more += 1;
                return None;
            }
        }
        let more = self.all.may_say(now, ONE_LINE)?;
        if self.kinds.len() >= MOST_KINDS {
            self.kinds.pop_first();
        }
        self.kinds.insert(kind, (now, now));
        Some(more)
    }
}

impl Peer {
    fn may_say(&mut self, now: Instant, text: &str) -> Option<u64> {
        if self.well_since.take().is_some_and(|since| now.since(since) >= WELL) {
            self.kinds.clear();
        }
        let kind = kind(text);
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&kind) {
            self.kinds.pop_first();
        }
        let known = self.kinds.entry(kind).or_default();
        if now < self.next_at {
            known.more += 1;
            return None;
        }
        let more = known.may_say(now, SAME_AGAIN)?;
        self.next_at = now + ONE_LINE;
        Some(more)
    }
}

/// The text without its times: "another process spoke 7s ago" is the same trouble a second later.
fn kind(text: &str) -> String {
    const UNITS: [&str; 12] =
        ["ns", "µs", "ms", "s", "second", "seconds", "minute", "minutes", "hour", "hours", "day", "days"];
    let bare = |word: &str| word.trim_matches(|char: char| !char.is_alphanumeric()).to_owned();
    let number = |word: &str| !word.is_empty() && word.chars().all(|char| char.is_ascii_digit() || char == '.');
    let mut kept: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let unit = bare(word);
        let digits = unit.trim_end_matches(char::is_alphabetic);
        let glued = number(digits) && UNITS.contains(&&unit[digits.len()..]);
        if UNITS.contains(&unit.as_str()) && kept.last().is_some_and(|last| number(&bare(last))) {
            kept.pop();
        } else if !glued {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> NodeId {
        2.into()
    }

    #[test]
    fn trouble_of_a_peer_is_said_once_also_if_it_tells_a_time_or_alternates() {
        let complaints = Complaints::default();
        let mut said = Vec::new();
        let mut now = Instant::ZERO;
        for second in 0..4000 {
            now = now + Duration::from_secs(1);
            for text in [format!("another process spoke {second}s ago"), format!("expired {second} s ago"), "no".into()]
            {
                let peers = &mut lock(&complaints.0).peers;
                said.extend(peers.entry(peer()).or_default().may_say(now, &text).map(|more| (second, more)));
            }
        }
        // Three kinds, a second apart. Each again after an hour, with how often it came meanwhile.
        assert_eq!(said, [(0, 0), (1, 1), (2, 2), (3600, 3599), (3601, 3599), (3602, 3599)]);
    }

    #[test]
    fn after_a_minute_without_trouble_the_same_trouble_is_news() {
        let (mut peer, second) = (Peer::default(), Duration::from_secs(1));
        let at = |seconds: u32| Instant::ZERO + second * seconds;
        assert_eq!(peer.may_say(at(1), "no"), Some(0));
        peer.well_since = Some(at(2));
        assert_eq!(peer.may_say(at(30), "no"), None, "it came and went");
        peer.well_since = Some(at(31));
        assert_eq!(peer.may_say(at(100), "no"), Some(0));
    }

    #[test]
    fn strangers_hide_no_member_and_their_lines_are_counted_as_what_they_are() {
        let complaints = Complaints::default();
        assert!(complaints.line(About::Stranger, "refused 192.0.2.1").is_some());
        for _ in 0..1000 {
            assert_eq!(complaints.line(About::Stranger, "refused 192.0.2.1"), None);
        }
        assert_eq!(complaints.line(About::Peer(peer()), "node 2 is ill").as_deref(), Some("node 2 is ill"));
        assert_eq!(complaints.line(About::Peer(3.into()), "node 3 is, too").as_deref(), Some("node 3 is, too"));
        lock(&complaints.0).strangers.all.next_at = Instant::ZERO;
        let line = complaints.line(About::Stranger, "turned away \u{202e}");
        assert_eq!(line.as_deref(), Some("turned away ? (1000 more lines about strangers)"));
    }

    #[test]
    fn a_stranger_that_comes_again_and_again_is_said_once_an_hour() {
        let (mut strangers, second) = (Strangers::default(), Duration::from_secs(1));
        let mut said = Vec::new();
        for seconds in 1..=3601 {
            let now = Instant::ZERO + second * seconds;
            said.extend(strangers.may_say(now, "refused 192.0.2.1: expired").map(|more| (seconds, more)));
        }
        assert_eq!(said, [(1, 0), (3601, 3599)]);
        let after_a_pause = Instant::ZERO + second * 3601 + WELL;
        assert_eq!(strangers.may_say(after_a_pause, "refused 192.0.2.1: expired"), Some(0), "it was over");
    }

    #[test]
    fn strangers_that_make_trouble_up_get_a_line_a_second_and_little_memory() {
        let complaints = Complaints::default();
        let made_up = (0..1000).filter_map(|count| complaints.line(About::Stranger, &format!("trouble x{count}")));
        let lines = made_up.count();
        assert!((1..100).contains(&lines), "{lines}");
        assert!(lock(&complaints.0).strangers.kinds.len() <= MOST_KINDS);
    }

    #[test]
    fn a_peer_that_makes_trouble_up_gets_a_line_a_second_and_little_memory() {
        let complaints = Complaints::default();
        let made_up = (0..1000).filter_map(|count| complaints.line(About::Peer(peer()), &format!("trouble x{count}")));
        let lines = made_up.count();
        assert!(lines < 100, "{lines}");
        assert_eq!(lock(&complaints.0).peers[&peer()].kinds.len(), MOST_KINDS);
    }

    #[test]
    fn a_kind_is_the_text_without_times_and_nothing_else_is_left_out() {
        assert_eq!(kind("waited 250ms for an answer"), kind("waited 1s for an answer"));
        assert_eq!(kind("(expired 7 s ago)"), kind("(expired 12 s ago)"));
        assert_eq!(kind("led 1.5s ago: wait"), kind("led 700µs ago: wait"));
        let text = "different nodes: here [1, 2, 3], there [1, 2, 4]; 127.0.0.1:50001 is node 3";
        assert_eq!(kind(text), text);
    }
}
