//! The rules, each broken in one way.
//!
//! A replacement is an expression. It may say anything that the function it stands in could say.

mod node;
mod obituary;
mod peace;
mod slow_disk;
mod succession;

use super::patched_copy::{Found, Mutant, Patch, patch};

const ELECTION: &str = "src/election.rs";
const VOTER: &str = "src/election/voter.rs";
const CANDIDATE: &str = "src/election/candidate.rs";
const LEADER: &str = "src/election/leader.rs";
const OBITUARY: &str = "src/election/obituary.rs";
const SUCCESSION: &str = "src/election/succession.rs";
const TERM: &str = "src/election/term.rs";
const TAKEOVER: &str = "src/election/takeover.rs";
const TIMING: &str = "src/election/timing.rs";
const SIMULATION: &str = "tests/election/simulation/campaign.rs";

/// Where a step decides what to save.
const SAVE: &str = "(!self.storage_failed && self.hard != self.saved).then_some(self.hard)";
/// Where an ack is turned into the end of a promise.
const ACK: &str = "sent + timing.lease(granted.min(timing.election_timeout()))";

/// Nobody refuses a pre-vote for a leader that it hears; and nobody asks, then, that leaders are left in peace. Such a
/// complaint comes last in a run, when its safety has been judged.
pub(super) const UNSTICKY_PATCHES: &[Patch] = &[
    patch(VOTER, "answer_pre_vote", "self.quiet_in(now, from)", "None"),
    patch(
        SIMULATION,
        "try_one",
        "world.checker.violation.is_none()",
        r#"world.checker.violation.as_ref().is_none_or(|text| {
            let liveness =
                ["SomeoneLeads", "NobodyDisturbs", "TermsDoNotRunAway", "BestLeads", "Settled", "FarTermsMeet"];
            liveness.iter().any(|name| text.starts_with(name))
        })"#,
    ),
];

pub(super) const MUTANTS: &[Mutant] = &[
    // ---- How long a leader may act. ----
    Mutant {
        name: "lease_from_receipt",
        breaks: "the lease is counted from when the ack came",
        found: Found::Safety(10_000),
        patches: &[patch(LEADER, "heartbeat_reply", ACK, "now + timing.lease(granted.min(timing.election_timeout()))")],
    },
    Mutant {
        name: "ack_of_last_send",
        breaks: "an ack is taken for that of the last heartbeat",
        found: Found::Safety(20_000),
        patches: &[patch(
            LEADER,
            "heartbeat_reply",
            ACK,
            "leader.sent.values().max().copied().unwrap_or(sent) + \
                 timing.lease(granted.min(timing.election_timeout()))",
        )],
    },
    Mutant {
        name: "ack_of_older_term",
        breaks: "an ack of an earlier leadership counts",
        found: Found::Paper("needs an ack that is late by a whole election"),
        patches: &[patch(LEADER, "heartbeat_reply", "term == self.hard.term", "true")],
    },
    Mutant {
        name: "no_drift_factor",
        breaks: "the lease is as long as the promise",
        found: Found::Safety(2_000),
        patches: &[patch(
            TIMING,
            "lease",
            "promised.as_nanos() * (Self::MILLION - drift) / (Self::MILLION + drift)",
            "promised.as_nanos()",
        )],
    },
    Mutant {
        name: "lease_of_one_fewer",
        breaks: "one promise less than a quorum makes a lease",
        found: Found::Safety(2_000),
        patches: &[patch(LEADER, "quorum_until", "majority - 1", "majority.saturating_sub(2)")],
    },
    Mutant {
        name: "lease_from_votes",
        breaks: "to be elected is to hold a lease",
        found: Found::Safety(2_000),
        patches: &[patch(
            LEADER,
            "win",
            "self.extend(now, out)",
            "if let State::Leader(leader) = &mut self.state { leader.until = Some(now + \
                 self.setup.timing.lease(self.setup.timing.election_timeout())); }",
        )],
    },
    Mutant {
        name: "lapsed_lease_revived",
        breaks: "a late ack revives a lease that has run out",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "step",
            "self.expire(now, &mut out)",
            "if matches!(input, Input::Tick) { self.expire(now, &mut out) }",
        )],
    },
    Mutant {
        name: "heartbeats_without_lease",
        breaks: "a leader without a quorum keeps heartbeating",
        found: Found::Safety(2_000),
        patches: &[
            patch(LEADER, "expire", "now < leader.ends_at()", "now < leader.ends_at() || !leader.is_stepping_down()"),
            patch(LEADER, "wake_at", "self.ends_at().min(self.next_heartbeat)", "self.next_heartbeat"),
        ],
    },
    Mutant {
        name: "leader_never_gives_up",
        breaks: "a leader that wins no lease leads on",
        found: Found::Safety(2_000),
        patches: &[patch(
            LEADER,
            "win",
            "lease_won_by.min(now + self.setup.timing.election_timeout())",
            "Instant::NEVER",
        )],
    },
    // ---- What a voter promises. ----
    Mutant {
        name: "promise_shrinks",
        breaks: "a later heartbeat that asks for less makes a promise shorter",
        found: Found::Paper("a leader asks for less only after a restart, and its old lease is over by then: rule 7"),
        patches: &[patch(VOTER, "promise", "until.max(old.until)", "until")],
    },
    Mutant {
        name: "old_heartbeat_is_news",
        breaks: "a heartbeat counts that was heard before, or that a later one has overtaken",
        found: Found::Paper("only makes a promise longer"),
        patches: &[patch(VOTER, "has_heard", "seq <= heard.seq", "false")],
    },
    Mutant {
        name: "promise_cleared_by_term",
        breaks: "a higher term ends a promise",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "enter",
            "self.hard.voted_for = None",
            "{ self.hard.voted_for = None; self.promise = None }",
        )],
    },
    Mutant {
        name: "promise_while_owed",
        breaks: "a promise is given while another is owed",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "promise", "now < self.owes_until(leader).0", "false")],
    },
    Mutant {
        name: "promise_longer_than_cap",
        breaks: "a promise is as long as the leader asks",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "promise", "asked.min(self.setup.timing.election_timeout())", "asked")],
    },
    Mutant {
        name: "promise_in_doubt",
        breaks: "a node in doubt promises at once",
        found: Found::Safety(10_000),
        patches: &[patch(VOTER, "promise", "self.hard.in_doubt", "false")],
    },
    Mutant {
        name: "own_promise_ignored",
        breaks: "a candidate breaks its own promise",
        found: Found::Safety(2_000),
        patches: &[patch(
            VOTER,
            "owes_until",
            "promise.holder != other",
            "promise.holder != other && other != self.setup.me",
        )],
    },
    Mutant {
        name: "own_work_ignored",
        breaks: "a node votes while its own work may run",
        found: Found::Safety(10_000),
        patches: &[patch(
            VOTER,
            "owes_until",
            "self.own_work().map_or(Instant::ZERO, |work| work.until)",
            "Instant::ZERO",
        )],
    },
    Mutant {
        name: "work_forgotten",
        breaks: "a node that leads no more forgets that its work may run",
        found: Found::Safety(10_000),
        patches: &[patch(ELECTION, "leave_leadership", "self.work = leader.work(self.hard.term)", "()")],
    },
    Mutant {
        name: "followed_without_vote",
        breaks: "to follow a leader does not spend the vote of its term",
        found: Found::Paper("who leads a term has the votes of a majority in it already: rule 1"),
        patches: &[patch(VOTER, "promise", "self.hard.voted_for.or(Some(leader))", "self.hard.voted_for")],
    },
    Mutant {
        name: "lower_term_followed",
        breaks: "the heartbeat of a lower term is accepted",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "accepts", "term < self.hard.term", "false")],
    },
    Mutant {
        name: "second_leader_followed",
        breaks: "a second leader of a term is followed",
        found: Found::Paper("there is no second leader: rule 1; nor a promise while another is owed"),
        patches: &[patch(VOTER, "accepts", "heard.leader != from", "false")],
    },
    Mutant {
        name: "second_leader_kept",
        breaks: "a term that was led twice is not given up",
        found: Found::Paper("takes a lost memory: such a leader lacks some promises, no more"),
        patches: &[patch(VOTER, "accepts", "now >= self.owes_until(from).0", "false")],
    },
    Mutant {
        name: "released_leader_followed",
        breaks: "a heartbeat that its release has overtaken is accepted",
        found: Found::Paper("delays the next election by a promise at most"),
        patches: &[patch(VOTER, "accepts", "!heard.released", "true")],
    },
    // ---- Votes. ----
    Mutant {
        name: "majority_minus_one",
        breaks: "one vote less than a majority elects",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "majority",
            "self.setup.voters.len() / 2 + 1",
            "(self.setup.voters.len() / 2).max(1)",
        )],
    },
    Mutant {
        name: "half_of_an_even_cluster",
        breaks: "half of the votes elects",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "majority",
            "self.setup.voters.len() / 2 + 1",
            "self.setup.voters.len().div_ceil(2)",
        )],
    },
    Mutant {
        name: "votes_not_deduplicated",
        breaks: "a vote that comes twice counts twice",
        found: Found::Safety(10_000),
        patches: &[patch(
            CANDIDATE,
            "vote_reply",
            "candidate.votes.insert(from)",
            "candidate.votes.insert(NodeId::from(u16::try_from(1000 + candidate.votes.len()).unwrap_or(0)))",
        )],
    },
    Mutant {
        name: "vote_of_another_candidacy",
        breaks: "an answer to an earlier candidacy counts",
        found: Found::Safety(60_000),
        patches: &[patch(
            CANDIDATE,
            "vote_reply",
            "candidate.asked.get(&candidacy).copied()",
            "candidate.asked.values().max().copied()",
        )],
    },
    Mutant {
        name: "votes_twice",
        breaks: "two candidates of a term get a vote",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "vote_refusal", "term == self.hard.term && *id != from", "false")],
    },
    Mutant {
        name: "vote_in_a_past_term",
        breaks: "a vote is given in a term that has passed",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "vote_refusal", "term < self.hard.term", "false")],
    },
    Mutant {
        name: "vote_in_a_forgotten_term",
        breaks: "a node without state votes in terms it may have voted in",
        found: Found::Paper("exclusion rests on the quarantine: rule 11; this keeps tokens growing"),
        patches: &[patch(VOTER, "vote_refusal", "term <= self.may_have_voted_up_to", "false")],
    },
    Mutant {
        name: "vote_against_the_leader",
        breaks: "a node that forgot its vote gives it to another than who leads the term",
        found: Found::Paper("who leads a term has the votes of a majority in it already: rule 1"),
        patches: &[patch(VOTER, "vote_refusal", "heard.leader != from", "false")],
    },
    Mutant {
        name: "term_jump_unbounded",
        breaks: "any term is believed",
        found: Found::Paper("the liar of a run uses up few terms"),
        patches: &[patch(TERM, "toward", "other.min(Term(self.0.saturating_add(Self::LARGEST_JUMP)))", "other")],
    },
    Mutant {
        name: "far_terms_apart",
        breaks: "a node does not move toward a term that is too far ahead",
        found: Found::Liveness(4_000),
        patches: &[patch(VOTER, "is_too_far", "self.highest_heard = reached", "self.failures += 0")],
    },
    Mutant {
        name: "far_term_taken",
        breaks: "a node takes a message of a term that is too far ahead, once it has taken note of it",
        found: Found::Paper("one bad frame more or less: it only uses up terms"),
        patches: &[patch(VOTER, "is_too_far", "reached == term", "reached == term || reached > self.hard.term")],
    },
    Mutant {
        name: "past_of_a_far_term_ignored",
        breaks: "a new node that hears of a far term is not in doubt",
        found: Found::Paper("needs a lost disk and a liar in one run"),
        patches: &[patch(VOTER, "is_too_far", "self.is_new", "false")],
    },
    Mutant {
        name: "campaigns_after_the_last_term",
        breaks: "a node that has voted in the last term campaigns in it",
        found: Found::Paper("no run comes to the last term"),
        patches: &[patch(ELECTION, "may_lead", "self.last_term() < Term::LAST", "true")],
    },
    Mutant {
        name: "second_lease_not_told",
        breaks: "a leader that is replaced while its lease lasts says nothing of it",
        found: Found::Paper("an alarm protects nothing"),
        patches: &[patch(VOTER, "note_second_lease", "now < work.until && work.token < term", "false")],
    },
    Mutant {
        name: "second_lease_told_in_error",
        breaks: "the alarm of a second lease comes also when the first one is over",
        found: Found::Liveness(2_000),
        patches: &[patch(VOTER, "note_second_lease", "now < work.until && work.token < term", "work.token < term")],
    },
    Mutant {
        name: "refused_vote_raises_term",
        breaks: "a vote that is refused raises the voter's term",
        found: Found::Paper("only who won a pre-vote asks for votes: rule 2"),
        patches: &[patch(
            VOTER,
            "answer_vote",
            "(Err(refusal), wait)",
            "{ if term > self.hard.term { self.adopt(now, term, Cause::HigherTerm { from }, out) } \
                 (Err(refusal), wait) }",
        )],
    },
    // ---- What is durable, and what a node does that has forgotten. ----
    Mutant {
        name: "vote_not_durable",
        breaks: "the vote is not saved",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "step",
            SAVE,
            "(!self.storage_failed && self.hard != self.saved).then_some(HardState { voted_for: None, ..self.hard })",
        )],
    },
    Mutant {
        name: "term_not_durable",
        breaks: "a new term is not saved until there is a vote in it",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "step",
            SAVE,
            "(!self.storage_failed && self.hard.voted_for.is_some() && self.hard != self.saved).then_some(self.hard)",
        )],
    },
    Mutant {
        name: "vote_said_before_saved",
        breaks: "what a step says does not wait for the disk: nothing is saved after the first term",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "step",
            SAVE,
            "(!self.storage_failed && self.hard != self.saved && self.saved.term == Term(0)).then_some(self.hard)",
        )],
    },
    Mutant {
        name: "cap_not_kept",
        breaks: "the longest promise is not saved",
        found: Found::Safety(2_000),
        patches: &[patch(
            ELECTION,
            "step",
            SAVE,
            "(!self.storage_failed && self.hard != self.saved).then_some(HardState { cap: Duration::ZERO, \
                 ..self.hard })",
        )],
    },
    Mutant {
        name: "cap_lowered_early",
        breaks: "the longest promise is forgotten before it has run out",
        found: Found::Paper("needs two restarts within one promise, the first with a shorter timeout"),
        patches: &[patch(ELECTION, "note_cap", "self.hard.cap.max(own)", "own")],
    },
    Mutant {
        name: "doubt_not_durable",
        breaks: "doubt is not saved",
        found: Found::Paper("needs a damaged disk, and another restart before the quarantine is over"),
        patches: &[patch(
            ELECTION,
            "step",
            SAVE,
            "(!self.storage_failed && self.hard != self.saved).then_some(HardState { in_doubt: false, ..self.hard })",
        )],
    },
    Mutant {
        name: "failed_write_not_mute",
        breaks: "after a failed write a node votes on",
        found: Found::Safety(2_000),
        patches: &[
            patch(ELECTION, "stop_voting", "self.storage_failed = true", "()"),
            patch(ELECTION, "stop_voting", "self.voting_from = Instant::NEVER", "()"),
        ],
    },
    Mutant {
        name: "quarantine_left_out",
        breaks: "a restarted node votes at once",
        found: Found::Safety(2_000),
        patches: &[patch(ELECTION, "new", "(state, state.cap.saturating_sub(down_for))", "(state, Duration::ZERO)")],
    },
    Mutant {
        name: "quarantine_of_doubt_too_short",
        breaks: "a node in doubt waits only for its promises",
        found: Found::Paper("needs a damaged disk, and a second candidate of the very term that was lost"),
        patches: &[patch(ELECTION, "new", "(state, state.cap.max(timeout) * 2)", "(state, state.cap.max(timeout))")],
    },
    Mutant {
        name: "stateless_without_quarantine",
        breaks: "a node without state votes and promises at once",
        found: Found::Safety(2_000),
        patches: &[patch(ELECTION, "new", "(nothing, timeout * 2)", "(nothing, Duration::ZERO)")],
    },
    Mutant {
        name: "fresh_without_doubt",
        breaks: "a node without a past votes at once in any term",
        found: Found::Safety(40_000),
        patches: &[patch(VOTER, "free_at", "self.is_new && term > Term(1)", "false")],
    },
    Mutant {
        name: "fresh_doubt_not_noted",
        breaks: "a node without a past that meets a later term does not doubt",
        found: Found::Safety(10_000),
        patches: &[patch(ELECTION, "note_past", "self.hard.in_doubt = true", "()")],
    },
    Mutant {
        name: "grant_for_ever",
        breaks: "a grant counts however old its candidacy is",
        found: Found::Paper(
            "no answer older than the own timeout is taken; matters if a voter without state has a shorter one",
        ),
        patches: &[patch(CANDIDATE, "vote_reply", "now < asked + timing.lease(wait)", "true")],
    },
    Mutant {
        name: "lease_won_at_any_time",
        breaks: "a lease may be won when a grant may be forgotten",
        found: Found::Paper("an elected leader without a lease gives up within its own timeout; the same"),
        patches: &[patch(
            CANDIDATE,
            "vote_reply",
            "candidate.lease_won_by.min(forgotten_at)",
            "candidate.lease_won_by",
        )],
    },
    Mutant {
        name: "term_told_while_leader_heard",
        breaks: "a node without state tells a term that ends the leadership of the leader it hears",
        found: Found::Paper("disturbs nobody but by a candidate that has already won its pre-vote: rule 2"),
        patches: &[patch(VOTER, "answer_pre_vote", "self.hard.term", "self.last_term()")],
    },
    // ---- Handing over. ----
    Mutant {
        name: "release_before_work_stopped",
        breaks: "the release does not wait for the work",
        found: Found::Safety(2_000),
        patches: &[patch(LEADER, "begin_step_down", "leader.until.is_none()", "true")],
    },
    Mutant {
        name: "acts_while_stepping_down",
        breaks: "a leader that was told to stop keeps its lease",
        found: Found::Paper("the release waits for the work all the same: rule 6"),
        patches: &[patch(LEADER, "lease", "self.stepping_down.is_none()", "true")],
    },
    Mutant {
        name: "stale_release_honoured",
        breaks: "the release of an earlier leadership ends a promise",
        found: Found::Safety(40_000),
        patches: &[patch(
            VOTER,
            "answer_release",
            "held.is_some_and(|promise| (promise.term, promise.seq) > (term, seq))",
            "false",
        )],
    },
    Mutant {
        name: "release_of_another",
        breaks: "any leader's release ends a promise",
        found: Found::Safety(2_000),
        patches: &[patch(VOTER, "answer_release", "promise.holder == from", "true")],
    },
    // ---- Leaders are left in peace, and there is one. ----
    Mutant {
        name: "pre_vote_postpones",
        breaks: "a pre-vote makes the voter wait longer",
        found: Found::Safety(2_000),
        patches: &[patch(
            VOTER,
            "answer",
            "self.answer_pre_vote(now, from, term, candidacy)",
            "if let State::Follower(follower) = &mut self.state { follower.suspect_at = \
                 follower.suspect_at.max(now + self.setup.timing.suspicion()) } \
                 self.answer_pre_vote(now, from, term, candidacy)",
        )],
    },
    Mutant {
        name: "stickiness_left_out",
        breaks: "a pre-vote is granted while a leader is heard",
        found: Found::Liveness(20_000),
        patches: &[patch(VOTER, "answer_pre_vote", "self.quiet_in(now, from)", "None")],
    },
    Mutant {
        name: "hint_for_ever",
        breaks: "a hint is believed for ever",
        found: Found::Liveness(10_000),
        patches: &[patch(CANDIDATE, "believe", "now + fresh_for", "Instant::NEVER")],
    },
    peace::PRE_VOTE_LEFT_OUT,
    peace::NEVER_SLEEPS,
    peace::LEASE_NEVER_RENEWED,
    Mutant {
        name: "told_term_ignored",
        breaks: "a candidate does not catch up with the terms it is told",
        found: Found::Liveness(10_000),
        patches: &[patch(ELECTION, "next_term", "self.highest_term()", "self.last_term()")],
    },
    Mutant {
        name: "no_chance",
        breaks: "after a failed candidacy nobody waits at random",
        found: Found::Liveness(10_000),
        patches: &[patch(SUCCESSION, "turn", "self.failures > 0", "false")],
    },
    Mutant {
        name: "stall_ignored",
        breaks: "who wakes late does not look for a heartbeat first",
        found: Found::Paper("costs a question"),
        patches: &[
            patch(ELECTION, "tick", "now > follower.suspect_at + self.setup.timing.heartbeat_interval()", "false"),
            patch(CANDIDATE, "campaign_when_due", "now > due + self.setup.timing.heartbeat_interval()", "false"),
        ],
    },
    Mutant {
        name: "refused_is_final",
        breaks: "who is refused for a promise is not asked again",
        found: Found::Paper("costs time until the next leader"),
        patches: &[patch(
            CANDIDATE,
            "vote_reply",
            "candidate.ask_at.insert(from, ask_at)",
            "candidate.ask_at.insert(from, Instant::NEVER)",
        )],
    },
    slow_disk::VOTE_COUNTED_FROM_THE_FIRST_REQUEST,
    slow_disk::CANDIDACY_WITHOUT_TIME_FOR_A_WRITE,
    slow_disk::FAILED_CANDIDACIES_STAY_SHORT,
    slow_disk::IMPATIENT_VOTER,
    slow_disk::ASKS_WHEN_IT_WRITES,
    slow_disk::OWN_VOTE_NOT_EARLY,
    slow_disk::OWN_VOTE_EARLY_EVERYWHERE,
    slow_disk::OWN_VOTE_IN_QUARANTINE,
    slow_disk::ASKS_A_WAY_LATE,
    slow_disk::ASKS_AGAIN_TOO_SOON,
    // ---- Whose work goes on, who holds off, and who leads in the end. ----
    succession::CANDIDATE_WITH_WORK,
    succession::RESTARTED_IN_FRONT,
    succession::HOLD_OFF_BARS,
    succession::NAMED_NODE_NOT_WAITED_FOR,
    succession::MISSED_TAKEOVER_FORGOTTEN,
    succession::FIRST_LINE_BLIND,
    succession::SUCCESSOR_SUSPECTED_LATE,
    succession::LAST_RESORT_NOT_NAMED,
    succession::LAST_RESORT_WAITS_TWICE,
    succession::NEVER_YIELDS,
    succession::YIELDS_AT_ONCE,
    succession::FLAPPING_FORGIVEN,
    // ---- What is owed to the dead. ----
    obituary::OBITUARY_ENDS_LATER_PROMISE,
    obituary::OBITUARY_ENDS_ANY_PROMISE,
    obituary::OBITUARY_ENDS_QUARANTINE,
    obituary::OBITUARY_OF_LATER_LEADER,
    obituary::HEIR_OF_ANOTHER_LEADER,
    obituary::HEIR_OWES_NOTHING,
    obituary::HEIR_BESIDE_ITS_WORK,
    obituary::HEIR_OUT_OF_TURN,
    obituary::LATE_HEIR,
    obituary::HEARTBEAT_OF_THE_DEAD_COUNTS,
    obituary::HEIR_IN_SPITE_OF_A_HINT,
    obituary::PROMISE_OUTLIVES_ITS_HOLDER,
    obituary::FREE_ARE_NOT_ASKED,
    obituary::OBITUARY_OF_ITSELF,
    obituary::OBITUARY_WITHOUT_THE_LOCK,
    obituary::LOCK_BEFORE_THE_WORK,
    obituary::COPY_IS_BELIEVED,
    // ---- What a node decides beyond its part in the election. ----
    node::STOPS_BEFORE_WORK_ENDED,
    node::STOP_RELEASES_AT_ONCE,
    node::STOP_WITHOUT_LIMIT,
    node::HOLD_OFF_FORGOTTEN,
    node::HOLD_OFF_OF_PROGRAM_IGNORED,
    node::ELIGIBILITY_LOST,
    node::ABSENT_PROGRAM_IS_ELIGIBLE,
    node::OVERRUN_NOT_TOLD,
    node::KEPT_LEASE_IGNORED,
    node::KEPT_LEASE_LOOKED_FOR_LATE,
    node::SILENCE_IGNORED,
    node::ILLNESS_IGNORED,
    node::CALLER_FORGOTTEN,
    node::DONE_TOO_EARLY,
    node::FOLLOWER_HANDS_OVER,
    node::ANSWERS_LOST_WITH_THE_DISK,
    node::WORK_OF_ANOTHER_TERM_ENDS,
    node::LEASE_FREE_TOO_EARLY,
    node::UNANSWERED_IGNORED,
    node::NO_TURN_AFTER_A_LATE_WAKE,
    node::TURN_WITHOUT_END,
    node::ACT_ON_OVERRUN_WAITS,
    node::CALLS_PILE_UP,
    node::UNREACHABLE_IS_NAMED,
];
