//! What may happen next, and how far it is followed.

use std::sync::Arc;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Input, Request, Role, Setup, Timing, Voter};
use stateright::{Model, Property};

use super::cluster::{Change, Cluster, Finds, Left, Letter, Node, Says, Shared};

use crate::harness::checker::Checker;

/// How far to search. What lies beyond is not looked at.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) timing: Timing,
    /// Time passes in steps of this.
    pub(super) unit: Duration,
    /// How far off the nodes' clocks are, in parts per million: one beginning for each list.
    pub(super) clocks: Vec<Vec<i64>>,
    pub(super) terms: u64,
    /// How many messages may be late at once: the others arrive in the step of time in which they are sent, or never.
    pub(super) late: usize,
    pub(super) left: Left,
    pub(super) finds: Finds,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Tick(NodeId),
    Deliver(Letter),
    DeliverAndKeep(Letter),
    /// Only these messages are still on their way after it.
    TimePasses(Vec<usize>),
    Crash(NodeId),
    Start(NodeId),
    Relinquish(NodeId),
    WorkEnds(NodeId),
}

impl Bounds {
    fn place(&self, cluster: &Cluster, id: NodeId) -> usize {
        let place = cluster.nodes.iter().position(|node| node.id() == id);
        place.expect("a node")
    }

    fn time_may_pass(&self, cluster: &Cluster, actions: &mut Vec<Action>) {
        if cluster.nodes.iter().any(|node| node.owes_word()) {
            return;
        }
        let late = cluster.nodes.iter().any(|node| node.is_due());
        if late && cluster.left.stalls == 0 {
            return;
        }
        // To lose more than must be lost shows nothing new: what is on its way need not arrive.
        let may_stay: Vec<usize> = (0..cluster.letters.len())
            .filter(|place| !is_pre_vote(&cluster.letters[*place]))
            .collect();
        let size = may_stay.len().min(self.late);
        let mut chosen = Vec::new();
        choose(&may_stay, size, &mut chosen, &mut |kept| {
            actions.push(Action::TimePasses(kept.to_vec()));
        });
    }
}

/// Every choice of `size` out of `from`.
fn choose(from: &[usize], size: usize, chosen: &mut Vec<usize>, each: &mut impl FnMut(&[usize])) {
    if size == 0 {
        each(chosen);
        return;
    }
    for (place, one) in from.iter().enumerate() {
        chosen.push(*one);
        choose(&from[place + 1..], size - 1, chosen, each);
        chosen.pop();
    }
}

fn is_pre_vote(letter: &Letter) -> bool {
    matches!(
        letter.says,
        Says::Request(Request::PreVote { .. })
            | Says::Reply(leadelect::election::Reply::PreVote { .. })
    )
}

impl Model for Bounds {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        let begin = |clocks: &Vec<i64>| {
            let ids = (1..).map(NodeId::from).take(clocks.len());
            let voters = ids.clone().map(|id| (id, Voter::default())).collect();
            let node = |(me, ppm): (NodeId, &i64)| {
                Shared::new(Node {
                    ppm: *ppm,
                    setup: Arc::new(Setup {
                        me,
                        voters: Clone::clone(&voters),
                        timing: self.timing,
                    }),
                    election: None,
                    durable: None,
                    older: None,
                    life: 0,
                    work: None,
                })
            };
            let mut change = Change {
                nodes: ids.zip(clocks).map(node).collect(),
                letters: Vec::new(),
                checker: Checker::default(),
                left: self.left,
            };
            for place in 0..clocks.len() {
                change.start(place, Finds::All);
            }
            change.done()
        };
        self.clocks.iter().map(begin).collect()
    }

    fn actions(&self, cluster: &Cluster, actions: &mut Vec<Action>) {
        if cluster.checker.violation.is_some() {
            return;
        }
        for node in &cluster.nodes {
            let id = node.id();
            let Some(election) = &node.election else {
                actions.push(Action::Start(id));
                continue;
            };
            if node.is_due() {
                actions.push(Action::Tick(id));
            }
            if node.awaits_work().is_some() {
                actions.push(Action::WorkEnds(id));
            }
            if cluster.left.crashes > 0 {
                actions.push(Action::Crash(id));
            }
            let leads = election.role() == Role::Leader && node.awaits_work().is_none();
            if leads && cluster.left.relinquishes > 0 {
                actions.push(Action::Relinquish(id));
            }
        }
        let mut last = None;
        for letter in &cluster.letters {
            let runs = cluster.nodes[self.place(cluster, letter.to)]
                .election
                .is_some();
            // Of two that are the same, it makes no difference which arrives.
            if runs && last.replace(letter) != Some(letter) {
                actions.push(Action::Deliver(Letter::clone(letter)));
                if cluster.left.twice > 0 && !is_pre_vote(letter) {
                    actions.push(Action::DeliverAndKeep(Letter::clone(letter)));
                }
            }
        }
        self.time_may_pass(cluster, actions);
    }

    fn next_state(&self, cluster: &Cluster, action: Action) -> Option<Cluster> {
        let mut change = Change::of(cluster);
        let place = |id| self.place(cluster, id);
        match action {
            Action::Tick(id) => change.step(place(id), Input::Tick, None),
            Action::Deliver(letter) => {
                let known = change.letters.iter().position(|other| **other == letter);
                change.letters.remove(known.expect("on its way"));
                change.deliver(&letter);
            }
            Action::DeliverAndKeep(letter) => {
                change.left.twice -= 1;
                change.deliver(&letter);
            }
            Action::TimePasses(kept) => {
                if cluster.nodes.iter().any(|node| node.is_due()) {
                    change.left.stalls -= 1;
                }
                change.letters = kept
                    .iter()
                    .map(|place| cluster.letters[*place].clone())
                    .collect();
                change.pass(self.unit);
            }
            Action::Crash(id) => {
                change.left.crashes -= 1;
                change.crash(place(id));
            }
            Action::Start(id) => change.start(place(id), self.finds),
            Action::Relinquish(id) => {
                change.left.relinquishes -= 1;
                let input = Input::Relinquish {
                    successor: None,
                    hold_off: Duration::ZERO,
                };
                change.step(place(id), input, None);
            }
            Action::WorkEnds(id) => change.end_work(place(id)),
        }
        let next = change.done();
        (next != *cluster).then_some(next)
    }

    fn within_boundary(&self, cluster: &Cluster) -> bool {
        let within = |node: &Shared<Node>| {
            let term = node.election.as_ref().map(|election| election.term().0);
            term.is_none_or(|term| term <= self.terms)
        };
        cluster.nodes.iter().all(within)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("safe", |_, cluster: &Cluster| {
                cluster.checker.violation.is_none()
            }),
            // A search that never comes so far has checked little.
            Property::sometimes(
                "a lease in the last term",
                |bounds: &Self, cluster: &Cluster| {
                    let last = |node: &Shared<Node>| {
                        node.work.is_some_and(|work| work.token.0 == bounds.terms)
                    };
                    cluster.nodes.iter().any(last)
                },
            ),
            Property::sometimes(
                "everything that may go wrong has",
                |_, cluster: &Cluster| {
                    let left = cluster.left;
                    left.crashes == 0
                        && left.twice == 0
                        && left.relinquishes == 0
                        && left.stalls == 0
                },
            ),
        ]
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Tick(id) => write!(f, "{id} looks at its clock"),
            Action::Deliver(letter) => letter.fmt(f),
            Action::DeliverAndKeep(letter) => write!(f, "{letter} (and once more, later)"),
            Action::TimePasses(kept) => write!(f, "time passes, {} messages are late", kept.len()),
            Action::Crash(id) => write!(f, "{id} crashes"),
            Action::Start(id) => write!(f, "{id} starts"),
            Action::Relinquish(id) => write!(f, "{id} is to lead no more"),
            Action::WorkEnds(id) => write!(f, "{id} has ended its work"),
        }
    }
}
