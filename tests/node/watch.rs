//! What can be seen of real nodes: events, also by those who do not read them, and counters.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use leadelect::{Cause, Config, EndReason, Event, Events, Node, Role, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::in_process::{Local, SLOW, SWIFT};
use super::process::{AMPLE, wait_for};

/// Waits for an event that `found` accepts.
fn event(events: &mut Events, what: &str, found: impl Fn(&Event) -> bool) -> Event {
    wait_for(what, || {
        let event = events.next_within(Duration::from_secs(1))?;
        found(&event).then_some(event)
    })
}

#[test]
fn a_leader_that_loses_its_quorum_tells_that_nobody_leads() {
    let mut local = Local::started(&["w1", "w2", "w3"], SWIFT);
    let leader = local.nodes.remove(local.leader());
    let (mut events, led) = (leader.events(), leader.status());

    local.nodes.clear();

    let lost = event(&mut events, "the end of the lease", |event| event.cause == Cause::LeaseLost);
    assert_eq!((lost.role, lost.leader, lost.token), (Role::Follower, None, None));
    assert_eq!(lost.term, led.term);
    let status = wait_for("the status to say so", || {
        let status = leader.status();
        (status.leader != Some(leader.id())).then_some(status)
    });
    assert_eq!(status.counters.leases_lost.count(EndReason::QuorumLost), 1);
    let failures = status.peers.iter().map(|peer| peer.failures);
    assert!(failures.sum::<u64>() > 0, "{:?}", status.peers);
}

#[test]
fn a_leader_that_resigns_tells_that_nobody_leads_before_the_next_one_leads() {
    let local = Local::started(&["x1", "x2", "x3"], SLOW);
    let leader = &local.nodes[local.leader()];
    let mut events = leader.events();
    leader.resign().unwrap();
    let released = event(&mut events, "the release", |event| matches!(event.cause, Cause::Released { .. }));
    assert_eq!((released.role, released.leader, released.token), (Role::Follower, None, None));
    let next = event(&mut events, "the next leader", |event| event.leader.is_some());
    assert!(next.leader != Some(leader.id()) && next.term > released.term);
}

#[test]
fn a_stream_may_begin_with_the_present_state() {
    let local = Local::started(&["v1", "v2", "v3"], SLOW);
    let leader = &local.nodes[local.leader()];
    let mut events = leader.events_with_present();
    let present = events.next().unwrap();
    let status = leader.status();
    assert_eq!(present.cause, Cause::Present);
    assert_eq!((present.role, present.leader), (Role::Leader, Some(leader.id())));
    assert_eq!((present.term, present.token), (status.term, status.token));
    leader.resign().unwrap();
    let next = events.next().unwrap();
    assert!(matches!(next.cause, Cause::SteppingDown { .. }), "{next}");
    leader.shutdown();
    let stopped = leader.events_with_present();
    assert!(stopped.has_ended());
}

/// A node alone, as fast as one can be, leads more terms than an unread stream can keep.
#[test]
fn an_unread_stream_loses_no_term_and_delays_neither_the_node_nor_other_readers() {
    const TERMS: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let config = Config::builder()
        .insecure()
        .heartbeat_interval(Duration::from_millis(4))
        .election_timeout(Duration::from_millis(20))
        .state_dir(folder.path())
        .node(("y1", "127.0.0.1", super::cluster::free_port()));
    let node = Node::start(config.build().unwrap().for_node("y1").unwrap()).unwrap();
    // Nothing happens now until it resigns: all streams begin with the same event.
    wait_for("a lease", || node.lease().map(drop));
    let (mut unread, read) = (node.events(), node.events());
    let absent: Vec<Events> = (0..100).map(|_| node.events()).collect();
    let reader = thread::spawn(move || {
        let mut read = read;
        let terms: BTreeSet<u64> = read.by_ref().map(|event| event.term.0).collect();
        (terms, read.missed())
    });

    for _ in 0..TERMS {
        wait_for("a lease", || node.lease().map(drop));
        // A node that was stopped for a while may have lost it again.
        let _ = node.resign();
    }
    let last = node.status().term.0;
    node.shutdown();

    let (all, missed_by_reader) = reader.join().unwrap();
    assert_eq!(missed_by_reader, 0);
    assert!(last >= TERMS && all.contains(&last), "{last}: {all:?}");
    let kept: Vec<Event> = unread.by_ref().collect();
    let kept_terms: BTreeSet<u64> = kept.iter().map(|event| event.term.0).collect();
    assert!(kept.len() <= 256, "{}", kept.len());
    assert!(unread.missed() > 0 && unread.has_ended());
    assert_eq!(kept_terms.len() as u64 + unread.missed(), all.len() as u64);
    assert!(kept_terms.is_subset(&all) && kept_terms.last() == all.last());
    assert!(absent.iter().all(|events| events.missed() == unread.missed()));
}

#[test]
fn an_event_and_the_end_of_the_stream_wake_a_poll() {
    let local = Local::started(&["z1", "z2", "z3"], SLOW);
    let node = &local.nodes[local.leader()];
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut events = node.events();
    let (ready, waiting) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            while !events.has_ended() {
                {
                    let fd = events.poll_fd().unwrap();
                    let mut both = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
                    ready.send(()).unwrap();
                    let limit = Timespec::try_from(AMPLE).unwrap();
                    let woken = poll(&mut both, Some(&limit)).unwrap();
                    assert!(woken == 1 && both[0].revents().contains(PollFlags::IN));
                }
                while let Some(event) = events.next_within(Duration::ZERO) {
                    tell.send(event.cause).unwrap();
                }
            }
        });
        waiting.recv().unwrap();
        node.resign().unwrap();
        for cause in ["steps down", "heard the leader"] {
            // While the node runs, so that it is not the end of the stream that wakes.
            while !told.recv_timeout(AMPLE).expect("an event").to_string().starts_with(cause) {}
        }
        node.shutdown();
    });
}

#[test]
fn counters_tell_of_a_hand_over_and_of_a_return() {
    let mut local = Local::started(&["c1", "c2", "c3"], SLOW);
    let at = local.leader();
    let before: Vec<Status> = local.nodes.iter().map(Node::status).collect();
    assert_eq!(before[at].counters.elections_won, 1);

    local.nodes[at].resign().unwrap();

    let next = wait_for("another leader that all follow", || {
        let next = local.leader();
        (next != at).then_some(next)
    });
    for (was, node) in before.iter().zip(&local.nodes) {
        let (was, is) = (&was.counters, node.status().counters);
        let (me, old) = (node.id(), before[at].id);
        let won = u64::from(me == local.nodes[next].id());
        assert_eq!(is.leader_changes, was.leader_changes + 1, "{me}");
        assert_eq!(is.elections_won, was.elections_won + won, "{me}");
        assert!(is.elections >= was.elections + won, "{me}");
        let resigned = u64::from(me == old);
        assert_eq!(is.leases_lost.count(EndReason::Resigned), was.leases_lost.count(EndReason::Resigned) + resigned);
        assert_eq!(is.leases_lost.count(EndReason::QuorumLost), 0, "{me}");
        assert!(is.writes.count > was.writes.count, "a vote is a write");
        assert!(is.writes.worst >= is.writes.last && !is.writes.last.is_zero());
        assert_eq!((is.writes_failed, is.overruns), (0, 0));
    }
    let leader = &local.nodes[next];
    let asked = |status: Status| -> u64 { status.peers.iter().map(|peer| peer.requests).sum() };
    let earlier = asked(leader.status());
    let late = wait_for("heartbeats", || {
        let late = leader.status().counters.lateness;
        (asked(leader.status()) > earlier + 2 && late.count > 2).then_some(late)
    });
    assert!(late.worst >= late.last && !late.last.is_zero(), "{late:?}");
    assert!(late.worst < AMPLE, "{late:?}");

    // A node that comes back knows no leader and asks the others, unless the leader is faster than the question.
    let id = local.nodes[at].id();
    let refused = |local: &Local| -> u64 {
        let others = local.nodes.iter().filter(|node| node.id() != id);
        others.map(|node| node.status().counters.pre_votes_refused.leader_heard).sum()
    };
    let earlier = refused(&local);
    wait_for("a refusal", || {
        local.nodes.retain(|node| node.id() != id);
        wait_for("its port", || local.start(id.as_str()).then_some(()));
        local.leader();
        (refused(&local) > earlier).then_some(())
    });
}

#[cfg(feature = "prometheus")]
mod text {
    use super::*;
    use std::collections::BTreeMap;

    /// Every sample by its name and labels. Stricter than Prometheus: it panics at anything that it does not know.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        let (mut family, mut lines) = (String::new(), text.lines());
        assert_eq!(lines.next_back(), Some("# EOF"));
        assert!(text.ends_with('\n'));
        for line in lines {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    assert!(is_name(name) && name.starts_with("leadelect_"), "{line}");
                    assert!(!help.is_empty() && !help.contains('\\'), "{line}");
                    family = name.to_owned();
                }
                ["#", "TYPE", name, kind @ ("gauge" | "counter")] => {
                    assert_eq!(name, family, "{line}");
                    let again = types.insert(family.clone(), kind);
                    assert_eq!(again, None, "one family twice: {line}");
                }
                ["#", "UNIT", name, "seconds"] => {
                    assert!(name == family && name.ends_with("_seconds"), "{line}");
                }
                ["#", ..] => panic!("not of the format: {line}"),
                _ => {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    let (name, labels) = series.split_once('{').unwrap();
                    let suffix = name.strip_prefix(family.as_str());
                    let counts = types[&family] == "counter";
                    assert_eq!(suffix, Some(if counts { "_total" } else { "" }), "{line}");
                    assert_labels(labels.strip_suffix('}').unwrap());
                    let value: f64 = value.parse().unwrap();
                    assert!(value.is_finite() && (value >= 0.0 || !counts), "{line}");
                    let again = samples.insert(series.to_owned(), value);
                    assert_eq!(again, None, "one sample twice: {line}");
                }
            }
        }
        samples
    }

    fn is_name(name: &str) -> bool {
        let mut bytes = name.bytes();
        bytes.all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    /// The ids of these tests have nothing that is escaped.
    fn assert_labels(labels: &str) {
        let labels: Vec<_> = labels.split(',').map(|l| l.split_once('=').unwrap()).collect();
        assert_eq!(labels[0].0, "node");
        for (name, value) in labels {
            assert!(["node", "peer", "reason", "role", "which"].contains(&name), "{name}");
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            assert!(value.is_some_and(|value| !value.is_empty() && !value.contains('"')));
        }
    }

    #[test]
    fn the_text_for_prometheus_is_well_formed_and_follows_a_failover() {
        // With one node gone both others must vote, also one that came late and is in doubt for twice as long.
        let calm = Duration::from_secs(2);
        let mut local = Local::started(&["p1", "p2", "p3"], calm);
        let old = local.leader();
        let texts = |local: &Local| -> Vec<_> {
            let texts = local.nodes.iter().map(|node| node.status().to_prometheus());
            texts.map(|text| parse(&text)).collect()
        };
        let read = |text: &BTreeMap<String, f64>, name: &str, node: &str, more: &str| {
            let series = format!("leadelect_{name}{{node=\"{node}\"{more}}}");
            *text.get(&series).unwrap_or_else(|| panic!("{series} is not in {text:?}"))
        };
        let before = texts(&local);
        let leader_id = local.nodes[old].id();
        assert_eq!(read(&before[old], "role", leader_id.as_str(), ",role=\"leader\""), 1.0);
        assert!(read(&before[old], "token", leader_id.as_str(), "") > 0.0);

        drop(local.nodes.remove(old));
        let next = local.leader();

        let was = &before[next + usize::from(next >= old)];
        let id = local.nodes[next].id();
        let follower = format!(",peer=\"{}\"", local.nodes[1 - next].id());
        let gone = format!(",peer=\"{leader_id}\"");
        let grow = [
            ("leader_changes_total", ""),
            ("elections_total", ""),
            ("elections_won_total", ""),
            ("writes_total", ""),
            ("wakes_total", ""),
            ("term", ""),
            ("peer_requests_total", &follower),
            ("peer_failures_total", &gone),
        ];
        // A follower has nothing due, and the loss of a peer is noticed a little later.
        let after = wait_for("everything to have grown", || {
            let after = texts(&local).swap_remove(next);
            let grew = |(name, more): &(&str, &str)| {
                read(&after, name, id.as_str(), more) > read(was, name, id.as_str(), more)
            };
            grow.iter().all(grew).then_some(after)
        });
        assert_eq!(read(&after, "leader_known", id.as_str(), ""), 1.0);
        assert_eq!(read(&after, "peer_connected", id.as_str(), &gone), 0.0);
    }
}
