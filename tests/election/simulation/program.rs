//! What programs do in the days of trouble: they call, return, hang, fall silent and ill, and are stopped.

use leadelect::election::Instant;
use leadelect::engine::Call;

use super::{Fault, Later, NodeId, Trouble};
use crate::harness::world::{Outcome, World};

impl Trouble {
    /// How the programs of this run lead.
    pub(super) fn choose_programs(&mut self) {
        for id in self.world.ids() {
            let (leads, watched) = (self.dice.chance(600), self.dice.chance(500));
            let (silence, hold_off) = (self.timeout / 4 + self.span(self.timeout), self.span(self.timeout * 2));
            let program = &mut self.world.node_mut(id).program;
            (program.leads, program.hold_off) = (leads, hold_off);
            program.max_silence = watched.then_some(silence);
        }
    }

    /// Strikes the program of `victim`.
    pub(super) fn strike_program(&mut self, fault: Fault, victim: NodeId, other: NodeId) {
        let later = self.soon(self.timeout * 4);
        match fault {
            Fault::HandOver => {
                let successor = self.dice.chance(500).then_some(other);
                let hold_off = self.span(self.timeout * 2);
                self.world.call(victim, Call::HandOver { successor, hold_off });
                if self.dice.chance(200) {
                    let hold_off = self.span(self.timeout * 4);
                    self.world.call(victim, Call::HandOver { successor: None, hold_off });
                }
            }
            Fault::Eligible => {
                let eligible = self.dice.chance(600);
                self.world.set_eligible(victim, eligible);
            }
            // The work that runs there ignores that it is told to stop.
            Fault::Hang => self.world.hang(victim, later),
            Fault::Returns => {
                let span = self.span(self.timeout * 2);
                let outcome =
                    *self.dice.pick(&[Outcome::Rejoin, Outcome::HoldOff(span), Outcome::Leave, Outcome::Fails]);
                self.world.return_work(victim, outcome);
                self.later.entry((later, victim)).or_insert(Later::Attend);
            }
            Fault::FindsEnd => self.world.stop_work(victim),
            Fault::Silent => {
                self.world.fall_silent(victim);
                self.later.entry((later, victim)).or_insert(Later::Speak);
                if self.dice.chance(500) {
                    self.world.hang(victim, later);
                }
            }
            Fault::Ill => {
                let node = self.world.node(victim);
                let soon = node.clock.at(self.world.now) + self.span(self.timeout);
                let good_until = *self.dice.pick(&[Instant::ZERO, soon]);
                self.world.set_health(victim, good_until);
                self.later.entry((later, victim)).or_insert(Later::Well);
            }
            Fault::Stop => {
                self.world.stop(victim);
                let at = later.after(self.timeout * 2);
                self.later.entry((at, victim)).or_insert(Later::Start);
            }
            Fault::SlowTurn => {
                let span = self.span(self.timeout * 2);
                self.world.node_mut(victim).slow_turn = span;
            }
            _ => unreachable!("{fault:?} is no fault of a program"),
        }
    }

    /// The program of a node does again what it should.
    pub(super) fn mend_program(&mut self, id: NodeId) {
        self.world.attend(id);
        self.world.set_health(id, Instant::NEVER);
        self.world.speak(id);
        self.world.node_mut(id).slow_turn = std::time::Duration::ZERO;
    }

    /// In peace nothing stays pending: every call is answered to the end, and no node waits for anything.
    pub(super) fn expect_settled(&mut self) {
        let settled = |world: &World| {
            let nodes_are = world.ids().iter().all(|id| world.node(*id).is_settled());
            nodes_are && world.checker.open_calls().next().is_none()
        };
        let end = self.world.now.after(self.timeout * 8);
        if !self.world.run_to(end, settled) && self.world.checker.violation.is_none() {
            let calls: Vec<_> = self.world.checker.open_calls().collect();
            let pending: Vec<_> =
                self.world.ids().into_iter().filter(|id| !self.world.node(*id).is_settled()).collect();
            let text = format!("pending at {:?}: calls {calls:?}, in the nodes {pending:?}", self.world.now);
            self.world.checker.fail("Settled", text);
        }
    }
}
