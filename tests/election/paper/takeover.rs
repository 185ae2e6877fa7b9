//! Who leads in the end: rule 14.

use super::*;

/// How long a preferred node is waited for.
const SETTLING: Duration = Duration::from_secs(10);

/// Node 1 of five, elected at [`START`]. Nodes 2 and 3 have its own priority, 4 a higher one, and 5 the highest.
fn leader() -> Node {
    led(setup())
}

fn setup() -> Setup {
    let mut setup = cluster(5);
    for (node, priority) in [(4, 1), (5, 2)] {
        let witness = false;
        let voter = Voter { priority, witness };
        setup.voters.insert(id(node), voter);
    }
    setup
}

fn led(setup: Setup) -> Node {
    named(Node::start(setup, restored(0, None, Duration::ZERO)), START)
}

/// Nodes 2 and 3 and those named answer every heartbeat from `from` until `until`, or until the node yields. Returns
/// when it yields, and to which node.
fn backed(node: &mut Node, backers: &[u16], from: Instant, until: Instant) -> Option<(Instant, NodeId)> {
    let mut now = from;
    let mut seq = None;
    loop {
        for backer in [&[2, 3], backers].concat() {
            if let Some(seq) = seq {
                node.gets_ack(now, backer, seq);
            }
        }
        now = node.election.wake_at().max(now);
        if now >= until {
            return None;
        }
        let effects = node.tick(now);
        if let Some(Cause::SteppingDown { reason: EndReason::Preferred, successor: Some(to) }) =
            causes(&effects).first()
        {
            return Some((now, *to));
        }
        assert_eq!(node.election.role(), Role::Leader);
        seq = heartbeat_sent(&effects);
    }
}

/// The same node, elected at `now` as the successor that a leader of its own priority has named.
fn named(mut node: Node, now: Instant) -> Node {
    let term = node.election.term().0 + 1;
    node.heartbeat(now, 2, term, 1);
    node.request(now, 2, release(term, 1, Some(1)));
    for voter in [2, 3] {
        node.gets_vote(now, voter);
    }
    assert_eq!(node.election.role(), Role::Leader);
    node
}

fn first_ack(node: &mut Node) {
    for backer in [2, 3] {
        node.gets_ack(START, backer, 1);
    }
}

/// leadelect rule 14: a leader yields to the best node, once that has been there for 20 D. It hands over in order, so
/// that the work ends first.
#[test]
fn a_leader_yields_to_the_best_backer_of_higher_priority() {
    let mut node = leader();
    first_ack(&mut node);
    // It is first seen when the first heartbeat after its first ack is sent, and yielded to at a heartbeat.
    let (at, to) = backed(&mut node, &[4, 5], START, START + D * 100).expect("it yields");
    assert_eq!(to, id(5));
    assert!(at >= START + ETA + SETTLING && at <= START + ETA * 4 + SETTLING, "{at:?}");
    assert_eq!(node.election.lease(), None);
    assert_eq!(releases(&node.work_ended(at, 2))[0].3, Some(id(5)));
}

/// leadelect rule 14: a leader does not yield to nodes of its own or of a lower priority.
#[test]
fn a_leader_does_not_yield_to_nodes_of_equal_or_lower_priority() {
    let mut setup = setup();
    for node in [4, 5] {
        setup.voters.insert(id(node), Voter::default());
    }
    let mut node = led(setup);
    first_ack(&mut node);
    assert_eq!(backed(&mut node, &[4, 5], START, START + SETTLING * 3), None);
}

/// leadelect rule 14: a leader that is a last resort yields to any eligible node.
#[test]
fn a_last_resort_yields_to_nodes_of_equal_and_lower_priority() {
    let mut setup = setup();
    for (node, priority) in [(1, 3), (4, 0), (5, 0)] {
        let witness = false;
        setup.voters.insert(id(node), Voter { priority, witness });
    }
    let mut node = led(setup);
    first_ack(&mut node);
    assert_eq!(backed(&mut node, &[], START, START + SETTLING * 2), None);
    node.step(START + SETTLING * 2, Input::Eligible(false));
    let from = node.election.wake_at();
    let (at, to) = backed(&mut node, &[], from, from + SETTLING * 2).expect("it yields");
    assert_eq!(to, id(2));
    assert!(at >= from + SETTLING, "{at:?}");
}

/// leadelect rule 14: the wait begins again when the preferred node has been away, or when it is another node.
#[test]
fn the_wait_for_a_preferred_node_begins_again_after_its_absence() {
    let mut node = leader();
    first_ack(&mut node);
    let nearly = START + SETTLING.mul_f64(0.9);
    assert_eq!(backed(&mut node, &[5], START, nearly), None);
    let gap = nearly + D * 2;
    assert_eq!(backed(&mut node, &[4], nearly, gap), None);
    let (at, to) = backed(&mut node, &[5], gap, gap + SETTLING * 2).expect("it yields");
    assert_eq!(to, id(5));
    assert!(at > gap + SETTLING, "{at:?}");
}

/// leadelect rule 14: a leader yields only to an eligible node.
#[test]
fn a_leader_does_not_yield_to_an_ineligible_node() {
    let mut node = leader();
    first_ack(&mut node);
    let mut now = START;
    while now < START + SETTLING * 2 {
        now = node.election.wake_at();
        let effects = node.tick(now);
        assert_eq!(causes(&effects), []);
        let seq = heartbeat_sent(&effects).expect("it leads");
        for backer in [2, 3] {
            node.gets_ack(now, backer, seq);
        }
        node.reply(now, 5, ineligible(ack(2, seq, D)));
    }
}

/// Node 1 has heard node 5 lead, for each of these times in a term of its own. Then it is elected itself.
fn after_takeovers(takeovers: &[Duration]) -> (Node, Instant) {
    let mut node = Node::start(setup(), restored(0, None, Duration::ZERO));
    let mut now = START;
    let mut term = 0;
    for led_for in takeovers {
        // In between, a node leads that has no higher priority than node 1.
        node.heartbeat(now, 2, term + 1, 1);
        now = now + D;
        term += 2;
        let end = now + *led_for;
        let mut seq = 0;
        while now <= end {
            seq += 1;
            node.heartbeat(now, 5, term, seq);
            now = now + ETA;
        }
        now = now + D;
    }
    let mut node = named(node, now);
    for voter in [2, 3] {
        node.gets_ack(now, voter, 1);
    }
    (node, now)
}

/// leadelect rule 14: a takeover has failed, too, if another node leads than the one that was named. Then the wait for
/// that one doubles. A node that was named and leads has not failed.
#[test]
fn a_takeover_that_did_not_end_with_the_named_node_doubles_the_wait() {
    let cases: [(&[u16], &[u16], u32); 4] = [(&[5], &[3], 2), (&[5, 5], &[3, 3], 4), (&[5], &[5], 1), (&[4], &[3], 1)];
    for (named_nodes, leaders, times) in cases {
        let mut node = Node::start(setup(), restored(0, None, Duration::ZERO));
        let (mut now, mut term) = (START, 1);
        for (successor, leader) in named_nodes.iter().zip(leaders) {
            node.heartbeat(now, 2, term, 1);
            node.request(now, 2, release(term, 1, Some(*successor)));
            for seq in 1..150 {
                node.heartbeat(now, *leader, term + 1, seq);
                now = now + ETA;
            }
            (now, term) = (now + D, term + 2);
        }
        let mut node = named(node, now);
        for voter in [2, 3] {
            node.gets_ack(now, voter, 1);
        }
        let (at, _) = backed(&mut node, &[5], now, now + SETTLING * times * 2).expect("it yields");
        let waited = at.since(now);
        assert!(waited >= SETTLING * times && waited < SETTLING * times + D, "{waited:?} for {named_nodes:?}");
    }
}

/// leadelect rule 14: the same when the node itself has named it, and leads again after another.
#[test]
fn a_leader_whose_named_successor_did_not_follow_waits_longer_for_it() {
    let mut node = leader();
    first_ack(&mut node);
    let (at, to) = backed(&mut node, &[5], START, START + SETTLING * 2).expect("it yields");
    assert_eq!(to, id(5));
    node.work_ended(at, 2);
    let mut node = named(node, at + D);
    for voter in [2, 3] {
        node.gets_ack(at + D, voter, 1);
    }
    let again = backed(&mut node, &[5], at + D, at + D + SETTLING * 3).expect("it yields").0;
    assert!(again >= at + D + SETTLING * 2, "{again:?}");
}

/// leadelect rule 14: after each short leadership of a preferred node the wait for it doubles, up to a bound. Once it
/// has led for 20 D, the wait is the first one again.
#[test]
fn a_short_takeover_doubles_the_wait_and_a_long_one_resets_it() {
    let (short, long) = (SETTLING - ETA * 2, SETTLING);
    let cases: [(&[Duration], u32); 6] = [
        (&[short], 2),
        (&[short, short], 4),
        (&[short, short, short], 8),
        (&[short, short, long], 1),
        (&[long, short], 2),
        (&[short; 9], 64),
    ];
    for (takeovers, times) in cases {
        let (mut node, elected_at) = after_takeovers(takeovers);
        let wait = SETTLING * times;
        let (at, _) = backed(&mut node, &[5], elected_at, elected_at + wait * 2).expect("it yields");
        let waited = at.since(elected_at);
        assert!(waited >= wait && waited < wait + D, "{waited:?} after {takeovers:?}");
    }
}
