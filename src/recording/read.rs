//! A recording, as a test reads it.

use std::hash::Hash;

use super::entry::{Digest, Entry, Header, open};
use crate::election::{HardState, NodeId};
use crate::engine::{Effects, Engine, Mail};

/// One part of a recording.
#[derive(Debug)]
pub struct Recording {
    /// The version of the crate that made it.
    pub version: String,
    /// The node.
    pub node: NodeId,
    /// Tells the processes of a node apart.
    pub process: u64,
    /// Tells one run of a host's kernel from every other, where that is known.
    pub boot: Option<u128>,
    /// The part before it, of the same process, ends where this one begins.
    pub continues: bool,
    /// The engine at the beginning.
    pub engine: Engine<u64>,
    /// What follows.
    pub entries: Vec<Entry<Mail<u64>>>,
    /// The last frame was half written.
    pub torn: bool,
}

/// Reads one part, which is a file.
///
/// # Errors
///
/// When it is no recording, or one of another format or version.
pub fn read(bytes: &[u8]) -> Result<Recording, String> {
    let (header, mut frames) = open::<Header<Engine<u64>>>(bytes)?;
    let Header { version, node, process, boot, continues, engine } = header;
    let entries = std::iter::from_fn(|| frames.next::<Entry<Mail<u64>>>()).collect::<Result<_, _>>()?;
    Ok(Recording { version, node, process, boot, continues, engine, entries, torn: frames.is_torn() })
}

/// What has to be done about a step, in the order in which a driver does it, as a number.
#[derive(Debug, Default)]
pub struct Done(Digest);

impl Done {
    /// A state was written, or could not be.
    pub fn wrote(&mut self, state: &HardState, durably: bool) {
        (state, durably).hash(&mut self.0);
    }

    /// The number, when all the effects are carried out.
    #[must_use]
    pub fn number(mut self, effects: Option<&Effects<u64>>) -> u32 {
        let Some(effects) = effects else { return self.0.number() };
        let Effects { lease, end_reason, overran, reply, messages, told, notes, answers, late, stopped } = effects;
        overran.iter().for_each(|told| told.hash(&mut self.0));
        (lease, end_reason).hash(&mut self.0);
        reply.iter().for_each(|reply| reply.hash(&mut self.0));
        messages.iter().for_each(|message| message.hash(&mut self.0));
        told.iter().for_each(|told| told.hash(&mut self.0));
        notes.iter().for_each(|note| note.hash(&mut self.0));
        answers.iter().for_each(|answer| answer.hash(&mut self.0));
        late.iter().for_each(|late| late.hash(&mut self.0));
        stopped.hash(&mut self.0);
        self.0.number()
    }
}
