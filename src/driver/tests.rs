//! The driver between two steps, and to its end.

use std::net::TcpListener;
use std::sync::Mutex;
use std::thread;

use super::*;
use crate::config::Config;
use crate::election::{Deadline, HardState, Recovery, Setup, Store};
use crate::leadership::Lease;
use crate::store::VoteFile;
use crate::transport::Local;

/// A node that is alone, with what its program holds of it.
fn alone(storage: Storage) -> (Driver, Arc<Leadership>, Arc<Board>) {
    let config = Config::builder().insecure().node(("1", "127.0.0.1", 1));
    let config = config.build().and_then(|config| config.for_node("1"));
    let config = config.expect("a config");
    let (sender, inbox) = crossbeam_channel::unbounded();
    let board = Arc::new(Board::new(config.id(), []));
    let leadership = Arc::new(Leadership::new(config.timing().election_timeout(), || {}));
    let local = Local {
        cluster: config.cluster().to_owned(),
        members: config.members().clone(),
        timing: config.timing(),
        rpc_timeout: config.rpc_timeout(),
        identity: None,
        instance: 1,
        last_problem: Mutex::default(),
        board: board.clone(),
        leadership: leadership.clone(),
        started_at: clock::now(),
        inbox: sender,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let setup = Setup { me: config.id(), voters: config.members().voters(), timing: config.timing() };
    let driver = Driver {
        election: Election::new(setup, Recovery::Fresh, clock::now(), 1),
        storage,
        inbox,
        leadership: leadership.clone(),
        board: board.clone(),
        transport: Transport::start(local, listener).expect("threads"),
        rpc_timeout: config.rpc_timeout(),
        timing: config.timing(),
    };
    (driver, leadership, board)
}

#[test]
fn a_panic_of_the_election_thread_leaves_no_lease_and_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = VoteFile::open(folder.path(), NodeId::from(1), "leadelect");
    let mut file = opened.expect("a file").0;
    let later = HardState { term: Term(9), ..HardState::default() };
    file.save(&later).expect("saved");
    // The election knows nothing of term 9, and the file will not have term 1 after it.
    let (driver, leadership, board) = alone(Storage::File(Box::new(file)));
    let (token, until) = (Term(9), clock::now() + Duration::from_secs(3600));
    leadership.publish(Some(Deadline { token, until }), EndReason::QuorumLost);
    let lease = leadership.lease().expect("an hour is left");
    let events = board.events();

    let ended = thread::spawn(move || driver.run()).join();

    assert!(ended.is_err(), "it was to panic");
    assert!(!lease.is_valid());
    assert!(leadership.lease().is_none());
    assert_eq!(events.count(), 0);
}

/// A driver between two steps that leads, and a guard of its lease.
fn leading() -> (Driver, Pending, Arc<Leadership>, Lease) {
    let (mut driver, leadership, _) = alone(Storage::Nowhere);
    let mut pending = Pending::default();
    driver.step(Input::Tick, &mut pending);
    let lease = leadership.lease().expect("who is alone leads at once");
    (driver, pending, leadership, lease)
}

#[test]
fn a_node_that_was_deposed_stops_only_when_its_work_has_ended() {
    let (mut driver, mut pending, _, lease) = leading();
    driver.step(Input::StorageFailed, &mut pending);
    driver.stop(&mut pending);
    assert!(!driver.leads() && !driver.may_stop(&pending));
    drop(lease);
    assert!(driver.may_stop(&pending));
}

#[test]
fn a_deposed_node_that_stops_waits_for_its_work_no_longer_than_the_hard_deadline() {
    let (mut driver, mut pending, leadership, lease) = leading();
    driver.step(Input::StorageFailed, &mut pending);
    let until = lease.tenure().until();
    assert!(until <= clock::now() + driver.timing.election_timeout());
    let (program, inbox) = crossbeam_channel::unbounded();
    program.send(Mail::Stop).expect("there is a driver");
    driver.inbox = inbox;
    driver.run();
    assert!(clock::now() >= until && !leadership.is_idle(lease.tenure().token()));
}

#[test]
fn a_resignation_while_leadership_is_handed_over_still_holds_the_node_off() {
    let (mut driver, mut pending, leadership, _lease) = leading();
    let resign = |hold_off| Mail::HandOver { successor: None, hold_off, answer: crossbeam_channel::bounded(1).0 };
    driver.take(resign(Duration::ZERO), &mut pending);
    assert!(driver.is_stepping_down() && leadership.is_able());
    driver.take(resign(Duration::from_secs(3600)), &mut pending);
    assert!(!leadership.is_able());
    driver.take(resign(Duration::ZERO), &mut pending);
    assert!(!leadership.is_able(), "nothing takes it back");
}

/// A leader whose next heartbeat is due, and how often it was late so far.
fn overdue() -> (Driver, Pending, Lease, u64) {
    let (driver, pending, _, lease) = leading();
    while clock::now() < driver.election.wake_at() {
        thread::yield_now();
    }
    let times = times_late(&driver);
    (driver, pending, lease, times)
}

fn times_late(driver: &Driver) -> u64 {
    let status = driver.board.status(None);
    status.counters.lateness.count
}

#[test]
fn what_is_due_is_late_once_whatever_woke_the_thread() {
    for mail in [None, Some(Mail::Nudge)] {
        let (mut driver, mut pending, _lease, before) = overdue();
        driver.wake(mail, &mut pending);
        assert_eq!(times_late(&driver), before + 1);
    }
}

#[test]
fn what_was_due_before_mail_has_settled_it_is_late_once_too() {
    let (mut driver, mut pending, _lease, before) = overdue();
    let resign = Mail::HandOver { successor: None, hold_off: Duration::ZERO, answer: crossbeam_channel::bounded(1).0 };
    driver.wake(Some(resign), &mut pending);
    assert!(driver.is_stepping_down(), "and sends no heartbeat any more");
    assert_eq!(times_late(&driver), before + 1);
}
