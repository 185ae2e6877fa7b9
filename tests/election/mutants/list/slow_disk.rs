//! The rules that let nodes with slow disks elect a leader.

use super::super::patched_copy::{Found, Mutant, patch};
use super::{CANDIDATE, ELECTION};

pub(super) const VOTE_COUNTED_FROM_THE_FIRST_REQUEST: Mutant = Mutant {
    name: "vote_counted_from_the_first_request",
    breaks: "the age of a vote is counted from the first request for it",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(
        CANDIDATE,
        "vote_reply",
        "candidate.asked.get(&candidacy).copied()",
        "candidate.asked.values().min().copied()",
    )],
};

pub(super) const CANDIDACY_WITHOUT_TIME_FOR_A_WRITE: Mutant = Mutant {
    name: "candidacy_without_time_for_a_write",
    breaks: "a candidacy gives voters no time for a write as long as its own",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(CANDIDATE, "candidate_tick", "now + write", "now")],
};

pub(super) const FAILED_CANDIDACIES_STAY_SHORT: Mutant = Mutant {
    name: "failed_candidacies_stay_short",
    breaks: "a candidacy lasts no longer than the one before that failed",
    found: Found::Paper("the simulation mends all disks before it waits for a leader"),
    patches: &[patch(CANDIDATE, "candidate_tick", "1 << self.failures", "1")],
};

pub(super) const IMPATIENT_VOTER: Mutant = Mutant {
    name: "impatient_voter",
    breaks: "a voter whose write took long gives its candidate no time",
    found: Found::Paper("costs a question"),
    patches: &[patch(ELECTION, "tick", "follower.leader.is_some() || voted", "follower.leader.is_some()")],
};
