//! `docs/compatibility.md`, written from the stored results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::results::{Results, VersionResult};
use super::suite::SUITES;

/// Returns the text of the page.
pub fn render(results: &Results) -> String {
    let mut text = HEAD.to_owned();
    let versions: Vec<(&String, &VersionResult)> = results.versions.iter().collect();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = |first: &str| {
        let mut cells = vec![first.to_owned()];
        cells.extend(versions.iter().map(|(version, _)| (*version).clone()));
        format!("{}|{}\n", row(cells), "---|".repeat(versions.len() + 1))
    };

    text.push_str(&head("suite"));
    for suite in SUITES {
        let mut cells = vec![suite.name.to_owned()];
        cells.extend(versions.iter().map(|(_, result)| {
            result.suites.get(suite.name).map_or_else(|| "not run".to_owned(), |suite| suite.summary())
        }));
        text.push_str(&row(cells));
    }
    text.push('\n');
    for suite in SUITES {
        let _ = writeln!(text, "* {}: {}", suite.name, suite.covers);
    }
    let releases: Vec<String> = versions
        .iter()
        .map(|(_, result)| {
            let dates: BTreeSet<&str> = result.suites.values().map(|suite| suite.date.as_str()).collect();
            format!("{} on {}", result.release, dates.into_iter().collect::<Vec<_>>().join(" and "))
        })
        .collect();
    let _ = writeln!(text, "\nReleases and days of the runs: {}.", releases.join(", "));

    text.push_str(OBSERVED);
    text.push_str(&head("observed"));
    // Each subject is observed by one suite.
    let mut suites: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, result) in &versions {
        for (suite, result) in &result.suites {
            suites.extend(result.observed.keys().map(|subject| (subject.as_str(), suite.as_str())));
        }
    }
    for (subject, suite) in suites {
        let mut cells = vec![subject.to_owned()];
        cells.extend(versions.iter().map(|(_, result)| match result.suites.get(suite) {
            Some(result) => result.observed.get(subject).map_or("does not apply", String::as_str).to_owned(),
            None => "not run".to_owned(),
        }));
        text.push_str(&row(cells));
    }

    text.push_str("\n## Failed tests\n\n");
    let failed: Vec<String> = versions
        .iter()
        .flat_map(|(version, result)| {
            result.suites.iter().flat_map(move |(suite, result)| {
                result.failed.iter().map(move |test| format!("* {version}, {suite}: `{test}`\n"))
            })
        })
        .collect();
    text.push_str(&if failed.is_empty() { "None.\n".to_owned() } else { failed.concat() });

    text.push_str("\n## Skipped tests\n\n| suite | test | reason | versions |\n|---|---|---|---|\n");
    let mut skipped: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for (version, result) in &versions {
        for (suite, result) in &result.suites {
            for test in &result.skipped {
                skipped.entry((suite, &test.test, &test.reason)).or_default().push(version);
            }
        }
    }
    for ((suite, test, reason), versions) in skipped {
        let _ = writeln!(text, "| {suite} | `{test}` | {reason} | {} |", versions.join(", "));
    }
    text
}

const HEAD: &str = "\
# Compatibility with Kubernetes versions

`make compatibility` wrote this page from the results of its runs, which are in
[results/compatibility.json](results/compatibility.json). It runs each suite on the control plane of
each version: kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and, for the real
node, the kubelet. etcd is the same for all. Every statement was measured by a test; what no test
measured is not listed.
[Differences from the built-in controllers](differences.md) has the reasons where Jobwright differs
from the controllers of a version.

    make compatibility                                   # all versions and suites
    make compatibility VERSIONS=\"1.34 1.35\"              # some versions
    make compatibility VERSIONS=1.34 SUITES=differential # one suite

## Results

";

const OBSERVED: &str = "
## What differs between versions

Each row is an observation of a test on the versions that ran. The test fails if the observation is
not the expected one.

";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compatibility::results::{Skipped, SuiteResult};

    #[test]
    fn page_has_a_cell_for_each_suite_and_version() {
        let suite = SuiteResult {
            date: "2026-11-27".to_owned(),
            passed: 3,
            failed: vec!["a::b".to_owned()],
            skipped: vec![Skipped { test: "c".to_owned(), reason: "too old".to_owned() }],
            observed: BTreeMap::from([("start time".to_owned(), "kept".to_owned())]),
            ..SuiteResult::default()
        };
        let of = |release: &str, suites| VersionResult { release: release.to_owned(), suites };
        let results = Results {
            versions: BTreeMap::from([
                ("1.34".to_owned(), of("v1.34.4", BTreeMap::from([("integration".to_owned(), suite)]))),
                ("1.37".to_owned(), of("v1.37.2", BTreeMap::new())),
            ]),
        };
        let text = render(&results);
        for line in [
            "| suite | 1.34 | 1.37 |",
            "| integration | 3 passed, **1 failed**, 1 skipped | not run |",
            "| start time | kept | not run |",
            "* 1.34, integration: `a::b`",
            "| integration | `c` | too old | 1.34 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }
}
