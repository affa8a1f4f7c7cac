//! Reads manifests: YAML or JSON, several to a file, files or folders, lists of objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

/// An object of a file.
#[derive(Debug)]
pub struct Manifest {
    /// Which file.
    pub file: String,
    /// Where in it the object's document begins.
    pub line: usize,
    pub object: Value,
}

/// Something could not be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("cannot read {}: {reason}; give -f a file or folder with manifests", .path.display())]
    File { path: PathBuf, reason: String },
    #[error("{file}:{line}: this is no YAML: {reason}")]
    Document { file: String, line: usize, reason: String },
}

/// Reads all files, and of folders all files that end in yaml, yml or json.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>, Unreadable> {
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

/// The documents of a YAML text, each with the number of the line it begins on. Nothing within a document begins with `---`.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let mark = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '#']));
        let (_, last) = documents.last_mut().expect("one at least");
        if mark {
            documents.push((number + 1, String::new()));
        } else {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says_something = |text: &str| {
        text.lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#') && !line.starts_with('%'))
    };
    documents.retain(|(_, text)| says_something(text));
    for (line, text) in &mut documents {
        // Comments above an object are not where it begins.
        let above = text.lines().take_while(|line| line.trim().is_empty() || line.starts_with('#')).count();
        *line += above;
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_begin_where_their_first_field_stands() {
        let text = "# about\nkind: A\n---\n\n# nothing\n--- # next\nkind: B\ntext: |\n  --- within\n---\n";
        let found = documents(text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 7]);
        assert!(found[1].1.contains("--- within"));
    }

    #[test]
    fn lists_are_taken_apart_and_what_is_no_yaml_is_placed() {
        let mut manifests = Vec::new();
        parse("a.json", r#"{"kind": "List", "items": [{"kind": "Job"}, {"kind": "CronJob"}]}"#, &mut manifests)
            .unwrap();
        let kinds: Vec<_> = manifests.iter().map(|manifest| manifest.object["kind"].clone()).collect();
        assert_eq!(kinds, ["Job", "CronJob"]);
        let error = parse("a.yaml", "kind: A\n---\nkind: [", &mut manifests).unwrap_err().to_string();
        assert!(error.starts_with("a.yaml:3: "), "{error}");
    }
}
