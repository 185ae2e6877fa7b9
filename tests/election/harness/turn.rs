//! The loop around an engine, for those who need no time between a step and its effects.

use std::collections::BTreeSet;
use std::fmt::Debug;

use leadelect::election::{Instant, Store, Term};
use leadelect::engine::{Effects, Engine, Mail, Program};

/// An engine, and what the program that runs on its node holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Driven<C> {
    pub(crate) engine: Engine<C>,
    /// What the program is and wants. What it keeps follows from the leases.
    pub(crate) program: Program,
    /// The lease that is published.
    current: Option<Term>,
    /// Leases that were taken away. The engine was not told yet that they guard nothing any more.
    taken: BTreeSet<Term>,
}

impl<C: Clone> Driven<C> {
    pub(crate) fn new(engine: Engine<C>) -> Self {
        Driven { engine, program: Program::default(), current: None, taken: BTreeSet::new() }
    }

    /// Steps `mail` at the moment `now`. First it steps what the program is, if the engine looks at that. Returns what
    /// each of these steps wants done.
    pub(crate) fn step<S>(&mut self, now: Instant, mail: Mail<C>, store: &mut S) -> Vec<Effects<C>>
    where
        S: Store<Error: Debug>,
    {
        let mut done = Vec::with_capacity(1);
        if self.engine.looks_at_program(now) && !matches!(mail, Mail::Program(_)) {
            done.push(self.take(now, Mail::Program(self.seen()), store));
        }
        done.push(self.take(now, mail, store));
        done
    }

    /// The program, as the engine has to know it now.
    pub(crate) fn seen(&self) -> Program {
        Program { kept: self.taken.first().copied(), ..self.program }
    }

    /// The leases that were taken away and may still guard something. [`Mail::LeaseFree`] ends that.
    pub(crate) fn taken(&self) -> &BTreeSet<Term> {
        &self.taken
    }

    fn take<S>(&mut self, now: Instant, mail: Mail<C>, store: &mut S) -> Effects<C>
    where
        S: Store<Error: Debug>,
    {
        if let Mail::LeaseFree { term } = mail {
            self.taken.remove(&term);
        }
        let stored = self.engine.step(now, mail).store(store);
        let effects = stored.unwrap_or_else(|(problem, undone)| {
            let mail = Mail::StorageFailed { problem: format!("{problem:?}"), undone };
            let stored = self.engine.step(now, mail).store(store);
            stored.map_err(drop).expect("a node whose storage has failed stores nothing")
        });
        let published = effects.lease.map(|lease| lease.token);
        let old = std::mem::replace(&mut self.current, published);
        self.taken.extend(old.filter(|_| old != published));
        effects
    }
}
