//! What is in a vote file, and which of its two records counts?
//!
//! A record is at the start of its slot, and zeros follow it. Numbers are little-endian. A text is one byte of length
//! and its bytes. Magic, format and checksum keep their place in every later format.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `leadvote` |
//! | 8..12 | format, 2 |
//! | 12..16 | CRC-32 of all other bytes of the slot |
//! | 16..24 | number of the record, from 0; record n is in slot n mod 2 |
//! | 24..32 | term |
//! | 32..40 | cap, in nanoseconds |
//! | 40..56 | machine id, 0 if unknown |
//! | 56..72 | boot id, 0 if unknown |
//! | 72 | 1 if an earlier state may be lost; plus 2 if the file is a copy of another one |
//! | 73..81 | the device of the file |
//! | 81..89 | its inode |
//! | 89.. | three texts: who got the vote (empty if no node did), the node, its cluster |
//!
//! Format 1, of versions before 0.2, is the same without device and inode.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::election::{HardState, NodeId, Term};

/// The distance of the slots: a page and a disk block, so that a write of one never touches the other.
pub(super) const SLOT: usize = 4096;
pub(super) const FORMAT: u32 = 2;
/// The first format, in which a record does not name its file.
const WITHOUT_HOME: u32 = 1;
/// The longest name of a cluster, in bytes: its length is one byte.
pub(super) const LONGEST_CLUSTER: usize = 255;

/// The number of no record is higher: a node that writes one in every nanosecond needs 292 years for it. So the next
/// number can always be counted.
const HIGHEST_NUMBER: u64 = u64::MAX / 2;

const MAGIC: &[u8] = b"leadvote";
const FORMAT_AT: Range<usize> = 8..12;
const CHECKSUM_AT: Range<usize> = 12..16;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) node: NodeId,
    pub(super) cluster: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {:?}", self.node, self.cluster)
    }
}

/// What one slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) state: HardState,
    pub(super) machine: Option<u128>,
    pub(super) boot: Option<u128>,
    /// The file that it was written to. None in format 1.
    pub(super) home: Option<Home>,
    /// The file is a copy of another one, and stays one.
    pub(super) copied: bool,
}

/// Tells a file from every other on a host. The device may have another number after a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) device: u64,
    pub(super) inode: u64,
}

const IN_DOUBT: u8 = 1;
const COPIED: u8 = 2;

impl Record {
    pub(super) fn offset(&self) -> u64 {
        self.number % 2 * SLOT as u64
    }

    pub(super) fn encode(&self, owner: &Owner) -> Vec<u8> {
        let cap = u64::try_from(self.state.cap.as_nanos()).unwrap_or(u64::MAX);
        let voted_for = self.state.voted_for.as_ref().map_or("", NodeId::as_str);

        let mut slot = Vec::with_capacity(SLOT);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&FORMAT.to_le_bytes());
        slot.resize(CHECKSUM_AT.end, 0);
        slot.extend_from_slice(&self.number.to_le_bytes());
        slot.extend_from_slice(&self.state.term.0.to_le_bytes());
        slot.extend_from_slice(&cap.to_le_bytes());
        slot.extend_from_slice(&self.machine.unwrap_or(0).to_le_bytes());
        slot.extend_from_slice(&self.boot.unwrap_or(0).to_le_bytes());
        slot.push(u8::from(self.state.in_doubt) * IN_DOUBT + u8::from(self.copied) * COPIED);
        let home = self.home.unwrap_or(Home { device: 0, inode: 0 });
        slot.extend_from_slice(&home.device.to_le_bytes());
        slot.extend_from_slice(&home.inode.to_le_bytes());
        for text in [voted_for, owner.node.as_str(), &owner.cluster] {
            assert!(text.len() <= LONGEST_CLUSTER, "open lets no longer text in");
            slot.push(text.len() as u8);
            slot.extend_from_slice(text.as_bytes());
        }
        slot.resize(SLOT, 0);
        let checksum = checksum(&slot).to_le_bytes();
        slot[CHECKSUM_AT].copy_from_slice(&checksum);
        slot
    }

    fn decode(slot: &[u8], format: u32) -> Option<(Record, Owner)> {
        let mut rest = slot.get(CHECKSUM_AT.end..)?;
        let number = Some(u64::from_le_bytes(take(&mut rest)?)).filter(|number| *number <= HIGHEST_NUMBER)?;
        let term = Term(u64::from_le_bytes(take(&mut rest)?));
        let cap = Duration::from_nanos(u64::from_le_bytes(take(&mut rest)?));
        let machine = Some(u128::from_le_bytes(take(&mut rest)?)).filter(|id| *id != 0);
        let boot = Some(u128::from_le_bytes(take(&mut rest)?)).filter(|id| *id != 0);
        let [flags] = take(&mut rest)?;
        let home = match format {
            WITHOUT_HOME => None,
            _ => {
                let (device, inode) = (take(&mut rest)?, take(&mut rest)?);
                let home = Home { device: u64::from_le_bytes(device), inode: u64::from_le_bytes(inode) };
                Some(home).filter(|home| home.inode != 0)
            }
        };
        let voted_for = match take_text(&mut rest)? {
            "" => None,
            id => Some(id.parse().ok()?),
        };
        let node = take_text(&mut rest)?.parse().ok()?;
        let cluster = take_text(&mut rest)?.to_owned();
        let state = HardState { term, voted_for, cap, in_doubt: flags & IN_DOUBT != 0 };
        let record = Record { number, state, machine, boot, home, copied: flags & COPIED != 0 };
        Some((record, Owner { node, cluster }))
    }
}

fn checksum(slot: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&slot[..CHECKSUM_AT.start]);
    hasher.update(&slot[CHECKSUM_AT.end..]);
    hasher.finalize()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(rest)?;
    let (text, left) = rest.split_at_checked(length.into())?;
    *rest = left;
    std::str::from_utf8(text).ok()
}

/// Why no state can be read from a file that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    Foreign { found: String, expected: String },
    NewerFormat { found: u32 },
}

/// The newest whole record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) record: Record,
    /// Whether the other slot is damaged, so that a later state may be lost.
    pub(super) damaged: bool,
}

impl Found {
    fn whole(record: Record) -> Found {
        Found { record, damaged: false }
    }

    fn beside_damage(mut record: Record) -> Found {
        record.state.in_doubt = true;
        Found { record, damaged: true }
    }
}

/// The newest state in a file, or `None` if the file is empty or holds only zeros.
pub(super) fn newest(file: &[u8], owner: &Owner) -> Result<Option<Found>, Unreadable> {
    if is_zero(file) {
        return Ok(None);
    }
    let (first, second) = file.split_at(file.len().min(SLOT));
    match (Slot::read(first, 0, owner)?, Slot::read(second, 1, owner)?) {
        (Slot::Whole(first), Slot::Whole(second)) => {
            let newest = if first.number > second.number { first } else { second };
            let missing = first.number.abs_diff(second.number) != 1;
            Ok(Some(if missing { Found::beside_damage(newest) } else { Found::whole(newest) }))
        }
        (Slot::Whole(only), Slot::Blank) if only.number == 0 => Ok(Some(Found::whole(only))),
        (Slot::Whole(left), Slot::Blank | Slot::Damaged) | (Slot::Blank | Slot::Damaged, Slot::Whole(left)) => {
            Ok(Some(Found::beside_damage(left)))
        }
        (Slot::Blank | Slot::Damaged, Slot::Blank | Slot::Damaged) => Err(Unreadable::Damaged),
    }
}

enum Slot {
    /// Never written.
    Blank,
    Whole(Record),
    Damaged,
}

impl Slot {
    fn read(slot: &[u8], parity: u64, owner: &Owner) -> Result<Slot, Unreadable> {
        if slot.len() != SLOT {
            return Ok(Slot::Damaged);
        }
        if is_zero(slot) {
            return Ok(Slot::Blank);
        }
        if !slot.starts_with(MAGIC) || slot[CHECKSUM_AT] != checksum(slot).to_le_bytes() {
            return Ok(Slot::Damaged);
        }
        let format = take(&mut &slot[FORMAT_AT]).map_or(0, u32::from_le_bytes);
        if format > FORMAT {
            return Err(Unreadable::NewerFormat { found: format });
        }
        if format < WITHOUT_HOME {
            return Ok(Slot::Damaged);
        }
        match Record::decode(slot, format) {
            Some((_, found)) if found != *owner => {
                Err(Unreadable::Foreign { found: found.to_string(), expected: owner.to_string() })
            }
            Some((record, _)) if record.number % 2 == parity => Ok(Slot::Whole(record)),
            Some(_) | None => Ok(Slot::Damaged),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The slot as a version before 0.2 would have written it.
#[cfg(test)]
pub(super) fn as_first_format(slot: &[u8]) -> Vec<u8> {
    const HOME_AT: Range<usize> = 73..89;
    let mut first = [&slot[..HOME_AT.start], &slot[HOME_AT.end..], &[0; 16]].concat();
    first[FORMAT_AT].copy_from_slice(&WITHOUT_HOME.to_le_bytes());
    let checksum = checksum(&first).to_le_bytes();
    first[CHECKSUM_AT].copy_from_slice(&checksum);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(node: u16, cluster: &str) -> Owner {
        let (node, cluster) = (node.into(), cluster.to_owned());
        Owner { node, cluster }
    }

    fn record(number: u64) -> Record {
        let state = HardState {
            term: Term(100 + number),
            voted_for: Some(3.into()),
            cap: Duration::from_millis(500),
            in_doubt: false,
        };
        let (machine, boot) = (Some(7), Some(8));
        Record { number, state, machine, boot, home: Some(Home { device: 9, inode: 10 }), copied: false }
    }

    /// A file as the last two of `numbers` leave it.
    fn file(numbers: Range<u64>) -> Vec<u8> {
        let mut file = vec![0; 2 * SLOT];
        for number in numbers {
            let at = record(number).offset() as usize;
            file[at..at + SLOT].copy_from_slice(&record(number).encode(&owner(1, "east")));
        }
        file
    }

    fn read(file: &[u8]) -> Result<Option<Found>, Unreadable> {
        newest(file, &owner(1, "east"))
    }

    fn whole(number: u64) -> Result<Option<Found>, Unreadable> {
        Ok(Some(Found::whole(record(number))))
    }

    fn doubtful(number: u64) -> Result<Option<Found>, Unreadable> {
        Ok(Some(Found::beside_damage(record(number))))
    }

    #[test]
    fn the_bytes_of_a_record_stay_what_they_are() {
        let golden: [&[u8]; 14] = [
            b"leadvote",
            b"\x02\0\0\0",
            b"\x03\xf8\xcd\x1b",
            b"\x02\0\0\0\0\0\0\0",
            b"\x66\0\0\0\0\0\0\0",
            b"\x00\x65\xcd\x1d\0\0\0\0",
            b"\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0",
            b"\x09\0\0\0\0\0\0\0",
            b"\x0a\0\0\0\0\0\0\0",
            b"\x013",
            b"\x011",
            b"\x04east",
        ];
        let slot = record(2).encode(&owner(1, "east"));
        assert_eq!(slot.len(), SLOT);
        assert_eq!(slot[..golden.concat().len()], golden.concat());
        assert!(is_zero(&slot[golden.concat().len()..]));
        let first = as_first_format(&slot);
        assert_eq!(first[FORMAT_AT.start..CHECKSUM_AT.end], *b"\x01\0\0\0\xe3\xc9\x9b\xc9");
        assert_eq!(first[73..82], *b"\x013\x011\x04east");
    }

    #[test]
    fn the_longest_record_fits_the_smallest_sector() {
        let id = "n".repeat(NodeId::MAX_LEN).parse().ok();
        let owner = Owner { node: id.expect("an id"), cluster: "c".repeat(LONGEST_CLUSTER) };
        let state = HardState { term: Term(u64::MAX), voted_for: id, cap: Duration::MAX, in_doubt: true };
        let home = Some(Home { device: u64::MAX, inode: u64::MAX });
        let longest = Record { number: HIGHEST_NUMBER, state, machine: None, boot: None, home, copied: true };
        let slot = longest.encode(&owner);

        assert!(is_zero(&slot[512..]));
        let cap = Duration::from_nanos(u64::MAX);
        let state = HardState { cap, ..state };
        assert_eq!(Record::decode(&slot, FORMAT), Some((Record { state, ..longest }, owner)));
    }

    #[test]
    fn a_number_after_which_none_could_be_counted_is_damage() {
        let mut file = file(0..0);
        let odd = HIGHEST_NUMBER | 1;
        file[SLOT..].copy_from_slice(&record(1).encode(&owner(1, "east")));
        for number in [odd + 1, u64::MAX - 1] {
            let beyond = Record { number, ..record(0) };
            file[..SLOT].copy_from_slice(&beyond.encode(&owner(1, "east")));
            assert_eq!(read(&file), doubtful(1));
        }
    }

    #[test]
    fn the_higher_number_counts() {
        assert_eq!(read(&file(0..0)), Ok(None));
        for last in 0..5 {
            assert_eq!(read(&file(0..last + 1)), whole(last));
        }
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_state_before_or_is_whole() {
        for number in 1..4 {
            let (before, after) = (file(0..number), file(0..number + 1));
            let start = record(number).offset() as usize;
            for torn_at in 0..=SLOT {
                let mut torn = before.clone();
                torn[start..start + torn_at].copy_from_slice(&after[start..start + torn_at]);
                let expected = if torn == after {
                    whole(number)
                } else if torn == before {
                    whole(number - 1)
                } else {
                    doubtful(number - 1)
                };
                assert_eq!(read(&torn), expected, "record {number} torn at {torn_at}");
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_never_taken_for_new_or_for_whole() {
        let whole = file(0..2);
        for length in 1..whole.len() {
            let expected = if length < SLOT { Err(Unreadable::Damaged) } else { doubtful(0) };
            assert_eq!(read(&whole[..length]), expected, "cut to {length}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0; 100]), Ok(None));
    }

    #[test]
    fn a_flipped_bit_puts_in_doubt_and_is_never_believed() {
        for numbers in [0..2, 0..3] {
            let newest_slot = (numbers.end as usize - 1) % 2;
            let (mut file, newest) = (file(numbers.clone()), numbers.end - 1);
            for at in 0..file.len() {
                let expected = doubtful(if at / SLOT == newest_slot { newest - 1 } else { newest });
                for bit in if at % SLOT < 128 { 0..8 } else { 0..1 } {
                    file[at] ^= 1 << bit;
                    assert_eq!(read(&file), expected, "bit {bit} of byte {at}");
                    file[at] ^= 1 << bit;
                }
            }
        }
    }

    #[test]
    fn a_slot_that_must_have_been_written_and_is_not_puts_in_doubt() {
        let mut lost = file(0..2);
        lost[..SLOT].fill(0);
        assert_eq!(read(&lost), doubtful(1));
        lost[SLOT..].fill(0);
        lost[0] = 1;
        assert_eq!(read(&lost), Err(Unreadable::Damaged));

        let mut stale = file(0..2);
        stale[..SLOT].copy_from_slice(&file(0..5)[..SLOT]);
        assert_eq!(read(&stale), doubtful(4));

        let mut misplaced = file(0..2);
        misplaced.copy_within(..SLOT, SLOT);
        assert_eq!(read(&misplaced), doubtful(0));
    }

    #[test]
    fn the_file_of_another_is_refused() {
        for other in [owner(2, "east"), owner(1, "west")] {
            let (found, expected) = (owner(1, "east").to_string(), other.to_string());
            let refused = Err(Unreadable::Foreign { found, expected });
            assert_eq!(newest(&file(0..2), &other), refused);
        }
        let mut newer = file(0..2);
        newer[FORMAT_AT].copy_from_slice(&9_u32.to_le_bytes());
        assert_eq!(read(&newer), doubtful(1), "the format is under the checksum");
        let checksum = checksum(&newer[..SLOT]).to_le_bytes();
        newer[CHECKSUM_AT].copy_from_slice(&checksum);
        assert_eq!(read(&newer), Err(Unreadable::NewerFormat { found: 9 }));
    }
}
