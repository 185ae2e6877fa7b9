//! The closure of `Node::lead`: when it runs, when it is told to stop, and what comes after it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use leadelect::{Leading, Lost, Next};

use super::in_process::{Local, SLOW, SWIFT};
use super::process::wait_for;

const LONG: Duration = Duration::from_secs(3600);

/// Works until it is told to stop.
fn until_told(leading: &Leading<'_>) -> Result<Next, Lost> {
    leading.wait(LONG).map(|()| Next::Leave)
}

#[test]
fn the_closure_runs_once_per_term_won_and_lead_returns_when_the_node_stops() {
    let local = Local::started(&["la1"], SWIFT);
    let node = &local.nodes[0];
    let tokens = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let lead = scope.spawn(|| {
            node.lead(|leading| {
                tokens.lock().unwrap().push(leading.token());
                until_told(leading)
            })
        });
        for terms in 1..=3 {
            wait_for("the closure to run", || {
                (tokens.lock().unwrap().len() == terms).then_some(())
            });
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
                    Ok::<(), Lost>(())
                })
            });
        }
        wait_for("more than one node to have led", || {
            let led = runs.iter().filter(|runs| runs.load(Ordering::SeqCst) > 0);
            (led.count() > 1).then_some(())
        });
        for node in &local.nodes {
            node.shutdown();
        }
    });
}
