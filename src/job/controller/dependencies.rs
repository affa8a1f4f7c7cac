//! Jobs that start after other Jobs (`jobwright.dev/after`), and the Jobs that they wait for.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Controller;
use crate::job::admission::{Admission, WaitingStatus};
use crate::job::decide::after;
use crate::job::key::Key;
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::runtime::cache::{Cache, ChangedKey};
use crate::runtime::identity::Uid;
use crate::runtime::maps::{FastMap, FastSet};

/// Namespace and name of a Job.
type Name = (Arc<str>, Box<str>);

/// Jobs that start after other Jobs. The cost of a change of a Job depends neither on the number of Jobs nor on how many
/// wait: only the first evaluation of a Job that waits searches the Jobs by name.
pub struct Dependencies {
    jobs: Arc<Cache<JobView>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Jobs for which others wait.
    awaited: FastMap<Name, Awaited>,
    /// Names of the Jobs for which others wait, of those that exist.
    names: FastMap<Uid, Name>,
    /// Names of the Jobs for which a Job waits.
    waiting: FastMap<Uid, Vec<Name>>,
}

/// A Job for which others wait.
#[derive(Default)]
struct Awaited {
    uid: Option<Uid>,
    ending: Ending,
    waiting: FastSet<Uid>,
}

/// How a Job for which others wait has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Missing,
    Unfinished,
    Succeeded,
    Failed,
}

impl Ending {
    fn of(job: &JobView) -> Self {
        match (job.status.true_condition(COMPLETE), job.status.true_condition(FAILED)) {
            (Some(_), _) => Self::Succeeded,
            (None, Some(_)) => Self::Failed,
            (None, None) => Self::Unfinished,
        }
    }
}

impl Dependencies {
    /// Returns the dependencies among these Jobs.
    pub fn new(jobs: Arc<Cache<JobView>>) -> Self {
        Self { jobs, state: Mutex::default() }
    }

    /// Returns what a Job waits for, if it starts after other Jobs that have not all ended as it needs. From then on,
    /// the Job is queued when one of these Jobs ends, appears or is deleted.
    pub fn waiting(&self, job: &JobView) -> Option<WaitingStatus> {
        job.after.as_ref()?;
        let mut state = self.state.lock();
        if !after::is_held(job) {
            state.remove(&job.identity.uid);
            return None;
        }
        state.register(job, &self.jobs);
        let namespace = &job.identity.namespace;
        let waiting = after::waiting(job, |name| {
            let uid = state.awaited.get(&(namespace.clone(), name.into()))?.uid.clone()?;
            self.jobs.get(&uid)
        });
        if waiting.is_none() {
            state.remove(&job.identity.uid);
        }
        waiting
    }

    /// Returns the Jobs to sync after a change of a Job.
    fn changed(&self, uid: &Uid) -> Vec<Uid> {
        let mut state = self.state.lock();
        if state.awaited.is_empty() {
            return Vec::new();
        }
        let job = self.jobs.get(uid);
        let name = match &job {
            Some(job) => (job.identity.namespace.clone(), Box::from(&*job.identity.name)),
            None => match state.names.remove(uid) {
                Some(name) => name,
                None => return Vec::new(),
            },
        };
        let State { awaited, names, .. } = &mut *state;
        let Some(awaited) = awaited.get_mut(&name) else { return Vec::new() };
        let ending = match &job {
            Some(job) => Ending::of(job),
            // Another Job of the name exists by now.
            None if awaited.uid.as_ref() != Some(uid) => return Vec::new(),
            None => Ending::Missing,
        };
        let is_new = awaited.uid.as_ref() != job.as_ref().map(|job| &job.identity.uid);
        let has_changed = is_new || awaited.ending != ending;
        awaited.set(job.as_deref(), ending, names, &name);
        if has_changed { awaited.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// Forgets a Job that waits no longer.
    pub fn remove(&self, uid: &Uid) {
        self.state.lock().remove(uid);
    }

    /// Forgets all Jobs.
    pub fn clear(&self) {
        *self.state.lock() = State::default();
    }

    /// Returns the number of Jobs for which others wait.
    pub fn len(&self) -> usize {
        self.state.lock().awaited.len()
    }

    /// Returns whether no Job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn register(&mut self, job: &JobView, jobs: &Cache<JobView>) {
        let uid = &job.identity.uid;
        let mut names: Vec<Name> = Vec::new();
        for (name, _) in job.after.iter().flat_map(|after| after.jobs()) {
            names.push((job.identity.namespace.clone(), name.clone()));
        }
        if self.waiting.get(uid) == Some(&names) {
            return;
        }
        self.remove(uid);
        for name in &names {
            let awaited = self.awaited.entry(name.clone()).or_default();
            if awaited.waiting.is_empty() {
                let is_named = |other: &JobView| other.identity.namespace == name.0 && *other.identity.name == *name.1;
                let found = jobs.all(is_named).into_iter().next();
                let ending = found.as_deref().map_or(Ending::Missing, Ending::of);
                awaited.set(found.as_deref(), ending, &mut self.names, name);
            }
            awaited.waiting.insert(uid.clone());
        }
        self.waiting.insert(uid.clone(), names);
    }

    fn remove(&mut self, uid: &Uid) {
        for name in self.waiting.remove(uid).into_iter().flatten() {
            let Some(awaited) = self.awaited.get_mut(&name) else { continue };
            awaited.waiting.remove(uid);
            if awaited.waiting.is_empty() {
                if let Some(uid) = &awaited.uid {
                    self.names.remove(uid);
                }
                self.awaited.remove(&name);
            }
        }
    }
}

impl Awaited {
    fn set(&mut self, job: Option<&JobView>, ending: Ending, names: &mut FastMap<Uid, Name>, name: &Name) {
        if let Some(before) = self.uid.take() {
            names.remove(&before);
        }
        if let Some(job) = job {
            names.insert(job.identity.uid.clone(), name.clone());
            self.uid = Some(job.identity.uid.clone());
        }
        self.ending = ending;
    }
}

impl Controller {
    /// Returns the newest version of a Job, and whether that version is allowed to start pods; none if the Job is gone.
    /// What the Job waits for is evaluated once, so that the limits decide by the same answer.
    pub(super) fn admission(&self, job: &JobView) -> Option<(Arc<JobView>, Admission)> {
        let waiting = self.dependencies.waiting(job);
        let (newest, admission) = match self.admission_control.get() {
            Some(admission_control) => admission_control.admission(job, waiting.is_some())?,
            None => (self.executor.jobs.get(&job.identity.uid)?, Admission::Unlimited),
        };
        let is_same = newest.identity.resource_version == job.identity.resource_version;
        let waiting = waiting.or_else(|| if is_same { None } else { self.dependencies.waiting(&newest) });
        let admission = match waiting {
            Some(waiting) => Admission::Pending(waiting),
            // The start is stored before the first pod. After that, the other Jobs no longer matter.
            None if newest.after.is_some() && admission == Admission::Unlimited => Admission::Admitted,
            None => admission,
        };
        Some((newest, admission))
    }

    /// Queues the Jobs that wait for a changed Job, until the future is dropped.
    pub(super) async fn follow_awaited_jobs(&self, mut changes: UnboundedReceiver<ChangedKey>) {
        while let Some(ChangedKey { uid, .. }) = changes.recv().await {
            for dependent in self.dependencies.changed(&uid) {
                self.executor.queue.add(Key::Job(dependent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::decide::fixtures::Job;
    use crate::job::view::after::{AFTER_ANNOTATION, After};
    use crate::runtime::cache::Source;
    use crate::runtime::identity::ResourceVersion;

    fn job(name: &str, version: u64) -> Job {
        Job::new().with(|job| {
            job.identity.name = name.into();
            job.identity.uid = format!("uid-{name}").as_str().into();
            job.identity.resource_version = ResourceVersion(version);
        })
    }

    fn after(name: &str, text: &str) -> JobView {
        let annotations = [(AFTER_ANNOTATION.to_owned(), text.to_owned())].into();
        job(name, 1).with(|job| job.after = After::parse(Some(&annotations)).map(Box::new)).view
    }

    #[test]
    fn dependents_are_returned_when_an_awaited_job_appears_ends_or_is_deleted_and_at_no_other_change() {
        let jobs = Arc::new(Cache::default());
        let dependencies = Dependencies::new(jobs.clone());
        let waiting = after("waiting", "job/a");
        assert!(dependencies.waiting(&waiting).is_some());
        let change = |job: Job| {
            let uid = job.view.identity.uid.clone();
            jobs.apply(job.view, Source::Answer);
            dependencies.changed(&uid).len()
        };
        assert_eq!(change(job("other", 2)), 0);
        assert_eq!(change(job("a", 3)), 1, "created");
        assert_eq!(change(job("a", 4).started(1)), 0, "started");
        assert_eq!(change(job("a", 5).condition("Failed")), 1, "ended");
        assert!(dependencies.waiting(&waiting).unwrap().message.contains("which has failed"));
        jobs.remove(&"uid-a".into());
        assert_eq!(dependencies.changed(&"uid-a".into()).len(), 1, "deleted");
        let again = job("a", 7).with(|job| job.identity.uid = "uid-a-2".into()).condition("Complete");
        jobs.apply(again.view, Source::Watch);
        assert_eq!(dependencies.changed(&"uid-a-2".into()).len(), 1, "created again");
        assert_eq!(dependencies.waiting(&waiting), None);
        assert!(dependencies.is_empty() && dependencies.state.lock().names.is_empty());
    }

    #[test]
    fn changed_annotation_and_removed_dependents_leave_nothing_behind() {
        let dependencies = Dependencies::new(Arc::default());
        dependencies.waiting(&after("x", "job/a,job/b"));
        dependencies.waiting(&after("y", "job/b"));
        assert_eq!(dependencies.len(), 2);
        dependencies.waiting(&after("x", "job/c"));
        assert_eq!(dependencies.len(), 2, "b and c");
        dependencies.remove(&"uid-x".into());
        dependencies.remove(&"uid-y".into());
        let state = dependencies.state.lock();
        assert!(state.awaited.is_empty() && state.waiting.is_empty() && state.names.is_empty());
    }
}
