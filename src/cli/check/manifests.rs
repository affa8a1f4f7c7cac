//! Reads manifests from files, folders and standard input: YAML or JSON, with any number of documents in a file. An
//! object of a kind that ends in `List` is replaced by its items.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

/// Object that a file contains, with its place in the file.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Path of the file, or `standard input`.
    pub file: String,
    /// Number of the line on which the object's document begins, from 1.
    pub line: usize,
    /// The object as it is written, without a check of its fields.
    pub object: Value,
}

/// Reason why a manifest cannot be read.
#[derive(Debug, Error)]
pub(crate) enum Unreadable {
    #[error("cannot read {}: {reason}; give -f a file or folder with manifests", .path.display())]
    File { path: PathBuf, reason: String },
    #[error("{file}:{line}: the document is not valid YAML: {reason}")]
    Document { file: String, line: usize, reason: String },
}

/// Returns the objects of all files. A folder stands for its files with the extension `yaml`, `yml` or `json`; `-` is
/// standard input.
///
/// # Errors
/// A file or folder cannot be read, or a document is not valid YAML.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>, Unreadable> {
    let mut manifests = Vec::new();
    for path in paths {
        for (file, text) in texts(path)? {
            parse(&file, &text, &mut manifests)?;
        }
    }
    Ok(manifests)
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, Unreadable> {
    let failed =
        |path: &Path, error: std::io::Error| Unreadable::File { path: path.to_owned(), reason: error.to_string() };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| failed(path, error))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| failed(path, error))?;
        let manifest = |path: &PathBuf| {
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        };
        files = entries.flatten().map(|entry| entry.path()).filter(manifest).collect();
        files.sort();
    }
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}

fn parse(file: &str, text: &str, manifests: &mut Vec<Manifest>) -> Result<(), Unreadable> {
    for (line, document) in documents(text) {
        let broken = |reason: String| Unreadable::Document { file: file.to_owned(), line, reason };
        let object: Value = serde_saphyr::from_str(&document).map_err(|error| broken(error.to_string()))?;
        let objects = match &object["items"] {
            Value::Array(items) if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
            _ => vec![object],
        };
        manifests.extend(objects.into_iter().map(|object| Manifest { file: file.to_owned(), line, object }));
    }
    Ok(())
}

/// Returns the documents of a YAML text, each with the number of the line on which its first field stands. No line
/// within a document begins with `---` followed by a blank or by nothing, so these lines separate the documents.
fn documents(text: &str) -> Vec<(usize, String)> {
    let (mut documents, mut current) = (Vec::new(), (1, String::new()));
    for (number, line) in (1..).zip(text.lines()) {
        let mark = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '#']));
        if mark {
            documents.push(std::mem::replace(&mut current, (number + 1, String::new())));
        } else {
            current.1.push_str(line);
            current.1.push('\n');
        }
    }
    documents.push(current);
    let says_something = |text: &str| {
        text.lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#') && !line.starts_with('%'))
    };
    documents.retain(|(_, text)| says_something(text));
    for (line, text) in &mut documents {
        // Comments above an object do not belong to the object: a finding points at its first field.
        let above = text.lines().take_while(|line| line.trim().is_empty() || line.starts_with('#')).count();
        *line += above;
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_begins_at_the_line_of_its_first_field() {
        let text = "# about\nkind: A\n---\n\n# nothing\n--- # next\nkind: B\ntext: |\n  --- within\n---\n";
        let found = documents(text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 7]);
        assert!(found[1].1.contains("--- within"));
    }

    #[test]
    fn list_is_split_into_its_items_and_invalid_yaml_is_located() {
        let mut manifests = Vec::new();
        parse("a.json", r#"{"kind": "List", "items": [{"kind": "Job"}, {"kind": "CronJob"}]}"#, &mut manifests)
            .unwrap();
        let kinds: Vec<_> = manifests.iter().map(|manifest| manifest.object["kind"].clone()).collect();
        assert_eq!(kinds, ["Job", "CronJob"]);
        let error = parse("a.yaml", "kind: A\n---\nkind: [", &mut manifests).unwrap_err().to_string();
        assert!(error.starts_with("a.yaml:3: "), "{error}");
    }
}
