//! The resource: it takes acts in the order in which they were done, and refuses old tokens.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::child::boot_nanos;

/// The end of an act that has to come in time whatever happens: the process is dead otherwise.
pub(crate) const ALWAYS: u64 = u64::MAX;

/// One act that reached the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) node: String,
    pub(crate) token: u64,
    pub(crate) pid: i32,
    /// The process lived, and acted, at this moment.
    pub(crate) at: u64,
    /// It was sure to be the leader no longer than until then.
    pub(crate) until: u64,
    pub(crate) received: u64,
    pub(crate) refused: bool,
}

impl Act {
    pub(crate) fn parse(text: &str, received: u64) -> Option<Act> {
        let [node, token, pid, at, until] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
        Some(Act {
            node: node.to_owned(),
            token: token.parse().ok()?,
            pid: pid.parse().ok()?,
            at: at.parse().ok()?,
            until: until.parse().ok()?,
            received,
            refused: false,
        })
    }
}

#[derive(Debug, Default)]
struct Taken {
    acts: Vec<Act>,
    highest: u64,
}

impl Taken {
    fn take(&mut self, mut act: Act) {
        act.refused = act.token < self.highest;
        self.highest = self.highest.max(act.token);
        self.acts.push(act);
    }
}

#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) path: PathBuf,
    taken: Arc<Mutex<Taken>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Resource {
    pub(crate) fn new(folder: &Path) -> Resource {
        let path = folder.join("resource");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let over = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (taken, over) = (taken.clone(), over.clone());
            move || {
                let mut bytes = [0; 256];
                while !over.load(Ordering::Relaxed) {
                    let Ok(length) = socket.recv(&mut bytes) else { continue };
                    let act = Act::parse(std::str::from_utf8(&bytes[..length]).unwrap(), boot_nanos()).unwrap();
                    taken.lock().unwrap_or_else(PoisonError::into_inner).take(act);
                }
            }
        });
        Resource { path, taken, over, reader: Some(reader) }
    }

    fn see<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn acts(&self) -> Vec<Act> {
        self.see(|taken| taken.acts.clone())
    }

    /// The last act.
    pub(crate) fn last(&self) -> Option<Act> {
        self.see(|taken| taken.acts.last().cloned())
    }

    /// The processes of this token that have acted lately.
    pub(crate) fn actors(&self, token: u64) -> Vec<i32> {
        let since = boot_nanos().saturating_sub(100_000_000);
        self.see(|taken| {
            let lately = taken.acts.iter().rev().take_while(|act| act.received >= since);
            let mut pids: Vec<i32> = lately.filter(|act| act.token == token).map(|act| act.pid).collect();
            pids.sort_unstable();
            pids.dedup();
            pids
        })
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

#[test]
fn a_token_that_is_lower_than_one_before_is_refused() {
    let mut taken = Taken::default();
    for token in [1, 1, 3, 2, 3] {
        taken.take(Act::parse(&format!("1 {token} 10 5 6"), 7).unwrap());
    }
    let refused: Vec<bool> = taken.acts.iter().map(|act| act.refused).collect();
    assert_eq!(refused, [false, false, false, true, false]);
}
