//! Did two nodes ever act as leader at once?
//!
//! A check between `before` and `after` says "valid" for some moment in between. A row of checks that all say so, with
//! one token, is a *run*: its node was leader from no later than `after` of the first to no earlier than `before` of
//! the last. So two runs that overlap by these bounds did overlap, however the processes were scheduled; and where a
//! process was stopped within a check, the bounds leave room for it.
//!
//! A check also *claims*: "for so long I may still act, whatever happens". The claim has to be over when the next
//! leader is first seen, even if its maker was killed in the meantime, unless it gave its leadership away.

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
            let same_tenure = run.node == later.node && run.token == later.token;
            if same_tenure {
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
            // A node that had to step down knows that its own claim is void.
            let stands = claims == Claims::Stand && run.node != later.node;
            if stands && run.token < later.token && run.claim > later.first.1 {
                return fault("LeaseExclusion: a claim that reaches into the time of the next leader");
            }
        }
    }
    Ok(all)
}

fn check(before: u64, valid: bool, token: u64, left: u64) -> Check {
    let after = before + 1;
    Check { before, after, valid, token, left }
}

fn logs(one: &[Check], two: &[Check]) -> [(String, Vec<Check>); 2] {
    [("1".into(), one.to_vec()), ("2".into(), two.to_vec())]
}

#[test]
fn one_leader_after_the_other_is_fine() {
    let one = [check(10, true, 1, 5), check(20, true, 1, 5), check(30, false, 0, 0)];
    let two = [check(5, false, 0, 0), check(26, true, 2, 5), check(40, true, 2, 5)];
    let runs = judge(&logs(&one, &two), Claims::Stand).expect("in order");
    assert_eq!(runs.iter().map(|run| run.token).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn two_leaders_at_once_are_found() {
    let one = [check(10, true, 1, 0), check(20, true, 1, 0)];
    let two = [check(15, true, 2, 0), check(40, true, 2, 0)];
    for logs in [logs(&one, &two), logs(&two, &one)] {
        let fault = judge(&logs, Claims::Stand).expect_err("an overlap");
        assert!(fault.starts_with("LeaseExclusion: two leaders at once"), "{fault}");
    }
}

#[test]
fn a_single_check_inside_the_time_of_another_leader_is_found() {
    let one = [check(10, true, 1, 0), check(30, true, 1, 0)];
    let two = [check(19, false, 0, 0), check(20, true, 2, 0), check(21, false, 0, 0)];
    assert!(judge(&logs(&one, &two), Claims::Stand).is_err());
}

#[test]
fn a_check_that_a_stop_has_stretched_proves_nothing_about_the_stop() {
    let stretched = Check { after: 900, ..check(20, true, 1, 5) };
    let one = [check(10, true, 1, 5), stretched, check(901, false, 0, 0)];
    let two = [check(100, true, 2, 5), check(800, true, 2, 5)];
    judge(&logs(&one, &two), Claims::Stand).expect("valid before the stop");
}

#[test]
fn a_claim_that_reaches_into_the_next_leadership_is_found_unless_it_was_released() {
    let one = [check(10, true, 1, 50)];
    let two = [check(40, true, 2, 50)];
    let fault = judge(&logs(&one, &two), Claims::Stand).expect_err("claims until 60");
    assert!(fault.contains("a claim"), "{fault}");
    judge(&logs(&one, &two), Claims::MayBeReleased).expect("released");
}

#[test]
fn a_node_that_stepped_down_and_leads_again_takes_nothing_from_itself() {
    let one = [check(10, true, 1, 50), check(20, false, 0, 0), check(40, true, 2, 50)];
    let nobody = [check(10, false, 0, 0)];
    judge(&logs(&one, &nobody), Claims::Stand).expect("the same node");
}

#[test]
fn a_token_that_falls_or_is_used_twice_is_found() {
    let one = [check(10, true, 7, 0)];
    let fault = judge(&logs(&one, &[check(40, true, 6, 0)]), Claims::Stand).expect_err("falls");
    assert!(fault.starts_with("TokenMonotone"), "{fault}");
    let fault = judge(&logs(&one, &[check(40, true, 7, 0)]), Claims::Stand).expect_err("twice");
    assert!(fault.starts_with("TermUnique"), "{fault}");
}
