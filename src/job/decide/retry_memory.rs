//! Retries with more memory: the pods that replace one whose container exceeded its memory get more of it, if the JobPolicy
//! asks for that (argoproj/argo-workflows issues 4493 and 12849).
//!
//! The sizes are those of the whole Job: a new pod of any index gets them. They are stored on the Job with the status that
//! lists the failed pod, so that no failure is lost between two writes, and on each pod that has them.

use jiff::Timestamp;

use super::DecisionInput;
use crate::job::policy::{MemoryRule, PolicyRules};
use crate::job::view::memory::{ContainerMemory, MemorySizes};
use crate::runtime::events::EventText;
use crate::runtime::quantity;

/// Time after which a size that the API server refused is tried again, in seconds.
const REFUSED_FOR: i64 = 600;

/// Sizes that the API server refused, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedMemory {
    /// The sizes.
    pub sizes: MemorySizes,
    /// Time of the refusal.
    pub at: Timestamp,
}

/// Returns the memory that the containers of the Job need, as far as its policy raised it; none if no container exceeded
/// its memory.
pub fn sizes(input: &DecisionInput<'_>) -> Option<MemorySizes> {
    let policy = input.policy.filter(|policy| !policy.memory.is_empty())?;
    let stored = input.job.policy.as_ref().and_then(|policy| policy.memory.clone());
    let mut sizes = stored.unwrap_or_default();
    let ends = || input.pods.new_failed().iter().filter_map(|pod| pod.end.as_ref());
    let killed = || ends().flat_map(|end| &end.oom_killed);
    if killed().next().is_some() {
        let template = input.job.template_memory();
        for one in killed() {
            let of_template = || template.iter().find(|memory| *memory.name == *one.container)?.size();
            let Some(rule) = rule(policy, &one.container) else { continue };
            if let Some(size) = one.raised.or_else(of_template) {
                sizes.raise(&one.container, rule.raised(size));
            }
        }
    }
    Some(sizes).filter(|sizes| !sizes.is_empty())
}

/// Returns the memory of new pods. If the API server has just refused pods with the sizes that they need, these are the
/// sizes before.
pub fn of_new_pods(input: &DecisionInput<'_>, now: Timestamp) -> Option<MemorySizes> {
    let sizes = sizes(input)?;
    let is_recent = |refused: &&RefusedMemory| now.as_second() - refused.at.as_second() < REFUSED_FOR;
    if input.refused_memory.filter(is_recent).is_none_or(|refused| refused.sizes != sizes) {
        return Some(sizes);
    }
    let policy = input.policy?;
    let template = input.job.template_memory();
    let before = sizes.iter().filter_map(|(container, size)| {
        let of_template = template.iter().find(|memory| memory.name == container).and_then(ContainerMemory::size);
        let before = rule(policy, container)?.before(size).max(of_template.unwrap_or_default());
        Some((container.into(), before))
    });
    Some(before.collect())
}

/// Returns the event about memory that is raised by the sizes that are to be stored.
pub fn event(stored: Option<&MemorySizes>, sizes: Option<&MemorySizes>) -> Option<EventText> {
    let raised = sizes?
        .iter()
        .filter(|(container, size)| stored.and_then(|stored| stored.of(container)).is_none_or(|stored| stored < *size));
    let raised: Vec<String> =
        raised.map(|(container, size)| format!("container {container} {}", quantity::text(size))).collect();
    (!raised.is_empty()).then(|| {
        let message = format!("A container exceeded its memory; new pods get more: {}", raised.join(", "));
        EventText::normal("MemoryRaised", message)
    })
}

fn rule<'a>(policy: &'a PolicyRules, container: &str) -> Option<&'a MemoryRule> {
    policy.memory.iter().find(|rule| rule.container.as_deref().is_none_or(|name| name == container))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Step;
    use super::super::fixtures::*;
    use super::*;
    use crate::job::view::memory::OomKilled;

    const MI: u64 = 1 << 20;

    fn rule_of(container: Option<&str>, percent: u32, max: u64) -> MemoryRule {
        MemoryRule { container: container.map(Into::into), percent, max }
    }

    fn policy(rules: Vec<MemoryRule>) -> PolicyRules {
        PolicyRules { name: "grow".into(), memory: rules, ..PolicyRules::default() }
    }

    fn job(policy: PolicyRules) -> Job {
        let container = json!({"name": "main", "resources": {"limits": {"memory": "100Mi"}}});
        Job::new()
            .completions(3)
            .backoff_limit(9)
            .started(0)
            .template(json!({"spec": {"containers": [container]}}))
            .governed(policy)
    }

    fn killed(name: &str, raised: Option<u64>) -> Pod {
        let one = OomKilled { container: "main".into(), raised };
        pod(name).failed(5).with(|pod| pod.end.get_or_insert_default().oom_killed.push(one))
    }

    /// Returns the sizes of the next pods, in MiB.
    fn next(job: &Job, pods: &[Pod]) -> Option<u64> {
        match job.decide(pods).step {
            Step::CreatePods { raised, .. } => raised.memory.and_then(|memory| memory.of("main")).map(|size| size / MI),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn replacement_gets_more_memory_up_to_the_maximum() {
        let double = job(policy(vec![rule_of(None, 200, 300 * MI)]));
        assert_eq!(next(&double, &[killed("a", None)]), Some(200));
        assert_eq!(next(&double, &[killed("a", Some(200 * MI))]), Some(300));
        assert_eq!(next(&double, &[killed("a", Some(300 * MI))]), Some(300));
        assert_eq!(next(&double, &[killed("a", None), killed("b", None)]), Some(200), "one size has failed, not two");
        assert_eq!(next(&double, &[pod("a").failed(5)]), None, "another failure");
        assert_eq!(next(&job(policy(vec![rule_of(Some("other"), 200, 300 * MI)])), &[killed("a", None)]), None);
        assert_eq!(next(&job(policy(Vec::new())), &[killed("a", None)]), None);
        let first = vec![rule_of(Some("main"), 150, 900 * MI), rule_of(None, 200, 900 * MI)];
        assert_eq!(next(&job(policy(first)), &[killed("a", None)]), Some(150));
    }

    #[test]
    fn container_without_memory_in_the_template_is_not_raised() {
        let double = policy(vec![rule_of(None, 200, 300 * MI)]);
        let bare = job(double).template(json!({"spec": {"containers": [{"name": "main"}]}}));
        assert_eq!(next(&bare, &[killed("a", None)]), None);
    }

    #[test]
    fn sizes_are_stored_with_the_status_that_lists_the_failed_pod_and_outlast_it() {
        let double = job(policy(vec![rule_of(None, 200, 900 * MI)]));
        let running = pod("b").running(6);
        let Step::WriteStatus { status, annotations: Some(annotations), events, .. } =
            double.decide(&[killed("a", None), running.clone()]).step
        else {
            panic!()
        };
        assert_eq!(status.uncounted.failed, ["uid-a".into()]);
        assert_eq!(annotations.memory.as_ref().map(MemorySizes::text).as_deref(), Some(r#"{"main":"200Mi"}"#));
        assert!(
            events
                .iter()
                .any(|event| event.reason == "MemoryRaised" && event.message.ends_with("container main 200Mi"))
        );
        let stored = double.with_status(*status).with(|job| job.policy = Some(annotations));
        // The failed pod is counted and gone.
        let later = stored.with(|job| job.status.uncounted.failed.clear());
        assert_eq!(next(&later, &[]), Some(200));
        assert_eq!(next(&later, &[killed("c", Some(200 * MI))]), Some(400));
    }

    #[test]
    fn refused_size_falls_back_to_the_one_before_for_some_time() {
        let double = job(policy(vec![rule_of(None, 200, 900 * MI)]));
        let sizes = MemorySizes::from_iter([("main".into(), 200 * MI)]);
        let refused = |at| double.clone().refused_memory(RefusedMemory { sizes: sizes.clone(), at: time(at) });
        assert_eq!(next(&refused(NOW - 1), &[killed("a", None)]), Some(100));
        assert_eq!(next(&refused(NOW - REFUSED_FOR), &[killed("a", None)]), Some(200), "tried again");
        assert_eq!(next(&refused(NOW - 1), &[killed("a", Some(200 * MI))]), Some(400), "another size");
    }
}
