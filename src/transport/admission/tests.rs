use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::tests::local;
use super::*;
use crate::election::Term;
use crate::members::tests::members;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// At node 1, of which node 3 is a member with an IP address.
fn admission() -> Arc<Admission> {
    Admission::new(&members(["one.example", "two.example", "127.0.0.3"]), Timing::default())
}

/// Any connection will do.
fn connection() -> TcpStream {
    let listener = TcpListener::bind((HERE, 0)).expect("a free port");
    TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection")
}

/// Node 2, as the process `instance` says it, asks to speak.
fn begin(admission: &Admission, instance: u64) -> Result<Permit<'_>, String> {
    let hello = local(["one.example", "two.example"]).hello(1.into());
    let tell = |_| panic!("it says nothing of a death");
    let news: (Instant, &dyn Fn(Term)) = (clock::now(), &tell);
    admission.session(&Hello { from: 2.into(), instance, ..hello }, HERE, &connection(), news)
}

/// The same for a process that has proved the death of all earlier ones.
fn begin_after_a_death(admission: &Admission, instance: u64) -> Result<Permit<'_>, String> {
    begin_late_after_a_death(admission, instance, clock::now() + Duration::from_secs(3600))
}

/// The same on a connection that was accepted at this moment.
fn begin_late_after_a_death(admission: &Admission, instance: u64, accepted_at: Instant) -> Result<Permit<'_>, String> {
    let hello = local(["one.example", "two.example"]).hello(1.into());
    let hello = Hello { from: 2.into(), instance, obituary: Some(Term(1)), ..hello };
    let told = AtomicU64::new(0);
    let tell = |up_to: Term| assert_eq!(told.swap(up_to.0, Ordering::SeqCst), 0, "told once");
    let session = admission.session(&hello, HERE, &connection(), (accepted_at, &tell));
    let is_news = accepted_at + Timing::default().election_timeout() > clock::now();
    assert_eq!(told.load(Ordering::SeqCst) == 1, session.is_ok() && is_news);
    session
}

/// A place for one more connection from `addr`.
fn admit(admission: &Arc<Admission>, addr: IpAddr) -> Option<Admitted> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    admission.handshake(addr, LAST.fetch_add(1, Ordering::SeqCst))
}

/// The same for a connection that says something at once.
fn begin_handshake(admission: &Arc<Admission>, addr: IpAddr) -> Option<Handshake> {
    let Admitted { handshake, cut_off } = admit(admission, addr)?;
    assert!(cut_off.is_none(), "there are only such as have said something");
    handshake.speaks();
    Some(handshake)
}

fn heartbeat() -> Frame {
    Frame::Request(Request::Heartbeat {
        term: Term(1),
        seq: 1,
        promise: Duration::from_millis(500),
        succession: Vec::new(),
    })
}

fn release() -> Frame {
    let (term, seq, successor) = (Term(1), 1, None);
    Frame::Request(Request::Release { term, seq, successor })
}

#[test]
fn strangers_that_are_turned_away_leave_nothing_behind() {
    let admission = admission();
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
    let under_way: Vec<Handshake> =
        (0..100).filter_map(|number| begin_handshake(&admission, address(number % 3))).collect();
    assert_eq!(under_way.len(), MOST_HANDSHAKES_OF_STRANGERS);
    for number in 1000..2000 {
        assert!(admit(&admission, address(number)).is_none());
    }
    drop(under_way);
    assert!(lock(&admission.places).handshakes.is_empty());
}

#[test]
fn clients_beyond_the_limit_are_told_so_and_take_no_place_of_a_member() {
    let admission = admission();
    let clients: Vec<ClientPermit<'_>> = std::iter::from_fn(|| admission.client()).collect();
    assert_eq!(clients.len(), MOST_CLIENTS);
    assert!(admit(&admission, HERE).is_some());
    assert!(begin(&admission, 7).is_ok());
    drop(clients);
    assert!(admission.client().is_some());
}

#[test]
fn strangers_leave_room_for_connections_from_a_members_address() {
    let admission = admission();
    let address = |number: u8| IpAddr::from([127, 0, 0, number]);
    let places = |number| {
        let all = std::iter::from_fn(|| begin_handshake(&admission, address(number)));
        all.take(1000).collect::<Vec<_>>()
    };
    // Node 2 is known by where it spoke from.
    drop(begin(&admission, 7).expect("the only one"));
    let strangers: Vec<Handshake> = (10..20).flat_map(places).collect();
    assert_eq!(strangers.len(), MOST_HANDSHAKES_OF_STRANGERS);
    assert!(places(9).is_empty());
    for member in [1, 3] {
        let own = places(member);
        assert_eq!(own.len(), MOST_HANDSHAKES_PER_ADDRESS, "node at {member}");
    }
    let (_one, _three) = (places(1), places(3));
    drop(strangers);
    assert_eq!(places(9).len(), MOST_HANDSHAKES_PER_ADDRESS);
}

#[test]
fn a_connection_that_says_nothing_makes_room_for_the_next_one() {
    let admission = admission();
    let fill = |addr| (0..MOST_HANDSHAKES_PER_ADDRESS).map(move |_| addr);
    let (here, there) = (IpAddr::from([127, 0, 0, 3]), IpAddr::from([127, 0, 0, 9]));
    let mut under_way: Vec<Admitted> = fill(here).filter_map(|addr| admit(&admission, addr)).collect();
    for silent in 0..MOST_LEAVING {
        let next = admit(&admission, here).expect("room is made");
        assert_eq!(next.cut_off, Some((here, under_way[silent].handshake.connection)), "the oldest");
        next.handshake.speaks();
        under_way.push(next);
    }
    assert!(admit(&admission, here).is_none(), "all have said something");
    assert!(admit(&admission, there).is_some(), "elsewhere there is room");
    drop(under_way);
    assert_eq!(lock(&admission.places).leaving, 0);
    assert!(lock(&admission.places).handshakes.is_empty());
}

#[test]
fn no_more_are_cut_off_than_can_leave() {
    let admission = admission();
    let here = IpAddr::from([127, 0, 0, 3]);
    let under_way: Vec<Admitted> = (0..1000).filter_map(|_| admit(&admission, here)).collect();
    assert_eq!(under_way.len(), MOST_HANDSHAKES_PER_ADDRESS + MOST_LEAVING);
    drop(under_way);
    assert!(admit(&admission, here).is_some());
}

#[test]
fn of_many_strangers_the_address_with_the_most_connections_makes_room() {
    let admission = admission();
    let address = |number: u8| IpAddr::from([127, 0, 1, number]);
    let greedy: Vec<Admitted> = (0..20).filter_map(|_| admit(&admission, address(1))).collect();
    let others: Vec<Admitted> = (2..46).filter_map(|number| admit(&admission, address(number))).collect();
    assert_eq!(greedy.len() + others.len(), MOST_HANDSHAKES_OF_STRANGERS);
    let next = admit(&admission, address(100)).expect("room is made");
    assert_eq!(next.cut_off, Some((address(1), greedy[0].handshake.connection)));
    assert_eq!(next.handshake.rank, Rank::Stranger);
    let member = admit(&admission, IpAddr::from([127, 0, 0, 3])).expect("a place of its own");
    assert_eq!((member.handshake.rank, member.cut_off), (Rank::Member, None));
}

#[test]
fn clients_that_ask_often_are_noticed_and_others_are_not() {
    let admission = admission();
    for _ in 0..OFTEN {
        assert_eq!(admission.note_client(), None);
    }
    assert_eq!(admission.note_client().map(|(count, _)| count), Some(OFTEN + 1));
    lock(&admission.places).asked.0 = clock::now().before(OFTEN_WITHIN);
    assert_eq!(admission.note_client(), None, "it is over");
}

#[test]
fn of_two_processes_the_one_that_speaks_goes_on_and_both_are_told_once_in_a_while() {
    let admission = admission();
    let first = begin(&admission, 7).expect("the only one");
    assert_eq!(first.speak(&Frame::Probe), Ok(()));
    assert!(begin(&admission, 8).is_err());
    let told = first.speak(&Frame::Probe).expect_err("the first one");
    assert!(told.contains("two processes run as node 2, the other one at 127.0.0.1: stop one of them"), "{told}");
    assert!(begin(&admission, 8).is_err(), "still");
    assert_eq!(first.speak(&Frame::Probe), Ok(()), "told a moment ago");
    drop(first);
    assert!(begin(&admission, 8).is_ok());
}

/// The old process may have died without a word: its host was cut off, and it was killed and started anew. What it had
/// sent before may still arrive.
#[test]
fn a_process_is_told_that_another_one_runs_only_if_that_is_certain() {
    let admission = admission();
    let first = begin(&admission, 7).expect("the only one");
    let refused = || begin(&admission, 8).err().expect("the second one");
    let perhaps = |text: String| assert!(text.contains("at 127.0.0.1: if it still runs, stop one; if not"), "{text}");
    for _ in 0..3 {
        assert_eq!(first.speak(&Frame::Probe), Ok(()), "all that was before says nothing");
    }
    perhaps(refused());
    // It is told, and may not have lived to hear it.
    assert!(first.speak(&Frame::Probe).is_err());
    perhaps(refused());
    drop(first);
    let again = begin(&admission, 7).expect("it lives and dials again");
    perhaps(refused());
    assert_eq!(again.speak(&Frame::Probe), Ok(()));
    perhaps(refused());
    assert_eq!(again.speak(&Frame::Probe), Ok(()), "it was answered and speaks on");
    assert_eq!(refused(), "two processes run as node 2, the other one at 127.0.0.1: stop one of them");
    let another = begin(&admission, 9).err().expect("the third one");
    perhaps(another);
}

#[test]
fn no_other_process_speaks_for_a_leader_before_the_promises_to_it_have_ended() {
    let admission = admission();
    let leader = begin(&admission, 7).expect("the only one");
    assert_eq!(leader.speak(&heartbeat()), Ok(()));
    drop(leader);
    let refused = begin(&admission, 8).err().expect("too early");
    assert!(refused.contains("another process led as node 2"), "{refused}");
    let again = begin(&admission, 7).expect("the same process");
    assert_eq!(again.speak(&release()), Ok(()));
    drop(again);
    assert!(begin(&admission, 8).is_ok());
}

#[test]
fn a_newer_connection_of_the_same_process_ends_the_older_one_when_it_is_used() {
    let admission = admission();
    let older = begin(&admission, 7).expect("the only one");
    assert_eq!(older.speak(&heartbeat()), Ok(()));
    let newer = begin(&admission, 7).expect("the same process");
    assert_eq!(older.speak(&heartbeat()), Ok(()), "make before break");
    assert_eq!(newer.speak(&Frame::Probe), Ok(()));
    assert!(older.speak(&heartbeat()).is_err());
    drop(older);
    assert_eq!(newer.speak(&Frame::Probe), Ok(()), "it outlives the end of the older one");
    assert!(begin(&admission, 8).is_err(), "the newer connection counts");
    assert_eq!(newer.speak(&release()), Err(two_processes(2.into(), HERE)));
    assert_eq!(newer.speak(&release()), Ok(()));
    drop(newer);
    assert!(begin(&admission, 8).is_ok());
}

#[test]
fn a_connection_that_was_only_welcomed_keeps_other_processes_out_and_makes_room_for_the_next() {
    let admission = admission();
    let older = begin(&admission, 7).expect("the only one");
    let unused = begin(&admission, 7).expect("the same process");
    drop(older);
    assert!(begin(&admission, 8).is_err(), "the welcomed one is open");
    let newest = begin(&admission, 7).expect("the same process");
    assert!(unused.speak(&Frame::Probe).is_err(), "the process has given it up");
    drop(unused);
    assert_eq!(newest.speak(&Frame::Probe).err(), Some(two_processes(2.into(), HERE)));
    assert_eq!(newest.speak(&Frame::Probe), Ok(()));
}

#[test]
fn after_a_proved_death_another_process_need_not_wait_for_the_promise_to_the_dead() {
    let admission = admission();
    let dead = begin(&admission, 7).expect("the only one");
    dead.speak(&heartbeat()).expect("noted");
    dead.ended(true);
    drop(dead);
    let error = begin(&admission, 8).err().expect("the promise may be in use");
    assert!(error.contains("another process led as node 2"), "{error}");
    begin_after_a_death(&admission, 9).expect("nothing can act on it").speak(&heartbeat()).expect("noted");
    // It is as well protected as the first one was.
    assert!(begin(&admission, 10).is_err());
}

#[test]
fn a_death_is_not_believed_of_a_process_that_has_a_connection() {
    let admission = admission();
    let lives = begin(&admission, 7).expect("the only one");
    lives.speak(&heartbeat()).expect("noted");
    assert!(begin_after_a_death(&admission, 8).is_err(), "it has just spoken");
    lock(&admission.places).sessions.get_mut(&2.into()).expect("node 2").heard_at = Instant::ZERO;
    assert!(begin_after_a_death(&admission, 9).is_err(), "it is silent, and has a connection");
    let newer = begin(&admission, 7).expect("the same process");
    lives.ended(true);
    drop(lives);
    assert!(begin_after_a_death(&admission, 10).is_err(), "it has a newer connection");
    newer.speak(&heartbeat()).expect("who tells of a death does not disturb it");
    assert!(begin(&admission, 13).is_err());
    newer.speak(&heartbeat()).expect_err("two processes run");
    newer.ended(false);
    drop(newer);
    assert!(begin_after_a_death(&admission, 11).is_err(), "this node has closed it");
    let again = begin(&admission, 7).expect("it does live");
    again.ended(true);
    drop(again);
    assert!(begin_after_a_death(&admission, 12).is_ok());
}

#[test]
fn the_last_connection_of_the_dead_may_end_a_moment_after_the_death_is_told() {
    let admission = admission();
    let dead = begin(&admission, 7).expect("the only one");
    std::thread::scope(|scope| {
        let told = scope.spawn(|| begin_after_a_death(&admission, 8).map(drop));
        // Most likely it waits by then, or would have been refused.
        std::thread::park_timeout(LAST_BREATH / 5);
        dead.ended(true);
        drop(dead);
        assert_eq!(told.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn an_obituary_that_was_long_on_its_way_is_not_believed() {
    let admission = admission();
    let timeout = Timing::default().election_timeout();
    let long_ago = Instant::from_nanos((clock::now().as_nanos()).saturating_sub(2 * timeout.as_nanos() as u64));
    // It may speak, as any process, but what it says of a death is not told.
    let first = begin_late_after_a_death(&admission, 7, long_ago).expect("the only one");
    first.speak(&heartbeat()).expect("noted");
    first.ended(true);
    drop(first);
    assert!(begin_late_after_a_death(&admission, 8, long_ago).is_err(), "the promise may be in use");
    assert!(begin_after_a_death(&admission, 9).is_ok());
}
