//! Calls of `Node::lead` that return without a stop of the node, and calls that wait for the next leader.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use leadelect::{Cause, EndReason, LeadOptions, Next, TransferError};

use super::in_process::{Local, SLOW, SWIFT};
use super::lead::{Ending, LONG};
use super::process::wait_for;

#[test]
fn a_call_that_works_is_called_back_and_the_node_goes_on() {
    let local = Local::started(&["ra1", "ra2", "ra3"], SWIFT);
    let at = local.leader();
    let node = &local.nodes[at];
    assert!(!node.recall(), "nobody leads with it");
    let (begun, begins) = channel();
    let reason = thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        let call = scope.spawn(move || {
            let mut reason = None;
            // A closure that cannot fail returns nothing, and so does the call.
            node.lead(|leading| {
                begun.send(()).unwrap();
                reason = leading.wait(LONG).err();
            });
            reason
        });
        begins.recv().unwrap();
        assert!(node.recall());
        let reason = call.join().unwrap();
        // The others know that nobody works with this node any more.
        wait_for("another leader", || {
            let others = local.nodes.iter().enumerate().filter(|(place, _)| *place != at);
            others.map(|(_, other)| other).find_map(|other| other.lease()).map(drop)
        });
        wait_for("it to follow", || node.status().leader.map(drop));
        reason
    });
    assert_eq!(reason, Some(EndReason::Resigned));
}

#[test]
fn a_call_that_waits_is_called_back_or_ends_with_its_time() {
    let local = Local::started(&["rb1", "rb2", "rb3"], SWIFT);
    let at = local.leader();
    let follower = &local.nodes[(at + 1) % 3];
    let options = LeadOptions::default().time_limit(Duration::from_millis(20));
    follower.lead_with(&options, |_| -> Next { unreachable!("it does not lead") });
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        let call = scope.spawn(|| follower.lead(|_| -> Next { unreachable!("it does not lead") }));
        wait_for("the call", || follower.recall().then_some(()));
        call.join().unwrap();
    });
}

#[test]
fn work_that_runs_when_the_time_of_the_call_is_over_has_to_stop() {
    let local = Local::started(&["rc1", "rc2", "rc3"], SWIFT);
    let node = &local.nodes[local.leader()];
    let options = LeadOptions::default().time_limit(Duration::from_millis(50));
    let mut reasons = Vec::new();
    node.lead_with(&options, |leading| {
        reasons.push(leading.wait(LONG));
        Next::Rejoin
    });
    assert_eq!(reasons, [Err(EndReason::Resigned)]);
    assert!(node.lease().is_none());
}

#[test]
fn a_transfer_that_waits_tells_who_leads_in_the_end() {
    let local = Local::started(&["rd1", "rd2", "rd3"], SLOW);
    let at = local.leader();
    let (node, next) = (&local.nodes[at], &local.nodes[(at + 1) % 3]);
    assert_eq!(next.transfer_and_wait("rd1", LONG), Err(TransferError::NotLeader));
    // One that has just started promises nothing yet.
    wait_for("the next to be eligible", || match node.transfer_and_wait(next.id(), LONG) {
        Err(TransferError::NotEligible(_) | TransferError::Silent(_)) => None,
        transferred => {
            assert_eq!(transferred, Ok(Some(next.id())));
            Some(())
        }
    });
    wait_for("its lease", || next.lease().map(drop));
}

#[test]
fn a_stream_of_events_can_begin_with_the_present_state() {
    let local = Local::started(&["re1", "re2", "re3"], SWIFT);
    let node = &local.nodes[local.leader()];
    let first = node.events_with_present().next().unwrap();
    assert_eq!((first.leader, first.cause), (Some(node.id()), Cause::Present));
}
