//! What keeps this process from being ready, part by part, in words for people; and who else hears of the API server.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::liveness::Pulse;

/// What is amiss, by part.
#[derive(Default)]
pub struct Health {
    problems: Mutex<BTreeMap<&'static str, String>>,
    lease: Pulse,
}

impl Health {
    /// Says what is amiss with a part; nothing if all is well.
    pub fn set(&self, part: &'static str, problem: Option<String>) {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => problems.insert(part, problem),
            None => problems.remove(part),
        };
    }

    /// The signs of life of the requests for the Lease: they prove that the API server answers this process.
    pub fn pulse(&self) -> Pulse {
        self.lease.clone()
    }

    /// All that is amiss, one sentence a part.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock();
        problems.iter().map(|(part, problem)| format!("{part}: {problem}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_speaks_for_itself() {
        let health = Health::default();
        health.set("caches", Some("pods not listed yet".into()));
        health.set("permissions", Some("get pods is missing".into()));
        assert_eq!(health.problems(), ["caches: pods not listed yet", "permissions: get pods is missing"]);
        health.set("caches", None);
        health.set("permissions", None);
        assert!(health.problems().is_empty());
    }
}
