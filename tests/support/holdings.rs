//! What a process holds of its host.

use std::fmt;
use std::fs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// All its bytes in memory, those of its program file included.
    pub(crate) resident: u64,
    /// Its own bytes in memory.
    pub(crate) anonymous: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
}

/// Nothing if the process has ended.
pub(crate) fn holdings(pid: impl fmt::Display) -> Option<Holdings> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some(Holdings {
        resident: number("VmRSS:")? * 1024,
        anonymous: number("RssAnon:")? * 1024,
        threads: number("Threads:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
    })
}
