//! Is the simulation looking? Deliberate bugs, each of which it has to find.
//!
//! The product's sources know nothing of them: a copy of the tree gets them all, each behind a switch, and is compiled
//! once. `make mutants` does it; `make test` only sees to it that every bug still has its place.

mod table;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use table::{MUTATIONS, Mutation};

/// So many histories a bug may go unseen.
const SEEDS: u64 = 2000;
/// What of the tree is compiled.
const TREE: &[&str] = &["Cargo.toml", "Cargo.lock", "build.rs", "rust-toolchain.toml", "src", "tests", "benches"];
/// What says which bug is on.
const SWITCH: &str = r#"
/// The deliberate bug that is on; 0 is none.
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
    (1..).zip(MUTATIONS)
}

#[test]
fn every_bug_has_its_place() -> Result<()> {
    for (_, mutation) in numbered() {
        let text = fs::read_to_string(root().join(mutation.file)).context(mutation.file)?;
        let places = text.matches(mutation.original).count();
        ensure!(
            places == 1,
            "{}: {places} places in {} read {:?}; tests/mutants/table.rs has to follow the source",
            mutation.name,
            mutation.file,
            mutation.original
        );
    }
    Ok(())
}

#[test]
#[ignore = "takes half an hour: make mutants"]
fn the_simulation_finds_every_bug() -> Result<()> {
    let wanted = wanted(&std::env::var("MUTANTS").unwrap_or_default())?;
    let tree = root().join("target/mutants");
    fs::create_dir_all(&tree)?;
    plant(&tree)?;
    let simulation = compile(&tree)?;
    ensure!(try_bug(&simulation, 0)?.is_none(), "a history is broken without any bug");
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
    ensure!(found == tried, "the simulation misses bugs");
    Ok(())
}

/// The numbers of the bugs to try: all, or those that `MUTANTS` names, such as `41-60` or `7`.
fn wanted(text: &str) -> Result<RangeInclusive<usize>> {
    if text.is_empty() {
        return Ok(1..=MUTATIONS.len());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<usize>().with_context(|| format!("MUTANTS: {text:?} is no number"));
    Ok(number(first)?..=number(last)?)
}

#[test]
fn some_bugs_can_be_named() -> Result<()> {
    assert_eq!((wanted("")?, wanted("7")?, wanted("41-60")?), (1..=MUTATIONS.len(), 7..=7, 41..=60));
    assert!(wanted("all").is_err());
    Ok(())
}

/// How a bug was found.
struct Seen {
    seeds: u64,
    how: String,
}

/// Compiles the simulation with the bugs; tells where it is.
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
    executables.next_back().context("cargo names no executable")
}

/// Runs histories with this bug until one is broken.
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
    let (seed, how) = line.split_once(": ").context("a seed and what was wrong")?;
    Ok(Some(Seen { seeds: seed.parse::<u64>()? + 1, how: how.chars().take(100).collect() }))
}

/// Copies the tree and puts all bugs into it.
fn plant(tree: &Path) -> Result<()> {
    for name in TREE {
        copy(&root().join(name), &tree.join(name))?;
    }
    for (number, mutation) in numbered() {
        let path = tree.join(mutation.file);
        let text = fs::read_to_string(&path)?;
        // The simulated network is a part of the tests, which know the library by its name.
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
