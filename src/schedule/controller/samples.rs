//! What the metrics state of each object: runs that have ended are counted, and times are read when they are asked for.

use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use crate::job::view::JobView;
use crate::schedule::source::{EndedRun, ScheduleSource};
use crate::schedule::workload::{Ended, Sample, SampleKey, last_failure};

impl<S: ScheduleSource> Controller<S> {
    /// Counts the runs that have ended since the last status, once that is stored.
    pub(super) fn count_ended(&self, object: &S, ended: &[EndedRun], jobs: &[Arc<JobView>]) {
        let active = &object.base().status;
        let finished = jobs.iter().filter(|job| job.status.is_finished() && active.is_active(&job.identity.uid));
        let of_jobs = finished.filter(|_| !S::RECORDS_HISTORY).map(|job| Ended::of_job(job));
        let runs: Vec<Ended> = ended.iter().map(Ended::of_run).chain(of_jobs).collect();
        if runs.is_empty() {
            return;
        }
        let mut counts = self.counts.lock();
        let counts = counts.entry(object.identity().uid.clone()).or_default();
        runs.into_iter().for_each(|run| counts.ended(run));
    }

    /// Returns the keys of the objects in the namespaces that are included.
    pub fn keys(&self, includes: impl Fn(&str) -> bool) -> Vec<SampleKey> {
        let objects = self.objects.all(|object| includes(&object.identity().namespace));
        let key = |object: &Arc<S>| {
            let identity = object.identity();
            SampleKey {
                namespace: identity.namespace.clone(),
                name: identity.name.clone(),
                kind: S::KIND,
                uid: identity.uid.clone(),
            }
        };
        objects.iter().map(key).collect()
    }

    /// Returns what the metrics state of an object; none if it is gone.
    pub fn sample(&self, key: SampleKey, now: Timestamp) -> Option<Sample> {
        let object = self.objects.get(&key.uid)?;
        let object = object.with_calendars(&self.calendars).map_or(object, Arc::new);
        let jobs = self.jobs.owned(&key.uid, &key.namespace);
        Some(Sample {
            timing: object.timing(now),
            last_success: object.base().status.last_successful,
            last_failure: object.last_failure().max(last_failure(&jobs)),
            counts: self.counts.lock().get(&key.uid).cloned().unwrap_or_default(),
            key,
        })
    }
}
