//! `testbed compatibility`: runs the test suites on each Kubernetes version, and writes `docs/compatibility.md`.
//!
//! The entry point is [`run`]. Results are stored in `docs/results/compatibility.json`. A run replaces the results of
//! its versions and suites and keeps the others.

mod page;
mod results;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testbed::Version;
use testbed::version::SUPPORTED;

use results::Results;
use suite::SUITES;

/// Flags of `testbed compatibility`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Kubernetes versions, separated by spaces or commas; all versions of the testbed by default
    #[arg(long, default_value = "")]
    versions: String,
    /// Suites, separated by commas; all suites by default
    #[arg(long, default_value = "")]
    suites: String,
    /// Write the page from the stored results, and run nothing
    #[arg(long)]
    page_only: bool,
}

/// Runs the suites, stores the results and writes the page. Fails if a test failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let stored = root().join("docs/results/compatibility.json");
    let mut failed = Vec::new();
    if !arguments.page_only {
        let versions = chosen_versions(&arguments.versions)?;
        let suites = chosen_suites(&arguments.suites)?;
        for version in versions {
            for suite in &suites {
                let result = suite::run(suite, version, &root())?;
                println!("{version} {}: {}", suite.name, result.summary());
                failed.extend(result.failed.iter().map(|test| format!("{version} {}: {test}", suite.name)));
                // Stored after each suite, so that an interrupted run keeps what it has finished. Read again, because
                // another run may have stored results in the meantime.
                let mut results = Results::read(&stored)?;
                results.insert(version, suite.name, result)?;
                results.write(&stored)?;
            }
        }
    }
    fs::write(root().join("docs/compatibility.md"), page::render(&Results::read(&stored)?))
        .context("writing the page")?;
    if !failed.is_empty() {
        bail!("these tests failed:\n{}", failed.join("\n"));
    }
    Ok(())
}

/// Returns the root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn words(text: &str, separators: &[char]) -> Vec<String> {
    text.split(separators).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn chosen_versions(text: &str) -> Result<Vec<Version>> {
    let names = words(text, &[' ', ',']);
    if names.is_empty() {
        return Ok(SUPPORTED.to_vec());
    }
    names.iter().map(|name| Version::parse(name)).collect()
}

fn chosen_suites(text: &str) -> Result<Vec<&'static suite::Suite>> {
    let names = words(text, &[',']);
    if names.is_empty() {
        return Ok(SUITES.iter().collect());
    }
    let find = |name: &String| SUITES.iter().find(|suite| suite.name == *name);
    let all = || SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ");
    names.iter().map(|name| find(name).with_context(|| format!("no suite {name:?}; there are {}", all()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_the_one_of_the_stored_results() {
        let results = Results::read(&root().join("docs/results/compatibility.json")).unwrap();
        let page = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
        assert_eq!(page, page::render(&results), "run `cargo run -p testbed -- compatibility --page-only`");
    }

    #[test]
    fn make_test_runs_the_oldest_version() {
        let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
        assert!(makefile.contains(&format!("\nOLDEST := {}\n", Version::OLDEST)), "OLDEST of the Makefile is stale");
    }

    #[test]
    fn versions_and_suites_are_chosen_by_name() {
        assert_eq!(chosen_versions("").unwrap(), SUPPORTED);
        assert_eq!(chosen_versions("1.34, 1.36").unwrap(), [Version::new(34), Version::new(36)]);
        assert!(chosen_versions("1.2").is_err());
        assert_eq!(chosen_suites("").unwrap().len(), SUITES.len());
        let error = chosen_suites("integratoin").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("there are integration, "), "{error}");
    }
}
