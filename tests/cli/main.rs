//! The program `leadelect`, asked things by a shell while real nodes run.
