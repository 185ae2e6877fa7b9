//! The answers of all nodes, side by side.

use std::fmt::Write;

use leadelect::remote::{NodeStatus, RemoteError};
use leadelect::{Config, NodeId};
use serde_json::Value;

use super::Failure;

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Seen>,
}

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

    pub(crate) fn reachable(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes.iter().filter_map(|node| node.answer.as_ref().ok())
    }

    /// The nodes that hold a valid lease.
    pub(crate) fn leaders(&self) -> Vec<&NodeStatus> {
        self.reachable().filter(|node| node.token.is_some() && !node.lease.is_over()).collect()
    }

    /// Whether exactly one node leads and a quorum agrees, in words: `Ok` if that is so.
    pub(crate) fn verdict(&self) -> Result<String, String> {
        let (total, reachable) = (self.nodes.len(), self.reachable().count());
        let quorum = total / 2 + 1;
        match self.leaders().as_slice() {
            [] => Err(format!("nobody leads: {reachable} of {total} nodes can be reached, {quorum} are needed")),
            [leader] => {
                let (id, term) = (leader.id, leader.term);
                let agrees = |node: &&NodeStatus| (node.leader, node.term) == (Some(id), term);
                let agree = self.reachable().filter(agrees).count();
                let text =
                    format!("node {id} leads in term {term}: {agree} of {total} nodes agree, {quorum} are needed");
                if agree >= quorum { Ok(text) } else { Err(text) }
            }
            several => {
                let ids: Vec<String> = several.iter().map(|node| node.id.to_string()).collect();
                let ids = ids.join(" and ");
                Err(format!(
                    "the nodes {ids} each held a lease when asked: if it stays so they are of different clusters"
                ))
            }
        }
    }
}

/// The same error without the address: that is shown beside it.
fn without_addr(error: RemoteError, addr: &str) -> RemoteError {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let shorter = |what: String| match what.strip_prefix(addr) {
        Some(rest) => rest.trim_start_matches([':', ' ']).to_owned(),
        None => what.replacen(&format!("cannot look up {host}: "), "cannot look up its name: ", 1),
    };
    match error {
        RemoteError::Unreachable(what) => RemoteError::Unreachable(shorter(what)),
        other => other,
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
    for node in view.reachable() {
        if let Some(stuck) = node.logger_stuck {
            let (id, lost) = (node.id, node.lines_lost);
            let _ = writeln!(text, "node {id}: its log has been stuck for {stuck:.0?}, {lost} lines are lost");
        }
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

/// The array for programs, on several lines or on one.
pub(crate) fn json(view: &View, pretty: bool) -> Result<String, Failure> {
    let nodes = view.nodes.iter().map(node_json).collect::<serde_json::Result<Vec<Value>>>();
    let text = nodes
        .and_then(|nodes| if pretty { serde_json::to_string_pretty(&nodes) } else { serde_json::to_string(&nodes) });
    Ok(text.map_err(Failure::of)? + "\n")
}

/// What [`NodeStatus`] has, as JSON names it, besides the id. The names are documented and stay.
const ANSWERED: [&str; 13] = [
    "role",
    "term",
    "leader",
    "token",
    "lease_ms",
    "round_trip_ms",
    "certificate_days",
    "ends_first",
    "version",
    "uptime_s",
    "logger_stuck_ms",
    "lines_lost",
    "peers",
];

/// A node. One that has not answered has the same names, and `null`.
fn node_json(node: &Seen) -> serde_json::Result<Value> {
    let (mut json, error) = match &node.answer {
        Ok(status) => (serde_json::to_value(status)?, None),
        Err(error) => (ANSWERED.map(|name| (name, Value::Null)).into_iter().collect(), Some(error.to_string())),
    };
    json["id"] = node.id.as_str().into();
    json["addr"] = node.addr.as_str().into();
    json["reachable"] = node.answer.is_ok().into();
    json["error"] = error.into();
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_beside_an_address_does_not_say_it_again() {
        for (addr, what, shown) in [
            ("10.0.0.1:5", "10.0.0.1:5: Connection refused", "Connection refused"),
            ("[::1]:5", "[::1]:5 did not answer within 1s", "did not answer within 1s"),
            ("db.example:5", "cannot look up db.example: not known", "cannot look up its name: not known"),
            // Which of its addresses that was is news.
            ("db.example:5", "10.0.0.1:5: Connection refused", "10.0.0.1:5: Connection refused"),
        ] {
            let error = without_addr(RemoteError::Unreachable(what.to_owned()), addr);
            assert_eq!(error, RemoteError::Unreachable(shown.to_owned()));
        }
    }
}
