//! The election thread: waits on its one queue, reads the clock, steps the engine, makes durable, and carries out.
//!
//! Nothing is decided here. What the thread does after a step is written in the [`Effects`]; and no program code runs
//! on it.

mod storage;

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use log::Log;

use self::storage::Timed;
use crate::clock;
use crate::election::{Cause, Deadline, EndReason, Event, Instant, NodeId, Reply, Request, Term};
use crate::engine::{Answer, Effects, Engine, Level, Mail, Told};
use crate::inbox::{Caller, Post};
use crate::leadership::{LONGEST_WAIT, Leadership, OnOverrun};
use crate::log_queue::LogQueue;
use crate::recording::{Reading, Recorder};
use crate::status::Board;
use crate::transport::Transport;

pub(crate) use self::storage::Storage;

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) engine: Engine<Caller>,
    pub(crate) storage: Storage,
    pub(crate) inbox: Receiver<Post>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) board: Arc<Board>,
    pub(crate) transport: Transport,
    pub(crate) log: LogQueue,
    pub(crate) recorder: Recorder,
}

/// Takes the lease away and ends every stream of events when the thread ends, also by a panic.
struct Ending {
    leadership: Arc<Leadership>,
    board: Arc<Board>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.leadership.close(clock::now());
        self.board.close();
    }
}

/// Where the answer to a request goes.
type Asker = Option<Sender<Reply>>;

impl Driver {
    pub(crate) fn run(mut self) {
        let ending = Ending { leadership: self.leadership.clone(), board: self.board.clone() };
        self.step(Mail::Program(self.leadership.program()), None);
        let mut stopped = self.step(Mail::Start, None);
        while !stopped {
            self.board.turn();
            let wait = self.engine.wake_at().since(clock::now()).min(LONGEST_WAIT);
            match self.inbox.recv_timeout(wait) {
                Ok(post) => self.take_with_what_waits(post),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            stopped = self.step(Mail::Wake, None);
        }
        let me = self.me();
        // First what callers wait for, then the queue, so that no connection waits for an answer, then the connections.
        drop((ending, self.engine));
        log::info!(logger: self.log, "node {me}: stopped");
        drop(self.inbox);
        drop(self.transport);
        self.recorder.end();
        // Nothing of the node writes a line after this.
        self.log.end();
    }

    /// What is there already comes before any timer (rule 10). What comes meanwhile does not, so that no flood keeps a
    /// timer waiting.
    fn take_with_what_waits(&mut self, post: Post) {
        let waits = self.inbox.len();
        self.take(post);
        for _ in 0..waits {
            if let Ok(post) = self.inbox.try_recv() {
                self.take(post);
            }
        }
    }

    fn take(&mut self, post: Post) {
        let (mail, asker) = match post {
            Post::Request { from, request, answer } => {
                log::trace!(logger: self.log, "node {}: {from} asks {request}", self.me());
                (Mail::Request { from, request }, Some(answer))
            }
            Post::Program => (Mail::Program(self.leadership.program_after_nudge()), None),
            Post::Mail(mail) => (mail, None),
        };
        if let Mail::Reply { from, reply } = &mail {
            log::trace!(logger: self.log, "node {}: {from} answers {reply}", self.me());
        }
        self.step(mail, asker);
    }

    /// Returns whether the node has stopped.
    fn step(&mut self, mail: Mail<Caller>, asker: Asker) -> bool {
        let (mut now, mut reading) = (clock::now(), Reading::First);
        if self.engine.is_late(now) {
            self.step_at((now, reading), Mail::Late, None);
            // Read again after each step: it may have stepped a lease that was free.
            (now, reading) = (clock::now(), Reading::Next);
        }
        if self.engine.looks_at_program(now) {
            self.step_at((now, reading), Mail::Program(self.leadership.program()), None);
            (now, reading) = (clock::now(), Reading::Next);
        }
        self.step_at((now, reading), mail, asker)
    }

    fn step_at(&mut self, (now, reading): (Instant, Reading), mail: Mail<Caller>, asker: Asker) -> bool {
        self.recorder.steps(&self.engine, now, reading, &mail);
        let output = self.engine.step(now, mail);
        if output.role_changed() {
            self.transport.withdraw();
        }
        let recorder = &mut self.recorder;
        match output.store(&mut Timed { storage: &mut self.storage, board: &self.board, recorder }) {
            Ok(effects) => self.carry_out(now, effects, asker),
            Err((error, undone)) => {
                self.recorder.done();
                let (now, mail) = (clock::now(), Mail::StorageFailed { problem: error.to_string(), undone });
                self.recorder.steps(&self.engine, now, Reading::Inner, &mail);
                let output = self.engine.step(now, mail);
                let effects = output.store(&mut Storage::Nowhere).expect("a node whose storage failed stores nothing");
                self.carry_out(now, effects, None)
            }
        }
    }

    fn carry_out(&mut self, now: Instant, effects: Effects<Caller>, asker: Asker) -> bool {
        let me = self.me();
        if let Some(told) = &effects.overran {
            self.log_event(told);
            self.overran(&told.event);
        }
        let free = self.publish(effects.lease, effects.end_reason, now);
        if let Some(reply) = effects.reply {
            self.reply(reply, asker);
        }
        for (to, request) in effects.messages {
            self.send(to, request);
        }
        effects.told.iter().for_each(|told| self.log_event(told));
        let events: Vec<Event> = effects.overran.into_iter().chain(effects.told).map(|told| told.event).collect();
        let election = self.engine.election();
        self.board.show(election.role(), election.term(), election.leader(), &events);
        for note in &effects.notes {
            self.recorder.did(note);
            log::log!(logger: self.log, log_level(note.level()), "node {me}: {note}");
        }
        for (caller, answer) in effects.answers {
            self.answer(&caller, answer);
        }
        if let Some(late) = effects.late {
            self.recorder.did(&late);
            self.board.late(late);
        }
        self.recorder.did(&effects.stopped);
        self.recorder.done();
        for term in free {
            self.step_at((clock::now(), Reading::Inner), Mail::LeaseFree { term }, None);
        }
        effects.stopped
    }

    // Each of these notes one thing and does it. A replay compares what was noted with what the engine wanted.

    fn publish(&mut self, lease: Option<Deadline>, reason: EndReason, now: Instant) -> Vec<Term> {
        self.recorder.did(&(lease, reason));
        self.leadership.publish(lease, reason, now)
    }

    fn reply(&mut self, reply: Reply, asker: Asker) {
        self.recorder.did(&reply);
        self.board.answers(&reply);
        if let Some(asker) = asker {
            // A connection that has given up waiting is gone.
            let _ = asker.send(reply);
        }
    }

    fn send(&mut self, to: NodeId, request: Request) {
        self.recorder.did(&(to, &request));
        log::trace!(logger: self.log, "node {}: asks {to} {request}", self.me());
        self.transport.send(to, request);
    }

    fn answer(&mut self, caller: &Caller, answer: Answer) {
        self.recorder.did(&(caller, &answer));
        caller.answer(answer);
    }

    fn me(&self) -> NodeId {
        self.engine.election().me()
    }

    fn log_event(&mut self, told: &Told) {
        self.recorder.did(told);
        if let Some(level) = told.level {
            log::log!(logger: self.log, log_level(level), "node {}: {}", self.me(), told.event);
        }
    }

    /// The work runs on, and the program has said what to do then.
    fn overran(&mut self, event: &Event) {
        let me = self.me();
        let Cause::WorkOverran { term } = event.cause else {
            unreachable!("an overrun: {event}");
        };
        match self.leadership.on_overrun(term) {
            OnOverrun::Log => {}
            OnOverrun::Call(call) => {
                // The user's code gets a stack of the usual size.
                let thread = thread::Builder::new().name(format!("le{me}-overrun"));
                if let Err(error) = thread.spawn(move || call(term)) {
                    let what = "cannot start a thread that tells the program of the overrun";
                    log::error!(logger: self.log, "node {me}: {what}: {error}");
                }
            }
            OnOverrun::Abort => {
                log::error!(logger: self.log, "node {me}: aborts the process");
                self.recorder.hand_over();
                self.log.flush();
                std::process::abort();
            }
        }
    }
}

fn log_level(level: Level) -> log::Level {
    match level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
    }
}

#[cfg(test)]
mod tests;
