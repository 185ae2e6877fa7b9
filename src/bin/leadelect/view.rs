//! The answers of all nodes, side by side.

use std::fmt::{self, Write};
use std::time::Duration;

use leadelect::remote::{NodeStatus, RemoteError};
use leadelect::status::PeerStatus;
use leadelect::{Config, NodeId, Remaining, Role, Term};
use serde::Serialize;

use super::Failure;

/// One look at every node.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Seen>,
}

/// A node, and its answer.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: NodeId,
    pub(crate) addr: String,
    pub(crate) answer: Result<NodeStatus, RemoteError>,
}

impl View {
    pub(crate) fn of(config: &Config, answers: Vec<(NodeId, Result<NodeStatus, RemoteError>)>) -> View {
        let nodes = config.nodes().zip(answers);
        let nodes = nodes.map(|((id, member), (_, answer))| {
            let addr = member.to_string();
            let answer = answer.map_err(|error| without_addr(error, &addr));
            Seen { id, addr, answer }
        });
        View { nodes: nodes.collect() }
    }

    /// The nodes that have answered.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes.iter().filter_map(|node| node.answer.as_ref().ok())
    }

    /// The nodes that hold a valid lease.
    pub(crate) fn leaders(&self) -> Vec<&NodeStatus> {
        self.reachable().filter(|node| node.token.is_some() && !node.lease.is_over()).collect()
    }

    /// Whether exactly one node leads, and a quorum agrees.
    pub(crate) fn verdict(&self) -> Verdict {
        let (total, reachable) = (self.nodes.len(), self.reachable().count());
        let quorum = total / 2 + 1;
        let (ok, text) = match self.leaders().as_slice() {
            [] => {
                let text = format!("nobody leads: {reachable} of {total} nodes can be reached, {quorum} are needed");
                (false, text)
            }
            [leader] => {
                let (id, term) = (leader.id, leader.term);
                let agrees = |node: &&NodeStatus| (node.leader, node.term) == (Some(id), term);
                let agree = self.reachable().filter(agrees).count();
                let text =
                    format!("node {id} leads in term {term}: {agree} of {total} nodes agree, {quorum} are needed");
                (agree >= quorum, text)
            }
            several => {
                let ids: Vec<String> = several.iter().map(|node| node.id.to_string()).collect();
                let ids = ids.join(" and ");
                let text = format!(
                    "the nodes {ids} each held a lease when asked: if it stays so they are of different clusters"
                );
                (false, text)
            }
        };
        Verdict { ok, text }
    }
}

/// The same error, but it does not begin with the address: that is shown beside it.
fn without_addr(error: RemoteError, addr: &str) -> RemoteError {
    match error {
        RemoteError::Unreachable(what) => {
            let rest = what.strip_prefix(addr).unwrap_or(&what);
            RemoteError::Unreachable(rest.trim_start_matches([':', ' ']).to_owned())
        }
        other => other,
    }
}

/// Whether there is exactly one leader with a quorum, in words.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    text: String,
}

impl Verdict {
    /// The exit code if that is not so.
    pub(crate) const NO_LEADER: u8 = 1;

    pub(crate) fn exit_code(&self) -> u8 {
        if self.ok { 0 } else { Verdict::NO_LEADER }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const HEAD: [&str; 9] = ["ID", "ADDR", "ROLE", "TERM", "LEADER", "TOKEN", "LEASE", "ROUND TRIP", "CERTIFICATE"];

/// The table for people. The row of a node that has not answered shows the error instead of its columns.
pub(crate) fn table(view: &View) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(view.nodes.iter().map(cells));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let errors = view.nodes.iter().map(|node| node.answer.as_ref().err());
    let mut text = String::new();
    for (row, error) in rows.iter().zip([None].into_iter().chain(errors)) {
        let shown = if error.is_some() { 2 } else { row.len() };
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).take(shown) {
            // Writing to a string never fails.
            let _ = write!(line, "{cell:width$}  ");
        }
        let error = error.map(ToString::to_string).unwrap_or_default();
        let line = line + &error;
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn cells(node: &Seen) -> [String; HEAD.len()] {
    let mut cells = [const { String::new() }; HEAD.len()];
    (cells[0], cells[1]) = (node.id.to_string(), node.addr.clone());
    let Ok(answer) = &node.answer else {
        return cells;
    };
    let none = || "-".to_owned();
    cells[2] = answer.role.to_string();
    cells[3] = answer.term.to_string();
    cells[4] = answer.leader.map_or_else(none, |id| id.to_string());
    cells[5] = answer.token.map_or_else(none, |token| token.to_string());
    cells[6] = answer.token.map_or_else(none, |_| answer.lease.to_string());
    cells[7] = format!("{:.1?}", answer.round_trip);
    cells[8] = answer.certificate_days.map_or_else(none, |days| format!("{days} days"));
    cells
}

/// A node, as JSON has it. The names are documented and stay. [`NodeStatus`] has most of them, but there is none of a
/// node that has not answered: here such a node has the same names, and `null`.
#[derive(Debug, Serialize)]
struct NodeJson<'a> {
    id: NodeId,
    addr: &'a str,
    reachable: bool,
    role: Option<Role>,
    term: Option<Term>,
    leader: Option<NodeId>,
    token: Option<Term>,
    lease_ms: Option<Remaining>,
    round_trip_ms: Option<f64>,
    certificate_days: Option<i64>,
    version: Option<&'a str>,
    uptime_s: Option<u64>,
    error: Option<String>,
    peers: Option<&'a [PeerStatus]>,
}

/// The array for programs, on several lines or on one.
pub(crate) fn json(view: &View, pretty: bool) -> Result<String, Failure> {
    let nodes: Vec<NodeJson<'_>> = view.nodes.iter().map(node_json).collect();
    let text = if pretty { serde_json::to_string_pretty(&nodes) } else { serde_json::to_string(&nodes) };
    Ok(text.map_err(Failure::of)? + "\n")
}

fn node_json(node: &Seen) -> NodeJson<'_> {
    let answer = node.answer.as_ref().ok();
    NodeJson {
        id: node.id,
        addr: &node.addr,
        reachable: answer.is_some(),
        role: answer.map(|answer| answer.role),
        term: answer.map(|answer| answer.term),
        leader: answer.and_then(|answer| answer.leader),
        token: answer.and_then(|answer| answer.token),
        lease_ms: answer.map(|answer| answer.lease),
        round_trip_ms: answer.map(|answer| millis(answer.round_trip)),
        certificate_days: answer.and_then(|answer| answer.certificate_days),
        version: answer.map(|answer| answer.version.as_str()),
        uptime_s: answer.map(|answer| answer.uptime.as_secs()),
        error: node.answer.as_ref().err().map(ToString::to_string),
        peers: answer.map(|answer| answer.peers.as_slice()),
    }
}

/// Milliseconds, with microseconds behind the point.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
