//! Three parameters, and the times that follow from them.

use super::*;

fn timing(heartbeat: Duration, timeout: Duration, drift: u32) -> Result<Timing, String> {
    Timing::new(TimingSpec { heartbeat_interval: heartbeat, election_timeout: timeout, clock_drift_ppm: drift })
        .map_err(|error| error.to_string())
}

/// leadelect, parameters: defaults of 100 ms, 500 ms and 1000 ppm, and the rest derived from them.
#[test]
fn the_default_parameters_are_those_of_these_tests() {
    let timing = Timing::default();
    assert_eq!(timing.heartbeat_interval(), ETA);
    assert_eq!(timing.election_timeout(), D);
    assert_eq!(timing.clock_drift_ppm(), 1000);
    assert_eq!(timing.suspicion(), S);
    assert_eq!(timing.stagger(), STAGGER);
    assert_eq!(timing.lease(D), LEASE);
    assert_eq!(
        Timing::new(TimingSpec { heartbeat_interval: ETA, election_timeout: D, clock_drift_ppm: 1000 }),
        Ok(timing)
    );
}

/// leadelect, parameters: suspicion is 0.6 of the election timeout, so that pre-votes are over when votes are free.
#[test]
fn suspicion_is_three_fifths_of_the_election_timeout() {
    let timing = timing(ms(100), ms(1000), 0).expect("valid");
    assert_eq!(timing.suspicion(), ms(600));
}

/// The effective term of a lease is shorter at the holder than at the grantor, by what their clocks may differ (Gray
/// and Cheriton 1989). leadelect, parameters: L = D(1−ρ)/(1+ρ) − ε.
#[test]
fn a_lease_is_its_promise_less_the_drift_of_two_clocks_less_a_margin() {
    let no_drift = timing(ETA, D, 0).expect("valid");
    assert_eq!(no_drift.lease(ms(500)), ms(499));
    let tenth = timing(ETA, D, 100_000).expect("valid");
    assert_eq!(tenth.lease(ms(1100)), ms(900 - 1));
}

/// leadelect, parameters: no lease is longer than its promise. On the holder's slowest clock it ends before the promise
/// does on the grantor's fastest clock.
#[test]
fn no_lease_outlives_its_promise_on_any_two_clocks_within_the_drift() {
    for drift in [0, 1, 50, 1000, 33_333, 100_000] {
        let timing = timing(ETA, D, drift).expect("valid");
        for nanos in [0, 1, 999_999, 1_000_000, 1_000_001, 123_456_789, 500_000_000] {
            let promise = Duration::from_nanos(nanos);
            let slow = timing.lease(promise).as_nanos() * (1_000_000 + u128::from(drift));
            let fast = promise.as_nanos() * (1_000_000 - u128::from(drift));
            assert!(slow < fast || nanos == 0, "{drift} ppm, {promise:?}");
        }
    }
}

/// leadelect, parameters: a promise that is shorter than the margin leaves no lease. It does not become a huge one.
#[test]
fn a_promise_within_the_margin_leaves_no_lease() {
    assert_eq!(Timing::default().lease(ms(1)), Duration::ZERO);
    assert_eq!(Timing::default().lease(Duration::ZERO), Duration::ZERO);
}

/// leadelect rule 2: a node that waits for a time on another clock waits as long as that clock may need.
#[test]
fn a_wait_for_another_clock_allows_for_the_drift_of_both() {
    let tenth = timing(ETA, D, 100_000).expect("valid");
    assert_eq!(tenth.wait_for(ms(900)), ms(1100));
}

/// leadelect, parameters: the three are validated together. Suspicion must not begin after one lost heartbeat.
#[test]
fn an_election_timeout_below_three_and_a_half_heartbeats_is_refused() {
    assert!(timing(ms(100), ms(350), 1000).is_ok());
    let error = timing(ms(100), ms(350) - NS, 1000).expect_err("too short");
    assert!(error.contains("349.999999ms"), "{error}");
    assert!(error.contains("100ms"), "{error}");
    assert!(error.contains("use at least 350ms"), "{error}");
}

/// leadelect rule 13: every bound has a name, also those of the parameters.
#[test]
fn a_knob_out_of_its_bounds_is_refused() {
    assert!(timing(ms(3), D, 0).is_ok());
    assert!(timing(ms(3) - NS, D, 0).is_err());
    assert!(timing(ETA, Duration::from_secs(3600), 0).is_ok());
    assert!(timing(ETA, Duration::from_secs(3600) + NS, 0).is_err());
    assert!(timing(Duration::MAX, D, 0).is_err());
    assert!(timing(ETA, D, 100_000).is_ok());
    assert!(timing(ETA, D, 100_001).is_err());
}
