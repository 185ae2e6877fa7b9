//! The stand-in for disks that are slow or fail, and for a wall clock that jumps: `shim.c`, built once with `cc`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the node finds what it is told.
pub(crate) const SHIM: &str = "LEADELECT_TEST_SHIM";

/// The shared library.
pub(crate) fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let built = folder.join(format!("chaos-shim-{}.part", id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/shim.c");
        let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&built).arg(source).status();
        assert!(status.unwrap().success(), "cc builds tests/chaos/shim.c");
        let library = folder.join("chaos-shim.so");
        // In one step: other processes may be loading the old one.
        std::fs::rename(built, &library).unwrap();
        library
    })
}

/// What one node is told.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) path: PathBuf,
    file: File,
}

impl Shim {
    pub(crate) fn new(path: PathBuf) -> Shim {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all_at(&[0; 24], 0).unwrap();
        Shim { path, file }
    }

    fn tell(&self, at: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    pub(crate) fn flush_takes(&self, time: Duration) {
        self.tell(0, i64::try_from(time.as_micros()).unwrap());
    }

    /// 0 for no error.
    pub(crate) fn flush_fails(&self, errno: i32) {
        self.tell(8, errno.into());
    }

    pub(crate) fn wall_clock_is_off(&self, seconds: i64) {
        self.tell(16, seconds);
    }

    pub(crate) fn reset(&self) {
        self.file.write_all_at(&[0; 24], 0).unwrap();
    }
}
