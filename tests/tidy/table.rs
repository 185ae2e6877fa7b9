//! The table: which layer a module is in, and what it may import.

/// What a module may import.
pub(super) struct Row {
    pub(super) module: &'static str,
    /// The other modules of this crate, by their name at the top.
    pub(super) uses: &'static [&'static str],
    /// Packages besides `std`.
    pub(super) packages: &'static [&'static str],
}

const fn row(module: &'static str, uses: &'static [&'static str], packages: &'static [&'static str]) -> Row {
    Row { module, uses, packages }
}

/// The modules at the top, from the lowest layer to the highest. A module imports from lower layers only.
pub(super) const LAYERS: &[&[&str]] = &[
    &["election"],
    &["clock", "error", "state_lock", "sync"],
    &["engine", "members", "tls"],
    &["inbox", "log_queue", "store"],
    &["leadership", "recording"],
    &["status"],
    &["config", "transport"],
    &["death_witness", "driver", "remote"],
    &["node", "manual", "fuzz"],
    &["lib"],
];

/// Apart: a program of its own, which sees what every program sees.
pub(super) const APART: &str = "bin";

/// The row of a file is the one with the longest name that its module path begins with.
pub(super) const ROWS: [Row; 29] = [
    row("election", &[], &["serde"]),
    row("clock", &["election"], &["rustix"]),
    row("error", &["election"], &[]),
    row("state_lock", &[], &[]),
    row("sync", &[], &[]),
    row("engine", &["election", "error"], &["serde"]),
    row("members", &["election", "error"], &[]),
    row("tls", &["clock", "election", "sync"], &["der", "rustix", "rustls", "rustls_pemfile"]),
    row("inbox", &["election", "engine"], &["crossbeam_channel", "serde"]),
    row("log_queue", &["clock", "election", "sync"], &["crossbeam_channel", "log"]),
    // How long the host has been up is a matter of the state: it shortens the quarantine.
    row("store", &["clock", "election", "state_lock"], &["crc32fast", "log", "rustix"]),
    row(
        "recording",
        &["clock", "election", "engine", "log_queue", "store"],
        &["bincode", "crc32fast", "crossbeam_channel", "log", "serde"],
    ),
    row(
        "leadership",
        &["clock", "election", "engine", "inbox", "log_queue", "state_lock", "sync"],
        &["crossbeam_channel", "log"],
    ),
    row("status", &["clock", "election", "leadership", "log_queue", "sync"], &["rustix", "serde"]),
    row("status::prometheus", &["election"], &["prometheus_client"]),
    // A certificate that does not fit its node is an error of the config.
    row("config", &["election", "members", "tls"], &[]),
    row("config::written", &["tls"], &["serde_yaml"]),
    row("config::yaml", &["tls"], &["serde", "serde_yaml"]),
    row(
        "transport",
        &["clock", "election", "engine", "inbox", "leadership", "log_queue", "members", "status", "sync", "tls"],
        &["crossbeam_channel", "log"],
    ),
    // Waits for a connection and for the end at once.
    row("transport::listen", &[], &["rustix"]),
    row("transport::wire", &["election", "leadership", "status"], &["bincode", "serde"]),
    // A client knows the frames that are for clients, and how to dial.
    row("remote", &["clock", "config", "election", "leadership", "status", "transport"], &["serde"]),
    row(
        "driver",
        &[
            "clock",
            "election",
            "engine",
            "inbox",
            "leadership",
            "log_queue",
            "recording",
            "status",
            "store",
            "transport",
        ],
        &["crossbeam_channel", "log"],
    ),
    // A process of its own: it starts none of a node, and asks the state and the peers.
    row(
        "death_witness",
        &["clock", "config", "election", "inbox", "leadership", "log_queue", "status", "store", "sync", "transport"],
        &["crossbeam_channel", "log", "rand", "rustix"],
    ),
    row("node", WHOLE, &["crossbeam_channel", "log", "rand"]),
    row("manual", &[], &[]),
    // Only for tests.
    row("fuzz", &["election", "store", "transport"], &[]),
    row("lib", &["clock", "config", "election", "error", "leadership", "node", "state_lock", "status", "store"], &[]),
    row(
        "bin",
        &[],
        &[
            "clap",
            "clap_complete",
            "crossbeam_channel",
            "ctrlc",
            "env_logger",
            "log",
            "rustix",
            "serde",
            "serde_json",
            "signal_hook",
            "thread_priority",
        ],
    ),
];

const WHOLE: &[&str] = &[
    "clock",
    "config",
    "death_witness",
    "driver",
    "election",
    "engine",
    "error",
    "inbox",
    "leadership",
    "log_queue",
    "members",
    "recording",
    "state_lock",
    "status",
    "store",
    "sync",
    "transport",
];

/// Longer than this, and a file no longer fits a sitting.
pub(super) const LONGEST_FILE: usize = 450;
/// A test file may hold a story more.
pub(super) const LONGEST_TEST_FILE: usize = 700;
/// Files that are one table, which nobody reads from top to bottom.
pub(super) const TABLES: [&str; 0] = [];
/// Longer than this, and a line no longer fits beside another file.
pub(super) const LONGEST_LINE: usize = 120;
/// Names that say nothing, and so invite everything.
pub(super) const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];
