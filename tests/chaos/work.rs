//! What the command of `leadelect run` does: it acts, every two milliseconds.
//!
//! `LEADELECT_WORK` says what else it does, in words:
//!
//! | word | what |
//! |---|---|
//! | `deaf` | ignores SIGTERM |
//! | `child` | starts another such process in its own process group, which is deaf |
//! | `stray` | starts another such process, which is deaf, in a session of its own |

use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use super::actor::Actor;
use super::child::boot_nanos;
use super::resource::ALWAYS;

pub(crate) const TRAITS: &str = "LEADELECT_WORK";
/// The arguments with which this binary is a command.
pub(crate) const ARGUMENTS: [&str; 4] = ["work::run", "--exact", "--ignored", "--nocapture"];

const BEAT: Duration = Duration::from_millis(2);

/// Not a test but a program, which the tests start. Without its variables it does nothing.
#[test]
#[ignore = "a program that the other tests start"]
fn run() {
    let (Ok(traits), Some(actor)) = (env::var(TRAITS), Actor::from_env()) else {
        return;
    };
    let token = env::var("LEADELECT_TOKEN").unwrap().parse().unwrap();
    let is = |word: &str| traits.split(' ').any(|given| given == word);
    if is("deaf") {
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::new(AtomicBool::new(false))).unwrap();
    }
    if is("fled") {
        rustix::process::setsid().unwrap();
    }
    for (word, child) in [("child", "deaf"), ("stray", "deaf fled")] {
        if is(word) {
            // The process that adopts it waits for it.
            #[allow(clippy::zombie_processes)]
            Command::new(env::current_exe().unwrap())
                .args(ARGUMENTS)
                .env(TRAITS, child)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        }
    }
    loop {
        actor.act(token, boot_nanos(), ALWAYS);
        thread::sleep(BEAT);
    }
}
