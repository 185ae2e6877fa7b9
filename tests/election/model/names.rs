//! Equal names for equal situations: without them no situation would ever come again, and the search never end.

use std::collections::BTreeSet;

use leadelect::NodeId;
use leadelect::election::{Election, Instant, Names, Reply, Request, Term};

use super::cluster::{Change, LOCAL_NOW, Letter, Node, Says, Shared};

/// The name of every current candidacy: a node has one at most.
const CURRENT: u64 = 0;
/// The name of all others. Nobody asks which.
const STALE: u64 = 1;

/// What became of a node's candidacy in one step.
pub(super) struct Candidacy {
    /// The number that it has drawn, or [`CURRENT`] if it goes on.
    now: Option<u64>,
}

struct Renaming {
    candidacy: Option<u64>,
}

impl Names for Renaming {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        self.candidacy = Some(candidacy);
        CURRENT
    }

    fn seq(&mut self, _: Term, seq: u64) -> u64 {
        seq
    }

    fn answerable(&self, _: Term, _: u64) -> bool {
        true
    }

    fn seed(&mut self) -> u64 {
        0
    }
}

/// Names the candidacy anew. No time passes.
pub(super) fn rename(election: &mut Election) -> Candidacy {
    let mut names = Renaming { candidacy: None };
    *election = election.seen_from(LOCAL_NOW, LOCAL_NOW, &mut names);
    Candidacy {
        now: names.candidacy,
    }
}

/// `now` has become [`LOCAL_NOW`].
pub(super) fn moved(election: &Election, now: Instant) -> Election {
    election.seen_from(now, LOCAL_NOW, &mut Renaming { candidacy: None })
}

impl Candidacy {
    pub(super) const NONE: Candidacy = Candidacy { now: None };

    pub(super) fn in_request(&self, request: Request) -> Request {
        let name = |candidacy| match Some(candidacy) == self.now {
            true => CURRENT,
            false => STALE,
        };
        match request {
            Request::PreVote { term, candidacy } => Request::PreVote {
                term,
                candidacy: name(candidacy),
            },
            Request::Vote { term, candidacy } => Request::Vote {
                term,
                candidacy: name(candidacy),
            },
            Request::Heartbeat { .. } | Request::Release { .. } => request,
        }
    }

    /// What was asked in another candidacy than the current one of `asker` is answered in vain. A pre-vote then does
    /// nothing at all (PreVotePure); a vote is still given.
    pub(super) fn forget_stale(&self, asker: NodeId, life: u64, letters: &mut Vec<Shared<Letter>>) {
        if self.now == Some(CURRENT) {
            return;
        }
        letters.retain_mut(|letter| match &letter.says {
            Says::Request(Request::PreVote { .. }) => letter.from != asker,
            Says::Reply(Reply::PreVote { .. } | Reply::Vote { .. }) => letter.to != asker,
            Says::Request(Request::Vote { term, .. }) if letter.from == asker => {
                debug_assert!(letter.life <= life);
                let stale = Request::Vote {
                    term: *term,
                    candidacy: STALE,
                };
                *letter = Shared::new(Letter {
                    says: Says::Request(stale),
                    ..Letter::clone(letter)
                });
                true
            }
            Says::Request(_) | Says::Reply(_) => true,
        });
    }
}

/// What will never do anything is gone, and heartbeats are numbered anew: without gaps, in the same order.
pub(super) fn tidy(change: &mut Change) {
    let nodes = &change.nodes;
    let runs = |id: NodeId, life: u64| {
        let asker = nodes.iter().find(|node| node.id() == id);
        asker.is_some_and(|node| node.life == life && node.election.is_some())
    };
    change.letters.retain(|letter| match &letter.says {
        Says::Reply(Reply::PreVote { candidacy, .. } | Reply::Vote { candidacy, .. }) => {
            *candidacy == CURRENT && runs(letter.to, letter.life)
        }
        Says::Reply(Reply::Heartbeat { .. }) => runs(letter.to, letter.life),
        Says::Reply(Reply::Release { .. }) => false,
        Says::Request(Request::PreVote { .. }) => runs(letter.from, letter.life),
        Says::Request(_) => true,
    });
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.id()).collect();
    let durable = |id: NodeId| {
        let node = nodes.iter().find(|node| node.id() == id);
        node.and_then(|node| node.durable).unwrap_or_default()
    };
    change.checker.forget_past(super::cluster::NOW);
    change.checker.forget_closed(LOCAL_NOW, durable, &ids);
    renumber(change);
}

struct Renumbering {
    /// In order.
    known: Vec<(Term, u64)>,
    on_the_way: BTreeSet<(Term, u64)>,
}

impl Renumbering {
    fn number(&self, term: Term, seq: u64) -> u64 {
        let first = self.known.partition_point(|known| *known < (term, 0));
        let place = self.known.binary_search(&(term, seq)).expect("collected");
        1 + (place - first) as u64
    }
}

impl Names for Renumbering {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        candidacy
    }

    fn seq(&mut self, term: Term, seq: u64) -> u64 {
        self.number(term, seq)
    }

    fn answerable(&self, term: Term, seq: u64) -> bool {
        self.on_the_way.contains(&(term, seq))
    }

    fn seed(&mut self) -> u64 {
        0
    }
}

fn renumber(change: &mut Change) {
    let on_the_way: BTreeSet<_> = change
        .letters
        .iter()
        .filter_map(|letter| heartbeat(letter))
        .collect();
    let mut known: Vec<_> = on_the_way.iter().copied().collect();
    known.extend(change.checker.heartbeats());
    for node in &change.nodes {
        known.extend(node.election.iter().flat_map(Election::heartbeats));
    }
    known.sort_unstable();
    known.dedup();
    let mut names = Renumbering { known, on_the_way };
    for node in &mut change.nodes {
        let Some(election) = &node.election else {
            continue;
        };
        let seen = election.seen_from(LOCAL_NOW, LOCAL_NOW, &mut names);
        if seen != *election {
            *node = Shared::new(Node {
                election: Some(seen),
                ..Node::clone(node)
            });
        }
    }
    change.checker.renumber(|term, seq| names.number(term, seq));
    for letter in &mut change.letters {
        if let Some((term, seq)) = heartbeat(letter) {
            let number = names.number(term, seq);
            if number != seq {
                let mut renamed = Letter::clone(letter);
                set_heartbeat(&mut renamed, number);
                *letter = Shared::new(renamed);
            }
        }
    }
}

/// The heartbeat that a letter names. A reply that speaks of another term than it was asked in is told from others by
/// nothing but that term.
fn heartbeat(letter: &Letter) -> Option<(Term, u64)> {
    match &letter.says {
        Says::Request(
            Request::Heartbeat { term, seq, .. } | Request::Release { term, seq, .. },
        )
        | Says::Reply(Reply::Heartbeat { term, seq, .. }) => Some((*term, *seq)),
        Says::Request(Request::PreVote { .. } | Request::Vote { .. }) | Says::Reply(_) => None,
    }
}

fn set_heartbeat(letter: &mut Letter, number: u64) {
    match &mut letter.says {
        Says::Request(Request::Heartbeat { seq, .. } | Request::Release { seq, .. })
        | Says::Reply(Reply::Heartbeat { seq, .. }) => *seq = number,
        Says::Request(Request::PreVote { .. } | Request::Vote { .. }) | Says::Reply(_) => {}
    }
}
