//! Stands in for `Node::lead_with` until that is there.

use std::fmt::Display;
use std::time::Duration;

use leadelect::{Lease, Node};

#[derive(Default)]
pub(super) struct LeadOptions(Duration);
impl LeadOptions {
    pub(super) fn drain_time(self, d: Duration) -> Self {
        LeadOptions(d)
    }
    pub(super) fn hold_off(self, _: Duration) -> Self {
        self
    }
}
pub(super) struct Leading {
    lease: Lease,
    drain: Duration,
}
impl Leading {
    pub(super) fn token(&self) -> u64 {
        self.lease.token()
    }
    pub(super) fn hard_remaining(&self) -> Duration {
        self.lease.remaining()
    }
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.lease.remaining() > self.drain {
            Ok(())
        } else {
            Err("lost")
        }
    }
}
pub(super) enum Next {
    Rejoin,
    HoldOff(Duration),
    Leave,
}
pub(super) fn lead<E: Display>(
    node: &Node,
    options: &LeadOptions,
    mut work: impl FnMut(&Leading) -> Result<Next, E>,
) -> Result<(), E> {
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let events = node.events();
    std::thread::spawn(move || {
        for _ in events {}
        drop(stop);
    });
    loop {
        if let Some(lease) = node.lease() {
            let leading = Leading {
                lease,
                drain: options.0,
            };
            let next = work(&leading)?;
            drop(leading);
            let _ = node.resign();
            match next {
                Next::Leave => return Ok(()),
                Next::HoldOff(d) => drop(stopped.recv_timeout(d)),
                Next::Rejoin => {}
            }
        }
        if stopped.recv_timeout(Duration::from_millis(1))
            == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        {
            return Ok(());
        }
    }
}
