//! Equal names for equal situations: without them no situation would ever come again, and the search never end.

use leadelect::election::{Election, Instant, Names, Reply, Request, Term};
use leadelect::engine::Engine;

use super::cluster::{Cluster, LOCAL_NOW, Letter, NOW, Node, Says};
use super::fingerprint::Shared;
use crate::harness::checker::Checker;

/// The name of a request for votes or pre-votes that its sender takes no answer to any more. Nobody asks which.
const STALE: u64 = 0;

/// What became of a node's candidacy in one step.
pub(super) struct Candidacy {
    /// The number of each request that may still be answered. The names of the requests are their places, from 1 on.
    asked: Vec<u64>,
}

struct Renaming {
    asked: Vec<u64>,
    seed: Option<u64>,
}

impl Names for Renaming {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        self.asked.push(candidacy);
        self.asked.len() as u64
    }

    fn heartbeat(&self, _: Term, seq: u64) -> u64 {
        seq
    }

    fn is_answerable(&self, _: Term, _: u64) -> bool {
        true
    }

    fn seed(&self) -> Option<u64> {
        self.seed
    }
}

/// Names the candidacy anew. No time passes. Chance begins anew, too: differently on each node, or they would draw the
/// same waits for ever.
pub(super) fn rename(engine: &mut Engine<()>, place: usize) -> Candidacy {
    let mut names = Renaming { asked: Vec::new(), seed: Some(1 + place as u64) };
    engine.canonicalize(LOCAL_NOW, LOCAL_NOW, &mut names);
    Candidacy { asked: names.asked }
}

/// `now` becomes [`LOCAL_NOW`].
pub(super) fn move_to_now(engine: &mut Engine<()>, now: Instant) -> Candidacy {
    let mut names = Renaming { asked: Vec::new(), seed: None };
    engine.canonicalize(now, LOCAL_NOW, &mut names);
    Candidacy { asked: names.asked }
}

impl Candidacy {
    pub(super) const NONE: Candidacy = Candidacy { asked: Vec::new() };

    fn name(&self, number: u64) -> u64 {
        let place = self.asked.iter().position(|asked| *asked == number);
        place.map_or(STALE, |place| place as u64 + 1)
    }

    pub(super) fn in_request(&self, request: Request) -> Request {
        match request {
            Request::PreVote { term, candidacy } => Request::PreVote { term, candidacy: self.name(candidacy) },
            Request::Vote { term, candidacy } => Request::Vote { term, candidacy: self.name(candidacy) },
            Request::Heartbeat { .. } | Request::Release { .. } => request,
        }
    }

    /// Names anew what the node has asked. What it takes no answer to any more is from now on known as such.
    pub(super) fn rename(&self, asker: usize, letters: &mut [Shared<Letter>]) {
        for letter in letters {
            let asked_by = match &letter.says {
                Says::Request(_) | Says::Obituary(_) => letter.from,
                Says::Reply(_) => letter.to,
            };
            let Some(number) = candidacy(&letter.says).filter(|_| usize::from(asked_by) == asker) else {
                continue;
            };
            let name = if number == STALE { STALE } else { self.name(number) };
            if name == number {
                continue;
            }
            let mut renamed = Letter::clone(letter);
            match &mut renamed.says {
                Says::Request(Request::PreVote { candidacy, .. } | Request::Vote { candidacy, .. })
                | Says::Reply(Reply::PreVote { candidacy, .. } | Reply::Vote { candidacy, .. }) => {
                    *candidacy = name;
                }
                Says::Request(_) | Says::Reply(_) | Says::Obituary(_) => {}
            }
            *letter = Shared::new(renamed);
        }
    }
}

fn candidacy(says: &Says) -> Option<u64> {
    match says {
        Says::Request(Request::PreVote { candidacy, .. } | Request::Vote { candidacy, .. })
        | Says::Reply(Reply::PreVote { candidacy, .. } | Reply::Vote { candidacy, .. }) => Some(*candidacy),
        Says::Request(_) | Says::Reply(_) | Says::Obituary(_) => None,
    }
}

/// What can never arrive is gone, heartbeats are numbered anew, without gaps and in the same order, and what is past is
/// forgotten.
pub(super) fn tidy(cluster: &mut Cluster, mut checker: Checker) {
    let nodes = &cluster.nodes;
    let has_connection = |letter: &Letter| match &letter.says {
        Says::Request(_) | Says::Obituary(_) => true,
        Says::Reply(_) => {
            let asker = &nodes[usize::from(letter.to)];
            asker.engine.is_some() && asker.life == letter.life
        }
    };
    let addressee_lives = |letter: &Letter| nodes[usize::from(letter.to)].engine.is_some();
    cluster.letters.retain(|letter| addressee_lives(letter) && has_connection(letter));
    cluster.late.retain(|letter| has_connection(letter));
    let durable = [0, 1, 2].map(|place: usize| {
        let node = &cluster.nodes[place];
        (node.id(), node.durable.unwrap_or_default().term)
    });
    let promise = cluster.nodes[0].setup.0.timing.election_timeout();
    checker.forget_past((NOW, LOCAL_NOW), promise, &durable);
    renumber(cluster, &mut checker);
    cluster.checker = Shared::new(checker);
}

struct Renumbering {
    /// In order.
    known: Vec<(Term, u64)>,
    on_the_way: Vec<(Term, u64)>,
}

impl Renumbering {
    fn keeps(&self, election: &Election) -> bool {
        election.heartbeats().all(|(term, seq)| self.heartbeat(term, seq) == seq)
            && election
                .unanswered()
                .all(|(term, seq)| self.is_answerable(term, seq) && self.heartbeat(term, seq) == seq)
    }
}

impl Names for Renumbering {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        candidacy
    }

    fn heartbeat(&self, term: Term, seq: u64) -> u64 {
        let first = self.known.partition_point(|known| *known < (term, 0));
        let place = self.known.binary_search(&(term, seq)).expect("collected");
        1 + (place - first) as u64
    }

    fn is_answerable(&self, term: Term, seq: u64) -> bool {
        self.on_the_way.contains(&(term, seq))
    }

    fn seed(&self) -> Option<u64> {
        None
    }
}

fn renumber(cluster: &mut Cluster, checker: &mut Checker) {
    let letters = cluster.letters.iter().chain(&cluster.late);
    let on_the_way: Vec<_> = letters.filter_map(|letter| heartbeat(letter)).collect();
    let mut known = on_the_way.clone();
    known.extend(checker.heartbeats());
    for node in &cluster.nodes {
        known.extend(node.election().into_iter().flat_map(Election::heartbeats));
    }
    known.sort_unstable();
    known.dedup();
    let mut names = Renumbering { known, on_the_way };
    for node in &mut cluster.nodes {
        let Some(election) = node.election() else {
            continue;
        };
        if names.keeps(election) {
            continue;
        }
        let mut renamed = Node::clone(node);
        if let Some(driven) = &mut renamed.engine {
            driven.engine.canonicalize(LOCAL_NOW, LOCAL_NOW, &mut names);
        }
        *node = Shared::new(renamed);
    }
    checker.renumber(|term, seq| names.heartbeat(term, seq));
    for letter in cluster.letters.iter_mut().chain(&mut cluster.late) {
        let Some((term, seq)) = heartbeat(letter) else {
            continue;
        };
        let number = names.heartbeat(term, seq);
        if number != seq {
            let mut renamed = Letter::clone(letter);
            set_heartbeat(&mut renamed, number);
            *letter = Shared::new(renamed);
        }
    }
    cluster.late.sort_by_key(|letter| letter.print);
}

/// The heartbeat that a letter names. A reply that speaks of another term than it was asked in is told from others by
/// nothing but that term.
fn heartbeat(letter: &Letter) -> Option<(Term, u64)> {
    match &letter.says {
        Says::Request(Request::Heartbeat { term, seq, .. } | Request::Release { term, seq, .. })
        | Says::Reply(Reply::Heartbeat { term, seq, .. }) => Some((*term, *seq)),
        Says::Request(Request::PreVote { .. } | Request::Vote { .. })
        | Says::Reply(Reply::PreVote { .. } | Reply::Vote { .. } | Reply::Release { .. })
        | Says::Obituary(_) => None,
    }
}

fn set_heartbeat(letter: &mut Letter, number: u64) {
    match &mut letter.says {
        Says::Request(Request::Heartbeat { seq, .. } | Request::Release { seq, .. })
        | Says::Reply(Reply::Heartbeat { seq, .. }) => *seq = number,
        Says::Request(Request::PreVote { .. } | Request::Vote { .. }) | Says::Reply(_) | Says::Obituary(_) => {}
    }
}
