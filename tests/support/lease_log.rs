//! Did two nodes ever act as leader at once?
//!
//! A check between `before` and `after` says "valid" for some moment in between. A row of checks that all say so, with
//! one token, is a *run*: its node was leader from no later than `after` of the first to no earlier than `before` of
//! the last. So two runs that overlap by these bounds did overlap, however the processes were scheduled; and where a
//! process was stopped within a check, the bounds leave room for it.
//!
//! A check also makes a *claim*: "I may act for this much longer". The claim has to be over when the next leader is
//! first seen, even if its maker was killed meanwhile, unless that had given its leadership away.

/// One answer to the question "may you act as leader?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) valid: bool,
    pub(crate) token: u64,
    pub(crate) left: u64,
}

/// A time in which one node was leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) node: String,
    pub(crate) token: u64,
    first: (u64, u64),
    last: (u64, u64),
    claim: u64,
}

/// Whether leaders in the log gave leadership away before their claims had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claims {
    Stand,
    MayBeReleased,
}

impl Check {
    /// The numbers of a line `check ...`, after that word.
    pub(crate) fn parse(text: &str) -> Option<Check> {
        let numbers: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
        let [before, after, valid, token, left] = numbers?[..] else {
            return None;
        };
        Some(Check { before, after, valid: valid == 1, token, left })
    }
}

impl Run {
    /// Whether there was certainly a moment at which both were leaders.
    fn overlaps(&self, other: &Run) -> bool {
        self.first.1 <= other.last.0 && other.first.1 <= self.last.0
    }

    /// From when this run was seen last until `next` was seen first: no less than there was no leader.
    pub(crate) fn gap_to(&self, next: &Run) -> u64 {
        next.first.1.saturating_sub(self.last.0)
    }

    /// Whether it was certainly won after `moment`.
    pub(crate) fn is_won_after(&self, moment: u64) -> bool {
        self.first.0 > moment
    }

    fn is_before(&self, other: &Run) -> bool {
        self.last.1 <= other.first.0
    }
}

/// The runs of one process.
fn runs(node: &str, checks: &[Check]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for check in checks {
        if !check.valid {
            open = false;
            continue;
        }
        let (span, claim) = ((check.before, check.after), check.before + check.left);
        match runs.last_mut().filter(|run| open && run.token == check.token) {
            Some(run) => {
                run.last = span;
                run.claim = run.claim.max(claim);
            }
            None => runs.push(Run { node: node.to_owned(), token: check.token, first: span, last: span, claim }),
        }
        open = true;
    }
    runs
}

/// Judges the checks of all processes, each with the id of its node, and returns the runs in their order.
///
/// # Errors
///
/// The first two runs that contradict each other.
pub(crate) fn judge(logs: &[(String, Vec<Check>)], claims: Claims) -> Result<Vec<Run>, String> {
    let mut all: Vec<Run> = logs.iter().flat_map(|(node, checks)| runs(node, checks)).collect();
    all.sort_by_key(|run| run.first);
    for (at, run) in all.iter().enumerate() {
        for later in &all[at + 1..] {
            let fault = |what: &str| Err(format!("{what}:\n  {run:?}\n  {later:?}"));
            let same_leadership = run.node == later.node && run.token == later.token;
            if same_leadership {
                continue;
            }
            if run.token == later.token {
                return fault("TermUnique: two leaders with one token");
            }
            if run.overlaps(later) {
                return fault("LeaseExclusion: two leaders at once");
            }
            if run.is_before(later) && run.token > later.token {
                return fault("TokenMonotone: a token that is lower than one before");
            }
            // A node that steps down knows that its own claim is over.
            let stands = claims == Claims::Stand && run.node != later.node;
            if stands && run.token < later.token && run.claim > later.first.1 {
                return fault("LeaseExclusion: a claim that reaches into the time of the next leader");
            }
        }
    }
    Ok(all)
}
