//! How the types of a status are written as JSON, or in any other format that serde knows.
//!
//! The derived implementations stand at their types. Here is what cannot be derived: times as numbers, and names
//! instead of Rust's own.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::LeasesLost;
use crate::election::Role;
use crate::leadership::Remaining;

/// Milliseconds, with three digits behind the point.
pub(crate) fn millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    some_millis(&Some(*span), serializer)
}

pub(crate) fn some_millis<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| (span.as_secs_f64() * 1e6).round() / 1e3).serialize(serializer)
}

/// Whole seconds.
pub(crate) fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

/// In milliseconds. `null` if there is no lease, and if it has no end; only then the status has a token.
impl Serialize for Remaining {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let left = match self {
            Remaining::Left(left) => Some(*left),
            Remaining::Over | Remaining::Endless => None,
        };
        some_millis(&left, serializer)
    }
}

/// As `follower`, `candidate` or `leader`.
impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A map from the label of each reason to its count.
impl Serialize for LeasesLost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, count)| (reason.label(), count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Cause, EndReason, Event, NodeId, Term};
    use crate::status::Board;

    #[test]
    fn times_are_numbers_and_their_names_end_with_the_unit() {
        let board = Board::new(1.into(), [(2.into(), "host:1".to_owned())]);
        let (term, leader, token) = (Term(7), Some(NodeId::from(1)), Some(Term(7)));
        let won = Event { role: Role::Leader, term, leader, token, cause: Cause::LeaseWon };
        let lost = Event { token: None, cause: Cause::LeaseLost, ..won.clone() };
        board.show(Role::Leader, term, leader, &[won, lost]);
        board.wrote(Duration::from_micros(1500));
        let shown = |left| {
            let status = board.status(Some((term, left)));
            serde_yaml::to_value(status).expect("plain data")
        };
        let status = shown(Remaining::Left(Duration::from_nanos(1_234_567_890)));
        assert_eq!(status["role"], "leader");
        assert!(status["term"] == 7 && status["token"] == 7, "{status:?}");
        assert_eq!(status["lease_ms"], 1234.568);
        assert_eq!(status["counters"]["leases_lost"][EndReason::QuorumLost.label()], 1);
        assert_eq!(status["counters"]["writes"]["worst_ms"], 1.5);
        let peer = &status["peers"][0];
        assert!(peer["id"] == "2" && peer["addr"] == "host:1", "{peer:?}");
        assert!(peer["last_heard_ms"].is_null() && peer.get("round_trip_ms").is_some(), "{peer:?}");
        assert!(shown(Remaining::Endless)["lease_ms"].is_null());
    }
}
