//! Mutation test of the simulation: deliberate bugs, each of which the simulation has to find.
//!
//! The sources of Jobwright do not contain the bugs. They are inserted into a copy of the tree, each behind a switch,
//! and the copy is compiled once. `make mutants` does that; `make test` only checks that every source fragment still
//! exists, and that the copy compiles.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod table;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use table::{Mutation, found, rare};

/// Maximum number of histories within which the simulation has to find a bug.
const SEEDS: u64 = 2000;
/// Files and folders of the repository that are copied and compiled.
const TREE: &[&str] = &["Cargo.toml", "Cargo.lock", "build.rs", "rust-toolchain.toml", "src", "tests", "benches"];
/// Source of the switch, which is appended to `src/lib.rs` of the copy.
const SWITCH: &str = r#"
/// Number of the deliberate bug that is switched on; 0 is none.
pub fn mutant() -> usize {
    static MUTANT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *MUTANT.get_or_init(|| std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0))
}
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the bugs with their numbers.
fn numbered() -> impl Iterator<Item = (usize, &'static Mutation)> {
    (1..).zip(found().chain(rare()))
}

#[test]
fn source_fragment_of_every_bug_occurs_once_in_its_file() -> Result<()> {
    for (_, mutation) in numbered() {
        let text = fs::read_to_string(root().join(mutation.file)).context(mutation.file)?;
        let places = text.matches(mutation.original).count();
        ensure!(
            places == 1,
            "{}: expected 1 occurrence but found {places} in {} of {:?}; update tests/mutants/table/ to match the source",
            mutation.name,
            mutation.file,
            mutation.original
        );
    }
    Ok(())
}

#[test]
fn tree_with_all_bugs_compiles() -> Result<()> {
    let tree = planted("target/checked-mutants")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--lib", "--test", "simulation"]);
    let output = cargo.current_dir(&tree).env("CARGO_TARGET_DIR", root().join("target")).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the tree with the bugs does not compile: update tests/mutants/table/\n{errors}");
    Ok(())
}

#[test]
#[ignore = "takes half an hour: make mutants"]
fn the_simulation_finds_every_bug() -> Result<()> {
    let wanted = wanted(&std::env::var("MUTANTS").unwrap_or_default())?;
    let tree = planted("target/mutants")?;
    let simulation = compile(&tree)?;
    ensure!(try_bug(&simulation, 0)?.is_none(), "a history breaks an invariant without any deliberate bug");
    let (mut found, mut tried) = (0, 0);
    for (number, mutation) in numbered().filter(|(number, _)| wanted.contains(number)) {
        tried += 1;
        match try_bug(&simulation, number)? {
            Some(seen) => {
                found += 1;
                println!("{number:>3} found after {:>4} seeds: {}: {}", seen.seeds, mutation.name, seen.how);
            }
            None => println!("{number:>3} NOT FOUND in {SEEDS} seeds: {}", mutation.name),
        }
    }
    println!("mutants found: {found} of {tried}");
    ensure!(found == tried, "the simulation found {found} of {tried} bugs");
    Ok(())
}

/// Parses the numbers of the bugs to try from `MUTANTS`, such as `41-60` or `7`. An empty text selects all but the rare ones,
/// and `rare` those.
fn wanted(text: &str) -> Result<RangeInclusive<usize>> {
    if text.is_empty() {
        return Ok(1..=found().count());
    }
    if text == "rare" {
        return Ok(found().count() + 1..=found().count() + rare().count());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |text: &str| text.trim().parse::<usize>().with_context(|| format!("MUTANTS: {text:?} is not a number"));
    Ok(number(first)?..=number(last)?)
}

#[test]
fn mutants_variable_selects_all_one_or_a_range_of_bugs() -> Result<()> {
    assert_eq!((wanted("")?, wanted("7")?, wanted("41-60")?), (1..=found().count(), 7..=7, 41..=60));
    assert_eq!(wanted("rare")?.count(), rare().count());
    assert!(wanted("all").is_err());
    Ok(())
}

/// How the simulation found a bug.
struct Seen {
    /// Number of histories that were run.
    seeds: u64,
    /// Invariant that the history broke.
    how: String,
}

/// Compiles the simulation with the bugs and returns the path of the executable.
fn compile(tree: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "test",
        "--profile",
        "simulation",
        "--test",
        "simulation",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", root().join("target")).stderr(Stdio::inherit());
    let output = cargo.output()?;
    ensure!(output.status.success(), "the tree with the bugs does not compile");
    let messages = String::from_utf8_lossy(&output.stdout);
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = built.filter(|message| message["target"]["name"] == "simulation");
    let mut executables = built.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executables.next_back().context("cargo printed no executable")
}

/// Runs histories with this bug until one breaks an invariant. Returns None if all histories pass.
fn try_bug(simulation: &Path, number: usize) -> Result<Option<Seen>> {
    let mut command = Command::new(simulation);
    command.args(["--nocapture", "no_history"]);
    command.env("MUTANT", number.to_string()).env("SIMULATION_SEEDS", SEEDS.to_string()).env("SIMULATION_BRIEF", "1");
    let output = command.output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.strip_prefix("seed ")).with_context(|| text.to_string())?;
    let (seed, how) = line.split_once(": ").context("the output of the simulation has no seed and invariant")?;
    Ok(Some(Seen { seeds: seed.parse::<u64>()? + 1, how: how.chars().take(100).collect() }))
}

/// Returns this folder with a copy of the tree in which all bugs are inserted.
fn planted(folder: &str) -> Result<PathBuf> {
    let tree = root().join(folder);
    fs::create_dir_all(&tree)?;
    plant(&tree)?;
    Ok(tree)
}

/// Copies the tree and inserts all bugs.
fn plant(tree: &Path) -> Result<()> {
    for name in TREE {
        let copied = tree.join(name);
        if copied.is_dir() {
            // A file that was renamed since the last run would be compiled too.
            fs::remove_dir_all(&copied)?;
        }
        copy(&root().join(name), &copied)?;
    }
    for (number, mutation) in numbered() {
        let path = tree.join(mutation.file);
        let text = fs::read_to_string(&path)?;
        // Some bugs are in the tests (the simulated network), where the library has its external name.
        let library = if mutation.file.starts_with("src") { "crate" } else { "jobwright" };
        let mutated = mutation.mutated.replace("MUTANT", &format!("({library}::mutant() == {number})"));
        fs::write(&path, text.replacen(mutation.original, &mutated, 1))?;
    }
    let library = tree.join("src/lib.rs");
    let text = fs::read_to_string(&library)?;
    fs::write(&library, text + SWITCH)?;
    Ok(())
}

fn copy(from: &PathBuf, to: &PathBuf) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}
