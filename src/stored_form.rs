//! For tests: files as they stand on disk since the first server that wrote them so, in `src/stored_form/`.
//!
//! A test that is red here says that files of older servers are not made any more. Whatever the change is, it needs a version number of its own in the
//! file, a reader for both, and a fixture beside the old one, which stays. Frames of the log have theirs in `src/records/fixtures`.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

/// Bytes of an older server, to be read.
pub(crate) fn stored(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Compares what is written now with what is stored. A fixture that is not there yet is made, and the test fails once.
pub(crate) fn is_stored_as(name: &str, bytes: &[u8]) {
    let path = path(name);
    let Ok(stored) = std::fs::read(&path) else {
        std::fs::write(&path, bytes).unwrap();
        panic!("{} is new: look at it and commit it", path.display());
    };
    let (stored, now) = (stored.escape_ascii(), bytes.escape_ascii());
    assert_eq!(
        stored.to_string(),
        now.to_string(),
        "{name} has another form"
    );
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/stored_form")).join(name)
}
