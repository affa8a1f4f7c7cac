//! What a test reports beside its success: that it does not apply, and facts that it observed.
//!
//! The entry points are [`needs`], `skipped!`, [`skipped_part`] and [`observed`]. Each prints a line. If `TESTBED_REPORT` names a file,
//! each also appends an [`Entry`] to it, which `testbed compatibility` collects.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::Cluster;
use crate::version::Version;

/// Environment variable that names the file of the entries.
pub const VARIABLE: &str = "TESTBED_REPORT";

/// One line of the report file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// A test, or a part of it, does not apply.
    Skipped {
        /// Path of the test, and the part.
        test: String,
        /// Reason why the test does not apply.
        reason: String,
    },
    /// A test observed a fact that depends on the Kubernetes version.
    Observed {
        /// What was observed, the same for every version.
        subject: String,
        /// The observation.
        observation: String,
    },
}

/// Behaviour that only some Kubernetes versions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The API server accepts other resources in the pod template of a suspended Job
    /// (`MutablePodResourcesForSuspendedJobs`).
    MutablePodResources,
    /// The API server accepts other scheduling directives in the pod template of a suspended Job that has run before
    /// (`MutableSchedulingDirectivesForSuspendedJobs`). The built-in controller removes the start time of such a Job.
    MutableSchedulingDirectives,
    /// The API server serves `admissionregistration.k8s.io/v1` MutatingAdmissionPolicy.
    MutatingAdmissionPolicy,
}

impl Feature {
    /// Returns the first version in which the feature is on by default.
    pub fn since(self) -> Version {
        match self {
            Self::MutablePodResources | Self::MutableSchedulingDirectives | Self::MutatingAdmissionPolicy => {
                Version::new(36)
            }
        }
    }

    /// Returns the name of the feature gate.
    pub fn gate(self) -> &'static str {
        match self {
            Self::MutablePodResources => "MutablePodResourcesForSuspendedJobs",
            Self::MutatingAdmissionPolicy => "MutatingAdmissionPolicy",
            Self::MutableSchedulingDirectives => "MutableSchedulingDirectivesForSuspendedJobs",
        }
    }
}

/// Returns whether the cluster has a feature. If not, reports that the calling test does not apply.
pub async fn needs(cluster: &Cluster, feature: Feature) -> Result<bool> {
    let version = cluster.version().await?;
    let has = version >= feature.since();
    if !has {
        skipped(&format!("{} is on from Kubernetes {} on", feature.gate(), feature.since()));
    }
    Ok(has)
}

/// Reports that the calling test does not apply, with the reason.
#[macro_export]
macro_rules! skipped {
    ($($reason:tt)*) => { $crate::report::skipped(&format!($($reason)*)) };
}

/// Reports that the calling test does not apply.
pub fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
    append(&Entry::Skipped { test: current_test(), reason: reason.to_owned() });
}

/// Reports that a part of the calling test does not apply. The rest of the test counts.
pub fn skipped_part(part: &str, reason: &str) {
    eprintln!("skipped: {part}: {reason}");
    append(&Entry::Skipped { test: format!("{}: {part}", current_test()), reason: reason.to_owned() });
}

/// Reports a fact that depends on the Kubernetes version.
pub fn observed(subject: &str, observation: &str) {
    eprintln!("observed: {subject}: {observation}");
    append(&Entry::Observed { subject: subject.to_owned(), observation: observation.to_owned() });
}

/// Reads the entries of a report file.
pub fn read(text: &str) -> Result<Vec<Entry>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("reading the entry {line}"))).collect()
}

/// Returns the path of the running test. The test harness runs each test in a thread of this name.
fn current_test() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

fn append(entry: &Entry) {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return };
    let mut line = serde_json::to_string(entry).expect("an entry has only strings");
    line.push('\n');
    // One write, because several tests append concurrently.
    let written =
        OpenOptions::new().create(true).append(true).open(&path).and_then(|mut f| f.write_all(line.as_bytes()));
    written.expect("the file of TESTBED_REPORT is writable");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entries = [
            Entry::Skipped { test: "a::b".to_owned(), reason: "no \"root\"".to_owned() },
            Entry::Observed { subject: "startTime".to_owned(), observation: "removed".to_owned() },
        ];
        let text: String = entries.iter().map(|entry| format!("{}\n", serde_json::to_string(entry).unwrap())).collect();
        assert_eq!(read(&text).unwrap(), entries);
        assert!(read("{\"kind\":\"other\"}").is_err());
    }
}
