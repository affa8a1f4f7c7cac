//! Transcripts in the documentation, which equal the output that the unit tests expect.

use std::path::{Path, PathBuf};

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)
}

/// Fails unless a page of the documentation has this output, indented as code.
pub(crate) fn assert_in_page(page: &str, output: &str) {
    let text = std::fs::read_to_string(path(page)).unwrap_or_default();
    let code: String = output.lines().map(|line| format!("{}\n", format!("    {line}").trim_end())).collect();
    assert!(text.contains(&code), "docs/{page} does not have this transcript:\n{code}");
}

/// Fails unless a file of the documentation equals this output. `UPDATE_REFERENCE=1` writes the file.
pub(crate) fn assert_is_file(file: &str, output: &str) {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        // A file that was not written is reported below.
        let _ = std::fs::write(path(file), output);
    }
    let stored = std::fs::read_to_string(path(file)).unwrap_or_default();
    assert!(stored == output, "docs/{file} is outdated: UPDATE_REFERENCE=1 cargo test --lib timeline");
}
