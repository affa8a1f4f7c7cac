//! The annotation `jobwright.dev/indexes`: an Indexed Job runs the indexes that the annotation lists, and no other.
//!
//! The controller acts on the present value, as it does for `spec.completions` of an elastic Job. A pod whose index is no
//! longer listed is surplus, and an index that is added gets a pod. Results that are stored stay. The annotation decides
//! for which indexes pods are created and when the Job is complete, and changes no counter. So no value can break the
//! accounting.
//!
//! While the value is not valid, no pod is created, and the pods that exist are handled and counted.

use super::summary::PodSummary;
use crate::job::view::JobView;
use crate::runtime::events::EventText;

/// Returns the event that a Job gets no pods because its list of indexes is invalid.
pub fn refusal(job: &JobView) -> Option<EventText> {
    Some(EventText::warning("InvalidIndexes", job.invalid_indexes()?))
}

/// Returns whether an invalid list keeps the Job from starting. Such a Job gets no start time, so that its deadline does
/// not begin and no limit reserves capacity for it.
pub fn prevents_start(job: &JobView) -> bool {
    job.invalid_indexes().is_some() && job.status.start_time.is_none() && !job.spec.suspend && !job.deleting
}

/// Returns the number of indexes that an Indexed Job runs.
pub fn size(job: &JobView) -> u64 {
    job.listed_indexes().map_or_else(|| job.indexes().into(), |listed| listed.len())
}

/// Returns the number of successes that the Job needs: `spec.completions`, or the number of listed indexes.
pub fn wanted(job: &JobView) -> Option<i32> {
    match job.listed_indexes() {
        Some(listed) => Some(listed.len().try_into().unwrap_or(i32::MAX)),
        None => job.spec.completions,
    }
}

/// Returns the number of successes that the Job still needs: of listed indexes, or else of any pods; none for a work
/// queue.
pub fn missing(job: &JobView, summary: &PodSummary) -> Option<i64> {
    match job.listed_indexes() {
        Some(listed) => {
            Some(listed.len().saturating_sub(summary.ended_indexes().succeeded).try_into().unwrap_or(i64::MAX))
        }
        None => job.spec.completions.map(|completions| i64::from(completions) - summary.succeeded()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::*;
    use super::super::parallelism::PodPlan;
    use super::super::{Step, completions};
    use super::*;
    use crate::job::admission::Admission;
    use crate::job::status::{FAILURE_TARGET, JobStatus, SUCCESS_CRITERIA_MET, SUSPENDED};
    use crate::runtime::events::EventType;

    fn created(job: &Job, pods: &[Pod]) -> Vec<u32> {
        match job.plan(pods, NOW) {
            PodPlan::Create(pods) => pods.iter().filter_map(|pod| pod.index).collect(),
            _ => Vec::new(),
        }
    }

    fn written(job: &Job, pods: &[Pod]) -> JobStatus {
        match job.decide(pods).step {
            Step::WriteStatus { status, .. } => *status,
            other => panic!("no status to write: {other:?}"),
        }
    }

    fn rejection(job: &Job, pods: &[Pod]) -> Option<EventText> {
        match job.decide(pods).step {
            Step::RejectInvalid(event) => Some(event),
            _ => None,
        }
    }

    #[test]
    fn listed_indexes_alone_get_pods_within_the_parallelism() {
        let job = || Job::new().indexed(10).indexes("3,7-9");
        assert_eq!(created(&job().parallelism(10), &[]), [3, 7, 8, 9]);
        assert_eq!(created(&job().parallelism(2), &[]), [3, 7]);
        assert_eq!(created(&job().parallelism(2), &[pod("a").index(7).running(1)]), [3]);
        let ended = [pod("a").index(3).succeeded(1), pod("b").index(7).running(1)];
        assert_eq!(created(&job().parallelism(10), &ended), [8, 9]);
        assert_eq!(created(&job().parallelism(10).completed("0-8"), &[]), [9], "other successes count for nothing");
        assert_eq!(created(&Job::new().indexed(10).indexes("0-9").parallelism(99), &[]).len(), 10);
    }

    #[test]
    fn job_is_complete_when_all_listed_indexes_have_succeeded() {
        let job = Job::new().indexed(10).indexes("3,7-9").parallelism(9).started(0);
        let is_complete = |job: &Job| completions::is_complete(&job.view, &job.summary(&[]));
        assert!(!is_complete(&job.clone().completed("0-2,4-9").counted(9, 0)));
        let done = job.completed("3,7-9").counted(4, 0);
        assert!(is_complete(&done));
        assert!(!completions::is_complete(&done.view, &done.summary(&[pod("a").index(3).running(1)])));
        let status = written(&done, &[]);
        let met = status.true_condition(SUCCESS_CRITERIA_MET).unwrap();
        assert_eq!(met.reason, "CompletionsReached");
        assert!(met.message.contains("jobwright.dev/indexes"), "{:?}", met.message);
        assert_eq!((status.succeeded, status.completed_indexes.set.to_string().as_str()), (4, "3,7-9"));
    }

    #[test]
    fn job_fails_when_all_listed_indexes_have_ended_and_one_has_failed() {
        let job = Job::new().indexed(10).indexes("3,7").parallelism(9).per_index(0).started(0);
        let pods = [pod("a").index(3).failed(5), pod("b").index(7).succeeded(5)];
        let reason = |job: &Job, pods: &[Pod]| {
            written(job, pods).true_condition(FAILURE_TARGET).map(|target| target.reason.as_str().to_owned())
        };
        assert_eq!(reason(&job, &pods), Some("FailedIndexes".to_owned()));
        assert_eq!(reason(&job, &[pods[0].clone(), pod("b").index(7).running(5)]), None);
        let exceeded = job.clone().max_failed(0);
        assert_eq!(reason(&exceeded, &pods[..1]), Some("MaxFailedIndexesExceeded".to_owned()));
        let other = job.failed_indexes("5").completed("3,7").counted(2, 1);
        assert!(written(&other, &[]).true_condition(SUCCESS_CRITERIA_MET).is_some(), "index 5 is not listed any more");
    }

    #[test]
    fn success_policy_counts_the_successes_of_this_job() {
        let rules = json!([{"succeededIndexes": "0,3", "succeededCount": 1}]);
        let job = Job::new().indexed(10).indexes("3,7").parallelism(9).success_rules(rules).started(0);
        let status = written(&job, &[pod("a").index(3).succeeded(5), pod("b").index(7).running(1)]);
        assert_eq!(status.true_condition(SUCCESS_CRITERIA_MET).unwrap().reason, "SuccessPolicy");
    }

    #[test]
    fn pod_of_an_index_that_is_not_listed_is_deleted_uncounted_and_its_success_stays() {
        let job = Job::new().indexed(10).indexes("3").parallelism(9).started(0);
        let PodPlan::Delete { pods, uncounted } = job.plan(&[pod("a").index(4).running(1)], NOW) else { panic!() };
        assert_eq!((names(&pods), uncounted), (vec!["a".to_owned()], true));
        let status = written(&job.clone().refused(), &[pod("a").index(4).succeeded(5), pod("b").index(3).running(1)]);
        assert_eq!(status.completed_indexes.set.to_string(), "4", "a success that the controller saw is not lost");
        let stored = job.completed("4").counted(1, 0);
        assert_eq!(created(&stored, &[]), [3]);
    }

    #[test]
    fn changed_list_applies_to_the_next_pods() {
        let job = Job::new().indexed(10).parallelism(9).started(0).completed("3").counted(1, 0);
        let mut summary = job.clone().indexes("3,4").summary(&[]);
        for (text, missing_now) in [("3,4", 1), ("3-6", 3), ("3", 0), ("0-9", 9)] {
            let changed = job.clone().indexes(text);
            summary.set_job(&changed.view);
            assert_eq!(missing(&changed.view, &summary), Some(missing_now), "{text}");
            assert!(summary == changed.summary(&[]), "{text}: {summary:#?}");
        }
    }

    #[test]
    fn suspended_job_gets_no_pods() {
        let job = Job::new().indexed(10).indexes("3").suspend(true);
        assert!(matches!(job.plan(&[], NOW), PodPlan::Nothing));
        let invalid = Job::new().indexed(10).indexes("30").suspend(true);
        assert!(written(&invalid, &[]).true_condition(SUSPENDED).is_some(), "Kueue waits for this condition");
    }

    #[test]
    fn new_job_with_an_invalid_list_gets_an_event_and_nothing_else() {
        for text in ["", "x", "10", "9-7", "3,3", "0-999999999"] {
            let job = Job::new().indexed(10).parallelism(9).indexes(text);
            for admission in [Admission::Unlimited, Admission::Admitted] {
                let Step::RejectInvalid(event) = job.decide_admitted(&[], &admission).step else { panic!("{text}") };
                assert_eq!((&*event.reason, event.type_ == EventType::Warning), ("InvalidIndexes", true));
                assert!(event.message.contains("metadata.annotations[jobwright.dev/indexes]"), "{}", event.message);
            }
        }
        assert!(rejection(&Job::new().completions(3).indexes("1"), &[]).is_some(), "the Job is not Indexed");
    }

    #[test]
    fn job_whose_list_becomes_invalid_keeps_its_pods_and_counts_them() {
        let job = Job::new().indexed(3).parallelism(3).indexes("x").started(0);
        let pods = [pod("a").index(0).running(1), pod("b").index(1).succeeded(5)];
        let status = written(&job, &pods);
        assert_eq!((status.active, status.succeeded), (1, 1));
        let stored = job.with_status(status);
        assert!(matches!(stored.decide(&pods).step, Step::RemoveFinalizers(_)));
        let pods = [pods[0].clone(), pod("b").index(1).succeeded(5).untracked()];
        assert!(rejection(&stored, &pods).is_some(), "index 2 gets no pod");
        let late = stored.clone().active_deadline(10);
        assert!(written(&late, &pods).true_condition(FAILURE_TARGET).is_some(), "the deadline applies");
        let fixed = stored.indexes("0-2");
        assert!(matches!(fixed.decide(&pods).step, Step::CreatePods { pods, .. } if pods[0].index == Some(2)));
    }

    #[test]
    fn resumed_job_with_an_invalid_list_does_not_start() {
        let job = Job::new().indexed(3).parallelism(3).indexes("x");
        let status = written(&job, &[pod("a").index(0).running(1).deleting(2)]);
        assert_eq!((status.start_time, status.terminating), (None, Some(1)));
        let deleted = job.deleting();
        assert!(rejection(&deleted, &[]).is_none(), "the Job needs no correction any more");
    }
}
