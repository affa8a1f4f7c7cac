//! `spec.parallelism`: which pods to create or delete so that as many are active as wanted.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use jiff::Timestamp;

use super::completions;
use super::tally::Tally;
use crate::job::view::{JobView, PodView};
use crate::runtime::config::Limits;

/// What to do about the number of active pods. One step creates or deletes, never both.
#[derive(Debug)]
pub enum PodPlan {
    /// It is right.
    Nothing,
    /// Pods are missing, but back-off holds them until then.
    Wait(Timestamp),
    /// Create so many.
    Create(usize),
    /// Delete these.
    Delete {
        /// Which.
        pods: Vec<Arc<PodView>>,
        /// Take the tracking finalizer off first: the pods are not wanted, which is no failure of theirs.
        uncounted: bool,
    },
}

/// The outcome is fixed: no pod may stay active. Their finalizers stay, so that they are counted.
pub fn clear(tally: &Tally) -> PodPlan {
    if tally.active.is_empty() {
        return PodPlan::Nothing;
    }
    PodPlan::Delete { pods: tally.active.clone(), uncounted: false }
}

/// As many active pods as wanted: all go from a suspended Job, surplus ones go in the order of [`first_to_go`], and
/// missing ones come unless back-off holds them until `held_until`.
pub fn manage(job: &JobView, tally: &Tally, held_until: Option<Timestamp>, limits: &Limits) -> PodPlan {
    let active = tally.active.len();
    let wanted = if job.spec.suspend { 0 } else { completions::wanted_active(job, tally) };
    if let Some(surplus) = active.checked_sub(wanted).filter(|surplus| *surplus > 0) {
        let mut pods = tally.active.clone();
        pods.sort_by(|a, b| first_to_go(a, b));
        // A suspended Job's pods all go at once.
        let at_once = if job.spec.suspend { surplus } else { surplus.min(limits.max_pods_per_sync) };
        pods.truncate(at_once);
        return PodPlan::Delete { pods, uncounted: true };
    }
    let in_the_way =
        if job.spec.replace_only_failed { usize::try_from(tally.terminating).unwrap_or_default() } else { 0 };
    let missing = wanted.saturating_sub(active + in_the_way);
    match held_until {
        _ if missing == 0 => PodPlan::Nothing,
        Some(until) => PodPlan::Wait(until),
        None => PodPlan::Create(missing.min(limits.max_pods_per_sync)),
    }
}

/// The order in which surplus pods go: those that have come least far first. Without a node before with one; Pending,
/// Unknown, Running; not ready before ready; ready for a shorter time; with more restarts; newer.
pub fn first_to_go(a: &PodView, b: &PodView) -> Ordering {
    let distance = |pod: &PodView| (pod.scheduled, pod.phase, pod.ready_since.is_some(), Reverse(pod.ready_since));
    distance(a)
        .cmp(&distance(b))
        .then_with(|| b.most_restarts.cmp(&a.most_restarts))
        .then_with(|| b.created.cmp(&a.created))
        // Equal in all that counts: any order, but always the same.
        .then_with(|| a.identity.uid.cmp(&b.identity.uid))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn plan(job: &Job, pods: &[Pod]) -> PodPlan {
        manage(&job.view, &job.tally(pods), None, &Limits::default())
    }

    #[test]
    fn missing_pods_are_created() {
        let job = Job::new().completions(10).parallelism(4);
        assert!(matches!(plan(&job, &[]), PodPlan::Create(4)));
        assert!(matches!(plan(&job, &[pod("a").running(1)]), PodPlan::Create(3)));
        let pods = [pod("a"), pod("b"), pod("c"), pod("d")];
        assert!(matches!(plan(&job, &pods), PodPlan::Nothing));
    }

    #[test]
    fn at_most_so_many_are_created_at_once() {
        let job = Job::new().completions(2000).parallelism(2000);
        assert!(matches!(plan(&job, &[]), PodPlan::Create(500)));
    }

    #[test]
    fn back_off_holds_creation_but_not_deletion() {
        let until = time(30);
        let held = |job: &Job, pods: &[Pod]| manage(&job.view, &job.tally(pods), Some(until), &Limits::default());
        let job = Job::new().completions(3).parallelism(1);
        assert!(matches!(held(&job, &[]), PodPlan::Wait(at) if at == until));
        assert!(matches!(held(&job, &[pod("a")]), PodPlan::Nothing), "nothing is missing");
        assert!(matches!(held(&job, &[pod("a"), pod("b")]), PodPlan::Delete { .. }));
    }

    #[test]
    fn a_terminating_pod_is_replaced_at_once_or_after_its_end_as_the_policy_says() {
        let pods = [pod("a").running(1).deleting(2)];
        let job = Job::new().completions(5).parallelism(1);
        assert!(matches!(plan(&job, &pods), PodPlan::Create(1)));
        assert!(matches!(plan(&job.replace_only_failed(), &pods), PodPlan::Nothing));
    }

    #[test]
    fn a_suspended_job_loses_all_its_pods_without_counting_them() {
        let job = Job::new().completions(5).parallelism(2).suspend(true);
        let PodPlan::Delete { pods, uncounted } = plan(&job, &[pod("a").running(1), pod("b")]) else { panic!() };
        assert_eq!((pods.len(), uncounted), (2, true));
        assert!(matches!(plan(&job, &[]), PodPlan::Nothing));
    }

    #[test]
    fn surplus_pods_go_from_the_least_to_the_furthest_advanced() {
        // Each differs from the next in one respect, and goes before it.
        let order = [
            pod("without-node").unscheduled(),
            pod("pending"),
            pod("unknown").unknown(),
            pod("not-ready").running(50),
            pod("ready-since-90").running(50).ready(90),
            pod("ready-since-60-restarted").running(50).ready(60).restarts(3),
            pod("ready-since-60-newer").running(55).ready(60),
            pod("ready-since-60-older").running(50).ready(60),
        ];
        for surplus in 1..order.len() {
            let job = Job::new().work_queue().parallelism((order.len() - surplus) as i32);
            // However they come in.
            let mut shuffled: Vec<_> = order.iter().rev().cloned().collect();
            shuffled.rotate_left(surplus);
            let PodPlan::Delete { pods, .. } = plan(&job, &shuffled) else { panic!() };
            let expected: Vec<_> = order[..surplus].iter().map(Pod::name).collect();
            assert_eq!(names(&pods), expected);
        }
    }
}
