//! What lasts, from marks of what changes.

use leadelect::NodeId;
use leadelect::election::{Role, Term};

use crate::harness::clock::Real;
use crate::harness::record::{Mark, Process, Record};

/// A stretch of time in which a node is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) from: Real,
    pub(super) to: Real,
    pub(super) looks: Looks,
    /// What to write on it: the first for which there is room.
    pub(super) labels: Vec<String>,
    pub(super) title: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    Down,
    Starting,
    Paused,
    Follower,
    Candidate,
    Leader,
    Lease,
    Ending,
    Both,
}

/// Two programs that may act at one moment.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) nodes: [NodeId; 2],
    pub(super) bar: Bar,
}

/// What a node is from its first start to the end of the run.
pub(super) fn roles(record: &Record, node: NodeId) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut process = Process::Down;
    let mut role = None;
    for (at, mark) in &record.marks {
        match mark {
            Mark::Process { node: whose, process: new } if *whose == node => {
                if process == Process::Down || *new == Process::Down {
                    role = None;
                }
                process = *new;
            }
            Mark::Role { node: whose, role: is, term, leader, text } if *whose == node => {
                role = Some((*is, *term, *leader, text.as_str()));
            }
            Mark::Process { .. }
            | Mark::Role { .. }
            | Mark::Lease { .. }
            | Mark::Message { .. }
            | Mark::Fault { .. }
            | Mark::Network { .. }
            | Mark::Violation(_) => continue,
        }
        let next = bar(*at, process, role);
        match bars.last_mut() {
            Some(last) if (last.looks, &last.labels) == (next.looks, &next.labels) => continue,
            Some(last) => last.to = *at,
            None => {}
        }
        bars.push(next);
    }
    if let Some(last) = bars.last_mut() {
        last.to = record.end;
    }
    bars.retain(|bar| bar.from < bar.to);
    bars
}

type Is<'a> = (Role, Term, Option<NodeId>, &'a str);

fn bar(from: Real, process: Process, role: Option<Is<'_>>) -> Bar {
    let (looks, labels, title) = match (process, role) {
        (Process::Down, _) => (Looks::Down, vec!["down".to_owned()], "down".to_owned()),
        (_, None) => (Looks::Starting, Vec::new(), "starts".to_owned()),
        (process, Some((role, term, leader, text))) => {
            let (looks, what) = match (role, leader) {
                (Role::Follower, Some(leader)) => (Looks::Follower, format!("follows {leader}")),
                (Role::Follower, None) => (Looks::Follower, "follower".to_owned()),
                (Role::Candidate, _) => (Looks::Candidate, "candidate".to_owned()),
                (Role::Leader, _) => (Looks::Leader, "leader".to_owned()),
            };
            let long = format!("T{term} {what}");
            match process {
                Process::Paused => {
                    (Looks::Paused, vec![format!("paused: {long}"), "paused".to_owned()], format!("paused: {text}"))
                }
                Process::Runs | Process::Down => (looks, vec![long, format!("T{term}")], text.to_owned()),
            }
        }
    };
    Bar { from, to: from, looks, labels, title }
}

/// When the program of a node may act.
pub(super) fn leases(record: &Record, node: NodeId) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for (at, mark) in &record.marks {
        let Mark::Lease { node: whose, token, until, ending } = mark else {
            continue;
        };
        if *whose != node {
            continue;
        }
        let looks = match ending {
            true => Looks::Ending,
            false => Looks::Lease,
        };
        let labels = match ending {
            true => vec!["ends".to_owned()],
            false => vec![format!("may act, token {token}"), format!("token {token}")],
        };
        let title = format!("{node} may act with token {token}");
        if let Some(last) = bars.last_mut().filter(|last| *at <= last.to) {
            if (last.looks, &last.title) == (looks, &title) {
                last.to = *until;
                continue;
            }
            // Another token, or told to stop: what it may do from now on is in this mark.
            last.to = *at;
        }
        bars.push(Bar { from: *at, to: *until, looks, labels, title });
    }
    bars.retain(|bar| bar.from < bar.to);
    bars
}

/// Wherever the programs of two nodes may act at once.
pub(super) fn overlaps(record: &Record) -> Vec<Both> {
    let all: Vec<(NodeId, Bar)> =
        record.nodes.keys().flat_map(|node| leases(record, *node).into_iter().map(|bar| (*node, bar))).collect();
    let mut found = Vec::new();
    for (count, (one, ours)) in all.iter().enumerate() {
        for (other, theirs) in all[count + 1..].iter().filter(|(other, _)| other != one) {
            let (from, to) = (ours.from.max(theirs.from), ours.to.min(theirs.to));
            if from < to {
                found.push(Both {
                    nodes: [*one, *other],
                    bar: Bar {
                        from,
                        to,
                        looks: Looks::Both,
                        labels: Vec::new(),
                        title: format!("{one} and {other} may act at once"),
                    },
                });
            }
        }
    }
    found
}
