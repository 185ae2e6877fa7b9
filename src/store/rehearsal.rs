//! Would a node be able to use its state folder? Asked before the node starts, and without leaving anything behind.

use std::fs;
use std::path::{Path, PathBuf};

use super::{StoreError, VoteFile, create_folder, fill, lock, new_file_options, open_existing, place, read, warning};
use crate::election::{HardState, NodeId};

impl VoteFile {
    /// Fails where [`VoteFile::open`] would fail now, with the same error. Returns what it would warn of.
    ///
    /// A file that exists is locked for as long as it is read. A node that starts at this very moment finds it locked.
    pub(crate) fn rehearse(state_dir: &Path, node: NodeId, cluster: &str) -> Result<Option<String>, StoreError> {
        let (path, owner) = place(state_dir, node, cluster)?;
        let Some(file) = open_existing(&path)? else {
            return try_to_create(&path).map(|()| None);
        };
        lock(&file, &path)?;
        let found = read(&file, &path, &owner)?;
        let new = HardState { in_doubt: found.is_none(), ..HardState::default() };
        Ok(warning(&path, found.as_ref(), found.map_or(new, |found| found.record.state)))
    }
}

/// Makes the folder and a file beside the one that the node would make, and removes both.
pub(crate) fn try_to_create(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Into::into).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".check-{}", std::process::id()));
    let trial = PathBuf::from(name);
    let tried = create_folder(path).and_then(|()| {
        let failed = |error| StoreError::io("create", path)(error);
        let file = new_file_options().create_new(true).open(&trial).map_err(failed)?;
        let filled = fill(&file, &trial).map_err(failed);
        // It is gone with its folder otherwise.
        let _ = fs::remove_file(&trial);
        filled
    });
    // Those that another process uses by now stay.
    missing.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    tried
}
