//! Who is left of a command that has left its process group, or whose guard is gone.
//!
//! A process whose parent has died becomes a child of the nearest ancestor that asked for it
//! (`PR_SET_CHILD_SUBREAPER`), which guard and supervisor both do. So whatever a command has started ends up among
//! their children, however often it forked and whatever group or session it has fled to, and no process is left once
//! there are no children.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// This process's children, zombies included.
pub(super) fn children() -> io::Result<Vec<Pid>> {
    let me = getpid().as_raw_nonzero().get();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Ended in the meantime: then it was no child of this process, which would have to reap it first.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
            continue;
        };
        if parent(&stat) == Some(me) {
            children.extend(Pid::from_raw(id));
        }
    }
    Ok(children)
}

/// The parent in a line of `/proc/PID/stat`. The second field is the program's name in brackets, with any character in
/// it.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Kills whatever else this process is or becomes the parent of, and returns when nothing is left of it.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub(super) fn kill_all_but(spared: &[Pid]) -> io::Result<()> {
    loop {
        let mut children = children()?;
        children.retain(|child| !spared.contains(child));
        if children.is_empty() {
            return Ok(());
        }
        for child in &children {
            // It is a zombie: that is what is wanted.
            let _ = kill_process(*child, Signal::KILL);
        }
        for child in children {
            // Reaped by another thread: just as well.
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("12 (a) R 9 (b) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("12 (sh"), None);
    }

    #[test]
    fn a_child_is_among_the_children_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let id = Pid::from_child(&child);
        assert!(children().expect("proc").contains(&id));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(!children().expect("proc").contains(&id));
    }
}
