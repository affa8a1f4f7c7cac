//! Checks of progress: a Job that nothing blocks gets its first pods within a bound, and no Job gets an unlimited
//! number of pods.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::checks::indexes::{Listed, listed};
use crate::objects::{controller, is_decided, is_deleting, is_finished, is_over, waits_for_jobs};
use crate::store::Store;

/// Maximum number of pods that a Job may get in one minute.
const PODS_A_MINUTE: usize = 40;

/// Obstacles to all work, waiting Jobs, and recent pods of each Job.
pub struct Progress {
    /// Maximum time that a Job may wait for its first pods.
    bound: Duration,
    /// Time since which no timed obstacle has blocked all work.
    unblocked_since: Instant,
    /// 1 while an obstacle without a fixed end blocks all work, otherwise 0.
    obstacles: i32,
    /// Jobs that wait for their first pods, by UID, with the time at which the wait began.
    waiting: BTreeMap<String, Instant>,
    /// Times, in seconds, of the pods that each Job got in the last minute.
    created: BTreeMap<String, VecDeque<i64>>,
    /// Maximum time that a Job may be without pods after ignored disruptions; none if other faults delay pods.
    replaced_within: Option<Duration>,
    /// Jobs without pods, by UID, with the time since which they have none.
    podless: BTreeMap<String, Instant>,
}

impl Progress {
    /// Returns the checks. `bound`: maximum time that a Job may wait for its first pods. `replaced_within`: maximum
    /// time that a Job may be without pods after ignored disruptions; none if other faults delay pods.
    pub fn new(bound: Duration, replaced_within: Option<Duration>) -> Self {
        let (waiting, created, podless) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { bound, unblocked_since: Instant::now(), obstacles: 0, waiting, created, replaced_within, podless }
    }

    /// Records that all work is blocked until a time.
    pub fn block_until(&mut self, when: Instant) {
        self.unblocked_since = self.unblocked_since.max(when);
    }

    /// Records that an obstacle to all work begins or ends.
    pub fn obstacle(&mut self, begins: bool) {
        self.obstacles = if begins { 1 } else { 0 };
        self.block_until(Instant::now());
    }

    /// Records a pod that was created for a Job.
    ///
    /// # Errors
    /// Returns the number of pods if the Job got too many in one minute.
    pub fn created(&mut self, job: &str, now: i64) -> Result<(), String> {
        let created = self.created.entry(job.to_owned()).or_default();
        created.push_back(now);
        while created.front().is_some_and(|at| now - at >= 60) {
            created.pop_front();
        }
        match created.len() {
            count if count > PODS_A_MINUTE => {
                Err(format!("{job} got {count} pods in one minute, {PODS_A_MINUTE} are allowed"))
            }
            _ => Ok(()),
        }
    }

    /// Returns a description of the first Job that has waited too long, if any.
    pub fn stuck(&mut self, store: &Store) -> Option<String> {
        let now = Instant::now();
        let free = self.obstacles == 0 && store.of("joblimits").next().is_none();
        let idle = |job: &Value| {
            job["status"]["startTime"].is_null()
                && job["spec"]["suspend"] != true
                && listed(job) != Listed::Invalid
                && !waits_for_jobs(job, store)
                && !is_over(job)
                && !is_deleting(job)
        };
        let waits: Vec<_> = store.of("jobs").filter(|(_, job)| free && idle(job)).collect();
        let uid = |job: &Value| job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let uids: Vec<String> = waits.iter().map(|(_, job)| uid(job)).collect();
        self.waiting.retain(|uid, _| uids.contains(uid));
        for (key, job) in waits {
            let since = *self.waiting.entry(uid(job)).or_insert(now);
            if now - since.max(self.unblocked_since).min(now) > self.bound {
                return Some(format!("{} has been waiting for its first pods for more than {:?}", key.2, self.bound));
            }
        }
        self.unreplaced(store, now)
    }

    /// Returns a description of the first Job that has been without pods for too long after disruptions that its policy
    /// ignores. Ignored disruptions must not increase the back-off.
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
                return Some(format!("{} has had no pod for {bound:?}, although its disruptions are ignored", key.2));
            }
        }
        None
    }
}
