//! A logger that is stuck: behind a lock of the program, or behind a pipe that nobody reads. No node waits for it.

use rustix::process::Signal;

use super::cluster::{Cluster, SWIFT};
use super::lease_log::Claims;
use super::process::wait_for;

const THREE: [&str; 3] = ["1", "2", "3"];

/// How a logger comes to be stuck.
#[derive(Debug, Clone, Copy)]
enum Stuck {
    BehindALock,
    BehindAFullPipe,
}

impl Stuck {
    /// From now on every line of this process waits.
    fn begin(self, cluster: &mut Cluster, name: &str) {
        let process = cluster.process(name);
        let command = match self {
            Stuck::BehindALock => "jam",
            Stuck::BehindAFullPipe => {
                process.leave_log_unread();
                "fill"
            }
        };
        process.command(command);
        process.wait_until_it_mentions(&["done", command]);
    }
}

fn followers_with_stuck_loggers_elect_another_leader(how: Stuck) {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();
    for follower in cluster.others(&first.id) {
        how.begin(&mut cluster, &follower);
    }
    cluster.kill(&first.id);
    let second = cluster.leader_after(&first);
    // Its log has many lines to come by now, and its status tells why none of them does.
    cluster.processes[&second.id].wait_until_it_mentions(&["logger stuck"]);
    cluster.judge(Claims::Stand);
}

#[test]
fn followers_whose_loggers_wait_for_a_lock_elect_another_leader() {
    followers_with_stuck_loggers_elect_another_leader(Stuck::BehindALock);
}

#[test]
fn followers_whose_logs_nobody_reads_elect_another_leader() {
    followers_with_stuck_loggers_elect_another_leader(Stuck::BehindAFullPipe);
}

fn a_leader_with_a_stuck_logger_hands_over_and_ends(how: Stuck) {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();
    how.begin(&mut cluster, &first.id);

    cluster.process(&first.id).command("resign");
    cluster.processes[&first.id].wait_until_it_mentions(&["done resign true"]);
    wait_for("another leader", || cluster.agreed().filter(|leader| leader.token > first.token));

    cluster.process(&first.id).signal(Signal::TERM);
    let status = cluster.process(&first.id).wait_for_end();
    assert!(status.success(), "{status}: {}", cluster.dump());
    let said = cluster.processes[&first.id].see(|record| record.mentions(&["done shutdown"]));
    assert!(said, "{}", cluster.dump());
}

#[test]
fn a_leader_whose_logger_waits_for_a_lock_hands_over_and_ends() {
    a_leader_with_a_stuck_logger_hands_over_and_ends(Stuck::BehindALock);
}

#[test]
fn a_leader_whose_log_nobody_reads_hands_over_and_ends() {
    a_leader_with_a_stuck_logger_hands_over_and_ends(Stuck::BehindAFullPipe);
}
