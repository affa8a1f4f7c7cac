//! The reference pages of log messages, events and resources, which are generated from the sources: `docs/reference/`.
//!
//! `UPDATE_REFERENCE=1 cargo test --test reference` writes the pages. Without the variable, the test fails if one is outdated.

#![allow(clippy::expect_used, reason = "a test fails by a panic")]

mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sources::find;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the path, from `src`, and the text of each source file without its unit tests.
fn sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    find(&root().join("src"), &mut paths);
    paths.sort();
    let is_test = |path: &Path| path.to_string_lossy().ends_with("tests.rs");
    let paths = paths.into_iter().filter(|path| !is_test(path));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let name = path.strip_prefix(root()).expect("a path below the root").display().to_string();
        (name, text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned())
    };
    paths.map(read).collect()
}

/// Returns the string literals in the arguments of each call that begins with `start`, which ends with its parenthesis.
fn calls(text: &str, start: &str) -> Vec<Vec<String>> {
    text.match_indices(start).map(|(at, _)| literals(&text[at + start.len()..])).collect()
}

/// Returns the string literals up to the parenthesis that closes the call.
fn literals(arguments: &str) -> Vec<String> {
    let (mut depth, mut found) = (1, Vec::new());
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match character {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            '"' => found.push(literal(&mut characters)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Returns the string literal whose opening quote was read.
fn literal(characters: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                // A line break after a backslash, and the indentation after it, are not part of the text.
                Some('\n') => {
                    let rest = characters.as_str().trim_start();
                    *characters = rest.chars();
                }
                Some(other) => text.push(other),
                None => break,
            },
            _ => text.push(character),
        }
    }
    text
}

/// Writes a page, or compares it with the one that is stored.
fn page(name: &str, text: &str) {
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, text).expect("a page that can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{name} is outdated: UPDATE_REFERENCE=1 cargo test --test reference");
}

fn table(head: &str, columns: &str, rows: &BTreeSet<Vec<String>>) -> String {
    let rows = rows.iter().map(|row| {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    });
    format!("{head}\n{columns}\n{}", rows.collect::<String>())
}

#[test]
fn reference_of_log_messages_is_up_to_date() {
    let mut rows = BTreeSet::new();
    for (file, text) in sources() {
        for level in ["error", "warn", "info", "debug"] {
            for literals in calls(&text, &format!("tracing::{level}!(")) {
                let message = literals.last().cloned().unwrap_or_default();
                rows.insert(vec![format!("`{message}`"), level.to_owned(), format!("`{file}`")]);
            }
        }
    }
    assert!(rows.len() > 40, "{} messages are found", rows.len());
    let head = "# Log messages\n\nGenerated from the sources by `tests/reference.rs`. Every line of a sync also has the fields\n\
                `controller`, `namespace`, `name` and `uid` ([Installing](../installing.md)).\n";
    page("logs.md", &table(head, "| message | level | source |\n|---|---|---|", &rows));
}

#[test]
fn reference_of_events_is_up_to_date() {
    let sources = sources();
    let constant = |name: &str| {
        let start = format!("{name}: &str = ");
        sources.iter().find_map(|(_, text)| {
            let (_, rest) = text.split_once(&start)?;
            literals(&format!("{})", rest.split(';').next()?)).into_iter().next()
        })
    };
    let mut rows = BTreeSet::new();
    for (file, text) in &sources {
        for (kind, start) in [("Normal", "EventText::normal("), ("Warning", "EventText::warning(")] {
            for (at, _) in text.match_indices(start) {
                let arguments = text[at + start.len()..].trim_start();
                let reason = match arguments.strip_prefix('"') {
                    Some(rest) => literal(&mut rest.chars()),
                    None => {
                        let name = arguments.split(',').next().unwrap_or_default();
                        match constant(name.rsplit("::").next().unwrap_or(name)) {
                            Some(reason) => reason,
                            None => continue,
                        }
                    }
                };
                rows.insert(vec![format!("`{reason}`"), kind.to_owned(), format!("`{file}`")]);
            }
        }
        // rustfmt puts a long value on a line of its own.
        for kind in calls(&text.replace("=\n    ", "= "), "WriteKind = WriteKind {") {
            let [reason, ..] = kind.as_slice() else { continue };
            rows.insert(vec![format!("`{reason}`"), "Warning".to_owned(), format!("`{file}`")]);
        }
    }
    assert!(rows.len() > 30, "{} events are found", rows.len());
    let head = "# Events\n\nGenerated from the sources by `tests/reference.rs`. The reasons of the built-in controllers keep their\n\
                meaning. [Differences](../differences.md) and [admission](../admission.md) describe the others.\n";
    page("events.md", &table(head, "| reason | type | source |\n|---|---|---|", &rows));
}

#[test]
fn literals_of_a_call_are_found() {
    let text = "f(a = %x(\"one\"), \"two \\\n    three \\\"quoted\\\"\"); g(\"four\")";
    assert_eq!(calls(text, "f("), [["one", "two three \"quoted\""]]);
}

#[test]
fn reference_of_the_command_line_is_up_to_date() {
    page("../cli.md", &jobwright::cli::manual::markdown());
}

#[test]
fn references_of_the_resources_are_up_to_date() {
    for crd in jobwright::cli::crds::all() {
        let name = format!("{}.md", crd.spec.names.singular.as_deref().expect("a singular name"));
        // The guide of JobSchedules explains the calendars too.
        let guide = if name == "calendar.md" { "jobschedule.md" } else { &name };
        page(&name, &jobwright::cli::resource_reference::markdown(&crd, guide));
    }
}

/// The archives that the release workflow builds are those that the script for the manifest accepts.
#[test]
fn release_builds_an_archive_for_each_platform_of_the_krew_manifest() {
    let text = fs::read_to_string(root().join(".github/workflows/release.yml")).expect("the workflow");
    let workflow: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    let client = &workflow["jobs"]["client"];
    let built = client["strategy"]["matrix"]["include"].as_array().expect("the matrix");
    let platforms: BTreeSet<String> = built
        .iter()
        .map(|one| format!("{}-{}", one["os"].as_str().unwrap_or_default(), one["arch"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        platforms.into_iter().collect::<Vec<_>>(),
        ["darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64"]
    );
    let steps = |job: &str| workflow["jobs"][job]["steps"].to_string();
    assert!(steps("client").contains("kubectl-jobwright-$OS-$ARCH.tar.gz"), "the name that deploy/krew/render reads");
    assert!(steps("client").contains("--no-default-features --features client"));
    assert!(workflow["jobs"]["publish"]["needs"].to_string().contains("client"));
    let publish = steps("publish");
    let (rendered, summed) = (publish.find("deploy/krew/render"), publish.find("sha256sum"));
    assert!(rendered.is_some() && rendered < summed, "the checksums cover the manifest and the archives");
}

#[test]
fn krew_manifest_has_the_address_and_checksum_of_each_archive() {
    let folder = tempfile::tempdir().expect("a folder");
    let render = |folder: &Path| {
        let mut render = Command::new(root().join("deploy/krew/render"));
        render.args(["1.2.3", "https://example.com", "https://example.com/v1.2.3"]).arg(folder);
        render.output().expect("the script")
    };
    let empty = render(folder.path());
    assert!(!empty.status.success() && String::from_utf8_lossy(&empty.stderr).contains("has no kubectl-jobwright-"));
    let tar = |name: &str, members: &[&str]| {
        let members: Vec<PathBuf> = members.iter().map(|member| folder.path().join(member)).collect();
        members.iter().for_each(|member| fs::write(member, "x").expect("a file"));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(folder.path().join(name)).arg("-C").arg(folder.path());
        tar.args(members.iter().filter_map(|member| member.file_name()));
        assert!(tar.status().expect("tar").success());
    };
    tar("kubectl-jobwright-linux-amd64.tar.gz", &["kubectl-jobwright", "LICENSE"]);
    tar("kubectl-jobwright-darwin-arm64.tar.gz", &["kubectl-jobwright", "LICENSE"]);
    let done = render(folder.path());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("text");
    let manifest: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(manifest["spec"]["version"], "v1.2.3");
    let platform = &manifest["spec"]["platforms"][1];
    assert_eq!(platform["selector"]["matchLabels"], serde_json::json!({"os": "linux", "arch": "amd64"}));
    assert_eq!(platform["uri"], "https://example.com/v1.2.3/kubectl-jobwright-linux-amd64.tar.gz");
    let sum = Command::new("sha256sum").arg(folder.path().join("kubectl-jobwright-linux-amd64.tar.gz")).output();
    let sum = String::from_utf8(sum.expect("sha256sum").stdout).expect("text");
    assert_eq!(platform["sha256"].as_str(), sum.split_whitespace().next());
    tar("kubectl-jobwright-linux-arm64.tar.gz", &["kubectl-jobwright"]);
    let incomplete = render(folder.path());
    assert!(String::from_utf8_lossy(&incomplete.stderr).contains("does not contain LICENSE"));
}
