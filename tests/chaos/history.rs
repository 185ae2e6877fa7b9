//! What happened in one round, on the clock that all processes of the host share.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::child::boot_nanos;
use super::lease_log::Check;
use super::resource::Act;

/// Something that was done or seen. Without a node it concerns all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    pub(crate) node: Option<String>,
    pub(crate) text: String,
}

/// A leadership that had no reason to end in this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) token: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The acts of one process with one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: String,
    pub(crate) token: u64,
    pub(crate) pid: i32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) acts: usize,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct History {
    pub(crate) start: u64,
    pub(crate) nodes: Vec<String>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) acts: Vec<Act>,
    /// The lease checks of each process of the library.
    pub(crate) checks: Vec<(String, Vec<Check>)>,
    pub(crate) kept: Option<Kept>,
    /// What was seen to be wrong while the round ran.
    pub(crate) wrong: Vec<String>,
}

impl History {
    pub(crate) fn new(nodes: Vec<String>) -> History {
        History { start: boot_nanos(), nodes, ..History::default() }
    }

    pub(crate) fn mark(&mut self, node: Option<&str>, text: impl Into<String>) {
        self.marks.push(Mark { at: boot_nanos(), node: node.map(str::to_owned), text: text.into() });
    }

    /// In the order in which they began.
    pub(crate) fn lives(&self) -> Vec<Life> {
        let mut lives: BTreeMap<(i32, u64), Life> = BTreeMap::new();
        for act in &self.acts {
            let life = lives.entry((act.pid, act.token)).or_insert_with(|| Life {
                node: act.node.clone(),
                token: act.token,
                pid: act.pid,
                first: act.at,
                last: act.at,
                acts: 0,
            });
            life.first = life.first.min(act.at);
            life.last = life.last.max(act.at);
            life.acts += 1;
        }
        let mut lives: Vec<Life> = lives.into_values().collect();
        lives.sort_by_key(|life| life.first);
        lives
    }

    /// How long nobody acted, at each change of leader, in nanoseconds.
    pub(crate) fn gaps(&self) -> Vec<u64> {
        let mut spans: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for act in &self.acts {
            let span = spans.entry(act.token).or_insert((act.at, act.at));
            *span = (span.0.min(act.at), span.1.max(act.at));
        }
        let spans: Vec<(u64, u64)> = spans.into_values().collect();
        spans.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].1)).collect()
    }

    pub(crate) fn millis(&self, at: u64) -> f64 {
        at.saturating_sub(self.start) as f64 / 1e6
    }

    /// A line for everything, in order, for people.
    pub(crate) fn text(&self, violations: &[String]) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for mark in &self.marks {
            lines.push((mark.at, format!("{:>5}  {}", mark.node.as_deref().unwrap_or("all"), mark.text)));
        }
        for life in self.lives() {
            let Life { node, token, pid, first, last, acts } = life;
            let until = self.millis(last);
            lines.push((
                first,
                format!("{node:>5}  acts with token {token}, process {pid}, {acts} times to {until:.3}"),
            ));
        }
        for act in self.acts.iter().filter(|act| act.refused) {
            lines.push((act.received, format!("{:>5}  REFUSED: {act:?}", act.node)));
        }
        lines.sort();
        let mut text = String::from("milliseconds  node  what\n");
        for (at, line) in lines {
            writeln!(text, "{:>12.3} {line}", self.millis(at)).unwrap();
        }
        for violation in violations {
            writeln!(text, "VIOLATION {violation}").unwrap();
        }
        text
    }
}
