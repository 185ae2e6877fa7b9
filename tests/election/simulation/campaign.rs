//! Many runs, on all cores. Each run is one seed on one thread, and its result does not depend on the others'.

use std::num::NonZero;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{number, replay, run};

/// How many runs, unless `SEEDS` says otherwise: a few seconds.
const USUAL_SEEDS: u64 = 300;
/// How often a long campaign says how far it is.
const NEWS_EVERY: Duration = Duration::from_secs(60);

/// What was asked for.
struct Campaign {
    first: u64,
    /// The first seed that is not asked for.
    end: u64,
    most_time: Duration,
    threads: usize,
}

/// What was seen in some runs.
#[derive(Default)]
struct Tally {
    seeds: u64,
    leases: u64,
    /// In nanoseconds.
    simulated: u128,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.seeds += more.seeds;
        self.leases += more.leases;
        self.simulated += more.simulated;
    }
}

/// Runs what the environment asks for; replays the lowest seed that fails, if one does.
#[allow(clippy::disallowed_methods, reason = "only to tell how fast it was, and to end a campaign in time")]
pub(super) fn run_all() {
    let campaign = Campaign::asked_for();
    let began = Instant::now();
    let next = AtomicU64::new(campaign.first);
    let failed = AtomicU64::new(u64::MAX);
    let tally = std::thread::scope(|scope| {
        let (tell, told) = channel();
        for _ in 0..campaign.threads {
            let tell = tell.clone();
            let (next, failed, campaign) = (&next, &failed, &campaign);
            scope.spawn(move || {
                // In order, so that all below one that has failed are run, and none above it is begun.
                while began.elapsed() < campaign.most_time {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= campaign.end || seed > failed.load(Ordering::Relaxed) {
                        break;
                    }
                    match try_one(seed) {
                        Some(seen) => tell.send(seen).expect("somebody counts"),
                        None => drop(failed.fetch_min(seed, Ordering::Relaxed)),
                    }
                }
            });
        }
        drop(tell);
        let mut tally = Tally::default();
        let mut news_at = NEWS_EVERY;
        loop {
            match told.recv_timeout(news_at.saturating_sub(began.elapsed())) {
                Ok(seen) => tally += seen,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break tally,
            }
            if began.elapsed() >= news_at {
                println!("so far: {}", tally.tell(began.elapsed()));
                news_at += NEWS_EVERY;
            }
        }
    });
    let seed = failed.into_inner();
    if seed != u64::MAX {
        replay(seed);
        panic!("seed {seed} failed and now does not: a run rests on something else than its seed");
    }
    assert!(tally.leases > tally.seeds, "{} leases in {} runs: hardly anything was checked", tally.leases, tally.seeds);
    println!("{}", tally.tell(began.elapsed()));
}

fn try_one(seed: u64) -> Option<Tally> {
    let world = catch_unwind(AssertUnwindSafe(|| run(seed, false))).ok()?;
    world.checker.violation.is_none().then(|| Tally {
        seeds: 1,
        leases: world.checker.leases_won,
        simulated: u128::from(world.now.0),
    })
}

impl Campaign {
    fn asked_for() -> Self {
        let first = number("FROM").unwrap_or(0);
        let minutes = number("MINUTES");
        let seeds = number("SEEDS").unwrap_or(match minutes {
            Some(_) => u64::MAX,
            None => USUAL_SEEDS,
        });
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = number("THREADS").map_or(Ok(cores), usize::try_from);
        Campaign {
            first,
            end: first.saturating_add(seeds),
            most_time: minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(minutes.saturating_mul(60))),
            threads: threads.expect("a number of threads").max(1),
        }
    }
}

impl Tally {
    fn tell(&self, took: Duration) -> String {
        let simulated = self.simulated as f64 / 1e9;
        format!(
            "{} seeds, 0 violations, {} leases, {:.1} simulated hours, {:.0}x real time",
            self.seeds,
            self.leases,
            simulated / 3600.0,
            simulated / took.as_secs_f64()
        )
    }
}
