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
    #[error("{file}:{line}: not valid YAML{hint}: {reason}")]
    Document { file: String, line: usize, reason: String, hint: &'static str },
}

/// Returns the objects of all files. A folder stands for its files with the extension `yaml`, `yml` or `json`; `-` is
/// standard input.
///
/// # Errors
/// A file or folder cannot be read, or a document is not valid YAML.
/// With `recursive`, the folders in a folder are read too.
pub(crate) fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<Manifest>, Unreadable> {
    let mut manifests = Vec::new();
    for path in paths {
        for (file, text) in texts(path, recursive)? {
            parse(&file, &text, &mut manifests)?;
        }
    }
    Ok(manifests)
}

/// Returns the folders that contain folders, which are read with `recursive` only.
pub(crate) fn with_folders(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let has_folders = |path: &&PathBuf| {
        std::fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
    };
    paths.iter().filter(has_folders).collect()
}

/// Returns the files with manifests in a folder, sorted.
fn files_in(folder: &Path, recursive: bool) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to a folder could lead to itself, so links are not followed.
        if entry.file_type()?.is_dir() {
            if recursive {
                files.extend(files_in(&path, recursive)?);
            }
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn texts(path: &Path, recursive: bool) -> Result<Vec<(String, String)>, Unreadable> {
    let failed = |path: &Path, error: std::io::Error| Unreadable::File {
        path: path.to_owned(),
        reason: super::output::io_reason(&error),
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| failed(path, error))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = files_in(path, recursive).map_err(|error| failed(path, error))?;
    }
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}

fn parse(file: &str, text: &str, manifests: &mut Vec<Manifest>) -> Result<(), Unreadable> {
    for (line, document) in documents(text) {
        let template = document.contains("{{");
        let hint =
            if template { " (a Helm template? render it first: helm template . | jobwright check -f -)" } else { "" };
        let broken = |reason: String| Unreadable::Document { file: file.to_owned(), line, reason, hint };
        let object: Value = serde_saphyr::from_str(&document).map_err(|error| broken(error.to_string()))?;
        let objects = match &object["items"] {
            Value::Array(items) if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                let lines = lines_of_items(&document, items.len());
                items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| (lines.get(place).map_or(line, |at| line + at), item.clone()))
                    .collect()
            }
            _ => vec![(line, object)],
        };
        let objects = objects.into_iter();
        manifests.extend(objects.map(|(line, object)| Manifest { file: file.to_owned(), line, object }));
    }
    Ok(())
}

/// Returns the distance of each item of a list in block style from the first line of its document. Empty if the text has
/// another form.
fn lines_of_items(document: &str, count: usize) -> Vec<usize> {
    // Comments above the first field do not count, as for the line of the document.
    let text = || document.lines().skip_while(|line| line.trim().is_empty() || line.starts_with('#')).enumerate();
    let Some((start, _)) = text().find(|(_, line)| line.trim_end() == "items:") else { return Vec::new() };
    let mut after = text().skip(start + 1);
    let Some(first) = after.next() else { return Vec::new() };
    let Some(indent) = first.1.find("- ").filter(|at| first.1[..*at].trim().is_empty()) else { return Vec::new() };
    let mark = format!("{:indent$}- ", "");
    let lines: Vec<usize> =
        std::iter::once(first).chain(after).filter(|(_, line)| line.starts_with(&mark)).map(|(at, _)| at).collect();
    if lines.len() == count { lines } else { Vec::new() }
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
    fn item_of_a_list_has_its_own_line() {
        let text = "apiVersion: v1\nitems:\n- kind: Job\n  metadata:\n    name: a\n  args:\n  - x\n- kind: CronJob\nkind: List\n";
        let mut manifests = Vec::new();
        parse("standard input", text, &mut manifests).unwrap();
        assert_eq!(manifests.iter().map(|manifest| manifest.line).collect::<Vec<_>>(), [3, 8]);
    }

    #[test]
    fn folders_are_read_recursively_on_request() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("a.yaml"), "kind: A\n").unwrap();
        std::fs::write(dir.path().join("sub/b.yml"), "kind: B\n").unwrap();
        std::fs::write(dir.path().join("sub/c.txt"), "kind: C\n").unwrap();
        let paths = [dir.path().to_owned()];
        assert_eq!(read(&paths, false).unwrap().len(), 1);
        assert_eq!(read(&paths, true).unwrap().len(), 2);
        assert_eq!(with_folders(&paths).len(), 1);
    }

    #[test]
    fn template_is_named_as_the_cause() {
        let error = parse("a.yaml", "{{- if .Values.a }}\nkind: A\n", &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("helm template . | jobwright check -f -"), "{error}");
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
