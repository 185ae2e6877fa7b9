//! A host with thousands of processes.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::process::wait_for;
use super::rig::Rig;

/// Enough that a look at each of them takes longer than half a margin.
const CROWD: usize = 3000;

/// Idle processes, in one process group.
struct Crowd(Child);

impl Crowd {
    fn start() -> Crowd {
        let script = format!("i=0; while [ $i -lt {CROWD} ]; do sleep 900 & i=$((i+1)); done; echo done; wait");
        let mut shell = Command::new("setsid");
        let mut child = shell.args(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        assert_eq!(line, "done\n");
        Crowd(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

/// `LEADELECT_CUTS=20 cargo test --all-features --test run -- --nocapture crowd` for more.
#[test]
fn on_a_host_with_3000_processes_no_command_of_a_leader_that_is_cut_off_lives_beside_the_next() {
    let rounds = std::env::var("LEADELECT_CUTS").map_or(3, |rounds| rounds.parse().unwrap());
    let _crowd = Crowd::start();
    for (heartbeat, timeout) in [(100, 500), (30, 120)] {
        // All of them ignore SIGTERM.
        let (rig, relays) = Rig::with_relays(heartbeat, timeout, "deaf child stray");
        let mut spreads = Vec::new();
        let mut gaps = Vec::new();
        let mut lives = rig.next_after(0, 3);
        for _ in 0..rounds {
            relays.cut(&lives[0].node);
            let next = rig.next_after(lives[0].token, 3);
            rig.wait_until_over(&lives);
            relays.heal();
            let token = lives[0].token;
            let ends: Vec<u64> = rig.lives().iter().filter(|life| life.token == token).map(|life| life.last).collect();
            let (first, last) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
            spreads.push(last - first);
            gaps.push(next[0].first as i64 - last as i64);
            lives = next;
            // The one that was cut off is back.
            wait_for("a command that goes on", || {
                let life = rig.lives().pop()?;
                (life.last > life.first + 3 * timeout * 1_000_000).then_some(())
            });
            let newest = rig.lives().pop().unwrap().token;
            if newest > lives[0].token {
                lives = rig.next_after(newest - 1, 3);
            }
        }
        spreads.sort_unstable();
        gaps.sort_unstable();
        println!(
            "{heartbeat}/{timeout}: first to last death: median {:.1} ms, max {:.1} ms; last death to the next act: \
             min {:.1} ms; n={rounds}",
            spreads[rounds / 2] as f64 / 1e6,
            spreads[rounds - 1] as f64 / 1e6,
            gaps[0] as f64 / 1e6,
        );
        assert!(rig.judge() > rounds);
    }
}
