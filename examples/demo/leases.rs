//! Was there ever more than one leader? All checks of all nodes together give the answer.

use std::collections::BTreeMap;
use std::time::Duration;

/// The leases that were found valid, by token.
#[derive(Default)]
pub(crate) struct Leases {
    found: BTreeMap<u64, Found>,
    /// Something that must not be at any time.
    broken: Option<String>,
}

struct Found {
    node: usize,
    /// The lease began no later.
    began_by: Duration,
    /// The lease ended no earlier.
    lasted_to: Duration,
}

/// When a lease was first found valid.
pub(crate) struct Win {
    pub(crate) node: usize,
    pub(crate) token: u64,
    pub(crate) at: Duration,
}

impl Leases {
    /// The lease with this token was valid on this node at some moment from `before` to `after`.
    pub(crate) fn add(&mut self, node: usize, token: u64, before: Duration, after: Duration) {
        let found = self.found.entry(token).or_insert(Found { node, began_by: after, lasted_to: before });
        found.began_by = found.began_by.min(after);
        found.lasted_to = found.lasted_to.max(before);
        if found.node != node {
            self.broken = Some(format!("nodes {} and {node} had the same token {token}", found.node));
        }
    }

    /// The first lease with a token above this one.
    pub(crate) fn first_after(&self, token: u64) -> Option<Win> {
        let (token, found) = self.found.range(token + 1..).next()?;
        Some(Win { node: found.node, token: *token, at: found.began_by })
    }

    /// What was seen, or which promise was broken.
    ///
    /// The lease with the higher token was won later. So two leases overlapped if the higher one was seen before the
    /// lower one was seen for the last time.
    pub(crate) fn verdict(&self) -> Result<String, String> {
        if let Some(broken) = &self.broken {
            return Err(format!("PROMISE BROKEN: {broken}"));
        }
        let mut shortest: Option<Duration> = None;
        for ((token, earlier), (next, later)) in self.found.iter().zip(self.found.iter().skip(1)) {
            let Some(gap) = later.began_by.checked_sub(earlier.lasted_to) else {
                return Err(format!(
                    "PROMISE BROKEN: node {} led with token {next} {:?} before node {} ended with token {token}",
                    later.node,
                    earlier.lasted_to - later.began_by,
                    earlier.node
                ));
            };
            shortest = Some(shortest.map_or(gap, |shortest| shortest.min(gap)));
        }
        let gap = shortest.map_or_else(String::new, |gap| format!("; the shortest time between two was {gap:.1?}"));
        Ok(format!("{} leases were held, and never two at once{gap}", self.found.len()))
    }
}
