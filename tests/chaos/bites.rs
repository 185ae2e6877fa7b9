//! Whether a fault does what its name says: otherwise a campaign proves nothing.
