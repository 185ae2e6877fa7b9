//! The only file that reads a clock.
//!
//! A lease is safe only if no clock's rate is off by more than the configured drift. That rules out most clocks of
//! Linux:
//!
//! - The wall clock jumps when it is set.
//! - `CLOCK_MONOTONIC`, which is [`std::time::Instant`], stops while the host is suspended. A leader would wake up and
//!   believe in a lease that ended hours ago. NTP also slews it: by at most 500 ppm in the kernel's own loop, and by
//!   far more when a time daemon changes the tick length.
//! - `CLOCK_BOOTTIME` counts suspend, but NTP slews it in the same way.
//! - `CLOCK_MONOTONIC_RAW` is never slewed, but stops in suspend.
//!
//! So [`now`] is put together: `MONOTONIC_RAW + (BOOTTIME - MONOTONIC)`. The bracket is exactly the time in suspend,
//! because both of its clocks are slewed in the same way. It needs Linux 2.6.39, and Rust itself runs on no older one.
//!
//! Three clocks cannot be read at once. They are read in the order boottime, monotonic, raw. Then a delay or a suspend
//! between the reads makes the sum late by at most that delay: the result is the true sum at some moment inside the
//! call, and never a later moment. (In the other order, a delay would count as suspend.) Slewing during the delay is
//! the only error left, so a reading that took long is repeated.
//!
//! This clock does not see that a virtual machine is paused, moved, or restored from a snapshot. The guest's counters
//! may stop with it, and no clock inside can tell. Fencing tokens are for that.
//!
//! On other systems the clock is [`std::time::Instant`], the best monotonic clock there. On macOS it stops in suspend.
//! So a leader there may act beside another for up to one lease after it wakes up.
#![allow(clippy::disallowed_methods)] // here, and nowhere else

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::election::Instant;

/// The moment of the call. Never earlier than a moment that this function has returned before, to any thread.
pub(crate) fn now() -> Instant {
    static LATEST: AtomicU64 = AtomicU64::new(0);

    let nanos = source::nanos();
    // Relaxed is enough: all changes of one atomic have one order, and a later call comes later in it.
    let latest = LATEST.fetch_max(nanos, Ordering::Relaxed);
    Instant::from_nanos(nanos.max(latest))
}

/// Nanoseconds on the clock by which leases are measured.
///
/// On Linux every process of a host reads the same clock, so a deadline can be sent to another process. In this way the
/// guard of `leadelect run` knows when its command must be dead. On other systems each process has a clock of its own.
pub fn lease_clock_nanos() -> u64 {
    now().as_nanos()
}

/// Seconds since 1970 by the wall clock, which may be wrong and may jump. Zero if it shows a time before 1970.
pub(crate) fn wall_seconds() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |span| span.as_secs())
}

/// Whole days from now until `end`, in seconds since 1970. Negative if that is in the past.
pub(crate) fn days_until(end: u64) -> i64 {
    let left = i128::from(end) - i128::from(wall_seconds());
    i64::try_from(left.div_euclid(24 * 60 * 60)).unwrap_or(i64::MAX)
}

/// How long the kernel of this host has been up, with the time in suspend, if that is known. The same sum as [`now`],
/// because both of its counters start with the kernel and because `CLOCK_BOOTTIME` alone is slewed.
pub(crate) fn uptime() -> Option<Duration> {
    source::STARTS_AT_BOOT.then(|| now().since(Instant::ZERO))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod source {
    use rustix::time::{ClockId, clock_gettime};

    pub(super) const STARTS_AT_BOOT: bool = true;

    /// A reading that took longer is repeated. Within 100 µs even a clock slewed by a tenth is off by 10 µs, a
    /// hundredth of what a lease gives away for reading the clock; four reads take far less unless interrupted.
    const LONGEST_READING_NANOS: u64 = 100_000;
    /// After this many readings the last one is used: a host this busy has delays far longer than the error.
    const MOST_READINGS: u32 = 8;

    pub(super) fn nanos() -> u64 {
        let mut sum = 0;
        for _ in 0..MOST_READINGS {
            let begin = read(ClockId::Boottime);
            let monotonic = read(ClockId::Monotonic);
            let raw = read(ClockId::MonotonicRaw);
            let end = read(ClockId::Boottime);

            sum = raw.saturating_add(begin).saturating_sub(monotonic);
            if end.saturating_sub(begin) <= LONGEST_READING_NANOS {
                break;
            }
        }
        sum
    }

    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        // Neither is negative: these clocks start at boot. 64 bits of nanoseconds last 584 years.
        let (seconds, nanos) = (time.tv_sec as u64, time.tv_nsec as u64);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod source {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) const STARTS_AT_BOOT: bool = false;

    pub(super) fn nanos() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_thread_sees_the_clock_go_back() {
        let told = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let before = told.load(Ordering::SeqCst);
                        let nanos = now().as_nanos();
                        assert!(nanos >= before, "{nanos} after {before}");
                        told.fetch_max(nanos, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn the_clock_agrees_with_the_standard_one_while_awake() {
        use std::time::Instant;
        let (outer, start, inner) = (Instant::now(), now(), Instant::now());
        thread::sleep(Duration::from_millis(50));
        let (shortest, ours, longest) = (inner.elapsed(), now().since(start), outer.elapsed());

        let slewed = longest / 100;
        assert!(shortest <= ours + slewed && ours <= longest + slewed, "{shortest:?} {ours:?} {longest:?}");
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        assert_eq!(days_until(wall_seconds() + 86_400 * 3 + 3600), 3);
        assert_eq!(days_until(wall_seconds() - 1), -1);
    }

    #[test]
    fn the_wall_clock_is_past_2020_and_the_uptime_grows() {
        assert!(wall_seconds() > 1_577_836_800);
        let earlier = uptime();
        assert!(earlier <= uptime());
        assert_eq!(earlier.is_some(), source::STARTS_AT_BOOT);
    }
}
