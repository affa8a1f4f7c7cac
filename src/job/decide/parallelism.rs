//! `spec.parallelism`: the pods to create or delete to reach the desired number of active pods.

use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::Backoff;
use super::deletion_order::deletion_priority;
use super::jitter::Jitter;
use super::summary::PodSummary;
use super::{NewPod, backoff_limit_per_index, completion_mode, completions, pod_replacement_policy};
use crate::job::config::SyncConfig;
use crate::job::view::{JobView, PodView};

/// The plan for the number of active pods. One plan creates or deletes pods, never both.
#[derive(Debug)]
pub enum PodPlan {
    /// The number of active pods needs no change.
    Nothing,
    /// Pods are missing, but their creation has to wait until this time.
    Wait(Timestamp),
    /// Create pods with these indexes.
    Create(Vec<NewPod>),
    /// Delete pods of the Job.
    Delete {
        /// Pods to delete.
        pods: Vec<Arc<PodView>>,
        /// Whether to remove the tracking finalizer first, so that the deletion does not count as a failure of the
        /// pods.
        uncounted: bool,
    },
}

/// Returns the plan that deletes all active pods, because the outcome of the Job is decided. The pods keep their
/// finalizers, so that they are counted.
pub fn clear(summary: &PodSummary, config: &SyncConfig) -> PodPlan {
    if summary.active() == 0 {
        return PodPlan::Nothing;
    }
    let pods = summary.active_pods().take(config.max_pods_per_sync).cloned().collect();
    PodPlan::Delete { pods, uncounted: false }
}

/// Returns the plan that leads to the desired number of active pods. It deletes all pods of a suspended Job, and
/// surplus and misplaced pods. It creates missing pods unless a back-off delays them.
///
/// A pod that was deleted without being counted leaves no failure for the back-off. `last_untracked_deletion` is the
/// time of the last such deletion. Creation waits after it, so that this controller and the client that deletes the
/// pods do not race.
pub fn manage(
    job: &JobView,
    summary: &PodSummary,
    backoff: &Backoff,
    last_untracked_deletion: Option<Timestamp>,
    now: Timestamp,
    config: &SyncConfig,
    jitter: Jitter,
) -> PodPlan {
    let active = summary.active();
    let desired = if job.spec.suspend { 0 } else { completions::desired_active(job, summary) };
    let mut surplus = surplus(job, summary, active.saturating_sub(desired));
    if !surplus.is_empty() {
        surplus.truncate(config.max_pods_per_sync);
        return PodPlan::Delete { pods: surplus, uncounted: true };
    }
    let blocking_replacement = pod_replacement_policy::blocking_replacement(job, summary.terminating());
    let missing = desired.saturating_sub(active + blocking_replacement);
    if missing == 0 {
        return PodPlan::Nothing;
    }
    let pause_over = last_untracked_deletion.and_then(|at| at.checked_add(config.untracked_deletion_delay).ok());
    if let Some(until) = pause_over.filter(|until| *until > now) {
        return PodPlan::Wait(until);
    }
    let at_once = missing.min(config.max_pods_per_sync);
    let pending = || completion_mode::pending(job, summary.taken_indexes());
    if job.spec.backoff_limit_per_index.is_some() {
        let indexes = pending().take(at_once);
        return match backoff_limit_per_index::ready(job, indexes, summary.records(), now, config, jitter) {
            Ok(pods) => PodPlan::Create(pods),
            Err(until) => until.map_or(PodPlan::Nothing, PodPlan::Wait),
        };
    }
    if let Some(until) = backoff.over_at(config, jitter).filter(|until| *until > now) {
        return PodPlan::Wait(until);
    }
    let pods: Vec<NewPod> = if job.is_indexed() {
        let indexes = pending().take(at_once);
        indexes.map(|index| NewPod { index: Some(index), failures: None }).collect()
    } else {
        vec![NewPod::default(); at_once]
    };
    if pods.is_empty() { PodPlan::Nothing } else { PodPlan::Create(pods) }
}

/// Returns the misplaced pods. If there are fewer than `count`, adds pods in the order of [`deletion_priority`].
fn surplus(job: &JobView, summary: &PodSummary, count: usize) -> Vec<Arc<PodView>> {
    if count == 0 && !summary.has_misplaced() {
        return Vec::new();
    }
    let active: Vec<Arc<PodView>> = summary.active_pods().cloned().collect();
    let (mut out, mut rest) =
        if job.is_indexed() { completion_mode::misplaced(job, &active) } else { (Vec::new(), active) };
    if out.len() < count {
        rest.sort_by(|a, b| deletion_priority(a, b));
        rest.truncate(count - out.len());
        out.append(&mut rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::fixtures::*;
    use super::*;
    use crate::job::retry_budget::Allowance;

    fn plan(job: &Job, pods: &[Pod]) -> PodPlan {
        job.plan(pods, NOW)
    }

    fn created(job: &Job, pods: &[Pod]) -> usize {
        match plan(job, pods) {
            PodPlan::Create(pods) => pods.len(),
            _ => 0,
        }
    }

    #[test]
    fn missing_pods_are_created() {
        let job = Job::new().completions(10).parallelism(4);
        assert_eq!(created(&job, &[]), 4);
        assert_eq!(created(&job, &[pod("a").running(1)]), 3);
        let pods = [pod("a"), pod("b"), pod("c"), pod("d")];
        assert!(matches!(plan(&job, &pods), PodPlan::Nothing));
    }

    #[test]
    fn retries_beyond_the_budget_wait_and_the_rest_of_the_sync_goes_on() {
        let job = || Job::new().completions(9).parallelism(5).backoff_limit(99).started(0).counted(0, 3);
        let allowance = |ready| Allowance { outstanding: 3, ready, next: Some(time(NOW + 7)) };
        let created = |job: Job, pods: &[Pod]| match job.decide(pods).step {
            Step::CreatePods { pods, .. } => pods.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(created(job().allowed_retries(allowance(1)), &[]), 3, "two new ones and one retry");
        let running = ["a", "b"].map(|name| pod(name).running(1));
        let waiting = job().allowed_retries(allowance(0)).decide(&running);
        assert!(matches!(waiting.step, Step::WriteStatus { .. }), "{waiting:?}");
        assert_eq!(waiting.wake, Some(time(NOW + 7)));
    }

    #[test]
    fn creations_of_one_step_are_bounded() {
        let job = Job::new().completions(2000).parallelism(2000);
        assert_eq!(created(&job, &[]), 500);
    }

    #[test]
    fn indexed_job_gets_pods_for_the_lowest_indexes_without_a_pod() {
        let job = Job::new().indexed(9).parallelism(4).completed("1");
        let PodPlan::Create(pods) = plan(&job, &[pod("a").index(2)]) else { panic!() };
        assert_eq!(pods.iter().map(|pod| pod.index).collect::<Vec<_>>(), [Some(0), Some(3), Some(4)]);
        assert!(pods.iter().all(|pod| pod.failures.is_none()));
    }

    #[test]
    fn misplaced_pods_are_deleted_before_pods_are_created() {
        let job = Job::new().indexed(9).parallelism(4);
        let pods = [pod("a").index(2), pod("b").index(2).running(1), pod("c")];
        let PodPlan::Delete { pods: out, uncounted } = plan(&job, &pods) else { panic!() };
        assert_eq!((names(&out), uncounted), (vec!["a".to_owned(), "c".to_owned()], true));
        let job = job.parallelism(0);
        let PodPlan::Delete { pods: out, .. } = plan(&job, &pods) else { panic!() };
        assert_eq!(names(&out), ["a", "c", "b"], "other pods are deleted after the misplaced ones");
    }

    #[test]
    fn failed_indexes_get_no_pods_and_no_other_index_takes_their_place() {
        let job = Job::new().indexed(3).parallelism(3).per_index(0).failed_indexes("0,1").completed("2");
        assert!(matches!(plan(&job, &[]), PodPlan::Nothing));
    }

    #[test]
    fn back_off_delays_creation_but_not_deletion() {
        let job = Job::new().completions(3).parallelism(1);
        let failed = pod("failed").failed(NOW - 4);
        let backoff = Backoff::default().after(&job.view, &views(std::slice::from_ref(&failed)), &Vec::new());
        let backed_off = |pods: &[Pod]| {
            let pods = [std::slice::from_ref(&failed), pods].concat();
            manage(&job.view, &job.summary(&pods), &backoff, None, time(NOW), &SyncConfig::default(), Jitter::default())
        };
        assert!(matches!(backed_off(&[]), PodPlan::Wait(at) if at == time(NOW + 6)));
        assert!(matches!(backed_off(&[pod("a")]), PodPlan::Nothing), "nothing is missing");
        assert!(matches!(backed_off(&[pod("a"), pod("b")]), PodPlan::Delete { .. }));
    }

    #[test]
    fn pod_deleted_uncounted_is_replaced_after_a_delay() {
        let job = Job::new().completions(3).parallelism(1);
        let at = |now| {
            manage(
                &job.view,
                &job.summary(&[]),
                &Backoff::default(),
                Some(time(5)),
                time(now),
                &SyncConfig::default(),
                Jitter::default(),
            )
        };
        assert!(matches!(at(5), PodPlan::Wait(until) if until == time(6)));
        assert!(matches!(at(6), PodPlan::Create(pods) if pods.len() == 1));
    }

    #[test]
    fn pod_replacement_policy_decides_when_a_terminating_pod_is_replaced() {
        let pods = [pod("a").running(1).deleting(2)];
        let job = Job::new().completions(5).parallelism(1);
        assert_eq!(created(&job, &pods), 1);
        assert!(matches!(plan(&job.replace_only_failed(), &pods), PodPlan::Nothing));
    }

    #[test]
    fn pods_of_a_suspended_job_are_deleted_uncounted() {
        let job = Job::new().completions(5).parallelism(2).suspend(true);
        let PodPlan::Delete { pods, uncounted } = plan(&job, &[pod("a").running(1), pod("b")]) else { panic!() };
        assert_eq!((pods.len(), uncounted), (2, true));
        assert!(matches!(plan(&job, &[]), PodPlan::Nothing));
    }
}
