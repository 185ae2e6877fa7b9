//! The driver at its end. What it does before is decided, and tested, in the engine.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::election::{Deadline, Election, EndReason, HardState, Recovery, Setup, Store, Term};
use crate::engine::Health;
use crate::inbox::Inbox;
use crate::log_queue::LogQueue;
use crate::store::VoteFile;
use crate::transport::{Complaints, Local, Protocols};

/// A node that is alone, with what its program holds of it.
fn alone(storage: Storage) -> (Driver, Arc<Leadership>, Arc<Board>) {
    let config = Config::builder().insecure().node(("1", "127.0.0.1", 1));
    let config = config.build().and_then(|config| config.for_node("1"));
    let config = config.expect("a config");
    let (inbox, posts) = Inbox::new();
    let board = Arc::new(Board::new(config.id(), []));
    let leadership = Arc::new(Leadership::new(config.timing().election_timeout(), |_| {}));
    let log = LogQueue::start(config.id()).expect("a thread");
    let local = Local {
        speaks: Protocols::of_this_build(),
        cluster: config.cluster.clone(),
        members: config.members.clone(),
        timing: config.timing(),
        rpc_timeout: config.rpc_timeout,
        identity: None,
        instance: 1,
        obituary: None,
        silent_from: Instant::NEVER,
        last_problem: Mutex::default(),
        complaints: Complaints::default(),
        board: board.clone(),
        leadership: leadership.clone(),
        started_at: clock::now(),
        inbox,
        log: log.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let setup = Setup { me: config.id(), voters: config.members.voters(), timing: config.timing() };
    let driver = Driver {
        engine: Engine::new(Election::new(setup, Recovery::Fresh, clock::now(), 1), config.rpc_timeout),
        storage,
        inbox: posts,
        leadership: leadership.clone(),
        board: board.clone(),
        transport: Transport::start(local, listener).expect("threads"),
        log,
        recorder: Recorder::default(),
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
    leadership.publish(Some(Deadline { token, until }), EndReason::QuorumLost, clock::now());
    let lease = leadership.lease(clock::now()).expect("an hour is left");
    let events = board.events();

    let ended = thread::spawn(move || driver.run()).join();

    assert!(ended.is_err(), "it was to panic");
    assert!(!lease.is_valid());
    assert!(leadership.lease(clock::now()).is_none());
    assert_eq!(events.count(), 0);
}

/// What is due about the program comes first, and may end a lease that nobody holds: then that is stepped, too, and the
/// mail comes later than both.
#[test]
fn each_step_has_its_own_reading_of_the_clock() {
    let (mut driver, leadership, _) = alone(Storage::Nowhere);
    driver.step(Mail::Start, None);
    assert!(leadership.lease(clock::now()).is_some(), "a node that is alone leads at once");
    let good_until = clock::now() + Duration::from_millis(2);
    leadership.set_health(Some(Health { good_until, hold_off: Duration::ZERO }));
    driver.take(Post::Program);
    while !driver.engine.looks_at_program(clock::now()) {
        std::thread::yield_now();
    }
    driver.step(Mail::Unanswered { by: NodeId::from(2) }, None);
    assert!(leadership.lease(clock::now()).is_none(), "it fell ill");
}
