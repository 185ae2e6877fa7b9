//! The rules by which nodes leave each other in peace.

use super::super::patched_copy::{Found, Mutant, patch};
use super::{CANDIDATE, ELECTION, LEADER};

pub(super) const PRE_VOTE_LEFT_OUT: Mutant = Mutant {
    name: "pre_vote_left_out",
    breaks: "a node campaigns without a quorum of pre-votes",
    found: Found::Liveness(2_000),
    patches: &[
        patch(
            CANDIDATE,
            "campaign_when_due",
            "self.campaign_at(asking)",
            "if self.work.is_some() { Instant::NEVER } else { \
                 now.max(self.free_at(self.setup.me, self.next_term()).0) }",
        ),
        patch(CANDIDATE, "campaign_when_due", "self.votes_at(asking).max(now)", "now"),
    ],
};

pub(super) const NEVER_SLEEPS: Mutant = Mutant {
    name: "never_sleeps",
    breaks: "a follower wants to be woken before it has anything to do",
    found: Found::Liveness(2_000),
    patches: &[patch(ELECTION, "wake_at", "follower.suspect_at", "Instant::ZERO")],
};

pub(super) const LEASE_NEVER_RENEWED: Mutant = Mutant {
    name: "lease_never_renewed",
    breaks: "a leader leads for as long as its first lease lasts, and no longer",
    found: Found::Liveness(2_000),
    patches: &[patch(LEADER, "extend", "until <= old", "until <= old || true")],
};
