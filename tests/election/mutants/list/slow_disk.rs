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

pub(super) const ASKS_WHEN_IT_WRITES: Mutant = Mutant {
    name: "asks_when_it_writes",
    breaks: "a candidate that writes its own vote early asks for the others as early",
    found: Found::Safety(2_000),
    patches: &[patch(CANDIDATE, "campaign_when_due", "self.votes_at(asking).max(now)", "now")],
};

pub(super) const OWN_VOTE_NOT_EARLY: Mutant = Mutant {
    name: "own_vote_not_early",
    breaks: "a candidate writes its own vote only when a quorum is free",
    found: Found::Paper("costs a write until the next leader"),
    patches: &[patch(CANDIDATE, "campaign_at", "!first || votes_at == Instant::NEVER", "true")],
};

pub(super) const OWN_VOTE_EARLY_EVERYWHERE: Mutant = Mutant {
    name: "own_vote_early_everywhere",
    breaks: "every candidate writes its own vote early, also those that are not first in line",
    found: Found::Paper("costs an election now and then"),
    patches: &[patch(CANDIDATE, "campaign_at", "self.succession.first() == Some(&self.setup.me)", "true")],
};

pub(super) const OWN_VOTE_IN_QUARANTINE: Mutant = Mutant {
    name: "own_vote_in_quarantine",
    breaks: "a candidate writes its own vote early also in its quarantine",
    found: Found::Paper("nobody is told of that vote before the quarantine is over"),
    patches: &[patch(
        CANDIDATE,
        "campaign_at",
        "votes_at.before(self.setup.timing.stagger()).max(self.voting_from)",
        "votes_at.before(self.setup.timing.stagger())",
    )],
};

pub(super) const ASKS_A_WAY_LATE: Mutant = Mutant {
    name: "asks_a_way_late",
    breaks: "the wait of a voter is counted from when its answer came",
    found: Found::Paper("costs a round trip until the next leader"),
    patches: &[patch(CANDIDATE, "ask_when_free", "asked + round_trip / 8", "now")],
};

pub(super) const ASKS_AGAIN_TOO_SOON: Mutant = Mutant {
    name: "asks_again_too_soon",
    breaks: "a vote is asked for again before its answer can have come",
    found: Found::Paper("costs a round trip until the next leader"),
    patches: &[patch(CANDIDATE, "campaign_and_ask", "interval.max(asking.round_trip * 2)", "interval")],
};

pub(super) const IMPATIENT_VOTER: Mutant = Mutant {
    name: "impatient_voter",
    breaks: "a voter whose write took long gives its candidate no time",
    found: Found::Paper("costs a question"),
    patches: &[patch(ELECTION, "tick", "follower.leader.is_some() || voted", "follower.leader.is_some()")],
};
