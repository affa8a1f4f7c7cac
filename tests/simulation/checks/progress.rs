//! Whether work goes on: a Job that nothing stands in the way of gets its first pods within a bound, and no Job gets pods
//! without end.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::objects::{controller, is_decided, is_deleting, is_finished, is_over};
use crate::store::Store;

/// The maximum number of pods that a Job gets in a minute.
const PODS_A_MINUTE: usize = 40;

/// When something last stood in the way of all work, and how many pods each Job got.
pub struct Progress {
    /// How long a Job may wait for its first pods.
    bound: Duration,
    free_since: Instant,
    /// What stands in the way until it is taken away.
    obstacles: i32,
    waiting: BTreeMap<String, Instant>,
    created: BTreeMap<String, VecDeque<i64>>,
    /// How long a Job whose pods were all lost to ignored disruptions may be without a pod; none if faults delay pods.
    replaced_within: Option<Duration>,
    podless: BTreeMap<String, Instant>,
}

impl Progress {
    /// `bound`: how long a Job may wait for its first pods. `replaced_within`: how long a Job whose pods were all lost to
    /// ignored disruptions may be without a pod; none if faults delay pods.
    pub fn new(bound: Duration, replaced_within: Option<Duration>) -> Self {
        let (waiting, created, podless) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { bound, free_since: Instant::now(), obstacles: 0, waiting, created, replaced_within, podless }
    }

    /// Something stands in the way of all work until then.
    pub fn is_free_from(&mut self, when: Instant) {
        self.free_since = self.free_since.max(when);
    }

    /// Something begins or ceases to stand in the way.
    pub fn obstacle(&mut self, begins: bool) {
        self.obstacles = if begins { 1 } else { 0 };
        self.is_free_from(Instant::now());
    }

    /// A pod was created for a Job.
    ///
    /// # Errors
    /// It gets too many.
    pub fn created(&mut self, job: &str, now: i64) -> Result<(), String> {
        let created = self.created.entry(job.to_owned()).or_default();
        created.push_back(now);
        while created.front().is_some_and(|at| now - at >= 60) {
            created.pop_front();
        }
        match created.len() {
            count if count > PODS_A_MINUTE => Err(format!("{job} gets {count} pods in a minute")),
            _ => Ok(()),
        }
    }

    /// Says which Job has waited for too long.
    pub fn stuck(&mut self, store: &Store) -> Option<String> {
        let now = Instant::now();
        let free = self.obstacles == 0 && store.of("joblimits").next().is_none();
        let idle = |job: &Value| {
            job["status"]["startTime"].is_null() && job["spec"]["suspend"] != true && !is_over(job) && !is_deleting(job)
        };
        let waits: Vec<_> = store.of("jobs").filter(|(_, job)| free && idle(job)).collect();
        let uid = |job: &Value| job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let uids: Vec<String> = waits.iter().map(|(_, job)| uid(job)).collect();
        self.waiting.retain(|uid, _| uids.contains(uid));
        for (key, job) in waits {
            let since = *self.waiting.entry(uid(job)).or_insert(now);
            if now - since.max(self.free_since).min(now) > self.bound {
                return Some(format!("{} has waited for its first pods for {:?}", key.2, self.bound));
            }
        }
        self.unreplaced(store, now)
    }

    /// Says which Job has been without pods for too long after disruptions that its policy ignores: they cause no back-off that
    /// grows.
    fn unreplaced(&mut self, store: &Store, now: Instant) -> Option<String> {
        let bound = self.replaced_within?;
        for (key, job) in store.of("jobs") {
            let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
            let mut pods = store.of("pods").filter(|(_, pod)| controller(pod) == Some(uid));
            if is_over(job) || is_deleting(job) || is_decided(job) || pods.any(|(_, pod)| !is_finished(pod)) {
                self.podless.remove(uid);
                continue;
            }
            let since = *self.podless.entry(uid.to_owned()).or_insert(now);
            if now - since > bound {
                return Some(format!("{} has had no pod for {bound:?}: its disruptions are ignored", key.2));
            }
        }
        None
    }
}
