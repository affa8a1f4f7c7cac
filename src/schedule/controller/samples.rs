//! What the metrics state of each object: runs that have ended are counted, and times are read when they are asked for.

use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use crate::job::view::JobView;
use crate::schedule::source::{EndedRun, ScheduleSource};
use crate::schedule::workload::{Ended, Sample, last_failure};

impl<S: ScheduleSource> Controller<S> {
    /// Counts the runs that have ended since the last status, once that is stored.
    pub(super) fn count_ended(&self, object: &S, ended: &[EndedRun], jobs: &[Arc<JobView>]) {
        let active = &object.base().status;
        let finished = jobs.iter().filter(|job| job.status.is_finished() && active.is_active(&job.identity.uid));
        let of_jobs = finished.filter(|_| !S::RECORDS_HISTORY).map(|job| Ended::of_job(job));
        let mut counts = self.counts.lock();
        let counts = counts.entry(object.identity().uid.clone()).or_default();
        ended.iter().map(Ended::of_run).chain(of_jobs).for_each(|run| counts.ended(run));
    }

    /// Returns what the metrics state of each object.
    pub fn samples(&self, now: Timestamp, includes: impl Fn(&str) -> bool) -> Vec<Sample> {
        let objects = self.objects.all(|object| includes(&object.identity().namespace));
        let sample = |object: Arc<S>| {
            let object = object.with_calendars(&self.calendars).map_or(object, Arc::new);
            let identity = object.identity();
            let jobs = self.jobs.owned(&identity.uid, &identity.namespace);
            Sample {
                kind: S::KIND,
                namespace: identity.namespace.clone(),
                name: identity.name.clone(),
                timing: object.timing(now),
                last_success: object.base().status.last_successful,
                last_failure: object.last_failure().max(last_failure(&jobs)),
                counts: self.counts.lock().get(&identity.uid).cloned().unwrap_or_default(),
            }
        };
        objects.into_iter().map(sample).collect()
    }
}
