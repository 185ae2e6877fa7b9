//! Work that does not stop, and leases that are not dropped: what happens at the hard deadline and after it, and what
//! does not happen before.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leadelect::{Cause, Config, EndReason, LeadOptions, Leading, Next, Node, OnOverrun};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

use super::child::{self, boot_nanos};
use super::cluster::{CALM, Cluster, SWIFT, free_port};
use super::in_process::Local;
use super::lead::{LONG, shut_down, until_told};
use super::process::{Process, wait_for};

const TIMEOUT: Duration = Duration::from_secs(1);

/// What the test knows of a closure that does not stop.
#[derive(Default)]
struct Stubborn {
    token: AtomicU64,
    /// A moment at which the hard deadline had not passed yet.
    held_at: AtomicU64,
    may_end: AtomicBool,
}

impl Stubborn {
    /// Stubborn in the first term, and good-natured in later ones.
    fn work(&self, leading: &Leading<'_>) -> Result<Next, EndReason> {
        if self.may_end.load(Ordering::SeqCst) {
            return until_told(leading).map(|()| Next::Rejoin);
        }
        self.token.store(leading.token().0, Ordering::SeqCst);
        while !self.may_end.load(Ordering::SeqCst) {
            let now = boot_nanos();
            if !leading.remaining().is_over() {
                self.held_at.store(now, Ordering::SeqCst);
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(Next::Rejoin)
    }
}

/// However the test ends, so does the work.
struct Ending<'a>(&'a Stubborn, &'a [Node]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.may_end.store(true, Ordering::SeqCst);
        shut_down(self.1);
    }
}

/// Waits for an event of this kind.
fn sees(node: &Node, what: &str, is_it: impl Fn(&Cause) -> bool, act: impl FnOnce()) {
    let mut events = node.events();
    act();
    wait_for(what, || {
        let event = events.next_within(Duration::from_secs(1))?;
        is_it(&event.cause).then_some(())
    });
}

#[test]
fn no_other_node_works_before_the_lease_of_overrunning_work_has_run_out() {
    let local = Local::started(&["oa1", "oa2", "oa3"], TIMEOUT);
    let at = local.leader();
    let node = &local.nodes[at];
    let (told, stubborn) = (Arc::new(Mutex::new(Vec::new())), Stubborn::default());
    let tell = told.clone();
    let options =
        LeadOptions::default().on_overrun(OnOverrun::Call(Arc::new(move |token| tell.lock().unwrap().push(token))));
    let next = Mutex::new(None);
    thread::scope(|scope| {
        let _ending = Ending(&stubborn, &local.nodes);
        for other in local.nodes.iter().filter(|other| other.id() != node.id()) {
            let next = &next;
            scope.spawn(move || {
                other.lead(|leading| {
                    let begun = (boot_nanos(), leading.token().0);
                    next.lock().unwrap().get_or_insert(begun);
                    until_told(leading)
                })
            });
        }
        scope.spawn(|| node.lead_with(&options, |leading| stubborn.work(leading)));
        wait_for("the work", || (stubborn.held_at.load(Ordering::SeqCst) > 0).then_some(()));

        let token = stubborn.token.load(Ordering::SeqCst);
        let is_overrun = |cause: &Cause| matches!(cause, Cause::WorkOverran { term } if term.0 == token);
        sees(node, "the overrun", is_overrun, || node.resign().unwrap());

        let next = wait_for("the work of another node", || *next.lock().unwrap());
        let held_at = stubborn.held_at.load(Ordering::SeqCst);
        assert!(next.0 > held_at, "{next:?} {held_at}");
        assert!(next.1 > token);
        wait_for("the callback", || (*told.lock().unwrap() == [leadelect::Term(token)]).then_some(()));
        assert_eq!(node.resign(), Err(leadelect::NotLeader), "its end was not waited for");
    });
    assert_eq!(told.lock().unwrap().len(), 1, "once");
}

#[test]
fn a_node_whose_work_overruns_does_not_campaign_until_it_has_ended() {
    let mut local = Local::started(&["ob1", "ob2", "ob3"], TIMEOUT);
    let at = local.leader();
    local.nodes.swap(0, at);
    let (node, others) = local.nodes.split_first().unwrap();
    let stubborn = Stubborn::default();
    thread::scope(|scope| {
        let _ending = Ending(&stubborn, &local.nodes);
        scope.spawn(|| node.lead(|leading| stubborn.work(leading)));
        wait_for("the work", || (stubborn.held_at.load(Ordering::SeqCst) > 0).then_some(()));
        // The others lead only if the first node does not campaign. Only its work keeps it from that.
        for other in others {
            other.set_eligible(false);
        }
        let is_overrun = |cause: &Cause| matches!(cause, Cause::WorkOverran { .. });
        sees(node, "the overrun", is_overrun, || node.resign().unwrap());
        wait_for("another leader", || others.iter().find_map(Node::lease).map(drop));
        for _ in 0..3 {
            wait_for("a hand-over", || {
                let leader = others.iter().find(|other| other.lease().is_some())?;
                leader.resign().ok()
            });
            wait_for("another leader", || {
                assert!(node.lease().is_none(), "its work runs on");
                others.iter().find_map(Node::lease).map(drop)
            });
        }
        stubborn.may_end.store(true, Ordering::SeqCst);
        wait_for("the node to lead again", || {
            for other in others {
                let _ = other.transfer_to(node.id().as_str());
            }
            node.lease().map(drop)
        });
    });
}

/// A single node would lead again at once.
#[test]
fn a_lease_that_is_not_dropped_is_warned_of_once() {
    let mut cluster = Cluster::started(&["1"], SWIFT);
    let first = cluster.leader();
    cluster.process("1").command("hold");
    cluster.processes["1"].wait_until_it_mentions(&["done hold true"]);
    cluster.process("1").command("resign");

    let term = format!("the lease of term {}", first.term);
    let says = ["WARN", "does not campaign", &term, "drop every `Lease`"];
    cluster.processes["1"].wait_until_it_mentions(&says);

    let again = boot_nanos() + 3 * SWIFT * 1_000_000;
    wait_for("three election timeouts", || (boot_nanos() > again).then_some(()));
    cluster.process("1").command("drop");
    cluster.leader_after(&first);
    let said = cluster.processes["1"].see(|record| {
        let lines = record.log.iter();
        lines.filter(|line| line.contains(says[1])).count()
    });
    assert_eq!(said, 1, "{}", cluster.dump());
}

/// Its threads wake up in any order, and the work stops within milliseconds when it has a turn.
#[test]
fn work_of_a_process_that_was_stopped_for_longer_than_its_lease_does_not_count_as_overrunning() {
    let mut cluster = Cluster::started(&["1", "2", "3"], CALM);
    for round in 1..=2 {
        let leader = cluster.leader();
        let process = cluster.process(&leader.id);
        if !process.see(|record| record.mentions(&["done work"])) {
            process.command("work");
            process.wait_until_it_mentions(&["done work"]);
        }
        cluster.stays(&leader, CALM);
        cluster.process(&leader.id).signal(Signal::STOP);
        let others = cluster.others(&leader.id);
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        cluster.leader_of(&others);
        cluster.process(&leader.id).signal(Signal::CONT);
        cluster.leader_after(&leader);
        cluster.nobody_panicked();
        let accused = ["RUNS ON", "does not campaign"];
        let said = accused.iter().any(|words| cluster.process(&leader.id).see(|record| record.mentions(&[words])));
        assert!(!said, "round {round}: {}", cluster.dump());
    }
}

const PORT: &str = "LEADELECT_OVERRUN_PORT";
/// The logger of the program is stuck when the work overruns.
const JAMMED: &str = "LEADELECT_OVERRUN_JAMMED";

/// Not a test but a program that a test starts. Its work does not stop, and it chose [`OnOverrun::Abort`].
#[test]
#[ignore = "a program that another test starts"]
fn run() {
    let Some(port) = env::var(PORT).ok().and_then(|port| port.parse().ok()) else {
        return;
    };
    child::set_logger();
    let config = Config::builder().insecure().node(("1", "127.0.0.1", port));
    let node = Node::start(config.build().unwrap().for_node("1").unwrap()).unwrap();
    let options = LeadOptions::default().on_overrun(OnOverrun::Abort);
    let _ = node.lead_with(&options, |_| {
        if env::var_os(JAMMED).is_some() {
            child::jam();
        }
        node.resign().unwrap();
        thread::sleep(LONG);
        Ok::<_, EndReason>(Next::Leave)
    });
}

fn overrunning() -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["overrun::run", "--exact", "--ignored", "--nocapture"]).env(PORT, free_port().to_string());
    command
}

#[test]
fn a_program_that_chose_to_abort_is_aborted_when_its_work_overruns() {
    let mut program = Process::start("program", overrunning());
    let status = program.wait_for_end();
    let abort = Signal::ABORT.as_raw();
    assert_eq!(status.signal(), Some(abort), "{status}: {}", program.dump());
    program.wait_until_it_mentions(&["THE WORK OF TERM", "RUNS ON"]);
    program.wait_until_it_mentions(&["aborts the process"]);
}

#[test]
fn a_program_that_chose_to_abort_is_aborted_also_behind_a_logger_that_is_stuck() {
    let mut command = overrunning();
    command.env(JAMMED, "1");
    let mut program = Process::start("program", command);
    let status = program.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}: {}", program.dump());
    assert!(!program.see(|record| record.mentions(&["RUNS ON"])), "its logger was not stuck: {}", program.dump());
}
