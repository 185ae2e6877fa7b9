use std::net::{Ipv4Addr, TcpListener};

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
    admission.session(&Hello { from: 2.into(), instance, ..hello }, HERE, &connection())
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
    let under_way: Vec<Handshake> = (0..100).filter_map(|number| admission.handshake(address(number % 3))).collect();
    assert_eq!(under_way.len(), MOST_HANDSHAKES_OF_STRANGERS);
    for number in 1000..2000 {
        assert!(admission.handshake(address(number)).is_none());
    }
    drop(under_way);
    assert!(lock(&admission.places).handshakes.is_empty());
}

#[test]
fn clients_beyond_the_limit_are_told_so_and_take_no_place_of_a_member() {
    let admission = admission();
    let clients: Vec<ClientPermit<'_>> = std::iter::from_fn(|| admission.client()).collect();
    assert_eq!(clients.len(), MOST_CLIENTS);
    assert!(admission.handshake(HERE).is_some());
    assert!(begin(&admission, 7).is_ok());
    drop(clients);
    assert!(admission.client().is_some());
}

#[test]
fn strangers_leave_room_for_connections_from_a_members_address() {
    let admission = admission();
    let address = |number: u8| IpAddr::from([127, 0, 0, number]);
    let places = |number| {
        let all = std::iter::from_fn(|| admission.handshake(address(number)));
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
fn of_two_processes_the_one_that_speaks_goes_on_and_both_are_told_once_in_a_while() {
    let admission = admission();
    let first = begin(&admission, 7).expect("the only one");
    assert_eq!(first.speak(&Frame::Probe), Ok(()));
    let refused = begin(&admission, 8).err().expect("the second one");
    assert!(refused.contains("two processes run as node 2"), "{refused}");
    assert_eq!(first.speak(&Frame::Probe), Err(refused));
    assert!(begin(&admission, 8).is_err(), "still");
    assert_eq!(first.speak(&Frame::Probe), Ok(()), "told a moment ago");
    drop(first);
    assert!(begin(&admission, 8).is_ok());
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
fn a_newer_connection_of_the_same_process_ends_the_older_one_and_outlives_its_end() {
    let admission = admission();
    let older = begin(&admission, 7).expect("the only one");
    let newer = begin(&admission, 7).expect("the same process");
    assert!(older.speak(&Frame::Probe).is_err());
    drop(older);
    assert_eq!(newer.speak(&Frame::Probe), Ok(()));
    assert!(begin(&admission, 8).is_err(), "the newer connection counts");
    drop(newer);
    assert!(begin(&admission, 8).is_ok());
}
