//! Which protocol do two programs speak with each other?
//!
//! Each build speaks a range of protocols, and says so in its first frame. Two programs use the highest number that
//! both speak. So nodes can be upgraded one after the other, and back, while both versions have a number in common.
//!
//! Some bytes are the same in every protocol. So two versions without a common number can still say why they part:
//!
//! - A hello, a welcome and a client's request begin with their variant, then the lowest and the highest number of
//!   their sender. In a welcome the number of the connection follows.
//! - A part of a reply to a client begins with its variant, then the number of the protocol in which it is written.
//! - A refusal is its variant and a text, and nothing else.
//!
//! A later protocol may add variants at the end of an enum. They are sent only where the number of the connection has
//! them. It may also add fields to a frame. Such a field is `#[serde(skip)]`. [`encode`](super::encode) writes it
//! behind the frame if the protocol that it is given has the field, and [`decode`](super::decode) reads it then. All
//! else needs a new variant. The old one may go when no version in use speaks its number, but its place stays empty.
//!
//! A hello and a client's request are written before the number is known. Their sender writes them for its highest
//! number, and every protocol only adds fields at their end. So the reader reads the fields that the common number has,
//! and leaves the rest.

use std::env;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Protocol(u16);

/// The protocols that a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Protocols {
    pub(crate) lowest: Protocol,
    pub(crate) highest: Protocol,
}

impl Protocol {
    /// Its frames begin differently. No version that was released speaks it.
    pub(super) const FIRST: Protocol = Protocol(1);
    const LATEST: Protocol = Protocol(2);
    /// Does not exist yet. Tests of upgrades speak it, so that they see two protocols.
    pub(super) const NEXT: Protocol = Protocol(Protocol::LATEST.0 + 1);
}

/// If this variable is set, a build that speaks [`Protocol::NEXT`] speaks nothing else.
const ONLY_NEXT: &str = "LEADELECT_ONLY_NEXT_PROTOCOL";

impl Protocols {
    /// With the one that does not exist yet.
    pub(crate) const WITH_NEXT: Protocols = Protocols { lowest: Protocol::LATEST, highest: Protocol::NEXT };

    /// What this build speaks. Only for tests there is a build that speaks the next protocol, too.
    pub(crate) fn of_this_build() -> Protocols {
        if !cfg!(leadelect_next_protocol) {
            return Protocols { highest: Protocol::LATEST, ..Protocols::WITH_NEXT };
        }
        if env::var_os(ONLY_NEXT).is_some() {
            return Protocols { lowest: Protocol::NEXT, ..Protocols::WITH_NEXT };
        }
        Protocols::WITH_NEXT
    }

    /// The protocol that two programs use with each other. The error names both ranges.
    pub(super) fn highest_common(self, theirs: Protocols) -> Result<Protocol, String> {
        let (lowest, highest) = (self.lowest.max(theirs.lowest), self.highest.min(theirs.highest));
        if lowest <= highest {
            return Ok(highest);
        }
        Err(format!("no common protocol: here {self}, there {theirs}; run versions of leadelect that share one"))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Protocols { lowest, highest } = self;
        if lowest == highest { lowest.fmt(f) } else { write!(f, "{lowest} to {highest}") }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn protocols(lowest: u16, highest: u16) -> Protocols {
        Protocols { lowest: Protocol(lowest), highest: Protocol(highest) }
    }

    #[test]
    fn two_programs_use_the_highest_number_that_both_speak() {
        let common = |(a, b), (c, d)| protocols(a, b).highest_common(protocols(c, d)).map(|Protocol(number)| number);
        for (ours, theirs, number) in
            [((2, 2), (2, 2), 2), ((2, 3), (2, 2), 2), ((2, 5), (3, 4), 4), ((2, 3), (3, 9), 3)]
        {
            assert_eq!(common(ours, theirs), Ok(number), "{ours:?} {theirs:?}");
            assert_eq!(common(theirs, ours), Ok(number), "{theirs:?} {ours:?}");
        }
    }

    #[test]
    fn without_a_common_number_both_ranges_are_named() {
        let error = protocols(2, 3).highest_common(protocols(5, 6)).expect_err("apart");
        assert_eq!(error, "no common protocol: here 2 to 3, there 5 to 6; run versions of leadelect that share one");
        let error = protocols(3, 3).highest_common(protocols(2, 2)).expect_err("apart");
        assert!(error.contains("here 3, there 2;"), "{error}");
        // A range that is none.
        assert!(protocols(2, 9).highest_common(protocols(6, 4)).is_err());
    }

    #[test]
    fn a_build_for_users_speaks_no_protocol_that_does_not_exist() {
        assert_eq!(Protocols::of_this_build(), protocols(2, 2));
    }
}
