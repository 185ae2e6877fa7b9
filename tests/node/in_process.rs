//! Nodes in the process of the test, used as a program uses them.
//!
//! Each test has node ids of its own, because threads are told apart by them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use leadelect::config::ConfigBuilder;
use leadelect::{Cause, Config, Events, Node, NotLeader, Remaining, Role, StartError};

use super::certs::{Ca, THIS_HOST};
use super::child::boot_nanos;
use super::cluster::free_port;
use super::process::wait_for;

/// A cluster in this process: its config, and the nodes that run.
pub(crate) struct Local {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Node>,
    // Its folder holds the certificates.
    _ca: Ca,
}

impl Local {
    pub(crate) fn planned(ids: &[&str], election_timeout: Duration) -> Local {
        Local::planned_as(ids, |builder| builder.election_timeout(election_timeout))
    }

    /// A cluster of which no node runs yet, with more settings.
    pub(crate) fn planned_as(ids: &[&str], configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Local {
        let ca = Ca::new();
        let certs = ca.sign("shared", &THIS_HOST);
        let mut builder = Config::builder().certs(certs.ca, certs.cert, certs.key).state_dir(certs_folder(&ca));
        for id in ids {
            builder = builder.node((*id, "127.0.0.1", free_port()));
        }
        let (config, nodes) = (configure(builder).build().unwrap(), Vec::new());
        Local { config, nodes, _ca: ca }
    }

    /// Waits until this node has asked every peer that it reaches so many times more, and got as many answers.
    pub(crate) fn peers_answer(&self, at: usize, times: u64) {
        let node = &self.nodes[at];
        let before = node.status().peers;
        // A peer is asked again once the last question is answered.
        wait_for("answers of the peers", || {
            let peers = node.status().peers;
            let mut reached = peers.iter().zip(&before).filter(|(peer, _)| peer.connected);
            reached.all(|(now, then)| now.requests > then.requests + times).then_some(())
        });
    }

    pub(crate) fn started(ids: &[&str], election_timeout: Duration) -> Local {
        Local::started_as(ids, |builder| builder.election_timeout(election_timeout))
    }

    pub(crate) fn started_as(ids: &[&str], configure: impl Fn(ConfigBuilder) -> ConfigBuilder) -> Local {
        for _ in 0..5 {
            let mut local = Local::planned_as(ids, &configure);
            if ids.iter().all(|id| local.start(id)) {
                return local;
            }
        }
        panic!("no free ports");
    }

    /// Starts a node; false if its port was taken meanwhile.
    pub(crate) fn start(&mut self, id: &str) -> bool {
        match Node::start(self.config.clone().for_node(id).unwrap()) {
            Ok(node) => self.nodes.push(node),
            Err(StartError::Listen { .. }) => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    /// Waits for a node that holds a lease, which all others follow, and returns its place.
    pub(crate) fn leader(&self) -> usize {
        wait_for("a leader", || {
            let at = self.nodes.iter().position(|node| node.lease().is_some())?;
            let id = Some(self.nodes[at].id());
            self.nodes.iter().all(|node| node.status().leader == id).then_some(at)
        })
    }

    fn port(&self, id: &str) -> u16 {
        let mut nodes = self.config.nodes();
        nodes.find(|(node, _)| node.as_str() == id).unwrap().1.port
    }
}

/// Starts a node on a port that is free, or that the same node had a moment ago.
pub(crate) fn start_node(config: &Config, id: &str) -> Node {
    wait_for("the port of a node", || match Node::start(config.clone().for_node(id).unwrap()) {
        Ok(node) => Some(node),
        Err(StartError::Listen { .. }) => None,
        Err(error) => panic!("{error}"),
    })
}

fn certs_folder(ca: &Ca) -> std::path::PathBuf {
    ca.sign("folder", &["folder.example"]).ca.with_file_name("state")
}

/// The threads of a node, by their names.
pub(crate) fn threads(id: &str) -> Vec<String> {
    let begins = format!("le{id}-");
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the two reads.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(&begins)).collect()
}

pub(crate) const SWIFT: Duration = Duration::from_millis(500);
pub(crate) const SLOW: Duration = Duration::from_secs(10);

#[test]
fn a_dropped_node_leaves_no_thread_behind_even_with_silent_strangers_and_a_dead_peer() {
    let mut local = Local::planned(&["d1", "d2", "d3"], SWIFT);
    // A peer that accepts and never speaks; the third is not there at all.
    let _dead = TcpListener::bind(("127.0.0.1", local.port("d2"))).unwrap();
    assert!(local.start("d1"));
    let silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(("127.0.0.1", local.port("d1"))).unwrap()).collect();
    wait_for("threads that wait for strangers", || {
        (threads("d1").iter().filter(|name| name.contains("accept")).count() > 20).then_some(())
    });

    drop(local.nodes.pop());

    // A thread may end a moment after the call has returned.
    wait_for("the end of every thread", || threads("d1").is_empty().then_some(()));
    drop(silent);
}

#[test]
fn every_node_of_a_cluster_ends_its_threads_and_its_events() {
    let mut local = Local::started(&["e1", "e2", "e3"], SWIFT);
    let at = local.leader();
    let streams: Vec<_> = local.nodes.iter().map(Node::events).collect();
    // The leader first: it has a node to hand over to.
    local.nodes.swap(0, at);
    for node in local.nodes.drain(..) {
        drop(node);
    }
    for stream in streams {
        // This loop ends, or the test hangs.
        let _ = stream.count();
    }
    for id in ["e1", "e2", "e3"] {
        wait_for("the end of every thread", || threads(id).is_empty().then_some(()));
    }
}

#[test]
fn after_shutdown_a_node_answers_and_holds_nothing() {
    let local = Local::started(&["f1"], SWIFT);
    local.leader();
    let node = &local.nodes[0];
    let held = node.lease().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            node.shutdown();
            calls.fetch_add(1, Ordering::SeqCst);
        });
        wait_for("the lease to be taken away", || (!held.is_valid()).then_some(()));
        drop(held);
    });
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    node.shutdown();
    assert!(node.lease().is_none());
    assert_eq!(node.resign(), Err(NotLeader));
    assert_eq!(node.events().next(), None);
    assert_eq!(node.status().token, None);
}

/// Stop, then the end of the guard, then the next leader: in this order on one clock.
#[test]
fn resign_waits_for_the_guard_before_another_may_lead() {
    let local = Local::started(&["g1", "g2", "g3"], SLOW);
    let at = local.leader();
    let leader = &local.nodes[at];
    let guard = leader.lease().unwrap();
    let (dropped_at, returned_at) = (AtomicU64::new(0), AtomicU64::new(0));
    let first_lease_of_another = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            wait_for("the next leader", || {
                let mut others = local.nodes.iter().enumerate().filter(|(other, _)| *other != at);
                let lease = others.find_map(|(_, node)| node.lease())?;
                Some((boot_nanos(), lease.token().0))
            })
        });
        scope.spawn(|| {
            leader.resign().unwrap();
            returned_at.store(boot_nanos(), Ordering::SeqCst);
        });
        wait_for("the lease to be taken away", || (!guard.is_valid()).then_some(()));
        assert!(leader.lease().is_none());
        // Time has to pass: a leader that steps down sends nothing whose answers could be counted. A hand-over that
        // does not wait would be seen by then: it takes a few round trips.
        thread::sleep(Duration::from_millis(300));
        assert_eq!(leader.status().role, Role::Leader, "it still waits");
        let token = guard.token().0;
        dropped_at.store(boot_nanos(), Ordering::SeqCst);
        drop(guard);
        let (at, next) = watcher.join().unwrap();
        assert!(next > token);
        at
    });
    let dropped_at = dropped_at.into_inner();
    assert!(first_lease_of_another > dropped_at);
    assert!(returned_at.into_inner() > dropped_at);
}

#[test]
fn resign_on_a_follower_is_an_error() {
    let local = Local::started(&["h1", "h2", "h3"], SLOW);
    let at = local.leader();
    for (other, node) in local.nodes.iter().enumerate() {
        if other != at {
            assert_eq!(node.resign(), Err(NotLeader));
        }
    }
    assert!(local.nodes[at].lease().is_some());
}

#[test]
fn the_status_of_a_leader_shows_its_peers_their_round_trips_and_certificates() {
    let local = Local::started(&["s1", "s2", "s3"], SLOW);
    let at = local.leader();
    let node = &local.nodes[at];
    let status = wait_for("two peers that have answered", || {
        let status = node.status();
        let mut peers = status.peers.iter();
        peers.all(|peer| peer.connected && peer.round_trip.is_some()).then_some(status)
    });
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.leader, Some(node.id()));
    assert_eq!(status.token, Some(status.term));
    assert!(!status.lease.is_over() && status.lease < Remaining::Left(SLOW));
    assert_eq!(status.peers.len(), 2);
    for peer in &status.peers {
        assert_eq!(peer.addr, format!("127.0.0.1:{}", local.port(peer.id.as_str())));
        assert!(peer.certificate_days.is_some_and(|days| days > 365), "{peer:?}");
        assert!(peer.last_heard.is_some_and(|ago| ago < SLOW), "{peer:?}");
        assert_eq!(peer.last_error, None);
    }
    let text = status.to_string();
    assert!(text.contains("leader term=") && text.contains("up ("), "{text}");
}

#[test]
fn events_tell_the_way_to_leadership_in_order() {
    let mut local = Local::planned(&["v1"], SWIFT);
    assert!(local.start("v1"));
    let node = &local.nodes[0];
    local.leader();
    let mut events = node.events();
    node.resign().unwrap();
    let mut causes = Vec::new();
    wait_for("the next lease", || {
        let event = events.next_within(Duration::from_secs(1))?;
        causes.push(event.cause.to_string());
        event.token.filter(|token| token.0 > 1)
    });
    let first = causes.iter().position(|cause| cause.starts_with("steps down"));
    let last = causes.iter().position(|cause| cause.starts_with("lease won"));
    assert!(first < last && first.is_some(), "{causes:?}");
}

#[test]
fn a_node_that_resigns_and_is_stopped_at_once_still_tells_its_successor() {
    let mut local = Local::started(&["q1", "q2", "q3"], SLOW);
    let leader = local.nodes.remove(local.leader());
    let mut events: Vec<Events> = local.nodes.iter().map(Node::events).collect();
    leader.resign().unwrap();
    leader.shutdown();
    let told = Cause::NamedSuccessor { by: leader.id() };
    wait_for("a successor that was told", || {
        let mut news = events.iter_mut().filter_map(|events| events.next_within(Duration::ZERO));
        news.any(|event| event.cause == told).then_some(())
    });
}
