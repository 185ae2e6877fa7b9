//! A member that does not follow the protocol for a while: it says any well-formed message, as itself.
//!
//! Its quorums prove nothing then, so the checker does not judge the leaders that they make. But an honest node keeps
//! its own promises all the same. And when the lies have ended, the cluster finds a leader again.

use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::Term;

use super::{Later, Trouble};
use crate::harness::Dice;
use crate::harness::lies;
use crate::harness::world::World;

/// One run in this many has a liar.
const ONE_RUN_OF: u64 = 20;

/// How far apart lies may put the terms: every step of it costs the others some messages.
const MOST_JUMPS: u64 = 40;

/// Who lies in a run, and what is left of it.
pub(super) struct Liar {
    pub(super) id: NodeId,
    /// Not the dice of the run: a run without a liar stays the same.
    dice: Dice,
    lies: u64,
    jumps: u64,
}

impl Liar {
    pub(super) fn of(seed: u64, ids: &[NodeId]) -> Option<Liar> {
        let mut dice = Dice(seed ^ 0x6c69_6172);
        (dice.below(ONE_RUN_OF) == 0).then(|| Liar { id: *dice.pick(ids), dice, lies: 0, jumps: MOST_JUMPS })
    }
}

impl Trouble {
    /// The liar says one thing that is not so, and perhaps goes on soon.
    pub(super) fn lie(&mut self) {
        let ids = self.world.ids();
        let Some(liar) = &mut self.liar else {
            return;
        };
        let me = liar.id;
        if liar.lies == 0 {
            liar.lies = liar.dice.between(3, 60);
            self.world.checker.distrusts();
            self.world.node_mut(me).lies = Some(Dice(liar.dice.next()));
        }
        let others: Vec<NodeId> = ids.into_iter().filter(|id| *id != me).collect();
        let to = *liar.dice.pick(&others);
        let known = self.world.node(to).term().0.max(self.world.node(me).term().0);
        let term = match liar.dice.below(8) {
            0 if liar.jumps > 0 => {
                liar.jumps -= 1;
                known + Term::LARGEST_JUMP
            }
            // It moves the others by one jump as well.
            1 if liar.jumps > 0 => {
                liar.jumps -= 1;
                liar.dice.next()
            }
            2 => known.saturating_sub(liar.dice.below(3)),
            _ => known + liar.dice.below(3),
        };
        let request = lies::request(&mut liar.dice, Term(term), &others, self.timeout);
        liar.lies -= 1;
        let goes_on = liar.lies > 0;
        self.world.narrate(|| format!("{me} lies to {to}"));
        self.world.says(me, to, request);
        if goes_on {
            let at = self.world.now.after(Duration::from_nanos(self.liar_span()));
            self.later.insert((at, me), Later::Lie);
        } else {
            self.world.node_mut(me).lies = None;
        }
    }

    fn liar_span(&mut self) -> u64 {
        let most = u64::try_from(self.timeout.as_nanos()).unwrap();
        self.liar.as_mut().map_or(most, |liar| liar.dice.below(most / 8))
    }

    /// What rests on lies has ended, and the terms have met: from here on every leader is judged.
    pub(super) fn expect_trust(&mut self) {
        let Some(liar) = &self.liar else {
            return;
        };
        if !self.world.checker.distrusts_now() {
            return;
        }
        self.world.node_mut(liar.id).lies = None;
        let met = |world: &World| {
            let terms: Vec<Term> = world.ids().iter().map(|id| world.node(*id).term()).collect();
            world.acting().is_some_and(|(_, token)| terms.iter().all(|term| *term == token))
        };
        self.world.run_until(self.world.now.after(self.timeout * 6));
        self.world.checker.trusts();
        let end = self.world.now.after(self.timeout * 60);
        if !self.world.run_to(end, met) && self.world.checker.violation.is_none() {
            let terms: Vec<Term> = self.world.ids().iter().map(|id| self.world.node(*id).term()).collect();
            let text = format!("the terms are {terms:?} at {:?}, and {:?} leads", self.world.now, self.world.acting());
            self.world.checker.fail("FarTermsMeet", text);
        }
    }
}
