//! The suites, and one run of a suite on one Kubernetes version.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use testbed::image::without_variables_of_cargo;
use testbed::{Version, report, version};

use super::results::SuiteResult;

/// A group of tests.
pub struct Suite {
    /// Name in the results.
    pub name: &'static str,
    /// What the suite covers.
    pub covers: &'static str,
    /// Test target of cargo.
    target: &'static str,
    /// Arguments of the test binary.
    filter: Filter,
    /// Environment variables.
    environment: &'static [(&'static str, &'static str)],
}

enum Filter {
    All,
    Only(&'static [&'static str]),
    AllBut(&'static [&'static [&'static str]]),
    /// Tests that run only on request.
    Ignored(&'static [&'static str]),
}

/// Modules of `tests/integration` that test the command line.
const COMMAND_LINE: &[&str] = &[
    "cli_commands::",
    "command_line::",
    "completion::",
    "restricted_user::",
    "terminal::",
    "user_commands::",
    "wrong_use::",
];

/// Modules of `tests/integration` that measure what differs between versions.
const DIFFERENCES: &[&str] = &["versions::", "check_and_api_server::"];

/// Module of `tests/integration` whose tests run only on request.
const UPGRADE: &[&str] = &["upgrade::"];

/// Modules of `tests/integration` that also run with objects in JSON, as in `make test`.
const OVER_JSON: &[&str] = &["adoption::", "completion_modes::", "failures::"];

/// All suites, in the order in which they run.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "integration",
        covers: "the controller on the API server; tests set the status of pods (`tests/integration`)",
        target: "integration",
        filter: Filter::AllBut(&[COMMAND_LINE, DIFFERENCES, UPGRADE]),
        environment: &[],
    },
    Suite {
        name: "command line",
        covers: "the commands on the API server, and kubectl of the version (`tests/integration`)",
        target: "integration",
        filter: Filter::Only(COMMAND_LINE),
        environment: &[],
    },
    Suite {
        name: "JSON",
        covers: "adoption, completion modes and failures with objects in JSON instead of protobuf",
        target: "integration",
        filter: Filter::Only(OVER_JSON),
        environment: &[("TESTED_WIRE", "json")],
    },
    Suite {
        name: "differential",
        covers: "the built-in controllers of the version side by side with Jobwright (`tests/differential`)",
        target: "differential",
        filter: Filter::All,
        environment: &[],
    },
    Suite {
        name: "differences",
        covers: "what differs between versions: the observations below",
        target: "integration",
        filter: Filter::Only(DIFFERENCES),
        environment: &[],
    },
    Suite {
        name: "upgrade",
        covers: "an API server that is replaced by one of another version on the same etcd, and back, while Jobs run",
        target: "integration",
        filter: Filter::Ignored(UPGRADE),
        environment: &[],
    },
    Suite {
        name: "simulated nodes",
        covers: "the examples on simulated nodes (`tests/end_to_end`)",
        target: "end_to_end",
        filter: Filter::All,
        environment: &[("TESTBED_NODES", "simulated")],
    },
    Suite {
        name: "real node",
        covers: "the examples on a node with the kubelet of the version (`tests/end_to_end`)",
        target: "end_to_end",
        filter: Filter::All,
        environment: &[],
    },
];

/// Runs a suite on this Kubernetes version.
pub fn run(suite: &Suite, version: Version, root: &Path) -> Result<SuiteResult> {
    let folder = root.join("target/compatibility");
    fs::create_dir_all(&folder)?;
    let stem = format!("{version}-{}", suite.name.replace(' ', "-"));
    let (log_path, report_path) = (folder.join(format!("{stem}.log")), folder.join(format!("{stem}.jsonl")));
    File::create(&report_path)?;
    let mut log = File::create(&log_path)?;
    let start = Instant::now();
    let mut command = Command::new("cargo");
    without_variables_of_cargo(&mut command);
    let mut child = command
        .current_dir(root)
        .args(["test", "--test", suite.target, "--"])
        .args(suite.filter.arguments())
        .env_remove("KUBECONFIG")
        .env(version::VARIABLE, version.to_string())
        .env(report::VARIABLE, &report_path)
        .envs(suite.environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let mut tests = Vec::new();
    for line in BufReader::new(child.stdout.take().context("the tests have no output")?).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        if let Some(test) = outcome(&line) {
            println!("{version} {line}");
            tests.push(test);
        }
    }
    child.wait()?;
    if tests.is_empty() {
        bail!("suite {:?} ran no test on Kubernetes {version}; its output is in {}", suite.name, log_path.display());
    }
    let entries = report::read(&fs::read_to_string(&report_path)?)?;
    Ok(SuiteResult::new(tests, entries, Timestamp::now(), start.elapsed()))
}

impl Filter {
    fn arguments(&self) -> Vec<&'static str> {
        match self {
            Self::All => Vec::new(),
            Self::Only(modules) => modules.to_vec(),
            Self::Ignored(modules) => [&["--ignored"], *modules].concat(),
            Self::AllBut(groups) => groups.iter().copied().flatten().flat_map(|module| ["--skip", module]).collect(),
        }
    }
}

/// Returns the name and the outcome of the test that a line of the test harness reports.
fn outcome(line: &str) -> Option<(String, Outcome)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match outcome.split(',').next()?.trim() {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    Some((name.to_owned(), outcome))
}

/// Outcome of a test, as the test harness reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The test passed, or reported that it does not apply.
    Passed,
    /// The test failed.
    Failed,
    /// The test runs only on request.
    Ignored,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_from_the_lines_of_the_test_harness() {
        let read = |line| outcome(line).map(|(name, outcome)| (name.to_owned(), outcome));
        assert_eq!(read("test a::b ... ok"), Some(("a::b".to_owned(), Outcome::Passed)));
        assert_eq!(read("test a::b ... FAILED"), Some(("a::b".to_owned(), Outcome::Failed)));
        assert_eq!(read("test a ... ignored, takes hours"), Some(("a".to_owned(), Outcome::Ignored)));
        for other in ["test result: ok. 2 passed", "test a has been running for over 60 seconds", "running 3 tests"] {
            assert_eq!(read(other), None);
        }
    }
}
