//! Which node is meant? An id is a short name, the same on every node of the cluster.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a node, such as `1` or `db-east`: 1 to 32 bytes of visible ASCII.
///
/// Ids are small values that can be copied. Shorter ids sort first, then they sort by their bytes, so `2` comes before
/// `10`.
///
/// ```
/// use leadelect::NodeId;
///
/// let id: NodeId = "db-east".parse()?;
/// assert_eq!(id.as_str(), "db-east");
/// assert!("2".parse::<NodeId>()? < "10".parse::<NodeId>()?);
/// assert!("two words".parse::<NodeId>().is_err());
/// # Ok::<(), leadelect::election::NodeIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    // Declared in the order in which ids sort. The bytes after `len` are zero.
    len: u8,
    bytes: [u8; NodeId::MAX_LEN],
}

impl NodeId {
    /// The longest id, in bytes. Ids are part of frames, and the size of a frame is bounded.
    pub const MAX_LEN: usize = 32;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// Why a text is not a [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdError {
    found: String,
}

impl NodeIdError {
    /// The text, or its beginning if it is much too long.
    pub(crate) fn found(&self) -> &str {
        &self.found
    }
}

/// What is an id already needs no check.
impl From<Infallible> for NodeIdError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for NodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a node id of 1 to {} visible ASCII characters, found {:?}", NodeId::MAX_LEN, self.found)
    }
}

impl std::error::Error for NodeIdError {}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > Self::MAX_LEN || !visible {
            let found = text.chars().take(2 * Self::MAX_LEN).collect();
            return Err(NodeIdError { found });
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(NodeId { len: text.len() as u8, bytes })
    }
}

impl TryFrom<&str> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: &str) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

impl TryFrom<&String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: &String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

impl From<u16> for NodeId {
    fn from(number: u16) -> Self {
        number.to_string().parse().expect("five digits are an id")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
