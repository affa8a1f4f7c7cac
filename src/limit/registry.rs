//! Admissions of all namespaces with limits, for the Job controller. Each namespace has its own lock, which is held for
//! the evaluation of one event and never across an `await`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::admission::{AdmissionState, Admissions};
use super::status::Load;
use super::view::LimitView;
use super::workload::Workload;
use crate::job::admission::Admission;
use crate::job::view::JobView;
use crate::runtime::cache::Cache;
use crate::runtime::identity::Uid;

/// Admissions of all namespaces with limits.
#[derive(Default)]
pub struct AdmissionRegistry {
    /// Cache of all limits.
    pub limits: Cache<LimitView>,
    /// Admissions by namespace, for namespaces that have or had limits.
    namespaces: Mutex<HashMap<Arc<str>, Arc<Mutex<Admissions>>>>,
    /// Whether this replica is or was the leader. The admissions stay until its next term, because a worker that ends
    /// late may read them.
    open: AtomicBool,
}

/// Access of the registry to the cached Jobs.
pub trait JobLookup {
    /// Returns the newest cached version of a Job.
    fn newest(&self, uid: &Uid) -> Option<Arc<JobView>>;

    /// Returns the Jobs of the selected namespaces to which limits apply.
    fn workloads(&self, is_selected: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Workload)>;

    /// Returns the data of a Job that limits need; none if limits do not apply to the Job. `waits` states whether the Job
    /// waits for other Jobs, if that was evaluated.
    fn workload(&self, job: &JobView, waits: Option<bool>) -> Option<Workload>;
}

impl AdmissionRegistry {
    /// Evaluates all namespaces from the cache, and accepts changes from now on.
    pub fn open(&self, jobs: &impl JobLookup) {
        self.namespaces.lock().clear();
        self.open.store(true, Ordering::SeqCst);
        let mut limits: HashMap<Arc<str>, Vec<Arc<LimitView>>> = HashMap::new();
        for limit in self.limits.all(|_| true) {
            limits.entry(limit.identity.namespace.clone()).or_default().push(limit);
        }
        let mut workloads: HashMap<Arc<str>, Vec<Workload>> = HashMap::new();
        for (namespace, job) in jobs.workloads(&|namespace| limits.contains_key(namespace)) {
            workloads.entry(namespace).or_default().push(job);
        }
        for (namespace, limits) in limits {
            let jobs = workloads.remove(&namespace).unwrap_or_default();
            self.entry(&namespace).lock().load(limits, jobs);
        }
    }

    /// Handles the creation, change or deletion of a limit in this namespace. Returns the Jobs to sync.
    pub fn limits_changed(&self, namespace: &Arc<str>, jobs: &impl JobLookup) -> Vec<Uid> {
        if !self.open.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let admissions = self.entry(namespace);
        let mut admissions = admissions.lock();
        let limits = self.limits.all(|limit| limit.identity.namespace == *namespace);
        if admissions.is_unlimited() || limits.is_empty() {
            let workloads = if limits.is_empty() { Vec::new() } else { jobs.workloads(&|other| other == &**namespace) };
            admissions.load(limits, workloads.into_iter().map(|(_, job)| job))
        } else {
            admissions.set_limits(limits)
        }
    }

    /// Handles the creation, change or deletion of a Job. Returns the Jobs to sync.
    pub fn job_changed(&self, namespace: &str, uid: &Uid, jobs: &impl JobLookup) -> Vec<Uid> {
        let Some(admissions) = self.admissions_of(namespace) else { return Vec::new() };
        // The newest version is read under the lock, so that no older version can overwrite it.
        let mut admissions = admissions.lock();
        update(&mut admissions, uid, jobs.newest(uid).as_deref(), None, jobs)
    }

    /// Returns the newest version of a Job, whether that version is allowed to start pods, and the other Jobs to sync.
    /// The Job is evaluated in this call, so that no version starts pods unevaluated, whatever put it into the cache.
    pub fn admission(
        &self,
        namespace: &str,
        uid: &Uid,
        waits: bool,
        jobs: &impl JobLookup,
    ) -> (Option<Arc<JobView>>, Admission, Vec<Uid>) {
        let Some(admissions) = self.admissions_of(namespace) else {
            return (jobs.newest(uid), Admission::Unlimited, Vec::new());
        };
        let mut admissions = admissions.lock();
        let job = jobs.newest(uid);
        let mut changed = update(&mut admissions, uid, job.as_deref(), Some(waits), jobs);
        changed.retain(|other| other != uid);
        let admission = match (admissions.state(uid), admissions.waiting_status(uid)) {
            (AdmissionState::Unlimited, _) => Admission::Unlimited,
            (_, Some(waiting)) => Admission::Pending(waiting),
            (_, None) => Admission::Admitted,
        };
        (job, admission, changed)
    }

    /// Returns the usage of a limit, and the Jobs that it selects and that wait.
    pub fn load(&self, namespace: &str, limit: &str) -> Load {
        self.admissions_of(namespace).map(|admissions| admissions.lock().load_of(limit)).unwrap_or_default()
    }

    fn admissions_of(&self, namespace: &str) -> Option<Arc<Mutex<Admissions>>> {
        self.namespaces.lock().get(namespace).cloned()
    }

    fn entry(&self, namespace: &Arc<str>) -> Arc<Mutex<Admissions>> {
        self.namespaces.lock().entry(namespace.clone()).or_default().clone()
    }
}

fn update(
    admissions: &mut Admissions,
    uid: &Uid,
    job: Option<&JobView>,
    waits: Option<bool>,
    jobs: &impl JobLookup,
) -> Vec<Uid> {
    match job.and_then(|job| jobs.workload(job, waits)) {
        Some(job) => admissions.set_job(job),
        None => admissions.remove_job(uid),
    }
}
