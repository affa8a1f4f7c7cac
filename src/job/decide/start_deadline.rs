//! Start deadlines: pods that have waited for their start for longer than the JobPolicy of their Job allows
//! (kubernetes/kubernetes issues 113211 and 122300).
//!
//! Such a pod ends as a failure in two writes, as an eviction does: a condition records the cause, and what follows, and
//! then the pod is deleted. A rule of `spec.podFailurePolicy` can match the condition, and comes before the action of the
//! JobPolicy. A pod without a node has nothing that could still run, so the first write also sets its phase to Failed, and
//! the pod stays.

use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::Outcome;
use super::{DecisionInput, Step, completions, earlier};
use crate::job::config::SyncConfig;
use crate::job::policy::{PolicyRules, StartDeadline};
use crate::job::view::start::{StartAction, StartCause};
use crate::job::view::{JobView, PodView};
use crate::job::write_kinds::{CREATE, DELETE, FAIL_POD, SUSPEND};
use crate::runtime::events::EventText;

/// Reason of the failure of a Job, and of the events.
pub const START_DEADLINE_EXCEEDED: &str = "StartDeadlineExceeded";

/// A pod that has not started in time.
#[derive(Clone, Debug)]
pub struct FailedStart {
    /// The pod.
    pub pod: Arc<PodView>,
    /// Cause why it has not started.
    pub cause: StartCause,
    /// What follows for the Job.
    pub action: StartAction,
    /// Message of the condition, for users.
    pub message: String,
}

/// Causes of pods. A refused creation has no pod.
const OF_PODS: [StartCause; 4] = [StartCause::Image, StartCause::Config, StartCause::Unschedulable, StartCause::Other];

/// Returns the step that fails pods that have not started in time, or that suspends their Job; none if there is no such
/// pod, or if the write that would be next waits.
pub fn step(input: &DecisionInput<'_>, now: Timestamp, config: &SyncConfig) -> Option<Step> {
    let waits_for = |kind, pod: &PodView| input.refusals.is_backed_off(kind, Some(&pod.identity.uid), now);
    // The condition of these pods is stored, which is enough whatever the policy is now.
    let left = input.pods.failed_start().iter().filter(|pod| !waits_for(DELETE, pod));
    let left: Vec<_> = left.take(config.max_pods_per_sync).cloned().collect();
    if !left.is_empty() {
        return Some(Step::DeletePods { pods: left, uncounted: false }).filter(|_| can_have_pods(input.job));
    }
    let policy = policy(input)?;
    let mut failed_start = Vec::new();
    for (cause, rule) in rules(policy) {
        for (since, uid) in input.starts.of(cause) {
            if failed_start.len() >= config.max_pods_per_sync || due_at(since, rule) > now {
                break;
            }
            let Some(pod) = input.pods.pod(uid).filter(|pod| pod.is_active() && pod.start_failure.is_none()) else {
                continue;
            };
            let action = action(input.job, rule);
            if action == StartAction::Suspend {
                let message = format!("{}; the Job is suspended", sentence(pod, cause, rule));
                if let Some(step) = suspend(input, message, now) {
                    return Some(step);
                }
                continue;
            }
            if !waits_for(FAIL_POD, pod) {
                let message = sentence(pod, cause, rule);
                failed_start.push(FailedStart { pod: pod.clone(), cause, action, message });
            }
        }
    }
    if !failed_start.is_empty() {
        return Some(Step::FailPods(failed_start));
    }
    let (rule, since) = refused(input, policy)?;
    if due_at(since, rule) <= now && action(input.job, rule) == StartAction::Suspend {
        return suspend(input, format!("{}; the Job is suspended", refusal_sentence(rule)), now);
    }
    None
}

/// Returns the outcome of a Job whose pods did not start in time, if it fails because of that.
pub fn outcome(input: &DecisionInput<'_>, now: Timestamp) -> Option<Outcome> {
    if let Some(message) = super::pod_failure_policy::failed_start(input.job, input.pods.failing().iter()) {
        return Some(Outcome::failed(START_DEADLINE_EXCEEDED, &message));
    }
    let (rule, since) = refused(input, policy(input)?)?;
    let fails = due_at(since, rule) <= now && action(input.job, rule) == StartAction::FailJob;
    fails.then(|| Outcome::failed(START_DEADLINE_EXCEEDED, &refusal_sentence(rule)))
}

/// Returns the next time at which a pod may have waited for too long.
pub fn wake(input: &DecisionInput<'_>, now: Timestamp) -> Option<Timestamp> {
    let policy = policy(input)?;
    let next = rules(policy).filter_map(|(cause, rule)| {
        // A pod that is due already waits for the end of a back-off, or for the next batch.
        input.starts.of(cause).map(|(since, _)| due_at(since, rule)).find(|due| *due > now)
    });
    let refused = refused(input, policy).map(|(rule, since)| due_at(since, rule)).filter(|due| *due > now);
    next.chain(refused).reduce(|one, other| earlier(Some(one), other))
}

/// Returns the rules, if they apply to the Job at present: a suspended Job has no pods that should start.
fn policy<'a>(input: &DecisionInput<'a>) -> Option<&'a PolicyRules> {
    let applies = can_have_pods(input.job) && !input.admission.is_pending();
    input.policy.filter(|policy| applies && policy.start.is_set())
}

fn can_have_pods(job: &JobView) -> bool {
    !job.spec.suspend && !job.deleting && !job.status.has_outcome()
}

fn rules(policy: &PolicyRules) -> impl Iterator<Item = (StartCause, StartDeadline)> {
    OF_PODS.into_iter().filter_map(|cause| Some((cause, policy.start.of(cause)?)))
}

/// Returns the rule about refused creations, and the time since which the API server has refused all of them, if the Job
/// lacks pods.
fn refused(input: &DecisionInput<'_>, policy: &PolicyRules) -> Option<(StartDeadline, Timestamp)> {
    let rule = policy.start.admission?;
    let is_missing_pods = completions::desired_active(input.job, input.pods) > input.pods.active();
    Some((rule, input.refusals.refused_since(CREATE).filter(|_| is_missing_pods)?))
}

fn due_at(since: Timestamp, rule: StartDeadline) -> Timestamp {
    since.checked_add(rule.after).unwrap_or(Timestamp::MAX)
}

/// Returns the action that fits the Job. Kueue resumes a Job that it has admitted, so its pods are retried instead.
fn action(job: &JobView, rule: StartDeadline) -> StartAction {
    match rule.action {
        StartAction::Suspend if job.is_managed_by_kueue() => StartAction::RetryPod,
        StartAction::FailIndex if job.spec.backoff_limit_per_index.is_none() => StartAction::FailJob,
        action => action,
    }
}

fn suspend(input: &DecisionInput<'_>, message: String, now: Timestamp) -> Option<Step> {
    let may_write = !input.refusals.is_backed_off(SUSPEND, None, now);
    may_write.then(|| Step::SuspendJob(EventText::warning(START_DEADLINE_EXCEEDED, message)))
}

fn sentence(pod: &PodView, cause: StartCause, rule: StartDeadline) -> String {
    let name = &pod.identity.name;
    let state = pod.start.as_ref();
    let why = state.and_then(|state| state.text.as_ref()).map(|text| text.sentence());
    let why = why.filter(|why| !why.is_empty()).unwrap_or_else(|| match cause {
        StartCause::Config => "its node has not set up its volumes and its network".to_owned(),
        _ if pod.scheduled => "its containers have not started".to_owned(),
        _ => "no scheduler has placed it on a node".to_owned(),
    });
    if state.is_some_and(|state| state.is_final) {
        return format!("Pod {name} cannot start: {why}");
    }
    format!("Pod {name} did not start within {} s: {why}", rule.after.as_secs())
}

fn refusal_sentence(rule: StartDeadline) -> String {
    format!(
        "The API server has refused for {} s to create pods of the Job; see its events FailedCreate",
        rule.after.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixtures::*;
    use super::*;
    use crate::job::policy::StartDeadlines;
    use crate::job::status::FAILURE_TARGET;

    fn deadline(seconds: u64, action: StartAction) -> Option<StartDeadline> {
        Some(StartDeadline { after: Duration::from_secs(seconds), action })
    }

    fn policy(start: StartDeadlines) -> PolicyRules {
        PolicyRules { name: "strict".into(), start, ..PolicyRules::default() }
    }

    fn image(action: StartAction) -> PolicyRules {
        policy(StartDeadlines { image: deadline(60, action), ..StartDeadlines::default() })
    }

    fn job() -> Job {
        Job::new().completions(3).parallelism(2).started(0)
    }

    fn stuck(name: &str, since: i64) -> Pod {
        pod(name).unstarted(StartCause::Image, since)
    }

    #[test]
    fn pod_is_failed_start_after_the_deadline_and_then_deleted_as_a_failure() {
        let job = job().governed(image(StartAction::RetryPod));
        let pods = [stuck("a", NOW - 60), stuck("b", NOW - 59)];
        let Step::FailPods(failed_start) = job.decide(&pods).step else { panic!() };
        assert_eq!(failed_start.len(), 1);
        let FailedStart { pod, cause, action, message } = &failed_start[0];
        assert_eq!((&*pod.identity.name, *cause, *action), ("a", StartCause::Image, StartAction::RetryPod));
        assert_eq!(message, "Pod a did not start within 60 s: ErrImagePull: container main: not found");
        let stored = [stuck("a", NOW - 60).failed_start(StartAction::RetryPod), stuck("b", NOW - 59)];
        let Step::DeletePods { pods, uncounted } = job.decide(&stored).step else { panic!() };
        assert_eq!((names(&pods), uncounted), (vec!["a".to_owned()], false));
        let deleted = [stuck("a", NOW - 60).failed_start(StartAction::RetryPod).deleting(NOW), stuck("b", NOW - 59)];
        let decision = job.decide(&deleted);
        assert!(decision.wake.is_some(), "the back-off, or the deadline of b");
        let Step::WriteStatus { status, .. } = decision.step else { panic!("{decision:?}") };
        assert_eq!(status.uncounted.failed, ["uid-a".into()]);
    }

    #[test]
    fn deadline_that_has_not_passed_is_waited_for() {
        let job = job().governed(image(StartAction::FailJob)).counted(0, 0);
        let pods = [stuck("a", NOW - 50), stuck("b", NOW - 40)];
        let stored = match job.decide(&pods).step {
            Step::WriteStatus { status, .. } => job.with_status(*status).policy_recorded(),
            other => panic!("{other:?}"),
        };
        let decision = stored.decide(&pods);
        assert!(matches!(decision.step, Step::None), "{decision:?}");
        assert_eq!(decision.wake, Some(time(NOW + 10)));
    }

    #[test]
    fn job_fails_as_soon_as_the_condition_is_stored() {
        let job = job().governed(image(StartAction::FailJob));
        let pods = [stuck("a", 0).failed_start(StartAction::FailJob), pod("b").running(1)];
        let Step::WriteStatus { status, .. } = job.decide(&pods).step else { panic!() };
        let target = status.true_condition(FAILURE_TARGET).unwrap();
        assert_eq!((&*target.reason, &*target.message), (START_DEADLINE_EXCEEDED, "Pod a did not start"));
        assert_eq!(status.uncounted.failed.len(), 2, "the pods of a failed Job count as failed");
        let clearing = job.with_status(*status);
        assert!(matches!(clearing.decide(&pods).step, Step::DeletePods { pods, uncounted: false } if pods.len() == 2));
    }

    #[test]
    fn rule_of_the_pod_failure_policy_comes_before_the_action() {
        let pattern = serde_json::json!([{"type": "jobwright.dev/StartDeadlineExceeded", "status": "True"}]);
        let ignoring = job()
            .failure_rule(serde_json::json!({"action": "Ignore", "onPodConditions": pattern}))
            .governed(image(StartAction::FailJob));
        let pods = [
            stuck("a", 0)
                .failed_start(StartAction::FailJob)
                .condition("jobwright.dev/StartDeadlineExceeded", "True")
                .deleting(NOW),
            pod("b").running(1),
        ];
        let step = ignoring.decide(&pods).step;
        assert!(!matches!(&step, Step::WriteStatus { status, .. } if status.has_outcome()), "{step:?}");
    }

    #[test]
    fn index_fails_and_without_a_limit_per_index_the_job() {
        let policy = image(StartAction::FailIndex);
        let per_index = Job::new().indexed(3).parallelism(3).per_index(5).started(0).governed(policy.clone());
        let pods = |action| {
            let running = |name, index| pod(name).index(index).running(1);
            [stuck("a", 0).index(1).failed_start(action).deleting(NOW), running("b", 0), running("c", 2)]
        };
        assert_eq!(per_index.summary(&pods(StartAction::FailIndex)).failed_indexes().to_string(), "1");
        let failed_start = |job: Job| match job.decide(&[stuck("a", 0).index(1)]).step {
            Step::FailPods(failed_start) => failed_start[0].action,
            other => panic!("{other:?}"),
        };
        assert_eq!(failed_start(per_index), StartAction::FailIndex);
        assert_eq!(failed_start(Job::new().indexed(3).started(0).governed(policy)), StartAction::FailJob);
    }

    #[test]
    fn job_is_suspended_unless_kueue_manages_it() {
        let job = job().governed(image(StartAction::Suspend));
        let Step::SuspendJob(event) = job.decide(&[stuck("a", 0)]).step else { panic!() };
        assert!(event.message.ends_with("not found; the Job is suspended"), "{}", event.message);
        assert!(matches!(
            job.clone().suspend(true).decide(&[stuck("a", 0)]).step,
            Step::DeletePods { uncounted: true, .. }
        ));
        let refused = job.clone().refuses(SUSPEND, None).decide(&[stuck("a", 0)]).step;
        assert!(!matches!(refused, Step::SuspendJob(_)), "{refused:?}");
        let queued = job.with(|job| job.admission_info.managed_by_kueue = true);
        let Step::FailPods(failed) = queued.decide(&[stuck("a", 0)]).step else { panic!() };
        assert_eq!(failed[0].action, StartAction::RetryPod);
        let admission =
            policy(StartDeadlines { admission: deadline(0, StartAction::Suspend), ..StartDeadlines::default() });
        let refused = queued.governed(admission).refuses(CREATE, None).decide(&[]).step;
        assert!(!matches!(&refused, Step::WriteStatus { status, .. } if status.has_outcome()), "{refused:?}");
    }

    #[test]
    fn refused_creation_fails_or_suspends_the_job() {
        let with = |action| policy(StartDeadlines { admission: deadline(0, action), ..StartDeadlines::default() });
        let refused = |action| job().governed(with(action)).refuses(CREATE, None).decide(&[]).step;
        let Step::WriteStatus { status, .. } = refused(StartAction::FailJob) else { panic!() };
        let target = status.true_condition(FAILURE_TARGET).unwrap();
        assert_eq!(&*target.reason, START_DEADLINE_EXCEEDED);
        assert!(target.message.contains("refused for 0 s to create pods"), "{target:?}");
        assert!(matches!(refused(StartAction::Suspend), Step::SuspendJob(_)));
    }

    #[test]
    fn refused_creation_is_no_problem_of_a_job_that_lacks_no_pods() {
        let admission =
            policy(StartDeadlines { admission: deadline(0, StartAction::FailJob), ..StartDeadlines::default() });
        let refused =
            |job: Job, pods: &[Pod]| match job.governed(admission.clone()).refuses(CREATE, None).decide(pods).step {
                Step::WriteStatus { status, .. } => status.has_outcome(),
                _ => false,
            };
        let running = [pod("a").running(1), pod("b").running(1)];
        assert!(!refused(job(), &running));
        assert!(refused(job(), &running[..1]));
        let queue = Job::new().work_queue().parallelism(3).started(0);
        assert!(!refused(queue, &[pod("a").succeeded(5), pod("b").running(1)]), "no more pods are wanted");
    }

    #[test]
    fn recorded_failure_is_enough_to_delete_the_pod_after_its_policy_is_gone() {
        let pods = [stuck("a", 0).failed_start(StartAction::RetryPod), pod("b").running(1)];
        assert!(
            matches!(job().decide(&pods).step, Step::DeletePods { pods, uncounted: false } if names(&pods) == ["a"])
        );
        let suspended = job().suspend(true).decide(&pods).step;
        assert!(matches!(suspended, Step::DeletePods { uncounted: true, .. }), "{suspended:?}");
    }

    #[test]
    fn cause_without_a_deadline_and_a_job_without_a_policy_wait_for_ever() {
        let pods = [pod("a").unstarted(StartCause::Config, 0), stuck("b", 0)];
        let unscheduled =
            policy(StartDeadlines { unschedulable: deadline(1, StartAction::FailJob), ..StartDeadlines::default() });
        for job in [job(), job().governed(unscheduled)] {
            assert!(matches!(job.decide(&pods).step, Step::WriteStatus { status, .. } if !status.has_outcome()));
        }
    }

    #[test]
    fn refused_write_delays_its_pod_alone() {
        let job = job().governed(image(StartAction::RetryPod)).refuses(FAIL_POD, Some("a"));
        let Step::FailPods(failed_start) = job.decide(&[stuck("a", 0), stuck("b", 1)]).step else { panic!() };
        assert_eq!(&*failed_start[0].pod.identity.name, "b");
        let refused = job.refuses(DELETE, Some("a"));
        let stored = [stuck("a", 0).failed_start(StartAction::RetryPod), stuck("b", NOW)];
        assert!(!matches!(refused.decide(&stored).step, Step::DeletePods { .. }));
    }

    #[test]
    fn invalid_image_name_is_failed_start_immediately() {
        let job = job().governed(image(StartAction::FailJob));
        let invalid = stuck("a", NOW).with(|pod| pod.start.as_mut().unwrap().is_final = true);
        let Step::FailPods(failed_start) = job.decide(&[invalid]).step else { panic!() };
        assert_eq!(failed_start[0].message, "Pod a cannot start: ErrImagePull: container main: not found");
    }
}
