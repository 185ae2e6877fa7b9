//! The rules of what is owed to the dead, and of who may say that somebody is dead.

use super::super::patched_copy::{Found, Mutant, patch};
use super::OBITUARY;

/// What the world does that says obituaries.
const SENDER: &str = "tests/election/harness/world/obituary.rs";

pub(super) const OBITUARY_ENDS_LATER_PROMISE: Mutant = Mutant {
    name: "obituary_ends_later_promise",
    breaks: "an obituary ends a promise to a later process of the node",
    found: Found::Safety(10_000),
    patches: &[patch(OBITUARY, "bury", "promise.term <= up_to", "true")],
};

pub(super) const OBITUARY_ENDS_ANY_PROMISE: Mutant = Mutant {
    name: "obituary_ends_any_promise",
    breaks: "an obituary ends a promise to another node",
    found: Found::Safety(10_000),
    patches: &[patch(OBITUARY, "bury", "promise.holder == of", "true")],
};

pub(super) const OBITUARY_ENDS_QUARANTINE: Mutant = Mutant {
    name: "obituary_ends_quarantine",
    breaks: "a restarted node that hears an obituary votes at once",
    found: Found::Safety(10_000),
    patches: &[patch(
        OBITUARY,
        "bury",
        "!self.is_peer(of)",
        "{ self.voting_from = self.voting_from.min(now); !self.is_peer(of) }",
    )],
};

pub(super) const OBITUARY_OF_LATER_LEADER: Mutant = Mutant {
    name: "obituary_of_later_leader",
    breaks: "an obituary ends the leadership of a later process of the node",
    found: Found::Liveness(10_000),
    patches: &[patch(OBITUARY, "bury", "heard.term <= up_to", "true")],
};

pub(super) const HEIR_OF_ANOTHER_LEADER: Mutant = Mutant {
    name: "heir_of_another_leader",
    breaks: "an obituary ends the leadership of another node",
    found: Found::Liveness(10_000),
    patches: &[patch(OBITUARY, "bury", "heard.leader == of", "(heard.leader == of || heard.leader != self.setup.me)")],
};

pub(super) const HEIR_OWES_NOTHING: Mutant = Mutant {
    name: "heir_owes_nothing",
    breaks: "an heir campaigns although it owes a promise or is in quarantine",
    found: Found::Safety(10_000),
    patches: &[patch(OBITUARY, "inherit", "now >= self.free_at(self.setup.me, self.next_term()).0", "true")],
};

pub(super) const HEIR_BESIDE_ITS_WORK: Mutant = Mutant {
    name: "heir_beside_its_work",
    breaks: "an heir campaigns although its earlier work has not returned",
    found: Found::Safety(10_000),
    patches: &[patch(OBITUARY, "inherit", "self.work.is_none()", "true")],
};

pub(super) const HEIR_OUT_OF_TURN: Mutant = Mutant {
    name: "heir_out_of_turn",
    breaks: "all campaign at once when their leader has died",
    found: Found::Paper("costs a second candidacy"),
    patches: &[patch(OBITUARY, "inherit", "patience.is_zero()", "true")],
};

pub(super) const LATE_HEIR: Mutant = Mutant {
    name: "late_heir",
    breaks: "an heir that hears of the death late asks for no pre-votes",
    found: Found::Paper("its term is mostly not ahead of the next leader's"),
    patches: &[patch(OBITUARY, "inherit", "now < suspected_at", "true")],
};

pub(super) const HEARTBEAT_OF_THE_DEAD_COUNTS: Mutant = Mutant {
    name: "heartbeat_of_the_dead_counts",
    breaks: "a heartbeat of the dead that comes late is accepted",
    found: Found::Paper("delays the next election by a promise at most"),
    patches: &[patch(OBITUARY, "bury", "heard.released = true", "heard.released = false")],
};

pub(super) const HEIR_IN_SPITE_OF_A_HINT: Mutant = Mutant {
    name: "heir_in_spite_of_a_hint",
    breaks: "a node that knows by a hint that the leader lives campaigns as its heir",
    found: Found::Paper("a hint outlives its leader by less than a timeout"),
    patches: &[patch(OBITUARY, "bury", "follower.hint.is_none()", "true")],
};

pub(super) const PROMISE_OUTLIVES_ITS_HOLDER: Mutant = Mutant {
    name: "promise_outlives_its_holder",
    breaks: "an obituary ends no promise",
    found: Found::Paper("costs the time that the obituary would have saved"),
    patches: &[patch(OBITUARY, "bury", "promise.holder == of", "false")],
};

pub(super) const FREE_ARE_NOT_ASKED: Mutant = Mutant {
    name: "free_are_not_asked",
    breaks: "a node that asks already does not ask anew those that an obituary frees",
    found: Found::Paper("costs the time that the obituary would have saved"),
    patches: &[patch(OBITUARY, "bury", "self.ask_the_free(now, out)", "()")],
};

pub(super) const OBITUARY_OF_ITSELF: Mutant = Mutant {
    name: "obituary_of_itself",
    breaks: "who says that a process is dead reads the term after a first write of its own",
    found: Found::Safety(10_000),
    patches: &[patch(SENDER, "obituary", "state.term", "Term(state.term.0 + 1)")],
};

pub(super) const OBITUARY_WITHOUT_THE_LOCK: Mutant = Mutant {
    name: "obituary_without_the_lock",
    breaks: "a death witness does not wait for the lock of the process whose death it tells",
    found: Found::Safety(10_000),
    patches: &[patch(SENDER, "watcher_speaks", "!self.is_locked(id)", "true")],
};

pub(super) const LOCK_BEFORE_THE_WORK: Mutant = Mutant {
    name: "lock_before_the_work",
    breaks: "the lock is free before the work has ended that a process leaves behind",
    found: Found::Safety(10_000),
    patches: &[patch(SENDER, "is_locked", "node.work_outlives_until(self.now).is_some()", "false")],
};

pub(super) const COPY_IS_BELIEVED: Mutant = Mutant {
    name: "copy_is_believed",
    breaks: "an obituary is believed although a connection of another process of that node is open",
    found: Found::Safety(10_000),
    patches: &[patch(SENDER, "lets_through", "obituary.teller == Teller::Copy && connected", "false")],
};
