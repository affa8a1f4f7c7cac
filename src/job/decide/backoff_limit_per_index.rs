//! `spec.backoffLimitPerIndex`: the maximum number of failures of each index
//! ([KEP-3850](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3850-backoff-limits-per-index-for-indexed-jobs)).
//!
//! The Job's status does not contain the failures of each index. They are recorded on the pods: each new pod carries
//! the number of failures before it. Therefore the last failed pod of an index keeps its finalizer until there is a new
//! pod.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::jitter::Jitter;
use super::pod_failure_policy::{PolicyDecision, ignores_disruptions_alone, is_ignored_disruption, policy_decision};
use super::summary::Ended;
use super::{NewPod, backoff, index_subset};
use crate::job::config::SyncConfig;
use crate::job::index::CompletionIndex;
use crate::job::view::{IndexFailures, JobView, PodView};
use crate::runtime::identity::Uid;

/// Returns whether the failure of this pod fails its index: it exceeds the limit or matches a `FailIndex` rule.
/// `decision` is that of the Job's failure policy on the pod. Without `spec.backoffLimitPerIndex` no index fails.
pub fn fails_index(job: &JobView, pod: &PodView, decision: &PolicyDecision) -> bool {
    job.spec.backoff_limit_per_index.is_some_and(|limit| match decision {
        PolicyDecision::FailIndex | PolicyDecision::StartFailsIndex => true,
        PolicyDecision::Ignore => false,
        PolicyDecision::Count
        | PolicyDecision::Unmatched
        | PolicyDecision::FailJob(_)
        | PolicyDecision::StartFailsJob(_) => pod.index_failures.counted >= limit,
    })
}

/// Returns whether every index that the Job runs has succeeded or failed, and at least one has failed.
pub fn is_over(job: &JobView, ended: Ended) -> bool {
    ended.failed > 0 && ended.failed + ended.succeeded >= index_subset::size(job)
}

/// Returns the last one of the failed pods of an index.
pub fn record(failed: &BTreeMap<Uid, Arc<PodView>>) -> Option<&Arc<PodView>> {
    let age = |pod: &PodView| (pod.index_failures.all(), pod.finished_at);
    failed.values().reduce(|known, pod| {
        let (known_age, new_age) = (age(known), age(pod));
        if known_age.0 <= new_age.0 && known_age.1 <= new_age.1 { pod } else { known }
    })
}

/// Returns a new pod for each of these indexes whose back-off has ended.
///
/// # Errors
/// If there is none, returns the earliest end of a back-off, or `None` if no index was given.
pub fn ready(
    job: &JobView,
    indexes: impl Iterator<Item = CompletionIndex>,
    records: &BTreeMap<CompletionIndex, Arc<PodView>>,
    now: Timestamp,
    config: &SyncConfig,
    jitter: Jitter,
) -> Result<Vec<NewPod>, Option<Timestamp>> {
    let mut ready = Vec::new();
    let mut first: Option<Reverse<Timestamp>> = None;
    for index in indexes {
        let record = records.get(&index);
        let until = record.and_then(|record| replaceable_at(job, record, config, jitter.for_index(index)));
        match until.filter(|until| *until > now) {
            Some(until) => first = first.max(Some(Reverse(until))),
            None => ready.push(NewPod { index: Some(index), failures: Some(carried(job, record.map(Arc::as_ref))) }),
        }
    }
    if ready.is_empty() { Err(first.map(|Reverse(until)| until)) } else { Ok(ready) }
}

/// Returns the time from which the replacement of this failed pod of an index may be created. Ignored disruptions do
/// not raise the wait, as in [`backoff`]. If a policy ignores other failures too, the pod's count does not distinguish
/// them, so all ignored failures raise the wait.
fn replaceable_at(job: &JobView, record: &PodView, config: &SyncConfig, jitter: Jitter) -> Option<Timestamp> {
    if is_ignored_disruption(job, record) {
        return Some(backoff::disruption_over_at(record.created, config));
    }
    let IndexFailures { counted, .. } = record.index_failures;
    let before = if ignores_disruptions_alone(job) { counted } else { record.index_failures.all() };
    let failures = u32::try_from(before).unwrap_or_default().saturating_add(1);
    backoff::over_at(failures, record.finished_at, config, jitter)
}

/// Returns the numbers of failures that a new pod of an index carries over from the pod that it replaces.
fn carried(job: &JobView, replaced: Option<&PodView>) -> IndexFailures {
    let Some(replaced) = replaced else { return IndexFailures::default() };
    let IndexFailures { counted, ignored } = replaced.index_failures;
    if policy_decision(job, replaced) == PolicyDecision::Ignore {
        IndexFailures { counted, ignored: ignored.saturating_add(1) }
    } else {
        IndexFailures { counted: counted.saturating_add(1), ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::parallelism::PodPlan;
    use super::*;

    fn failed_indexes(job: &Job, pods: &[Pod]) -> String {
        job.summary(pods).failed_indexes().to_string()
    }

    fn records_of(job: &Job, pods: &[Pod]) -> Vec<String> {
        names(&job.summary(pods).records().values().cloned().collect::<Vec<_>>())
    }

    /// Returns index, counted and ignored failures of each new pod, or the time until which creation waits.
    fn plan(job: &Job, pods: &[Pod], now: i64) -> Result<Vec<(u32, i32, i32)>, Option<Timestamp>> {
        match job.plan(pods, now) {
            PodPlan::Create(pods) => Ok(pods
                .iter()
                .map(|new| (new.index.unwrap(), new.failures.unwrap().counted, new.failures.unwrap().ignored))
                .collect()),
            PodPlan::Wait(until) => Err(Some(until)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn index_fails_with_one_failure_more_than_its_limit() {
        let job = Job::new().indexed(3).per_index(1);
        assert_eq!(failed_indexes(&job, &[pod("a").index(0).failures(0, 0).failed(5)]), "");
        assert_eq!(failed_indexes(&job, &[pod("a").index(0).failures(1, 0).failed(5)]), "0");
        assert_eq!(
            failed_indexes(&job, &[pod("a").index(0).failures(0, 4).failed(5)]),
            "",
            "ignored failures do not count"
        );
        assert_eq!(
            failed_indexes(&job, &[pod("a").index(7).failures(9, 0).failed(5)]),
            "",
            "index 7 is not an index of this Job"
        );
        let stored = Job::new().indexed(3).per_index(1).failed_indexes("2");
        assert_eq!(failed_indexes(&stored, &[]), "2");
        assert_eq!(failed_indexes(&Job::new().indexed(3), &[pod("a").index(0).failed(5)]), "");
    }

    #[test]
    fn index_with_a_success_and_a_failure_has_one_result() {
        let pods = [pod("a").index(0).succeeded(5), pod("b").index(0).failed(5)];
        let new = Job::new().indexed(3).per_index(0).summary(&pods);
        assert_eq!(
            (new.succeeded_indexes().to_string().as_str(), new.failed_indexes().to_string().as_str()),
            ("0", "")
        );
        let failed = Job::new().indexed(3).per_index(0).failed_indexes("0").summary(&pods);
        assert_eq!(
            (failed.succeeded_indexes().to_string().as_str(), failed.failed_indexes().to_string().as_str()),
            ("", "0")
        );
    }

    #[test]
    fn policy_can_fail_an_index_immediately_or_ignore_a_failure() {
        let fail = Job::new().indexed(3).per_index(9).rule("FailIndex", 42).rule("Ignore", 43);
        assert_eq!(failed_indexes(&fail, &[pod("a").index(1).failed(5).exit("main", 42)]), "1");
        let job = Job::new().indexed(3).per_index(0).rule("Ignore", 43);
        assert_eq!(failed_indexes(&job, &[pod("a").index(1).failed(5).exit("main", 43)]), "");
        assert_eq!(failed_indexes(&job, &[pod("a").index(1).failed(5).exit("main", 1)]), "1");
    }

    #[test]
    fn last_failed_pod_of_an_index_is_kept_until_there_is_a_new_one() {
        let job = Job::new().indexed(3).per_index(5);
        let (first, second) =
            (pod("first").index(0).failures(0, 0).failed(5), pod("second").index(0).failures(1, 0).failed(9));
        assert_eq!(records_of(&job, &[first.clone(), second.clone()]), ["second"]);
        assert_eq!(records_of(&job, &[second.clone(), first.clone()]), ["second"]);
        assert_eq!(records_of(&job, &[second.clone(), pod("new").index(0)]), [""; 0]);
        let done = Job::new().indexed(3).per_index(5).completed("0");
        assert_eq!(records_of(&done, std::slice::from_ref(&second)), [""; 0], "the index succeeded meanwhile");
        let over = Job::new().indexed(3).per_index(5).failed_indexes("0");
        assert_eq!(records_of(&over, &[second]), [""; 0]);
    }

    #[test]
    fn new_pod_carries_over_the_failures_of_its_index() {
        let job = Job::new().indexed(2).parallelism(2).per_index(5).rule("Ignore", 43);
        let pods = [
            pod("a").index(0).failures(1, 2).failed(0).exit("main", 1),
            pod("b").index(1).failures(1, 2).failed(0).exit("main", 43),
        ];
        assert_eq!(plan(&job, &pods, 1000), Ok(vec![(0, 2, 2), (1, 1, 3)]));
        assert_eq!(plan(&job, &[], 1000), Ok(vec![(0, 0, 0), (1, 0, 0)]));
    }

    #[test]
    fn index_in_its_back_off_waits_and_no_later_index_takes_its_place() {
        let job = Job::new().indexed(4).parallelism(2).per_index(5);
        // After one failure 10 s, after three 40 s.
        let waiting = [pod("a").index(0).failures(0, 0).failed(100), pod("b").index(1).failures(1, 1).failed(100)];
        assert_eq!(plan(&job, &waiting, 105), Err(Some(time(110))));
        assert_eq!(plan(&job, &waiting, 110), Ok(vec![(0, 1, 0)]));
        assert_eq!(plan(&job, &[waiting[1].clone(), pod("new").index(0)], 110), Err(Some(time(140))));
    }

    #[test]
    fn ignored_disruptions_of_an_index_delay_no_replacement() {
        let rule = serde_json::json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let job = Job::new().indexed(1).per_index(5).failure_rule(rule);
        let evicted = |created, at| pod("a").index(0).running(created).failed(at).condition("DisruptionTarget", "True");
        assert_eq!(plan(&job, &[evicted(0, 100).failures(0, 4)], 100), Ok(vec![(0, 0, 5)]));
        assert_eq!(plan(&job, &[evicted(95, 100).failures(0, 4)], 100), Err(Some(time(105))), "evicted as it started");
        let failed = pod("a").index(0).failures(0, 4).failed(100).exit("main", 1);
        assert_eq!(plan(&job, std::slice::from_ref(&failed), 100), Err(Some(time(110))), "its first failure");
        let also_by_code = job.rule("Ignore", 42);
        assert_eq!(
            plan(&also_by_code, &[failed], 100),
            Err(Some(time(260))),
            "the count does not show which of the five were disruptions"
        );
    }

    #[test]
    fn job_is_over_when_all_indexes_have_ended_and_some_failed() {
        let job = Job::new().indexed(3).per_index(0).view;
        assert!(is_over(&job, Ended { succeeded: 2, failed: 1 }));
        assert!(!is_over(&job, Ended { succeeded: 1, failed: 1 }));
        assert!(!is_over(&job, Ended { succeeded: 3, failed: 0 }));
    }
}
