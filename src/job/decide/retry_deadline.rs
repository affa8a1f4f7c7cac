//! Retries with more time: the pods that replace one that exceeded the `activeDeadlineSeconds` of its spec
//! ([pod API](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#lifecycle)) get a later one, if
//! the JobPolicy asks for that.
//!
//! As the memory of retries, the deadline is that of the whole Job, and is stored with the status that lists the failed
//! pod. The spec of each pod records its own.

use super::DecisionInput;
use crate::runtime::events::EventText;

/// Returns `activeDeadlineSeconds` of new pods; none if it is that of the template.
pub fn seconds(input: &DecisionInput<'_>) -> Option<u32> {
    let rule = input.policy?.pod_deadline?;
    let stored = input.job.policy.as_ref().and_then(|policy| policy.pod_deadline);
    let exceeded = input.pods.new_failed().iter().filter_map(|pod| pod.end.as_ref()?.exceeded_deadline);
    exceeded.map(|seconds| rule.raised(seconds)).chain(stored).max()
}

/// Returns the event about a deadline that is to be stored.
pub fn event(stored: Option<u32>, seconds: Option<u32>) -> Option<EventText> {
    let seconds = seconds.filter(|seconds| stored.is_none_or(|stored| stored < *seconds))?;
    let message = format!("A pod exceeded its activeDeadlineSeconds; new pods get activeDeadlineSeconds {seconds}");
    Some(EventText::normal("PodDeadlineRaised", message))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::{Raised, Step};
    use crate::job::policy::{DeadlineRule, PolicyRules};

    fn job(rule: Option<DeadlineRule>) -> Job {
        let policy = PolicyRules { name: "grow".into(), pod_deadline: rule, ..PolicyRules::default() };
        Job::new().completions(3).backoff_limit(9).started(0).governed(policy)
    }

    fn late(name: &str, seconds: u32) -> Pod {
        pod(name).failed(5).with(|pod| pod.end.get_or_insert_default().exceeded_deadline = Some(seconds))
    }

    fn next(job: &Job, pods: &[Pod]) -> Option<u32> {
        match job.decide(pods).step {
            Step::CreatePods { raised: Raised { deadline_seconds, .. }, .. } => deadline_seconds,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn replacement_gets_a_later_deadline_up_to_the_maximum() {
        let rule = DeadlineRule { percent: 150, max: 100 };
        let cases = [(10, 15), (15, 23), (80, 100), (100, 100), (200, 200)];
        for (seconds, expected) in cases {
            assert_eq!(next(&job(Some(rule)), &[late("a", seconds)]), Some(expected), "{seconds}");
        }
        assert_eq!(next(&job(Some(rule)), &[late("a", 10), late("b", 15)]), Some(23), "the latest one counts");
        assert_eq!(next(&job(Some(rule)), &[pod("a").failed(5)]), None, "another failure");
        assert_eq!(next(&job(None), &[late("a", 10)]), None);
    }

    #[test]
    fn deadline_is_stored_with_the_status_that_lists_the_failed_pod_and_outlasts_it() {
        let double = job(Some(DeadlineRule { percent: 200, max: 1000 }));
        let pods = [late("a", 10), pod("b").running(6)];
        let Step::WriteStatus { status, annotations: Some(annotations), events, .. } = double.decide(&pods).step else {
            panic!()
        };
        assert_eq!(status.uncounted.failed, ["uid-a".into()]);
        assert_eq!(annotations.pod_deadline, Some(20));
        assert!(events.iter().any(|event| event.reason == "PodDeadlineRaised" && event.message.ends_with(" 20")));
        let stored = double.with_status(*status).with(|job| job.policy = Some(annotations));
        // The failed pod is counted and gone.
        let later = stored.with(|job| job.status.uncounted.failed.clear());
        assert_eq!(next(&later, &[]), Some(20));
        assert_eq!(next(&later, &[late("c", 10)]), Some(20), "a pod from before the deadline was raised");
        assert_eq!(next(&later, &[late("c", 20)]), Some(40));
        // A policy without the rule gives the template's.
        assert_eq!(next(&later.governed(PolicyRules::default()), &[]), None);
    }
}
