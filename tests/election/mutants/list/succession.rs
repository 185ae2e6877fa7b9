//! The rules about whose work goes on, who holds off, and who leads in the end.

use super::super::patched_copy::{Found, Mutant, patch};
use super::{CANDIDATE, LEADER, SUCCESSION, TAKEOVER, VOTER};

pub(super) const CANDIDATE_WITH_WORK: Mutant = Mutant {
    name: "candidate_with_work",
    breaks: "a node stands for election while its earlier work has not returned",
    found: Found::Safety(2_000),
    patches: &[patch(CANDIDATE, "votes_at", "self.work.is_some()", "false")],
};

pub(super) const RESTARTED_IN_FRONT: Mutant = Mutant {
    name: "restarted_in_front",
    breaks: "a node that has restarted and knows no list takes its configured place among those that have one",
    found: Found::Paper("costs an election now and then"),
    patches: &[patch(SUCCESSION, "rank", "self.heard.is_none()", "false")],
};

pub(super) const HOLD_OFF_BARS: Mutant = Mutant {
    name: "hold_off_bars",
    breaks: "a node that holds off does not stand although nobody else can",
    found: Found::Paper("hold-offs of the simulation are shorter than what it waits for a leader"),
    patches: &[patch(
        CANDIDATE,
        "votes_at",
        "quorum_free.max(own).max(hint_ends)",
        "quorum_free.max(own).max(hint_ends).max(self.hold_off_until)",
    )],
};

pub(super) const NAMED_NODE_NOT_WAITED_FOR: Mutant = Mutant {
    name: "named_node_not_waited_for",
    breaks: "a named successor gets no time for its write",
    found: Found::Paper("costs a change of leader"),
    patches: &[patch(VOTER, "head_start", "successor.is_some()", "false")],
};

pub(super) const MISSED_TAKEOVER_FORGOTTEN: Mutant = Mutant {
    name: "missed_takeover_forgotten",
    breaks: "a takeover that ended with another node does not count as failed",
    found: Found::Paper("is not unsafe, and the simulation does not count changes of leader"),
    patches: &[patch(TAKEOVER, "note_takeover", "*named != leader && self.prefers(*named)", "false")],
};

pub(super) const FIRST_LINE_BLIND: Mutant = Mutant {
    name: "first_line_blind",
    breaks: "the first line of succession does not begin with those that have voted",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(SUCCESSION, "succession_list", "backer.is_some()", "false")],
};

pub(super) const SUCCESSOR_SUSPECTED_LATE: Mutant = Mutant {
    name: "successor_suspected_late",
    breaks: "a node waits for a successor that it has voted for until it would suspect a leader",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(VOTER, "grant", "heard.released", "false")],
};

pub(super) const LAST_RESORT_NOT_NAMED: Mutant = Mutant {
    name: "last_resort_not_named",
    breaks: "a leader that stays away names nobody if nobody is eligible",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(LEADER, "step_down", "self.best_last_resort(now)", "None::<NodeId>")],
};

pub(super) const LAST_RESORT_WAITS_TWICE: Mutant = Mutant {
    name: "last_resort_waits_twice",
    breaks: "a last resort waits once more when it has waited since the release",
    found: Found::Paper("costs time until the next leader"),
    patches: &[patch(
        SUCCESSION,
        "last_resort",
        "self.setup.timing.election_timeout().saturating_sub(passed)",
        "self.setup.timing.election_timeout()",
    )],
};

pub(super) const NEVER_YIELDS: Mutant = Mutant {
    name: "never_yields",
    breaks: "a leader leads on although a better one is there",
    found: Found::Liveness(2_000),
    patches: &[patch(LEADER, "leader_tick", "self.hand_to_preferred(now, out)", "false")],
};

pub(super) const YIELDS_AT_ONCE: Mutant = Mutant {
    name: "yields_at_once",
    breaks: "a preferred node is not waited for",
    found: Found::Safety(2_000),
    patches: &[patch(
        TAKEOVER,
        "wait_for_preferred",
        "self.setup.timing.settling()",
        "self.setup.timing.heartbeat_interval()",
    )],
};

pub(super) const FLAPPING_FORGIVEN: Mutant = Mutant {
    name: "flapping_forgiven",
    breaks: "a preferred node that fails soon after each take-over is waited for no longer than at first",
    found: Found::Paper("is not unsafe, and the simulation does not count changes of leader"),
    patches: &[patch(TAKEOVER, "wait_for_preferred", "1 << failures", "1")],
};
