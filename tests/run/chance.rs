//! Random faults, and then a check of everything that lived.

use rustix::process::{Signal, kill_process};

use super::dice::Dice;
use super::exclusion::guard_of;
use super::rig::Rig;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillCommand,
    KillGuard,
    KillSupervisor,
    StopSupervisor,
    EndSupervisor,
    CutOff,
}

const FAULTS: [Fault; 6] = [
    Fault::KillCommand,
    Fault::KillGuard,
    Fault::KillSupervisor,
    Fault::StopSupervisor,
    Fault::EndSupervisor,
    Fault::CutOff,
];

/// `LEADELECT_FAULTS=300 cargo test --features cli --test run -- --nocapture chance` for more. A failure prints the
/// command that deals the same faults again; who leads is up to the hosts' timing.
#[test]
fn commands_of_two_leaders_never_live_at_once() {
    let rounds = std::env::var("LEADELECT_FAULTS").map_or(12, |rounds| rounds.parse().unwrap());
    let mut dice = Dice::new(Dice::seed(), 0);
    let options = ["--hold-off", "100ms", "--stop-time", "200ms"];
    let mut rig = Rig::start(500, "deaf child stray", &options);
    let mut token = 0;
    for round in 0..rounds {
        let lives = rig.next_after(token, 3);
        token = lives[0].token;
        let node = lives[0].node.clone();
        let fault = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        println!("{round}: token={token} node={node}: {fault:?}");
        match fault {
            Fault::KillCommand => lives[0].signal(Signal::KILL),
            Fault::KillGuard => kill_process(guard_of(&lives), Signal::KILL).unwrap(),
            Fault::KillSupervisor => {
                rig.supervisors.remove(&node).unwrap().kill();
                rig.join(&node);
            }
            Fault::StopSupervisor => {
                rig.signal(&node, Signal::STOP);
                rig.next_after(token, 3);
                rig.signal(&node, Signal::CONT);
            }
            Fault::EndSupervisor => {
                rig.signal(&node, Signal::TERM);
                rig.supervisors.remove(&node).unwrap().wait_for_end();
                rig.join(&node);
            }
            Fault::CutOff => {
                let others = rig.others(&node);
                others.iter().for_each(|id| rig.signal(id, Signal::STOP));
                rig.wait_until_over(&lives);
                others.iter().for_each(|id| rig.signal(id, Signal::CONT));
            }
        }
    }
    rig.next_after(token, 3);
    assert!(rig.judge() > rounds);
}
