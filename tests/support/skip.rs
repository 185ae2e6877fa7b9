//! A test that cannot run on this host says so. Where every test has to run, it fails.

use std::env;
use std::io::{Write, stderr};
use std::panic::Location;
use std::thread;

/// With this variable, as in `.ci/run`, a skipped test fails.
pub(crate) const NO_SKIP: &str = "LEADELECT_NO_SKIP";

/// Says that this test checks nothing, and why. The caller returns.
///
/// # Panics
///
/// If [`NO_SKIP`] is set.
#[track_caller]
pub(crate) fn because(reason: &str) {
    // A test that runs alone runs in the main thread, which has no test's name.
    let place = Location::caller().to_string();
    let test = thread::current().name().filter(|name| *name != "main").unwrap_or(&place).to_owned();
    // Not `eprintln!`: the test harness hides that in a test that passes.
    writeln!(stderr(), "SKIPPED {test}: {reason}").expect("write to stderr");
    assert!(env::var_os(NO_SKIP).is_none(), "skipped: {reason}. With {NO_SKIP} no test may be skipped");
}
