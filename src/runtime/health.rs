//! Readiness of this process: the problems of each part, and the responses to the requests for the Lease.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::liveness::Pulse;

/// Problems that keep this process from being ready, by part.
#[derive(Default)]
pub struct Health {
    problems: Mutex<BTreeMap<&'static str, String>>,
    lease: Pulse,
}

impl Health {
    /// Sets the problem of a part, or clears it with `None`.
    pub fn set(&self, part: &'static str, problem: Option<String>) {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => problems.insert(part, problem),
            None => problems.remove(part),
        };
    }

    /// Returns the signs of life of the requests for the Lease. They prove that the API server answers this process.
    pub fn pulse(&self) -> Pulse {
        self.lease.clone()
    }

    /// Returns one line `part: problem` for each part that has a problem.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock();
        problems.iter().map(|(part, problem)| format!("{part}: {problem}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_reported_by_part() {
        let health = Health::default();
        health.set("caches", Some("pods not listed yet".into()));
        health.set("permissions", Some("get pods is missing".into()));
        assert_eq!(health.problems(), ["caches: pods not listed yet", "permissions: get pods is missing"]);
        health.set("caches", None);
        health.set("permissions", None);
        assert!(health.problems().is_empty());
    }
}
