//! What the fuzz targets in `tests/fuzz` cannot reach from outside: the bytes of a peer and of a disk.

use std::path::Path;

use crate::election::{NodeId, Recovery};
use crate::store::VoteFile;
use crate::transport::{Protocols, frame, wire};

/// Reads frames from `stream` until one cannot be read, and returns how many of them are known.
///
/// # Panics
///
/// If a frame that was understood does not come back as it was, or if a body takes more memory than the longest frame.
pub fn read_frames(mut stream: &[u8]) -> usize {
    let (mut body, mut known) = (Vec::new(), 0);
    while frame::read_frame(&mut stream, &mut body).is_ok() {
        assert!(body.capacity() <= 2 * frame::MAX_FRAME, "{} bytes reserved", body.capacity());
        for speaks in [Protocols::of_this_build(), Protocols::WITH_NEXT] {
            let Ok((found, protocol)) = wire::decode_first(&body, speaks) else { continue };
            let bytes = wire::encode(&found, protocol);
            // A number may have been written with more bytes than it needs, so the bytes may differ. What they say may
            // not.
            assert_eq!(wire::decode(&bytes, protocol).as_ref(), Ok(&found));
            known += 1;
        }
    }
    known
}

/// Opens a vote file, as a node does at its start.
///
/// # Errors
///
/// The text for the operator.
pub fn open_vote_file(folder: &Path, node: NodeId, cluster: &str) -> Result<Recovery, String> {
    let (_file, recovery) = VoteFile::open(folder, node, cluster).map_err(|error| error.to_string())?;
    Ok(recovery)
}
