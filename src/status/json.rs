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

pub(super) fn some_millis<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
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
