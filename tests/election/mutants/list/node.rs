//! What a node decides beyond its part in the election: calls, work, eligibility, the stop.

use super::super::patched_copy::{Found, Mutant, patch};

const ENGINE: &str = "src/engine.rs";
const CALLS: &str = "src/engine/calls.rs";
const PROGRAM: &str = "src/engine/program.rs";
const STOP: &str = "src/engine/stop.rs";

pub(super) const STOPS_BEFORE_WORK_ENDED: Mutant = Mutant {
    name: "stops_before_work_ended",
    breaks: "a node that stops does not wait for its work to end",
    found: Found::Paper("a higher term has to end a leadership whose lease lasts, and somebody stop it just then"),
    patches: &[patch(STOP, "has_stopped", "!self.leads() && !works && self.releases.is_empty()", "!self.leads()")],
};

pub(super) const STOP_RELEASES_AT_ONCE: Mutant = Mutant {
    name: "stop_releases_at_once",
    breaks: "a lease counts as free as soon as it was taken away",
    found: Found::Safety(2_000),
    patches: &[patch(
        ENGINE,
        "step",
        "self.look_at_program(now, is_program, &mut out)",
        "{ if let Some(term) = self.election.awaits_work() { self.elect(now, Input::WorkEnded { term }, &mut out); } \
             self.look_at_program(now, is_program, &mut out) }",
    )],
};

pub(super) const STOP_WITHOUT_LIMIT: Mutant = Mutant {
    name: "stop_without_limit",
    breaks: "a node that stops waits for its last words for ever",
    found: Found::Safety(4_000),
    patches: &[
        patch(STOP, "has_stopped", "done || now >= stop_by", "done"),
        patch(ENGINE, "wake_at", "self.stop_by.unwrap_or(Instant::NEVER)", "Instant::NEVER"),
        patch(ENGINE, "step", "self.releases.remove(&by)", "self.releases.contains(&by)"),
    ],
};

pub(super) const HOLD_OFF_FORGOTTEN: Mutant = Mutant {
    name: "hold_off_forgotten",
    breaks: "a resignation while the node steps down already does not hold it off",
    found: Found::Safety(4_000),
    patches: &[patch(CALLS, "call", "self.hold_off_until.max(now + hold_off)", "self.hold_off_until")],
};

pub(super) const HOLD_OFF_OF_PROGRAM_IGNORED: Mutant = Mutant {
    name: "hold_off_of_program_ignored",
    breaks: "a program that wants to stay behind is not asked",
    found: Found::Safety(2_000),
    patches: &[patch(
        PROGRAM,
        "note_eligibility",
        "self.hold_off_until.max(self.program.hold_off_until)",
        "self.hold_off_until",
    )],
};

pub(super) const ELIGIBILITY_LOST: Mutant = Mutant {
    name: "eligibility_lost",
    breaks: "the election is never told that the program is eligible again",
    found: Found::Safety(2_000),
    patches: &[patch(PROGRAM, "note_eligibility", "eligible != self.eligible", "self.eligible && !eligible")],
};

pub(super) const ABSENT_PROGRAM_IS_ELIGIBLE: Mutant = Mutant {
    name: "absent_program_is_eligible",
    breaks: "a node whose program has left is as eligible as before",
    found: Found::Safety(2_000),
    patches: &[patch(PROGRAM, "note_eligibility", "!self.program.absent", "true")],
};

pub(super) const OVERRUN_NOT_TOLD: Mutant = Mutant {
    name: "overrun_not_told",
    breaks: "work that runs on at its hard deadline is not told",
    found: Found::Safety(2_000),
    patches: &[patch(PROGRAM, "work_overran", "Some(self.told(Cause::WorkOverran { term }))", "None")],
};

pub(super) const KEPT_LEASE_IGNORED: Mutant = Mutant {
    name: "kept_lease_ignored",
    breaks: "a lease that is held long after its end is not told",
    found: Found::Safety(4_000),
    patches: &[patch(PROGRAM, "lease_may_be_kept", "self.program.kept == Some(term)", "false")],
};

pub(super) const KEPT_LEASE_LOOKED_FOR_LATE: Mutant = Mutant {
    name: "kept_lease_looked_for_late",
    breaks: "a kept lease is looked for in news from before it was taken away",
    found: Found::Safety(20_000),
    patches: &[patch(
        PROGRAM,
        "look_at_program",
        "self.note_eligibility(now, out)",
        "{ self.note_eligibility(now, out); if is_news { self.lease_may_be_kept(now, out); } }",
    )],
};

pub(super) const SILENCE_IGNORED: Mutant = Mutant {
    name: "silence_ignored",
    breaks: "work that is silent leads on",
    found: Found::Safety(2_000),
    patches: &[patch(PROGRAM, "work_is_silent", "self.election.term() == work.term", "false")],
};

pub(super) const ILLNESS_IGNORED: Mutant = Mutant {
    name: "illness_ignored",
    breaks: "a leader that falls ill leads on",
    found: Found::Safety(2_000),
    patches: &[patch(PROGRAM, "look_at_program", "fell_ill && self.leads()", "false")],
};

pub(super) const CALLER_FORGOTTEN: Mutant = Mutant {
    name: "caller_forgotten",
    breaks: "a caller is not told that the node leads no more",
    found: Found::Liveness(2_000),
    patches: &[patch(ENGINE, "step", "self.waiting.drain(..)", "self.waiting.drain(..0)")],
};

pub(super) const DONE_TOO_EARLY: Mutant = Mutant {
    name: "done_too_early",
    breaks: "a caller is told that the node leads no more while it still does",
    found: Found::Safety(2_000),
    patches: &[patch(ENGINE, "step", "!self.leads()", "true")],
};

pub(super) const FOLLOWER_HANDS_OVER: Mutant = Mutant {
    name: "follower_hands_over",
    breaks: "a node that does not lead begins to hand over",
    found: Found::Paper("the caller is told at once that it leads no more, which is true"),
    patches: &[patch(CALLS, "refusal", "!self.leads()", "false")],
};

pub(super) const ANSWERS_LOST_WITH_THE_DISK: Mutant = Mutant {
    name: "answers_lost_with_the_disk",
    breaks: "what a caller is told is lost when the state that belongs to it cannot be stored",
    found: Found::Paper("a disk has to fail in the very step that ends a leadership"),
    patches: &[patch(ENGINE, "step", "out.effects.answers = undone.answers", "drop(undone)")],
};

pub(super) const WORK_OF_ANOTHER_TERM_ENDS: Mutant = Mutant {
    name: "work_of_another_term_ends",
    breaks: "the end of the work of an older term ends the leadership of now",
    found: Found::Paper("no work of the simulation outlives its lease and says so in a later leadership"),
    patches: &[patch(CALLS, "call", "self.leads() && self.election.term() == term", "self.leads()")],
};

pub(super) const LEASE_FREE_TOO_EARLY: Mutant = Mutant {
    name: "lease_free_too_early",
    breaks: "a lease counts as free before the node has taken it away",
    found: Found::Paper("costs only the time until the lease has run out"),
    patches: &[patch(
        ENGINE,
        "lease_free",
        "!self.leases.get(&term).is_some_and(|guarded| guarded.ended)",
        "!self.leases.contains_key(&term)",
    )],
};

pub(super) const UNANSWERED_IGNORED: Mutant = Mutant {
    name: "unanswered_ignored",
    breaks: "a release that nobody answers is waited for, for ever",
    found: Found::Liveness(4_000),
    patches: &[patch(ENGINE, "step", "self.releases.remove(&by)", "self.releases.contains(&by)")],
};

/// When something is due that became due while the node was late.
const AFTER_TURN: &str = "if (late_from..=until).contains(&due) { until } else { due }";

pub(super) const NO_TURN_AFTER_A_LATE_WAKE: Mutant = Mutant {
    name: "no_turn_after_a_late_wake",
    breaks: "after a late wake the program is accused before it has a turn",
    found: Found::Safety(4_000),
    patches: &[patch(PROGRAM, "after_turn", AFTER_TURN, "{ let _ = (late_from, until); due }")],
};

pub(super) const TURN_WITHOUT_END: Mutant = Mutant {
    name: "turn_without_end",
    breaks: "what became due while the node was late is never looked at",
    found: Found::Safety(4_000),
    patches: &[patch(
        PROGRAM,
        "after_turn",
        AFTER_TURN,
        "if (late_from..=until).contains(&due) { Instant::NEVER } else { due }",
    )],
};

pub(super) const ACT_ON_OVERRUN_WAITS: Mutant = Mutant {
    name: "act_on_overrun_waits",
    breaks: "a program that aborts on an overrun does so only after a turn",
    found: Found::Safety(4_000),
    patches: &[patch(PROGRAM, "overruns_at", "work.acts_on_overrun", "false")],
};

pub(super) const CALLS_PILE_UP: Mutant = Mutant {
    name: "calls_pile_up",
    breaks: "any number of callers wait for the end of one leadership",
    found: Found::Paper("no program of the simulation calls in a loop"),
    patches: &[patch(CALLS, "refusal", "self.waiting.len() >= MOST_WAITING", "false")],
};

pub(super) const UNREACHABLE_IS_NAMED: Mutant = Mutant {
    name: "unreachable_is_named",
    breaks: "a node that can no longer be dialled is named as the successor",
    found: Found::Paper("costs only time: another node leads in the end"),
    patches: &[patch(CALLS, "refusal", "self.unreachable.contains(&id)", "false")],
};
