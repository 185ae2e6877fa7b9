//! What waits to be sent to one peer. The election thread puts it here and goes on; the dialler takes it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::PROBE_INTERVAL;
use super::wire::Frame;
use crate::election::Request;
use crate::sync::lock;

/// The newest request to a peer. It has room for one, because a newer request makes an older one pointless. A later
/// heartbeat asks for a longer promise, a vote follows its pre-vote, and after a release nothing of that term matters.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    request: Option<Request>,
    /// Grows when a request that waits, or is being sent, is withdrawn.
    epoch: u64,
    look: bool,
    stop: bool,
}

impl Outbox {
    pub(super) fn put(&self, request: Request) {
        lock(&self.waiting).request = Some(request);
        self.changed.notify_all();
    }

    /// The peer has come or gone: the dialler is to dial it, or to look whether it is still there.
    pub(super) fn look(&self) {
        lock(&self.waiting).look = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.waiting).stop = true;
        self.changed.notify_all();
    }

    /// What to send next on an open connection, and the epoch it belongs to. `None` if the dialler is to stop.
    pub(super) fn next(&self) -> Option<(Frame, u64)> {
        let wait = |waiting: &mut Waiting| waiting.request.is_none() && !waiting.look && !waiting.stop;
        let waiting = lock(&self.waiting);
        let (mut waiting, _) =
            self.changed.wait_timeout_while(waiting, PROBE_INTERVAL, wait).unwrap_or_else(PoisonError::into_inner);
        waiting.look = false;
        if waiting.stop { None } else { Some(waiting.take()) }
    }

    /// The request that waits, or else a probe, and the epoch it belongs to.
    pub(super) fn take(&self) -> (Frame, u64) {
        lock(&self.waiting).take()
    }

    pub(super) fn withdraw(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.request = None;
        waiting.epoch += 1;
    }

    /// Keeps a request that could not be sent, unless something newer waits already or it was withdrawn.
    pub(super) fn put_back(&self, frame: Frame, epoch: u64) {
        let mut waiting = lock(&self.waiting);
        if let (Frame::Request(request), true) = (frame, waiting.epoch == epoch) {
            waiting.request.get_or_insert(request);
        }
    }

    /// Waits until it is time to dial again. Returns `true` if the dialler is to stop instead.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let wait = |waiting: &mut Waiting| !waiting.look && !waiting.stop;
        let waiting = lock(&self.waiting);
        let (mut waiting, _) =
            self.changed.wait_timeout_while(waiting, pause, wait).unwrap_or_else(PoisonError::into_inner);
        waiting.look = false;
        waiting.stop
    }
}

impl Waiting {
    fn take(&mut self) -> (Frame, u64) {
        (self.request.take().map_or(Frame::Probe, Frame::Request), self.epoch)
    }
}
