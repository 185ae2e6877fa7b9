//! What a node decides beyond its part in the election, a sentence at a time: see [`leadelect::engine`].

use leadelect::TransferError;
use leadelect::engine::{Answer, Call, Effects as NodeEffects, Engine, Health, Level, Mail, Note, Program, Work};

use super::*;

/// How long the last words may take.
const WORDS: Duration = Duration::from_millis(250);
/// The end of the lease that [`leading`] has won.
const LEASE_END: Instant = Instant::from_nanos(1_000_498_000_999);

/// Node 1 of three as a whole, and its disk.
struct Whole {
    engine: Engine<u8>,
    disk: Disk,
    candidacy: u64,
}

impl Whole {
    fn started() -> Whole {
        let election = Election::new(cluster(3), restored(0, None, Duration::ZERO), START, SEED);
        let mut node = Whole { engine: Engine::new(election, WORDS), disk: Disk::default(), candidacy: 0 };
        node.step(START, Mail::Start);
        node
    }

    fn step(&mut self, now: Instant, mail: Mail<u8>) -> NodeEffects<u8> {
        let effects = self.engine.step(now, mail).store(&mut self.disk);
        let effects = effects.unwrap_or_else(|_| unreachable!("a disk that works"));
        for (_, request) in &effects.messages {
            if let Request::PreVote { candidacy, .. } | Request::Vote { candidacy, .. } = request {
                self.candidacy = *candidacy;
            }
        }
        effects
    }

    fn reply(&mut self, now: Instant, reply: Reply) -> NodeEffects<u8> {
        self.step(now, Mail::Reply { from: id(2), reply })
    }

    fn call(&mut self, now: Instant, caller: u8, successor: Option<u16>, hold_off: Duration) -> NodeEffects<u8> {
        let call = Call::HandOver { successor: successor.map(id), hold_off };
        self.step(now, Mail::Call { call, caller })
    }

    fn program(&mut self, now: Instant, program: Program) -> NodeEffects<u8> {
        self.step(now, Mail::Program(program))
    }

    fn lease_free(&mut self, now: Instant, term: u64) -> NodeEffects<u8> {
        self.step(now, Mail::LeaseFree { term: Term(term) })
    }

    fn leads(&self) -> bool {
        self.engine.election().leader() == Some(id(1))
    }
}

/// Node 1 of three, which holds a lease in term 1 until [`LEASE_END`]. Node 2 has promised, node 3 has said nothing.
fn leading() -> Whole {
    let mut node = Whole::started();
    let candidacy = node.candidacy;
    let term = Term(0);
    node.reply(START, Reply::PreVote { term, candidacy, verdict: Ok(()), wait: Duration::ZERO, leader: None });
    node.step(START, Mail::Wake);
    let vote = vote_reply(Term(1), node.candidacy, Ok(()), D);
    node.reply(START, vote);
    let effects = node.reply(START, ack(1, 1, D));
    assert_eq!(effects.lease, Some(Deadline { token: Term(1), until: LEASE_END }));
    node
}

fn work(until: Instant) -> Program {
    let term = Term(1);
    let work = Work { term, until, silent_at: Instant::NEVER, told_to_stop: false, acts_on_overrun: true, hold_off: D };
    Program { work: Some(work), ..Program::default() }
}

fn count_releases(effects: &NodeEffects<u8>) -> usize {
    effects.messages.iter().filter(|(_, request)| matches!(request, Request::Release { .. })).count()
}

#[test]
fn a_call_to_a_node_that_does_not_lead_is_refused_and_changes_nothing() {
    let mut node = Whole::started();
    let effects = node.call(START, 7, None, D);
    assert_eq!(effects.answers, [(7, Answer::Refused(TransferError::NotLeader))]);
    assert!(effects.messages.is_empty() && node.engine.is_settled());
}

#[test]
fn a_call_is_answered_when_it_begins_and_when_the_node_leads_no_more() {
    let mut node = leading();
    let effects = node.call(START, 7, None, Duration::ZERO);
    assert_eq!((effects.lease, effects.answers), (None, vec![(7, Answer::Begun)]));
    assert!(node.leads(), "its work may still run");
    let effects = node.lease_free(START, 1);
    assert_eq!((count_releases(&effects), effects.answers), (2, vec![(7, Answer::Done)]));
}

#[test]
fn a_named_successor_has_to_be_eligible_and_to_have_promised_lately() {
    let refusal = |node: &mut Whole, successor| match &node.call(START, 7, Some(successor), D).answers[..] {
        [(7, Answer::Refused(refusal))] => Some(refusal.clone()),
        _ => None,
    };
    let mut node = leading();
    assert_eq!(refusal(&mut node, 3), Some(TransferError::Silent(id(3))));
    let answers = Reply::Heartbeat { term: Term(1), seq: 1, granted: Duration::ZERO, eligible: true };
    node.step(START, Mail::Reply { from: id(3), reply: answers });
    assert_eq!(refusal(&mut node, 3), Some(TransferError::NotEligible(id(3))), "it promises nothing");
    assert_eq!(refusal(&mut node, 2), None);
    assert_eq!(refusal(&mut node, 2), Some(TransferError::UnderWay));
}

/// The reason is that of now: it can be reached no more, or its promise has run out although it was heard.
#[test]
fn a_named_successor_that_has_just_gone_is_silent_until_it_is_heard_again() {
    let refusal = |node: &mut Whole, now, successor| match &node.call(now, 7, Some(successor), D).answers[..] {
        [(7, Answer::Refused(refusal))] => Some(refusal.clone()),
        _ => None,
    };
    let mut node = leading();
    let promise_ends = START + D.saturating_sub(Duration::from_millis(1));
    assert_eq!(refusal(&mut node, promise_ends, 2), Some(TransferError::Silent(id(2))));

    let mut node = leading();
    node.step(START, Mail::Unanswered { by: id(2) });
    assert_eq!(refusal(&mut node, START, 2), Some(TransferError::Silent(id(2))), "although it has promised");
    node.reply(START, ack(1, 1, D));
    assert_eq!(refusal(&mut node, START, 2), None);
}

/// Work that has to stop calls again and again, and waits for no answer.
#[test]
fn calls_that_ask_for_what_is_under_way_do_not_pile_up() {
    let mut node = leading();
    let refused = (0..10_000).filter(|_| {
        let answers = node.call(START, 7, None, Duration::ZERO).answers;
        answers == [(7, Answer::Refused(TransferError::UnderWay))]
    });
    assert_eq!(refused.count(), 10_000 - 1024);
    assert_eq!(node.lease_free(START, 1).answers.len(), 1024);
}

#[test]
fn a_resignation_while_the_node_steps_down_already_still_holds_it_off() {
    let mut node = leading();
    node.call(START, 1, None, Duration::ZERO);
    assert!(node.engine.election().is_eligible());
    node.call(START, 2, None, D * 4);
    assert!(!node.engine.election().is_eligible());
    node.call(START, 3, None, NS);
    let end = START + D * 4;
    node.program(end.before(NS), Program::default());
    assert!(!node.engine.election().is_eligible(), "a shorter one does not shorten it");
    node.program(end, Program::default());
    assert!(node.engine.election().is_eligible());
}

#[test]
fn the_end_of_the_work_of_another_term_ends_nothing() {
    let mut node = leading();
    let call = Call::WorkEnds { term: Term(9), reason: EndReason::Resigned, hold_off: D };
    let effects = node.step(START, Mail::Call { call, caller: 7 });
    assert_eq!(effects.answers, [(7, Answer::Done)]);
    assert!(effects.lease.is_some() && node.leads());
}

#[test]
fn a_lease_counts_as_free_only_once_the_node_has_taken_it_away() {
    let mut node = leading();
    node.lease_free(START, 1);
    assert!(node.leads(), "the program may take another guard");
    node.call(START, 7, None, Duration::ZERO);
    assert!(node.leads());
    node.lease_free(START, 1);
    assert!(!node.leads());
}

#[test]
fn what_a_caller_is_told_is_not_lost_with_a_write_that_fails() {
    let mut node = leading();
    node.call(START, 7, None, Duration::ZERO);
    // A leader of a higher term ends the leadership, and that term cannot be stored.
    let request = heartbeat(5, 1, D);
    let failed = node.engine.step(START, Mail::Request { from: id(2), request }).store(&mut BrokenDisk);
    let (error, undone) = failed.expect_err("it cannot be written");
    let problem = error.to_owned();
    let effects = node.step(START, Mail::StorageFailed { problem: problem.clone(), undone });
    assert_eq!(effects.answers, [(7, Answer::Done)]);
    assert!(effects.reply.is_none() && effects.notes == [Note::StorageFailed { problem }]);
}

#[test]
fn silent_work_loses_its_lease_at_the_moment_it_counts_as_silent() {
    let silent_at = START + ms(50);
    let mut program = work(LEASE_END);
    program.work.as_mut().expect("work").silent_at = silent_at;
    let mut node = leading();
    node.program(START, program);
    assert!(!node.engine.looks_at_program(silent_at.before(NS)) && node.engine.looks_at_program(silent_at));
    let effects = node.program(silent_at, program);
    assert_eq!(effects.lease, None);
    let cause = Cause::SteppingDown { reason: EndReason::WorkSilent, successor: Some(id(2)) };
    assert_eq!(effects.told.last().map(|told| (&told.event.cause, told.level)), Some((&cause, Some(Level::Warn))));
}

#[test]
fn a_leader_whose_program_falls_ill_hands_over_and_one_that_was_ill_before_leads_on() {
    let ill = |good_until| {
        let health = Some(Health { good_until, hold_off: D });
        Program { health, ..Program::default() }
    };
    let mut node = leading();
    node.program(START, ill(START + NS));
    assert!(node.engine.election().is_eligible());
    assert_eq!(node.program(START + NS, ill(START + NS)).lease, None);
    let mut last_resort = Whole::started();
    last_resort.program(START, ill(Instant::ZERO));
    assert!(!last_resort.engine.election().is_eligible());
    last_resort.program(START, ill(START + D));
    assert!(last_resort.engine.election().is_eligible());
}

#[test]
fn work_that_runs_on_at_its_hard_deadline_is_told_once_and_before_anything_is_released() {
    let mut node = leading();
    node.program(START, work(LEASE_END));
    let early = node.program(LEASE_END.before(NS), work(LEASE_END));
    assert!(early.overran.is_none());
    assert!(node.engine.looks_at_program(LEASE_END));
    let effects = node.program(LEASE_END, work(LEASE_END));
    let told = effects.overran.expect("it runs on");
    assert_eq!((told.event.cause, told.level), (Cause::WorkOverran { term: Term(1) }, Some(Level::Error)));
    assert!(node.program(LEASE_END, work(LEASE_END)).overran.is_none());
}

/// A process that was stopped for longer than its lease: its threads wake up in any order.
#[test]
fn after_a_late_wake_the_program_has_a_turn_before_its_work_counts_as_overrunning() {
    let does_nothing = |until| {
        let mut program = work(until);
        program.work = program.work.map(|work| Work { acts_on_overrun: false, ..work });
        program
    };
    let woken = LEASE_END + D * 3;
    let turn_ends = woken + Timing::default().heartbeat_interval();
    let late = || {
        let mut node = leading();
        node.program(START, does_nothing(LEASE_END));
        // It was a little late before, too.
        node.step(LEASE_END.before(D / 2), Mail::Late);
        assert!(!node.engine.is_late(node.engine.wake_at()) && node.engine.is_late(woken));
        node.step(woken, Mail::Late);
        assert!(!node.engine.is_late(woken), "it was told");
        let program = does_nothing(LEASE_END);
        let effects = node.program(woken, Program { kept: Some(Term(1)), ..program });
        assert!(effects.overran.is_none() && effects.notes.is_empty());
        assert_eq!(node.step(woken, Mail::Wake).lease, None, "it lasts no longer than ever");
        node
    };

    // It stops in its turn.
    let mut node = late();
    node.program(turn_ends.before(NS), Program::default());
    assert!(node.program(turn_ends, Program::default()).overran.is_none());

    // It does not.
    let mut node = late();
    assert!(node.program(turn_ends.before(NS), does_nothing(LEASE_END)).overran.is_none());
    assert!(node.engine.looks_at_program(turn_ends) && node.engine.wake_at() <= turn_ends);
    // One that is late all the time says it all the same.
    let turn_ends = turn_ends + D;
    assert!(node.engine.is_late(turn_ends));
    node.step(turn_ends, Mail::Late);
    let kept = Program { kept: Some(Term(1)), ..does_nothing(LEASE_END) };
    let effects = node.program(turn_ends, kept);
    assert!(effects.overran.is_some());
    assert!(matches!(effects.notes[..], [Note::LeaseKept { term: Term(1), .. }]), "{:?}", effects.notes);
}

/// Such as one that aborts: nothing makes that later.
#[test]
fn an_overrun_on_which_the_program_acts_is_told_at_once_also_after_a_late_wake() {
    let mut node = leading();
    node.program(START, work(LEASE_END));
    node.step(LEASE_END, Mail::Late);
    assert!(node.engine.looks_at_program(LEASE_END));
    assert!(node.program(LEASE_END, work(LEASE_END)).overran.is_some());
}

/// Its check may have answered in time, if it had run.
#[test]
fn after_a_late_wake_the_program_has_a_turn_before_it_counts_as_ill_unless_it_said_so() {
    let ill = |good_until| {
        let health = Some(Health { good_until, hold_off: D });
        Program { health, ..Program::default() }
    };
    let now = START + D / 5;
    let turn_ends = now + Timing::default().heartbeat_interval();
    let mut node = leading();
    node.program(START, ill(START + D / 10));
    node.step(now, Mail::Late);
    node.program(now, ill(START + D / 10));
    assert!(node.engine.election().is_eligible());
    node.program(turn_ends.before(NS), ill(START + D / 10));
    assert!(node.engine.election().is_eligible() && node.engine.looks_at_program(turn_ends));
    node.program(turn_ends, ill(START + D / 10));
    assert!(!node.engine.election().is_eligible());

    let mut node = leading();
    node.step(START, Mail::Late);
    node.program(START, ill(Instant::ZERO));
    assert!(!node.engine.election().is_eligible());
}

/// The lease of a node that is alone has no end, until it is taken away.
#[test]
fn work_that_runs_on_is_noticed_although_it_was_last_seen_with_all_the_time_there_is() {
    let mut node = leading();
    node.program(START, work(Instant::NEVER));
    node.call(START, 7, None, Duration::ZERO);
    assert!(!node.engine.looks_at_program(LEASE_END.before(NS)) && node.engine.looks_at_program(LEASE_END));
    assert!(node.engine.wake_at() <= LEASE_END);
}

#[test]
fn a_lease_that_is_kept_for_an_election_timeout_after_its_end_is_told_once() {
    let kept = Program { kept: Some(Term(1)), ..Program::default() };
    let mut node = leading();
    node.step(LEASE_END, Mail::Wake);
    let at = LEASE_END + D;
    assert!(!node.engine.looks_at_program(at.before(NS)) && node.engine.looks_at_program(at));
    let effects = node.program(at, kept);
    assert_eq!(effects.notes, [Note::LeaseKept { term: Term(1), ago: D }]);
    assert!(node.program(at, kept).notes.is_empty() && !node.engine.looks_at_program(at));
}

/// Not by news from before the lease was taken away: found by the simulation.
#[test]
fn a_kept_lease_is_looked_for_only_in_news_from_after_its_end() {
    let late = LEASE_END + D;
    let mut node = leading();
    // The node wakes late: what it learns first is from before it took the lease away, and ends the lease only now.
    let hold_off = Program { ineligible: true, ..work(LEASE_END) };
    node.program(late, hold_off);
    let kept = Program { kept: Some(Term(1)), ..hold_off };
    assert_eq!(node.program(late, kept).notes, [Note::LeaseKept { term: Term(1), ago: D }]);
}

#[test]
fn a_node_that_stops_waits_for_its_work_and_for_its_last_words_and_not_for_ever() {
    let mut node = leading();
    let effects = node.step(START, Mail::Stop);
    assert!(effects.lease.is_none() && !effects.stopped);
    let effects = node.lease_free(START + ms(100), 1);
    assert!(count_releases(&effects) == 2 && !effects.stopped, "nobody has confirmed it");
    node.reply(START + ms(101), Reply::Release { term: Term(1) });
    assert!(node.step(START + ms(102), Mail::Unanswered { by: id(3) }).stopped);

    let mut node = leading();
    node.step(START, Mail::Stop);
    let end = LEASE_END + WORDS;
    assert!(!node.step(LEASE_END, Mail::Wake).stopped, "it says now that it leads no more");
    assert_eq!(node.engine.wake_at(), end);
    assert!(!node.step(end.before(NS), Mail::Wake).stopped);
    assert!(node.step(end, Mail::Wake).stopped, "whatever is still pending");
}

#[test]
fn a_node_that_was_deposed_stops_when_its_work_has_ended_or_must_have() {
    for ends in [true, false] {
        let mut node = leading();
        node.step(START, Mail::Request { from: id(2), request: heartbeat(5, 1, D) });
        assert!(!node.leads());
        assert!(!node.step(START, Mail::Stop).stopped);
        if ends {
            assert!(node.lease_free(START, 1).stopped);
        } else {
            assert!(!node.step(LEASE_END.before(NS), Mail::Wake).stopped);
            assert!(node.step(LEASE_END, Mail::Wake).stopped);
        }
    }
}

#[test]
fn what_is_due_is_late_once_whatever_wakes_the_node() {
    let late = |mail| {
        let mut node = leading();
        let due = node.engine.wake_at();
        assert_eq!(node.step(due.before(NS), Mail::Wake).late, None);
        let first = node.step(due + ms(3), mail).late;
        (first, node.step(due + ms(4), Mail::Wake).late)
    };
    assert_eq!(late(Mail::Wake), (Some(ms(3)), None));
    assert_eq!(late(Mail::Program(Program::default())), (Some(ms(3)), None));
}

#[test]
fn a_second_leader_is_logged_once_in_a_term_and_told_each_time() {
    let mut node = Whole::started();
    let mut level = |term, from, seq| {
        let request = heartbeat(term, seq, D);
        let effects = node.step(START, Mail::Request { from: id(from), request });
        let told = effects.told.into_iter().filter(|told| matches!(told.event.cause, Cause::ProtocolViolation { .. }));
        told.map(|told| told.level).collect::<Vec<_>>()
    };
    assert_eq!(level(4, 2, 1), []);
    assert_eq!(level(4, 3, 1), [Some(Level::Error)]);
    assert_eq!(level(4, 3, 2), [None]);
}

#[test]
fn a_peer_whose_election_timeout_does_not_fit_is_named_once() {
    let mut node = leading();
    let mut notes = |granted| {
        let reply = Reply::Heartbeat { term: Term(1), seq: 1, granted, eligible: true };
        node.reply(START, reply).notes
    };
    assert_eq!(notes(Duration::ZERO), [], "nothing was promised");
    let named = notes(ms(300));
    assert!(matches!(&named[..], [note @ Note::TimingDiffers { .. }] if note.level() == Level::Warn), "{named:?}");
    assert_eq!(notes(ms(300)), []);
}

#[test]
#[should_panic(expected = "time went back")]
fn time_never_goes_back() {
    let mut node = leading();
    node.step(START.before(NS), Mail::Wake);
}
