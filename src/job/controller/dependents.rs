//! Jobs that start after other Jobs (`jobwright.dev/after`), and the Jobs that they wait for.

use std::sync::Arc;

use super::Controller;
use crate::job::admission::WaitingStatus;
use crate::job::decide::after;
use crate::job::key::Key;
use crate::job::view::JobView;
use crate::runtime::cache::Cache;
use crate::runtime::identity::Uid;
use crate::runtime::maps::{FastMap, FastSet};

/// UIDs of the Jobs that wait for a Job, by its namespace and name.
#[derive(Debug, Default)]
pub(super) struct Dependents(FastMap<(Arc<str>, Box<str>), FastSet<Uid>>);

impl Dependents {
    /// Records which Jobs a Job waits for; none if it waits for none.
    fn set(&mut self, job: &JobView, waits: bool) {
        let uid = &job.identity.uid;
        if !waits {
            return self.remove(uid);
        }
        for (name, _) in job.after.iter().flat_map(|after| after.jobs()) {
            let key = (job.identity.namespace.clone(), name.clone());
            self.0.entry(key).or_default().insert(uid.clone());
        }
    }

    /// Forgets a Job.
    pub(super) fn remove(&mut self, uid: &Uid) {
        self.0.retain(|_, waiting| {
            waiting.remove(uid);
            !waiting.is_empty()
        });
    }

    /// Forgets all Jobs.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the number of Jobs for which others wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the Jobs that wait for this one.
    fn of(&self, job: &JobView) -> Vec<Uid> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let key = (job.identity.namespace.clone(), Box::from(&*job.identity.name));
        self.0.get(&key).into_iter().flatten().cloned().collect()
    }
}

/// Returns what a Job waits for, if it starts after other Jobs that have not all ended as it needs.
pub(super) fn waiting(jobs: &Cache<JobView>, job: &JobView) -> Option<WaitingStatus> {
    if !after::is_held(job) {
        return None;
    }
    after::waiting(job, |name| {
        let found =
            jobs.all(|other| other.identity.namespace == job.identity.namespace && &*other.identity.name == name);
        found.into_iter().next()
    })
}

impl Controller {
    /// Returns what a Job waits for, if it starts after other Jobs. From then on, each change of these Jobs queues it.
    pub(super) fn waits_for_jobs(&self, job: &JobView) -> Option<WaitingStatus> {
        job.after.as_ref()?;
        // The Job is recorded first, so that no end of another Job is missed.
        self.dependents.lock().set(job, after::is_held(job));
        waiting(&self.executor.jobs, job)
    }

    /// Queues the Jobs that wait for a changed Job.
    pub(super) fn enqueue_dependents(&self, job: &JobView) {
        for uid in self.dependents.lock().of(job) {
            self.executor.queue.add(Key::Job(uid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::decide::fixtures::Job;
    use crate::job::view::after::{AFTER_ANNOTATION, After};

    #[test]
    fn dependents_of_a_job_are_known_until_they_start() {
        let annotations = [(AFTER_ANNOTATION.to_owned(), "job/a,job/b".to_owned())].into();
        let after = After::parse(Some(&annotations)).map(Box::new);
        let waiting = Job::new().with(|job| job.after = after).view;
        let named = |name: &str| Job::new().with(|job| job.identity.name = name.into()).view;
        let mut dependents = Dependents::default();
        dependents.set(&waiting, true);
        assert_eq!((dependents.of(&named("a")).len(), dependents.of(&named("c")).len()), (1, 0));
        let other = Job::new().with(|job| (job.identity.name, job.identity.namespace) = ("a".into(), "other".into()));
        assert!(dependents.of(&other.view).is_empty(), "of another namespace");
        dependents.set(&waiting, false);
        assert_eq!(dependents.len(), 0);
    }
}
