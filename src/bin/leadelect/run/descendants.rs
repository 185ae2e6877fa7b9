//! Finds the processes of a command that left its process group, or whose guard is gone.
//!
//! When a parent dies, its children get a new parent: the nearest ancestor that asked for this with
//! `PR_SET_CHILD_SUBREAPER`. Guard and supervisor both ask for it. So all processes that a command has started end up
//! among their children, even after several forks and in another process group or session.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// The children of this process, zombies included.
pub(super) fn children() -> io::Result<Vec<Pid>> {
    let me = getpid().as_raw_nonzero().get();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // It has ended, so it was no child of this process: a child stays in /proc until its parent reaps it.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
            continue;
        };
        if parent(&stat) == Some(me) {
            children.extend(Pid::from_raw(id));
        }
    }
    Ok(children)
}

/// The parent in a line of `/proc/PID/stat`. The second field is the name of the program in brackets. It may contain
/// any character.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Kills all children of this process but `spared`, and all that become its children meanwhile. Returns when none is
/// left. Fails if `/proc` cannot be read.
pub(super) fn kill_all_but(spared: &[Pid]) -> io::Result<()> {
    loop {
        let mut children = children()?;
        children.retain(|child| !spared.contains(child));
        if children.is_empty() {
            return Ok(());
        }
        for child in &children {
            // Fails if the child is a zombie, which is as good.
            let _ = kill_process(*child, Signal::KILL);
        }
        for child in children {
            // Fails if another thread has reaped it, which is as good.
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_after_any_program_name() {
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
