//! Rates at which the pods of Jobs succeed, measured from one refresh to the next.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

/// Time over which rates are measured.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// Returns the number of pods of a Job that succeeded.
pub(crate) fn succeeded(job: &Job) -> i32 {
    job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default()
}

/// Numbers of succeeded pods with their times, by the UID of the Job. Samples older than [`WINDOW`] are
/// dropped, except the last two.
#[derive(Default)]
pub(crate) struct Rates(BTreeMap<String, VecDeque<(Timestamp, i32)>>);

impl Rates {
    /// Adds the numbers of this moment.
    pub(crate) fn take(&mut self, jobs: &[Job], now: Timestamp) {
        let seen: BTreeMap<String, i32> = jobs.iter().filter_map(|job| Some((job.uid()?, succeeded(job)))).collect();
        self.0.retain(|uid, _| seen.contains_key(uid));
        for (uid, count) in seen {
            let samples = self.0.entry(uid).or_default();
            samples.push_back((now, count));
            while samples.len() > 2 && samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
                samples.pop_front();
            }
        }
    }

    /// Returns the number of successes per second within the window. Before the first success within the window, it is
    /// the average since the start of the Job.
    pub(crate) fn of(&self, job: &Job) -> Option<f64> {
        let samples = self.0.get(&job.uid()?)?;
        let ((from, before), (to, now)) = (*samples.front()?, *samples.back()?);
        let seconds = to.duration_since(from).as_secs_f64();
        if seconds > 0.0 && now > before {
            return Some(f64::from(now - before) / seconds);
        }
        let started = job.status.as_ref()?.start_time.as_ref()?.0;
        let seconds = to.duration_since(started).as_secs_f64();
        (seconds > 0.0 && now > 0).then(|| f64::from(now) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rate_is_measured_over_the_last_minute() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |second: i64| start + SignedDuration::from_secs(second);
        let mut rates = Rates::default();
        let with = |done: i32| -> [Job; 1] {
            [serde_json::from_value(json!({"metadata": {"uid": "a"}, "status": {"succeeded": done}})).unwrap()]
        };
        for (second, done) in [(0, 0), (30, 300), (60, 300), (95, 370), (120, 420)] {
            rates.take(&with(done), at(second));
        }
        assert_eq!(rates.of(&with(420)[0]), Some(2.0));
    }
}
