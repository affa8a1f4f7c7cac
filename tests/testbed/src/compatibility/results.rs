//! Stored results: suite × version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testbed::Version;
use testbed::report::Entry;

use super::suite::Outcome;

/// Results of all versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Results by version, such as `1.34`.
    pub versions: BTreeMap<String, VersionResult>,
}

/// Results of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionResult {
    /// Patch release, such as `v1.34.4`.
    pub release: String,
    /// Results by the name of the suite.
    pub suites: BTreeMap<String, SuiteResult>,
}

/// Result of one suite on one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteResult {
    /// Day of the run, in UTC.
    pub date: String,
    /// Duration of the run, with the build of the tests.
    pub seconds: u64,
    /// Number of tests that passed and applied.
    pub passed: usize,
    /// Names of the tests that failed.
    pub failed: Vec<String>,
    /// Tests that do not apply.
    pub skipped: Vec<Skipped>,
    /// Facts that depend on the version, by subject.
    pub observed: BTreeMap<String, String>,
}

/// A test that does not apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skipped {
    /// Path of the test.
    pub test: String,
    /// Reason why it does not apply.
    pub reason: String,
}

impl Results {
    /// Reads the stored results. A missing file has no results.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Writes the results.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Replaces the result of a suite on a version. Results of another patch release are removed.
    pub fn insert(&mut self, version: Version, suite: &str, result: SuiteResult) -> Result<()> {
        let of_version = self.versions.entry(version.to_string()).or_default();
        let release = version.release()?;
        if of_version.release != release {
            *of_version = VersionResult { release, ..VersionResult::default() };
        }
        of_version.suites.insert(suite.to_owned(), result);
        Ok(())
    }
}

impl SuiteResult {
    /// Returns the result of tests with these outcomes, which reported these entries.
    pub fn new(tests: Vec<(String, Outcome)>, entries: Vec<Entry>, end: Timestamp, duration: Duration) -> Self {
        let named = |wanted| tests.iter().filter(move |(_, outcome)| *outcome == wanted).map(|(name, _)| name.clone());
        let mut skipped = BTreeSet::new();
        let mut observed = BTreeMap::new();
        for entry in entries {
            match entry {
                Entry::Skipped { test, reason } => drop(skipped.insert(Skipped { test, reason })),
                Entry::Observed { subject, observation } => drop(observed.insert(subject, observation)),
            }
        }
        let partly: BTreeSet<&str> = skipped.iter().map(|skipped| skipped.test.as_str()).collect();
        let passed = named(Outcome::Passed).filter(|name| !partly.contains(name.as_str())).count();
        let failed = named(Outcome::Failed).collect();
        let reason = "runs only on request".to_owned();
        let ignored: Vec<Skipped> =
            named(Outcome::Ignored).map(|test| Skipped { test, reason: reason.clone() }).collect();
        skipped.extend(ignored);
        Self {
            date: end.strftime("%Y-%m-%d").to_string(),
            seconds: duration.as_secs(),
            passed,
            failed,
            skipped: skipped.into_iter().collect(),
            observed,
        }
    }

    /// Returns one line, such as `141 passed, 2 skipped`.
    pub fn summary(&self) -> String {
        let mut parts = vec![format!("{} passed", self.passed)];
        if !self.failed.is_empty() {
            parts.push(format!("**{} failed**", self.failed.len()));
        }
        if !self.skipped.is_empty() {
            parts.push(format!("{} skipped", self.skipped.len()));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_test_does_not_count_as_passed() {
        let tests = [("a", Outcome::Passed), ("b", Outcome::Passed), ("c", Outcome::Failed), ("d", Outcome::Ignored)];
        let tests = tests.map(|(name, outcome)| (name.to_owned(), outcome)).to_vec();
        let entries = vec![
            Entry::Skipped { test: "b".to_owned(), reason: "old".to_owned() },
            Entry::Observed { subject: "s".to_owned(), observation: "o".to_owned() },
        ];
        let result = SuiteResult::new(tests, entries, Timestamp::UNIX_EPOCH, Duration::from_secs(3));
        assert_eq!(result.summary(), "1 passed, **1 failed**, 2 skipped");
        assert_eq!((result.failed[0].as_str(), result.observed["s"].as_str()), ("c", "o"));
        assert_eq!(result.skipped.iter().map(|test| test.test.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn results_of_another_patch_release_are_removed() {
        let mut results = Results::default();
        let version = Version::OLDEST;
        let old = VersionResult {
            release: "v1.34.0".to_owned(),
            suites: BTreeMap::from([("a".to_owned(), SuiteResult::default())]),
        };
        results.versions.insert(version.to_string(), old);
        results.insert(version, "b", SuiteResult::default()).unwrap();
        results.insert(version, "c", SuiteResult::default()).unwrap();
        let now = &results.versions[&version.to_string()];
        assert_eq!(now.release, version.release().unwrap());
        assert_eq!(now.suites.keys().collect::<Vec<_>>(), ["b", "c"]);
    }
}
