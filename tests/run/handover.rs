//! How long no command works after one is killed.

use rustix::process::Signal;

use super::child::boot_nanos;
use super::process::wait_for;
use super::rig::Rig;

/// `LEADELECT_HANDOVERS=200 cargo test --features cli --test run -- --nocapture handover` for more.
#[test]
fn after_a_command_is_killed_another_node_runs_its_own_within_milliseconds() {
    let rounds = std::env::var("LEADELECT_HANDOVERS").map_or(15, |rounds| rounds.parse().unwrap());
    // The default timing: a heartbeat every 100 ms, an election timeout of 500 ms.
    let rig = Rig::start(500, "", &["--hold-off", "100ms"]);
    rig.wait_until_nobody_is_new();
    let mut gaps = Vec::new();
    let mut moves = 0;
    let mut lives = rig.next_after(0, 1);
    while gaps.len() < rounds {
        // The last leader holds off no more, a heartbeat later the new one knows it, and everybody has heard of that.
        wait_for("a settled leader", || {
            let life = rig.lives().pop()?;
            (life.last > life.first + 650_000_000).then_some(())
        });
        let killed_at = boot_nanos();
        lives[0].signal(Signal::KILL);
        let next = rig.next_after(lives[0].token, 1);
        gaps.push(next[0].first.saturating_sub(killed_at));
        moves += usize::from(next[0].node != lives[0].node);
        lives = next;
    }
    gaps.sort_unstable();
    let millis = |nanos: u64| nanos as f64 / 1e6;
    let median = gaps[gaps.len() / 2];
    println!(
        "kill -9 of the command to the first act of the next one: median {:.1} ms, min {:.1} ms, max {:.1} ms, n={}",
        millis(median),
        millis(gaps[0]),
        millis(gaps[gaps.len() - 1]),
        gaps.len()
    );
    // By a release, that is, and not because a lease ran out.
    assert!(millis(median) < 250.0, "{gaps:?}\n{}", rig.dump());
    // The node of a command that failed holds off, and leads again only if the others cannot.
    assert!(moves >= rounds * 4 / 5, "{moves} of {rounds}\n{}", rig.dump());
    assert_eq!(rig.judge(), rounds + 1);
}
