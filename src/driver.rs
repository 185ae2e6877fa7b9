//! The election thread: waits on its one queue, steps the election, makes durable, publishes, sends.
//!
//! Everything uncertain is here and nothing is decided here. Program code never runs on this thread.

mod pending;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock;
use crate::election::{
    Cause, Effects, Election, EndReason, Event, Input, Instant, NodeId, Reply, Request, Term, Timing,
};
use crate::error::TransferError;
use crate::inbox::Mail;
use crate::leadership::{Alarm, LONGEST_WAIT, Leadership, Overrun};
use crate::status::Board;
use crate::transport::Transport;

use self::pending::Pending;
pub(crate) use self::storage::Storage;
use self::storage::Timed;

/// The election thread's own.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) election: Election,
    pub(crate) storage: Storage,
    pub(crate) inbox: Receiver<Mail>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) board: Arc<Board>,
    pub(crate) transport: Transport,
    /// How long the last words may take to arrive.
    pub(crate) rpc_timeout: Duration,
    pub(crate) timing: Timing,
}

/// Takes the lease away and ends every stream of events when the thread ends, also by a panic: nobody is to act, or to
/// wait, for a node that is no more.
struct Ending {
    leadership: Arc<Leadership>,
    board: Arc<Board>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.leadership.close();
        self.board.close();
    }
}

/// How late the thread is for what was due at one moment.
#[derive(Debug, Clone, Copy)]
struct Lateness {
    due: Instant,
    by: Duration,
}

impl Driver {
    /// Runs until the node is stopped.
    pub(crate) fn run(mut self) {
        let mut pending = Pending::default();
        let ending = Ending { leadership: self.leadership.clone(), board: self.board.clone() };
        self.tell(&Event {
            role: self.election.role(),
            term: self.election.term(),
            leader: None,
            token: None,
            cause: Cause::Started,
        });
        self.step(Input::Tick, &mut pending);
        while !self.may_stop(&pending) {
            let wake_at =
                self.election.wake_at().min(self.leadership.alarm_at()).min(pending.stop_by.unwrap_or(Instant::NEVER));
            let wait = wake_at.since(clock::now()).min(LONGEST_WAIT);
            match self.inbox.recv_timeout(wait) {
                Ok(mail) => self.wake(Some(mail), &mut pending),
                Err(RecvTimeoutError::Timeout) => self.wake(None, &mut pending),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The last look: work that runs on at its hard deadline is not left unnoticed because the node stops.
        self.look_after_work(&mut pending);
        drop(ending);
        drop(pending);
        log::info!("node {}: stopped", self.election.me());
        // First the queue, so that no connection waits for an answer, then the connections.
        drop(self.inbox);
        drop(self.transport);
    }

    /// Deals with what has come, if it was not time that woke the thread, and with what is due.
    fn wake(&mut self, mail: Option<Mail>, pending: &mut Pending) {
        let late = self.lateness();
        let time_is_up = mail.is_none();
        // Work that overruns is dealt with before leadership is released.
        self.look_after_work(pending);
        if let Some(mail) = mail {
            self.take(mail, pending);
            // What is there already comes before any timer (rule 10); what comes meanwhile does not, so that no flood
            // keeps a timer waiting.
            for _ in 0..self.inbox.len() {
                if let Ok(mail) = self.inbox.try_recv() {
                    self.take(mail, pending);
                }
            }
        }
        let still_late = self.lateness();
        // What came may have settled what was due. If not, that is even later now, and still late only once.
        let is_settled = |late: &Lateness| still_late.is_none_or(|still| still.due != late.due);
        for late in late.filter(is_settled).iter().chain(&still_late) {
            self.board.late(late.by);
        }
        if time_is_up || still_late.is_some() {
            self.step(Input::Tick, pending);
        }
    }

    /// Whether something is due, and for how long it has been.
    fn lateness(&self) -> Option<Lateness> {
        let (now, due) = (clock::now(), self.election.wake_at());
        let by = now.since(due);
        (now >= due).then_some(Lateness { due, by })
    }

    fn take(&mut self, mail: Mail, pending: &mut Pending) {
        match mail {
            Mail::Request { from, request, answer } => {
                log::trace!("node {}: {from} asks {request}", self.election.me());
                if let Some(reply) = self.step(Input::Request { from, request }, pending) {
                    self.board.answers(&reply);
                    // A connection that has given up waiting is gone.
                    let _ = answer.send(reply);
                }
            }
            Mail::Reply { from, reply } => {
                log::trace!("node {}: {from} answers {reply}", self.election.me());
                if matches!(reply, Reply::Release { .. }) {
                    pending.releases.remove(&from);
                }
                if let Reply::Heartbeat { granted, .. } = reply {
                    if let Some(problem) = pending.misfit(self.timing, from, granted) {
                        log::warn!(
                            "node {}: the timing of node {from} does not fit the own one: {problem}",
                            self.election.me()
                        );
                    }
                }
                self.step(Input::Reply { from, reply }, pending);
            }
            Mail::Unanswered { by } => drop(pending.releases.remove(&by)),
            Mail::HandOver { successor, hold_off, answer } => {
                let verdict = self.may_hand_over(successor);
                let accepted = verdict.is_ok();
                if accepted {
                    // Before it is said.
                    self.leadership.publish(None, EndReason::Resigned);
                }
                // The caller has gone: so be it.
                let _ = answer.send(verdict);
                if accepted {
                    pending.handovers.push(answer);
                    if self.is_stepping_down() && !hold_off.is_zero() {
                        // What is under way knows nothing of it.
                        self.leadership.hold_off(clock::now() + hold_off);
                        self.look_after_work(pending);
                    }
                    self.step_down(EndReason::Resigned, successor, hold_off, pending);
                }
            }
            Mail::GiveUp { term, why, hold_off, answer } => {
                if self.leads() && self.election.term() == term {
                    pending.handovers.extend(answer);
                    self.step_down(why, None, hold_off, pending);
                }
            }
            Mail::WorkEnded => self.end_work(pending),
            Mail::Nudge => self.look_after_work(pending),
            Mail::Stop => self.stop(pending),
        }
    }

    fn stop(&mut self, pending: &mut Pending) {
        if pending.stop_by.is_some() {
            return;
        }
        let now = clock::now();
        pending.stop_by = Some(if pending.releases.is_empty() {
            now
        } else {
            now + self.rpc_timeout // for the last words of a resignation
        });
        if self.leads() {
            // Work has the time of a promise to end.
            pending.stop_by = Some(now + self.timing.election_timeout() + self.rpc_timeout);
            self.step_down(EndReason::Stopped, None, Duration::MAX, pending);
        } else if let Some(until) = self.leadership.guarded_until() {
            // It led until a moment ago, and its work has until then to end.
            pending.stop_by = pending.stop_by.max(Some(until));
        }
    }

    /// Why not, if not.
    fn may_hand_over(&self, successor: Option<NodeId>) -> Result<(), TransferError> {
        if !self.leads() {
            return Err(TransferError::NotLeader);
        }
        let Some(id) = successor else {
            return Ok(());
        };
        if self.is_stepping_down() {
            return Err(TransferError::UnderWay);
        }
        match self.election.backers(clock::now()).get(&id) {
            // One that has just started answers, and promises nothing.
            None if self.heard_lately(id) => Err(TransferError::NotAble(id)),
            None => Err(TransferError::Silent(id)),
            Some(false) => Err(TransferError::NotAble(id)),
            Some(true) => Ok(()),
        }
    }

    fn heard_lately(&self, id: NodeId) -> bool {
        let peers = self.board.status(None).peers;
        let ago = peers.iter().find_map(|peer| peer.last_heard.filter(|_| peer.id == id));
        ago.is_some_and(|ago| ago < self.timing.election_timeout())
    }

    /// First the lease is taken away, and only then the election may release it.
    fn step_down(&mut self, why: EndReason, successor: Option<NodeId>, hold_off: Duration, pending: &mut Pending) {
        if self.is_stepping_down() {
            return;
        }
        self.leadership.publish(None, why);
        self.step(Input::StepDown { reason: why, successor, hold_off }, pending);
    }

    fn leads(&self) -> bool {
        self.election.leader() == Some(self.election.me())
    }

    fn is_stepping_down(&self) -> bool {
        self.leads() && self.election.awaits_work() == Some(self.election.term())
    }

    /// Acts on what time and the program have made of the work.
    fn look_after_work(&mut self, pending: &mut Pending) {
        let unable = !self.leadership.is_able();
        if unable != pending.unable {
            pending.unable = unable;
            self.step(Input::Eligible(!unable), pending);
        }
        while let Some(alarm) = self.leadership.alarm() {
            match alarm {
                Alarm::Silent { term, hold_off } => {
                    if self.leads() && self.election.term() == term {
                        self.step_down(EndReason::WorkSilent, None, hold_off, pending);
                    }
                }
                Alarm::Unhealthy { hold_off } => {
                    if self.leads() {
                        self.step_down(EndReason::Unhealthy, None, hold_off, pending);
                    }
                }
                Alarm::Overran { term, then } => self.overran(term, then),
                Alarm::Kept { term, ended } => self.warn_of_guards(term, ended),
            }
        }
    }

    fn overran(&self, term: Term, then: Overrun) {
        let me = self.election.me();
        self.announce(Cause::WorkOverran { term });
        match then {
            Overrun::Log => {}
            Overrun::Call(call) => {
                // The user's code gets a stack of the usual size.
                let name = format!("le{me}-overrun");
                let thread = std::thread::Builder::new().name(name);
                if let Err(error) = thread.spawn(move || call(term.0)) {
                    log::error!("node {me}: no thread to tell the program of it: {error}");
                }
            }
            Overrun::Abort => {
                log::error!("node {me}: aborts the process");
                log::logger().flush();
                std::process::abort();
            }
        }
    }

    /// Not an event: nothing has changed, and that is the trouble.
    fn warn_of_guards(&self, term: Term, ended: Instant) {
        let (me, ago) = (self.election.me(), clock::now().since(ended));
        log::warn!(
            "node {me}: stands for no election: the lease of term {term} ended {ago:.1?} ago, and the program still \
             holds it; drop every `Lease` of that term, and let the work of `lead` return"
        );
    }

    /// Tells what only the driver knows.
    fn announce(&self, cause: Cause) {
        let election = &self.election;
        let event =
            Event { role: election.role(), term: election.term(), leader: election.leader(), token: None, cause };
        self.tell(&event);
        self.board.show(event.role, event.term, event.leader, std::slice::from_ref(&event));
    }

    /// Whether nothing is left to do before the node stops.
    fn may_stop(&self, pending: &Pending) -> bool {
        let Some(stop_by) = pending.stop_by else {
            return false;
        };
        let now = clock::now();
        let works = self.leadership.guarded_until().is_some_and(|until| now < until);
        let done = !self.leads() && !works && pending.releases.is_empty();
        done || now >= stop_by
    }

    /// Steps 2 to 6 of the loop that [`crate::election`] describes; returns the reply.
    fn step(&mut self, input: Input, pending: &mut Pending) -> Option<Reply> {
        let role = self.election.role();
        let output = self.election.step(clock::now(), input);
        if self.election.role() != role {
            self.transport.withdraw();
            pending.releases.clear();
        }
        let mut store = Timed { storage: &mut self.storage, board: &self.board };
        match output.store(&mut store) {
            Ok(effects) => self.apply(effects, pending),
            Err(error) => {
                log::error!("node {}: {error}", self.election.me());
                self.leadership.publish(None, EndReason::QuorumLost);
                let output = self.election.step(clock::now(), Input::StorageFailed);
                let effects = output.store(&mut Storage::Nowhere).expect("a mute node has nothing to store");
                self.apply(effects, pending);
                None
            }
        }
    }

    fn apply(&mut self, effects: Effects, pending: &mut Pending) -> Option<Reply> {
        let why = if self.is_stepping_down() { EndReason::Resigned } else { EndReason::QuorumLost };
        self.leadership.publish(effects.lease, why);
        for (to, request) in effects.messages {
            log::trace!("node {}: asks {to} {request}", self.election.me());
            if matches!(request, Request::Release { .. }) {
                pending.releases.insert(to);
                let last_words = clock::now() + self.rpc_timeout;
                pending.stop_by = pending.stop_by.map(|_| last_words);
            }
            self.transport.send(to, request);
        }
        for event in &effects.events {
            if pending.is_news(event) {
                self.tell(event);
            }
        }
        let election = &self.election;
        self.board.show(election.role(), election.term(), election.leader(), &effects.events);
        self.end_work(pending);
        if !self.leads() {
            pending.handovers.clear();
        }
        effects.reply
    }

    /// Tells the election that the work is over which it waits for, if it is.
    fn end_work(&mut self, pending: &mut Pending) {
        if let Some(term) = self.election.awaits_work().filter(|term| self.leadership.is_idle(*term)) {
            self.step(Input::WorkEnded { term }, pending);
        }
    }

    fn tell(&self, event: &Event) {
        let me = self.election.me();
        match event.cause {
            Cause::ProtocolViolation { .. } | Cause::StorageFailed | Cause::WorkOverran { .. } => {
                log::error!("node {me}: {event}")
            }
            Cause::LeaseLost
            | Cause::SteppingDown {
                reason: EndReason::QuorumLost | EndReason::WorkSilent | EndReason::WorkFailed | EndReason::Unhealthy,
                ..
            } => log::warn!("node {me}: {event}"),
            _ => log::info!("node {me}: {event}"),
        }
    }
}

#[cfg(test)]
mod tests;
