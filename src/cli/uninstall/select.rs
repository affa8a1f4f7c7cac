//! Selects the pods whose tracking finalizer is to be removed because no controller will remove it. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::job::managed_by::Claim;

/// A pod that carries the tracking finalizer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TrackedPod {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Resource version of the pod when it was listed.
    pub resource_version: String,
    /// Controlling owner of the pod.
    pub owner: PodOwner,
}

/// The controlling owner of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodOwner {
    /// The pod has no controlling owner: it was orphaned.
    Missing,
    /// A Job controls the pod.
    Job {
        /// Name of the Job.
        name: String,
        /// UID of the Job.
        uid: String,
    },
    /// An object of another kind controls the pod. The controller of that kind removes the finalizers.
    Other,
}

/// Fields of a Job on which the selection depends.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobFacts {
    /// Namespace of the Job.
    pub namespace: String,
    /// Value of `spec.managedBy`.
    pub managed_by: Option<String>,
    /// Whether the Job is Complete or Failed.
    pub finished: bool,
    /// Whether the Job has a deletion timestamp.
    pub deleting: bool,
}

/// State of a pod's Job, which is why the pod is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) enum JobState {
    /// The Job does not exist.
    Gone,
    /// The Job is being deleted.
    Deleting,
    /// The Job is Complete or Failed.
    Finished,
    /// The Job is unfinished, and claimed.
    Unfinished,
}

impl JobState {
    /// Returns the clause that completes a sentence that begins with `job/NAME`.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Gone => "no longer exists",
            Self::Deleting => "is being deleted",
            Self::Finished => "is finished",
            Self::Unfinished => "is unfinished",
        }
    }
}

/// A pod whose finalizer is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The pod.
    pub pod: TrackedPod,
    /// State of the pod's Job, which is the reason for the selection.
    pub job_state: JobState,
    /// Whether the claim covers the pod's Job. Pods of a Job that no longer exists are covered by `--claim=all`.
    pub claimed: bool,
}

impl Selected {
    /// Returns the name of the pod's Job, if a Job controls the pod.
    pub(crate) fn job(&self) -> Option<&str> {
        match &self.pod.owner {
            PodOwner::Job { name, .. } => Some(name),
            PodOwner::Missing | PodOwner::Other => None,
        }
    }
}

/// The pods whose finalizer is to be removed, and the number of the pods that keep it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Selected pods, sorted by namespace and name.
    pub pods: Vec<Selected>,
    /// Number of pods that keep the finalizer, because another controller works on their Jobs.
    pub kept: usize,
}

/// Selects the pods whose finalizer no controller removes once Jobwright is gone. `jobs` is by UID and was listed after
/// the pods, so a Job that is missing from it does not exist.
pub(crate) fn select(mut pods: Vec<TrackedPod>, jobs: &HashMap<String, JobFacts>, claim: Claim) -> Selection {
    pods.sort_unstable();
    let mut selection = Selection::default();
    for pod in pods {
        match state(&pod, jobs, claim) {
            Some((job_state, claimed)) => selection.pods.push(Selected { pod, job_state, claimed }),
            None => selection.kept += 1,
        }
    }
    selection
}

fn state(pod: &TrackedPod, jobs: &HashMap<String, JobFacts>, claim: Claim) -> Option<(JobState, bool)> {
    let job = match &pod.owner {
        PodOwner::Other => return None,
        PodOwner::Missing => None,
        // Owner references do not cross namespaces: a Job in another namespace does not own the pod.
        PodOwner::Job { uid, .. } => jobs.get(uid).filter(|job| job.namespace == pod.namespace),
    };
    let Some(job) = job else { return Some((JobState::Gone, claim == Claim::All)) };
    // A Job that names another manager is left to that manager in every state.
    if !Claim::All.covers(job.managed_by.as_deref()) {
        return None;
    }
    let claimed = claim.covers(job.managed_by.as_deref());
    let state = if job.deleting {
        JobState::Deleting
    } else if job.finished {
        JobState::Finished
    } else {
        JobState::Unfinished
    };
    (claimed || state != JobState::Unfinished).then_some((state, claimed))
}

/// Returns the number of selected pods by Job. The key is the namespace, and the name if the pod names a Job.
pub(crate) fn by_job<'a>(pods: impl IntoIterator<Item = &'a Selected>) -> BTreeMap<(String, Option<String>), usize> {
    let mut counts = BTreeMap::new();
    for selected in pods {
        let key = (selected.pod.namespace.clone(), selected.job().map(str::to_owned));
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};

    fn pod(name: &str, owner: PodOwner) -> TrackedPod {
        TrackedPod {
            namespace: "default".into(),
            name: name.into(),
            uid: format!("{name}-uid"),
            resource_version: "1".into(),
            owner,
        }
    }

    fn of_job(uid: &str) -> PodOwner {
        PodOwner::Job { name: "job".into(), uid: uid.into() }
    }

    fn job(managed_by: Option<&str>, finished: bool, deleting: bool) -> JobFacts {
        JobFacts { namespace: "default".into(), managed_by: managed_by.map(str::to_owned), finished, deleting }
    }

    fn selected(owner: PodOwner, facts: JobFacts, claim: Claim) -> Option<(JobState, bool)> {
        let jobs = HashMap::from([("uid".to_owned(), facts)]);
        let selection = select(vec![pod("a", owner)], &jobs, claim);
        assert_eq!(selection.pods.len() + selection.kept, 1);
        selection.pods.first().map(|selected| (selected.job_state, selected.claimed))
    }

    #[test]
    fn pods_are_selected_by_the_state_and_the_manager_of_their_job() {
        use JobState::*;
        let foreign = Some("example.com/other");
        // managedBy, finished, deleting; what is selected under managed-by, and under all.
        let cases = [
            (Some(MANAGED_BY), false, false, Some((Unfinished, true)), Some((Unfinished, true))),
            (Some(MANAGED_BY), true, false, Some((Finished, true)), Some((Finished, true))),
            (Some(MANAGED_BY), false, true, Some((Deleting, true)), Some((Deleting, true))),
            (Some(MANAGED_BY), true, true, Some((Deleting, true)), Some((Deleting, true))),
            (None, false, false, None, Some((Unfinished, true))),
            (Some(BUILTIN_MANAGED_BY), false, false, None, Some((Unfinished, true))),
            (None, true, false, Some((Finished, false)), Some((Finished, true))),
            (None, false, true, Some((Deleting, false)), Some((Deleting, true))),
            (foreign, false, false, None, None),
            (foreign, true, false, None, None),
            (foreign, false, true, None, None),
        ];
        for (managed_by, finished, deleting, beside, all) in cases {
            let facts = job(managed_by, finished, deleting);
            let case = format!("{facts:?}");
            assert_eq!(selected(of_job("uid"), facts.clone(), Claim::ManagedBy), beside, "{case}");
            assert_eq!(selected(of_job("uid"), facts, Claim::All), all, "{case}");
        }
    }

    #[test]
    fn pods_without_a_job_are_selected_and_pods_of_other_kinds_are_not() {
        let facts = || job(None, false, false);
        for (claim, claimed) in [(Claim::ManagedBy, false), (Claim::All, true)] {
            for owner in [of_job("another-uid"), PodOwner::Missing] {
                assert_eq!(selected(owner, facts(), claim), Some((JobState::Gone, claimed)));
            }
            assert_eq!(selected(PodOwner::Other, facts(), claim), None);
            let elsewhere = JobFacts { namespace: "elsewhere".into(), ..job(Some(MANAGED_BY), false, false) };
            assert_eq!(selected(of_job("uid"), elsewhere, claim), Some((JobState::Gone, claimed)));
        }
    }

    #[test]
    fn pods_are_counted_by_job() {
        let jobs = HashMap::from([("uid".to_owned(), job(Some(MANAGED_BY), false, false))]);
        let pods = vec![pod("b", of_job("uid")), pod("a", of_job("uid")), pod("c", PodOwner::Missing)];
        let selection = select(pods, &jobs, Claim::ManagedBy);
        let names: Vec<&str> = selection.pods.iter().map(|selected| selected.pod.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let counts: Vec<_> = by_job(&selection.pods).into_iter().collect();
        assert_eq!(counts, [(("default".into(), None), 1), (("default".into(), Some("job".into())), 2)]);
    }
}
