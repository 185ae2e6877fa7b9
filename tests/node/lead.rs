//! The closure of `Node::lead`: when it runs, when it is told to stop, and what comes after it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leadelect::config::NodeSpec;
use leadelect::{
    Cause, EndReason, HealthCheck, LeadOptions, Leading, Next, Node, NotLeader, Remaining, Role, TransferError,
};

use super::cluster::free_port;
use super::in_process::{Local, SLOW, SWIFT, threads};
use super::process::wait_for;

/// Long enough for a busy machine, and short enough to wait for what a node does after its start.
const BRISK: Duration = Duration::from_secs(2);
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Works until it is told to stop.
pub(crate) fn until_told(leading: &Leading<'_>) -> Result<(), EndReason> {
    leading.wait(LONG)
}

/// Leads with every node but `but`, until all are stopped.
fn lead_all_but<'s>(scope: &'s thread::Scope<'s, '_>, nodes: &'s [Node], but: usize) {
    for (_, node) in nodes.iter().enumerate().filter(|(at, _)| *at != but) {
        scope.spawn(|| node.lead(until_told));
    }
}

fn another_leads(nodes: &[Node], but: usize) {
    wait_for("another leader", || {
        let mut others = nodes.iter().enumerate().filter(|(at, _)| *at != but);
        others.find_map(|(_, node)| node.lease()).map(drop)
    });
}

pub(crate) fn shut_down(nodes: &[Node]) {
    for node in nodes {
        node.shutdown();
    }
}

/// However a test ends, its nodes stop, and so `lead` returns.
pub(crate) struct Ending<'a>(pub(crate) &'a [Node]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        shut_down(self.0);
    }
}

/// Waits until `tokens` has this many.
fn runs(tokens: &Mutex<Vec<u64>>, many: usize) {
    wait_for("the closure to run", || (tokens.lock().unwrap().len() >= many).then_some(()));
}

#[test]
fn the_closure_runs_once_per_term_won_and_lead_returns_when_the_node_stops() {
    let local = Local::started(&["la1"], SWIFT);
    let node = &local.nodes[0];
    let tokens = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        let lead = scope.spawn(|| {
            node.lead(|leading| {
                tokens.lock().unwrap().push(leading.token().0);
                // What it is told is an error here: a consequence, which does not end `lead`.
                until_told(leading)
            })
        });
        for terms in 1..=3 {
            runs(&tokens, terms);
            node.resign().unwrap();
        }
        node.shutdown();
        assert_eq!(lead.join().unwrap(), Ok(()));
    });
    let tokens = tokens.into_inner().unwrap();
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[test]
fn leadership_moves_on_when_the_closure_returns() {
    let local = Local::started(&["lb1", "lb2", "lb3"], SLOW);
    let runs = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        for (node, runs) in local.nodes.iter().zip(&runs) {
            scope.spawn(|| {
                node.lead(|_| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Ok::<(), EndReason>(())
                })
            });
        }
        wait_for("more than one node to have led", || {
            let led = runs.iter().filter(|runs| runs.load(Ordering::SeqCst) > 0);
            (led.count() > 1).then_some(())
        });
        shut_down(&local.nodes);
    });
}

#[test]
fn an_error_of_work_that_was_not_told_to_stop_ends_lead_and_another_node_leads() {
    let local = Local::started(&["lc1", "lc2", "lc3"], SLOW);
    let at = local.leader();
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        let result = local.nodes[at].lead(|_| Err::<(), _>("the disk is full"));
        assert_eq!(result, Err("the disk is full"));
        let lost = local.nodes[at].status().counters.leases_lost;
        assert!(lost.count(EndReason::WorkFailed) > 0, "{lost:?}");
        assert!(local.nodes[at].status().role != Role::Leader, "released before it returns");
        another_leads(&local.nodes, at);
        shut_down(&local.nodes);
    });
}

#[test]
fn a_panic_of_the_work_reaches_the_caller_and_another_node_leads() {
    let local = Local::started(&["ld1", "ld2", "ld3"], SLOW);
    let at = local.leader();
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        let node = &local.nodes[at];
        let work = |_: &Leading<'_>| -> Result<(), EndReason> { resume_unwind(Box::new("planned")) };
        let caught = catch_unwind(AssertUnwindSafe(|| node.lead(work))).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&"planned"));
        let role = node.status().role;
        assert_ne!(role, Role::Leader, "released before it returns");
        another_leads(&local.nodes, at);
        // Nothing is left behind: it can lead again.
        let again = scope.spawn(|| node.lead(until_told));
        shut_down(&local.nodes);
        assert_eq!(again.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_node_that_has_left_leads_only_if_no_other_node_can() {
    let local = Local::started(&["le1", "le2", "le3"], SWIFT);
    let at = local.leader();
    let node = &local.nodes[at];
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        assert_eq!(node.lead(|_| Ok::<_, EndReason>(Next::Leave)), Ok(()));
        for _ in 0..6 {
            let next = wait_for("a leader", || local.nodes.iter().find(|node| node.lease().is_some()));
            assert_ne!(next.id(), node.id());
            // The others hold off for an election timeout each, and win all the same.
            let _ = next.resign();
        }
        // No other node.
        for other in local.nodes.iter().filter(|other| other.id() != node.id()) {
            other.set_eligible(false);
            let _ = other.resign();
        }
        wait_for("some leader", || local.nodes.iter().find_map(Node::lease).map(drop));
        shut_down(&local.nodes);
    });
}

#[test]
fn a_cluster_without_an_eligible_node_has_a_leader() {
    let mut local = Local::planned(&["lf1", "lf2", "lf3"], SWIFT);
    assert!(["lf1", "lf2", "lf3"].iter().all(|id| local.start(id)));
    for node in &local.nodes {
        node.set_eligible(false);
    }
    local.leader();
    let leader = &local.nodes[local.leader()];
    leader.resign().unwrap();
    local.leader();
}

#[test]
fn calls_from_inside_the_closure_return_at_once_and_tell_the_work_to_stop() {
    let local = Local::started(&["lg1", "lg2", "lg3"], SLOW);
    let at = local.leader();
    let node = &local.nodes[at];
    let another = local.nodes[(at + 1) % 3].id();
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        node.lead(|leading| {
            let mut seen = seen.lock().unwrap();
            assert_eq!(leading.check(), Ok(()));
            seen.push(node.resign().is_ok());
            assert_eq!(leading.check(), Err(EndReason::Resigned));
            assert_eq!(leading.wait(LONG), Err(EndReason::Resigned));
            assert_eq!(leading.soft_remaining(), Remaining::Over);
            assert!(!leading.remaining().is_over(), "time to stop");
            assert_eq!(node.transfer_to(another.as_str()), Err(TransferError::UnderWay));
            node.shutdown();
            Ok::<_, EndReason>(Next::Rejoin)
        })
        .unwrap();
        another_leads(&local.nodes, at);
        shut_down(&local.nodes);
    });
    assert_eq!(seen.into_inner().unwrap(), [true]);
    assert_eq!(node.resign(), Err(NotLeader));
}

#[test]
fn shutdown_from_inside_the_closure_says_so_and_lead_returns() {
    let local = Local::started(&["lh1"], SWIFT);
    let node = &local.nodes[0];
    let work = |leading: &Leading<'_>| {
        assert!(!node.shutdown_within(LONG), "it waits for nothing");
        assert_eq!(leading.check(), Err(EndReason::Stopped));
        leading.check()
    };
    assert_eq!(node.lead(work), Ok(()));
}

#[test]
fn a_second_call_of_lead_panics_and_the_first_goes_on() {
    let local = Local::started(&["li1"], SWIFT);
    let node = &local.nodes[0];
    let nested = Mutex::new(String::new());
    node.lead(|leading| {
        let second = catch_unwind(AssertUnwindSafe(|| node.lead(until_told)));
        let text = second.unwrap_err().downcast::<String>().unwrap();
        *nested.lock().unwrap() = *text;
        leading.check().map(|()| Next::Leave)
    })
    .unwrap();
    let text = nested.into_inner().unwrap();
    assert!(text.contains("node li1") && text.contains("one at a time"), "{text}");
}

/// With a drain time of nearly the whole lease, so that a busy machine does not use it up.
#[test]
fn work_is_told_to_stop_one_drain_time_before_the_lease_ends() {
    let mut local = Local::started(&["lj1", "lj2", "lj3"], SLOW);
    let at = local.leader();
    local.nodes.swap(0, at);
    let options = LeadOptions::default().drain_time(Duration::from_secs(9));
    let told = thread::scope(|scope| {
        let (begun, begins) = channel();
        let (leader, others) = local.nodes.split_first().unwrap();
        let lead = scope.spawn(move || {
            let told = Mutex::new(None);
            let work = |leading: &Leading<'_>| {
                let _ = begun.send(());
                let lost = leading.wait(LONG).unwrap_err();
                *told.lock().unwrap() = Some((lost, leading.remaining()));
                Ok::<_, EndReason>(Next::Leave)
            };
            leader.lead_with(&options, work).unwrap();
            told.into_inner().unwrap()
        });
        begins.recv().unwrap();
        shut_down(others);
        lead.join().unwrap()
    });
    let (lost, left) = told.unwrap();
    assert_eq!(lost, EndReason::QuorumLost);
    assert!(left > Remaining::Over && left <= Remaining::Left(Duration::from_secs(9)), "{left:?}");
}

#[test]
fn scoped_threads_share_the_handle_and_all_of_them_are_told() {
    let local = Local::started(&["lk1"], SWIFT);
    let node = &local.nodes[0];
    let told = AtomicU64::new(0);
    node.lead(|leading| {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    until_told(leading).unwrap_err();
                    told.fetch_add(1, Ordering::SeqCst);
                });
            }
            node.resign().unwrap();
        });
        Ok::<_, EndReason>(Next::Leave)
    })
    .unwrap();
    assert_eq!(told.into_inner(), 8);
}

#[test]
fn work_that_falls_silent_loses_leadership_and_another_node_leads() {
    let local = Local::started(&["ll1", "ll2", "ll3"], BRISK);
    let at = local.leader();
    let node = &local.nodes[at];
    let mut events = node.events();
    let options = LeadOptions::default().max_silence(Duration::from_secs(1));
    let lost = Mutex::new(None);
    let (stuck, is_stuck) = channel();
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        let lead = scope.spawn(|| {
            node.lead_with(&options, |leading| {
                // In all this takes longer than the limit, but the signs of life count.
                for _ in 0..30 {
                    leading.alive();
                    leading.wait(Duration::from_millis(50)).unwrap();
                }
                let guard = node.lease().unwrap();
                // The work neither checks nor says that it is alive.
                stuck.send(()).unwrap();
                wait_for("the event", || {
                    let event = events.next_within(Duration::from_secs(1))?;
                    matches!(event.cause, Cause::SteppingDown { reason: EndReason::WorkSilent, .. }).then_some(())
                });
                assert!(!guard.is_valid());
                // This sign of life comes too late.
                leading.alive();
                *lost.lock().unwrap() = leading.check().err();
                Ok::<_, EndReason>(Next::Rejoin)
            })
        });
        is_stuck.recv().unwrap();
        another_leads(&local.nodes, at);
        shut_down(&local.nodes);
        lead.join().unwrap().unwrap();
        assert_eq!(*lost.lock().unwrap(), Some(EndReason::WorkSilent));
        let lost = node.status().counters.leases_lost;
        assert!(lost.count(EndReason::WorkSilent) > 0, "{lost:?}");
    });
}

#[test]
fn a_program_that_fails_its_health_check_hands_over_and_stays_behind_until_it_passes() {
    let local = Local::started(&["lm1", "lm2", "lm3"], BRISK);
    let at = local.leader();
    let node = &local.nodes[at];
    let (healthy, hangs) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (is_healthy, does_hang) = (healthy.clone(), hangs.clone());
    let checks = Arc::new(AtomicU64::new(0));
    let checked = checks.clone();
    let check = HealthCheck::new(move || {
        while does_hang.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        checked.fetch_add(1, Ordering::SeqCst);
        let healthy = is_healthy.load(Ordering::SeqCst);
        healthy.then_some(()).ok_or_else(|| "ill".to_owned())
    });
    let check = check.every(Duration::from_millis(20)).timeout(Duration::from_secs(1));
    let options = LeadOptions::default().hold_off(Duration::from_millis(1)).health_check(check);
    let lost = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        lead_all_but(scope, &local.nodes, at);
        scope.spawn(|| {
            node.lead_with(&options, |leading| {
                lost.lock().unwrap().push(until_told(leading).unwrap_err());
                Ok::<_, EndReason>(())
            })
        });
        for (round, sick) in [(1, &hangs), (2, &healthy)] {
            wait_for("the watched node to lead", || {
                if node.lease().is_some() {
                    return Some(());
                }
                for other in &local.nodes {
                    let _ = other.transfer_to(node.id().as_str());
                }
                None
            });
            let passed = checks.load(Ordering::SeqCst);
            wait_for("more checks", || (checks.load(Ordering::SeqCst) > passed + 5).then_some(()));
            assert!(node.lease().is_some(), "a check that is passed ends nothing");
            sick.fetch_xor(true, Ordering::SeqCst);
            another_leads(&local.nodes, at);
            wait_for("the reason", || (lost.lock().unwrap().len() >= round).then_some(()));
            sick.fetch_xor(true, Ordering::SeqCst);
        }
        shut_down(&local.nodes);
    });
    let lost = lost.into_inner().unwrap();
    let ill = lost.iter().filter(|lost| **lost == EndReason::Unhealthy);
    assert!(ill.count() >= 2, "{lost:?}");
    let lost = node.status().counters.leases_lost;
    assert!(lost.count(EndReason::Unhealthy) >= 2, "{lost:?}");
    wait_for("the end of the health check's thread", || threads(node.id().as_str()).is_empty().then_some(()));
}

#[test]
fn a_transfer_reaches_the_node_that_was_named() {
    let local = Local::started(&["ln1", "ln2", "ln3"], BRISK);
    let at = local.leader();
    for step in 1..3 {
        // The last in line: the leader itself would have chosen another node.
        let to = &local.nodes[(at + step) % 3];
        wait_for("a transfer that is not refused", || {
            // A node that has just started is not eligible yet.
            let from = &local.nodes[local.leader()];
            from.transfer_to(to.id().as_str()).ok()?;
            assert!(from.lease().is_none());
            Some(())
        });
        wait_for("the named node to lead", || to.lease().map(drop));
    }
}

#[test]
fn a_transfer_that_cannot_succeed_is_refused_with_the_reason() {
    let mut local = Local::planned_as(&["lo1", "lo2", "lo3", "lo4"], |builder| {
        let witness = NodeSpec::new("lo5", "127.0.0.1", free_port()).witness();
        builder.election_timeout(Duration::from_secs(2)).node(witness)
    });
    // Node 4 does not run.
    assert!(["lo1", "lo2", "lo3", "lo5"].iter().all(|id| local.start(id)));
    let at = local.leader();
    let leader = &local.nodes[at];
    let others = (0..3).filter(|other| *other != at);
    let [second, third]: [&Node; 2] = others.map(|other| &local.nodes[other]).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(second.transfer_to(third.id().as_str()), Err(TransferError::NotLeader));
    assert_eq!(leader.transfer_to(leader.id().as_str()), Err(TransferError::Oneself));
    for unknown in ["lo7", "no id", ""] {
        let id = unknown.to_owned();
        assert_eq!(leader.transfer_to(unknown), Err(TransferError::Unknown { id }));
    }
    let witness = "lo5".parse().unwrap();
    assert_eq!(leader.transfer_to("lo5"), Err(TransferError::Witness(witness)));
    let silent = "lo4".parse().unwrap();
    assert_eq!(leader.transfer_to("lo4"), Err(TransferError::Silent(silent)));
    third.set_eligible(false);
    // The leader learns of it by the answers to its heartbeats.
    let error = wait_for("a refusal", || {
        if let Err(error) = leader.transfer_to(third.id().as_str()) {
            return Some(error);
        }
        // It was too early: lead again.
        wait_for("the old leader to lead", || {
            for other in &local.nodes {
                let _ = other.transfer_to(leader.id().as_str());
            }
            leader.lease().map(drop)
        });
        None
    });
    assert_eq!(error, TransferError::NotEligible(third.id()));
    // It is refused also once every peer has answered this leader, and not only because a peer was not heard.
    local.peers_answer(at, 2);
    assert_eq!(leader.transfer_to(third.id().as_str()), Err(error.clone()));
    assert!(leader.lease().is_some(), "nothing has changed");
    for text in [error.to_string(), TransferError::Silent(silent).to_string()] {
        assert!(text.contains("node lo"), "{text}");
    }
}

#[test]
fn shutdown_within_a_limit_returns_and_the_node_stops_when_the_work_ends() {
    let local = Local::started(&["lp1", "lp2", "lp3"], SLOW);
    let at = local.leader();
    let node = &local.nodes[at];
    let (go, gone) = channel();
    let (begun, begins) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            node.lead(|_| {
                begun.send(()).unwrap();
                gone.recv().map(|()| Next::Rejoin)
            })
        });
        begins.recv().unwrap();
        assert!(!node.shutdown_within(Duration::from_millis(100)));
        assert!(node.lease().is_none());
        assert!(!threads(node.id().as_str()).is_empty());
        go.send(()).unwrap();
        wait_for("the end of every thread", || threads(node.id().as_str()).is_empty().then_some(()));
        assert!(node.shutdown_within(Duration::ZERO));
    });
}
