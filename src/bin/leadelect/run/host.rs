//! Does this host let `leadelect run` keep its promise?

use std::fs;
use std::process::id;

use rustix::process::getpid;

use super::cgroup::Cgroup;
use super::descendants::children;
use super::leftovers::RunId;
use super::supervisor::Groups;

/// Says in the log how the processes of the command are found and killed.
///
/// # Errors
///
/// When the processes of a command cannot be found on this host, with what to do about it.
pub(super) fn check(run: &RunId) -> Result<Groups, String> {
    let shown = fs::read_link("/proc/self");
    let shown = shown.map_err(|error| format!("/proc does not show this process ({error}): {}", MOUNT_PROC))?;
    if shown.as_os_str().to_str() != Some(&id().to_string()) {
        return Err(format!("/proc shows process {} as this one, which is {}: {MOUNT_PROC}", shown.display(), id()));
    }
    let walk = children(getpid());
    let group = Cgroup::make(&run.cgroup_name(0));
    match (&group, walk) {
        (Ok(group), _) => {
            log::info!("the command gets a control group of its own, like {}", group.folder().display());
            group.remove();
            Ok(Groups::Made)
        }
        (Err(why), Ok(_)) => {
            log::info!("the command gets no control group of its own: {why}. Walks over its processes to kill them");
            Ok(Groups::Impossible)
        }
        (Err(why), Err(error)) => Err(format!(
            "cannot find the processes of a command on this host, and so cannot promise their end: /proc/self/task/*/\
             children: {error}; control group: {why}. Use a kernel with CONFIG_PROC_CHILDREN, or give this program a \
             control group (root, or Delegate=yes in its systemd unit)"
        )),
    }
}

const MOUNT_PROC: &str = "it belongs to another PID namespace, so the processes of the command cannot be found. Mount \
                          the /proc of this namespace, as `unshare --pid --fork --mount-proc` does";
