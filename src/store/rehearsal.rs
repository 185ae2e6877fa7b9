//! Would a node be able to use its state folder? Asked before the node starts, and without leaving anything behind.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Disk, SLOT, StoreError, VoteFile, create_folder, file_stem, fill, lock, new_file_options, open_existing, place,
    read, warning,
};
use crate::clock;
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

    /// How long each of that many durable writes takes, to a file of the same size in the same folder.
    pub(crate) fn rehearse_writes(state_dir: &Path, node: NodeId, writes: u32) -> Result<Vec<Duration>, StoreError> {
        let path = state_dir.join(file_stem(node) + ".vote");
        let mut spans = Vec::new();
        with_trial_file(&path, |file| {
            for number in 0..u64::from(writes) {
                let began = clock::now();
                file.write_durably(&[1; SLOT], number % 2 * SLOT as u64)?;
                spans.push(clock::now().since(began));
            }
            Ok(())
        })?;
        Ok(spans)
    }
}

/// Makes the folder and a file beside the one that the node would make, and removes both.
pub(crate) fn try_to_create(path: &Path) -> Result<(), StoreError> {
    with_trial_file(path, |_| Ok(()))
}

/// Makes the folder and a file beside the one that the node would make, does something with it, and removes both.
fn with_trial_file(path: &Path, act: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    let missing: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Into::into).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".check-{}", std::process::id()));
    let trial = PathBuf::from(name);
    let tried = create_folder(path).and_then(|()| {
        let failed = |error| StoreError::io("create", path)(error);
        let mut file = new_file_options().create_new(true).open(&trial).map_err(failed)?;
        let acted = fill(&file, &trial).and_then(|()| act(&mut file)).map_err(failed);
        // It is gone with its folder otherwise.
        let _ = fs::remove_file(&trial);
        acted
    });
    // Those that another process uses by now stay.
    missing.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    tried
}
