//! The node of the highest priority leads in the end.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use leadelect::config::NodeSpec;
use leadelect::{Cause, EndReason, Leading};

use super::cluster::free_port;
use super::in_process::Local;
use super::lead::{Ending, shut_down, until_told};
use super::process::{AMPLE, try_for, wait_for};

/// A preferred node is waited for twenty times as long.
const TIMEOUT: Duration = Duration::from_millis(600);

/// It comes late and takes over in order: the work of the node that led so far has ended by then.
#[test]
fn a_preferred_node_that_comes_late_leads_in_the_end_and_takes_over_in_order() {
    let mut local = Local::planned_as(&["pf1", "pf2"], |builder| {
        let preferred = NodeSpec::new("pf3", "127.0.0.1", free_port()).priority(1);
        builder.election_timeout(TIMEOUT).node(preferred)
    });
    assert!(["pf1", "pf2"].iter().all(|id| local.start(id)));
    local.leader();
    assert!(local.start("pf3"));
    let mut events: Vec<_> = local.nodes.iter().map(|node| node.events()).collect();
    let preferred = local.nodes[2].id();
    let works = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        for node in &local.nodes {
            let (works, me) = (&works, node.id());
            scope.spawn(move || {
                node.lead(|leading: &Leading<'_>| {
                    works.lock().unwrap().push((leading.token().0, me, true));
                    let told = until_told(leading);
                    works.lock().unwrap().push((leading.token().0, me, false));
                    told // not an error of the work, but its consequence
                })
            });
        }
        // On a busy machine the wait begins anew now and then.
        let yielded = try_for(AMPLE * 4, || {
            let mut news = events.iter_mut().filter_map(|events| events.next_within(Duration::ZERO));
            let yields = Cause::SteppingDown { reason: EndReason::Preferred, successor: Some(preferred) };
            news.any(|event| event.cause == yields).then_some(())
        });
        assert!(yielded.is_some(), "{:?}", local.nodes[0].status());
        wait_for("the preferred node to work", || {
            let works = works.lock().unwrap();
            let last = works.last().filter(|(_, node, begins)| *node == preferred && *begins);
            last.map(drop)
        });
        shut_down(&local.nodes);
    });
    let works = works.into_inner().unwrap();
    for pair in works.chunks(2) {
        let [(begun, by, true), (ended, of, false)] = pair else {
            panic!("work of two nodes at once: {works:?}");
        };
        assert_eq!((begun, by), (ended, of), "{works:?}");
    }
}
