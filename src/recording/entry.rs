//! What is in a file of a recording, and how it is encoded.

use std::hash::Hasher;

use bincode::config::{Configuration, standard};
use serde::Serialize;
#[cfg(feature = "checkers")]
use serde::de::DeserializeOwned;

use crate::election::{Instant, NodeId};

/// With these bytes every file of a recording begins. Then comes [`FORMAT`], with two bytes.
const MAGIC: &[u8; 6] = b"LEREC\n";

/// The number of this format. Mail and engine are encoded as this version of the crate has them.
const FORMAT: u16 = 1;

/// A frame has the length of its body and a checksum before it, each with four bytes.
const FRAME_HEAD: usize = 8;

const ENCODING: Configuration = standard();

/// What a part begins with.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Header<E> {
    /// The version of this crate.
    pub(super) version: String,
    pub(super) node: NodeId,
    /// Tells the processes of a node apart.
    pub(super) process: u64,
    /// Tells one run of a host's kernel from every other, where that is known: moments are counted from its start.
    pub(super) boot: Option<u128>,
    /// The part before it, of the same process, ends where this one begins.
    pub(super) continues: bool,
    /// The engine at the beginning of the part.
    pub(super) engine: E,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub enum Entry<M> {
    /// A step.
    Steps {
        /// When.
        at: Instant,
        /// How the moment was found.
        reading: Reading,
        /// What was stepped.
        mail: M,
    },
    /// What was done about the step, as a number.
    Done {
        /// Of all that was done, in its order.
        digest: u32,
        /// A state could not be made durable.
        failed: bool,
    },
    /// The node has stopped.
    Stopped,
}

/// At which reading of the clock a step was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub enum Reading {
    /// At the first reading since mail came.
    First,
    /// At the next one, because the program or the lateness of the node had to be stepped first.
    Next,
    /// Because of what the step before has done.
    Inner,
}

impl<E: Serialize> Header<E> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat();
        put_frame(&mut bytes, self);
        bytes
    }
}

/// Appends `body` as a frame.
pub(super) fn put_frame(bytes: &mut Vec<u8>, body: &impl Serialize) {
    let start = bytes.len();
    bytes.extend([0; FRAME_HEAD]);
    bincode::serde::encode_into_std_write(body, bytes, ENCODING).expect("plain fields, written to memory");
    let (head, body) = bytes[start..].split_at_mut(FRAME_HEAD);
    let length = u32::try_from(body.len()).expect("a step is short");
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// Of all that was done about a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest(crc32fast::Hasher);

impl Digest {
    pub(super) fn number(self) -> u32 {
        self.0.finalize()
    }
}

/// The same on every platform: numbers have one order of bytes, and lengths one size.
impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finalize().into()
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// The frames of a file, one after the other.
#[cfg(feature = "checkers")]
pub(super) struct Frames<'a> {
    rest: &'a [u8],
    torn: bool,
}

/// Reads the first frame of a file.
#[cfg(feature = "checkers")]
pub(super) fn open<H: DeserializeOwned>(bytes: &[u8]) -> Result<(H, Frames<'_>), String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("no recording: expected it to begin with `LEREC`")?;
    let (format, rest) = rest.split_first_chunk().ok_or("a recording of which only the first bytes were written")?;
    let found = u16::from_le_bytes(*format);
    if found != FORMAT {
        return Err(format!("a recording of format {found}: expected {FORMAT}, so replay it with its own version"));
    }
    let mut frames = Frames { rest, torn: false };
    let header = frames.next().ok_or("a recording of which only the first bytes were written")??;
    Ok((header, frames))
}

#[cfg(feature = "checkers")]
impl Frames<'_> {
    /// The next one, if it is whole. An error if it is whole and not understood.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, String>> {
        if self.rest.is_empty() || self.torn {
            return None;
        }
        let body = self.rest.split_first_chunk().and_then(|(length, rest)| {
            let (sum, rest) = rest.split_first_chunk()?;
            let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (crc32fast::hash(body) == u32::from_le_bytes(*sum)).then_some((body, rest))
        });
        let Some((body, rest)) = body else {
            self.torn = true;
            return None;
        };
        self.rest = rest;
        let decoded = bincode::serde::decode_from_slice(body, ENCODING);
        Some(decoded.map(|(value, _)| value).map_err(|error| format!("a frame of another version: {error}")))
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }
}
