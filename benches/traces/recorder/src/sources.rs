//! The input that the recorded programs are given.

use std::path::{Path, PathBuf};

/// The Rust source files in the directories that the command line names and in all that these hold,
/// in order of their paths.
///
/// # Panics
///
/// When none is named, or one can't be read.
#[must_use]
pub fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in std::env::args_os().skip(1) {
        collect(directory.as_ref(), &mut files);
    }
    assert!(!files.is_empty(), "a directory of Rust sources must be named");
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
