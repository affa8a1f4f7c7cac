//! Files of the sources, for tests that read them as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Adds the Rust files below a folder.
pub(crate) fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
