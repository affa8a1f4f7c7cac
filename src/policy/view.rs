//! JobPolicies as decisions use them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::types::{
    ActionSpec, DeadlineRetrySpec, JobPolicy, JobPolicySpec, JobPolicyStatus, MemoryRetrySpec, ProgressActionSpec,
    StartDeadlineSpec,
};
use crate::job::policy::{DeadlineRule, MemoryRule, PolicyRules, ProgressDeadline, StartDeadline, StartDeadlines};
use crate::job::view::retention::Retention;
use crate::job::view::start::StartAction;
use crate::job::view::{Labels, Selector, identity};
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;
use crate::runtime::identity::{Identity, Uid};
use crate::runtime::quantity;

/// JobPolicy as the API server sends it. Its spec is parsed later, so that a malformed JobPolicy does not prevent the
/// others from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = JobPolicy)]
pub struct WireJobPolicy {
    /// Part of the metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec as unparsed JSON.
    #[serde(default)]
    pub spec: Value,
    /// Status as unparsed JSON.
    #[serde(default)]
    pub status: Value,
}

impl WireObject for WireJobPolicy {}

/// JobPolicy, reduced to the data that decisions need.
#[derive(Clone, Debug)]
pub struct PolicyView {
    /// Namespace, name, UID and resource version.
    pub identity: Identity,
    /// Selector of Jobs.
    pub selector: Selector,
    /// Rules, with the name of the policy; none for a policy that is invalid or is being deleted, which governs no Job.
    pub rules: Option<Arc<PolicyRules>>,
    /// The same rules, with the namespace in the name, for Jobs of other namespaces.
    pub cluster_rules: Option<Arc<PolicyRules>>,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the policy is being deleted.
    pub deleting: bool,
    /// Why the spec is invalid.
    pub invalid: Option<String>,
    /// Stored status.
    pub stored: JobPolicyStatus,
}

impl PolicyView {
    /// Parses a JobPolicy; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireJobPolicy) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let deleting = wire.metadata.deletion_timestamp.is_some();
        let (parsed, invalid) = match parse(wire.spec, &identity) {
            Ok(parsed) => (Some(parsed), None),
            Err(error) => (None, Some(error)),
        };
        let (selector, rules) = parsed.filter(|_| !deleting).unzip();
        let cluster_rules = rules.clone().map(|rules: PolicyRules| {
            let name = format!("{}/{}", identity.namespace, identity.name).into();
            Arc::new(PolicyRules { name, ..rules })
        });
        Some(Self {
            identity,
            selector: selector.unwrap_or_default(),
            rules: rules.map(Arc::new),
            cluster_rules,
            generation: wire.metadata.generation,
            deleting,
            invalid,
            stored: serde_json::from_value(wire.status).unwrap_or_default(),
        })
    }

    /// Returns whether the policy can govern a Job with these labels.
    pub fn covers(&self, labels: &Labels) -> bool {
        self.rules.is_some() && self.selector.matches(labels)
    }

    /// Returns whether both policies select the same Jobs and have the same rules.
    pub fn governs_as(&self, other: &Self) -> bool {
        self.selector == other.selector && self.rules == other.rules
    }
}

fn parse(spec: Value, identity: &Identity) -> Result<(Selector, PolicyRules), String> {
    let spec: JobPolicySpec = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
    let selector = match spec.selector {
        None => Selector::default(),
        Some(selector) => Selector::parse(selector)
            .ok_or("spec.selector is not a valid label selector; the policy governs no Jobs")?,
    };
    let start = spec.start_deadlines.unwrap_or_default();
    let deadline = |spec: Option<StartDeadlineSpec>| {
        spec.map(|spec| StartDeadline { after: seconds(spec.seconds), action: action(spec.action) })
    };
    let retention = spec.retention.unwrap_or_default();
    let retry = spec.retry.unwrap_or_default();
    let rules = PolicyRules {
        name: identity.name.clone(),
        start: StartDeadlines {
            image: deadline(start.image),
            config: deadline(start.config),
            unschedulable: deadline(start.unschedulable),
            admission: deadline(start.admission),
            other: deadline(start.other),
        },
        progress: spec.progress_deadline.map(|spec| ProgressDeadline {
            after: seconds(spec.seconds),
            fails: spec.action == ProgressActionSpec::FailJob,
        }),
        running: spec.running_deadline_seconds.map(seconds),
        retention: Retention {
            after_success: retention.seconds_after_success.map(seconds),
            after_failure: retention.seconds_after_failure.map(seconds),
            parse_error: None,
        },
        log_tail: spec.log_tail_lines.and_then(|lines| lines.try_into().ok()),
        jitter: retry.jitter.unwrap_or_default(),
        retries_per_minute: retry.per_minute.and_then(|count| count.try_into().ok()),
        memory: retry.memory.into_iter().flatten().map(memory).collect::<Result<_, String>>()?,
        pod_deadline: retry.deadline.map(deadline_rule).transpose()?,
    };
    Ok((selector, rules))
}

fn memory(spec: MemoryRetrySpec) -> Result<MemoryRule, String> {
    let percent = percent("memory", &spec.factor)?;
    let max = quantity::bytes(&spec.max)
        .ok_or(format!("spec.retry.memory.max {:?} is not a quantity such as 16Gi", spec.max))?;
    Ok(MemoryRule { container: spec.container.map(Into::into), percent, max })
}

fn deadline_rule(spec: DeadlineRetrySpec) -> Result<DeadlineRule, String> {
    let max = u32::try_from(spec.max_seconds).ok().filter(|max| *max > 0);
    let max = max.ok_or("spec.retry.deadline.maxSeconds must be at least 1")?;
    Ok(DeadlineRule { percent: percent("deadline", &spec.factor)?, max })
}

/// Returns a factor of `spec.retry` in percent, at most 9999.
fn percent(of: &str, factor: &str) -> Result<u32, String> {
    let parsed: Option<f64> = factor.parse().ok().filter(|factor| *factor > 1.0 && *factor < 100.0);
    let parsed = parsed.ok_or(format!("spec.retry.{of}.factor {factor:?} is not a number between 1 and 100"))?;
    Ok((parsed * 100.0).round() as u32)
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(seconds.try_into().unwrap_or_default())
}

fn action(action: ActionSpec) -> StartAction {
    match action {
        ActionSpec::FailJob => StartAction::FailJob,
        ActionSpec::FailIndex => StartAction::FailIndex,
        ActionSpec::RetryPod => StartAction::RetryPod,
        ActionSpec::Suspend => StartAction::Suspend,
    }
}

impl Cached for PolicyView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    /// A JobPolicy has no finalizers of this controller to remove, so it is never read live.
    fn has_finalizers(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::policy;
    use super::*;

    #[test]
    fn each_rule_is_parsed_and_an_unset_rule_does_not_apply() {
        let full = policy(
            "full",
            &json!({
                "startDeadlines": {"image": {"seconds": 600, "action": "FailJob"}, "admission": {"seconds": 0, "action": "Suspend"}},
                "progressDeadline": {"seconds": 60, "action": "Report"}, "runningDeadlineSeconds": 7,
                "retention": {"secondsAfterFailure": 5}, "logTailLines": 20,
                "retry": {
                    "jitter": true, "perMinute": 60, "deadline": {"factor": "1.25", "maxSeconds": 900},
                    "memory": [{"factor": "1.5", "max": "2Gi"}, {"container": "x", "factor": "2", "max": "1G"}],
                },
            }),
        );
        let rules = full.rules.unwrap();
        let deadline = |after, action| Some(StartDeadline { after: seconds(after), action });
        assert_eq!(rules.start.image, deadline(600, StartAction::FailJob));
        assert_eq!((rules.start.admission, rules.start.config), (deadline(0, StartAction::Suspend), None));
        assert_eq!(rules.progress, Some(ProgressDeadline { after: seconds(60), fails: false }));
        assert_eq!(
            (rules.running, rules.log_tail, rules.jitter, rules.retries_per_minute),
            (Some(seconds(7)), Some(20), true, Some(60))
        );
        let memory =
            |container: Option<&str>, percent, max| MemoryRule { container: container.map(Into::into), percent, max };
        assert_eq!(rules.memory, [memory(None, 150, 2 << 30), memory(Some("x"), 200, 1_000_000_000)]);
        assert_eq!(rules.pod_deadline, Some(DeadlineRule { percent: 125, max: 900 }));
        assert_eq!((rules.retention.of(true), rules.retention.of(false)), (None, Some(seconds(5))));
        assert_eq!((&*rules.name, &*full.cluster_rules.unwrap().name), ("full", "default/full"));
        let empty = policy("empty", &json!({}));
        assert_eq!(*empty.rules.unwrap(), PolicyRules { name: "empty".into(), ..PolicyRules::default() });
    }

    #[test]
    fn invalid_policy_governs_nothing_and_states_why() {
        let selector = json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
        let action = json!({"startDeadlines": {"image": {"seconds": 1, "action": "Explode"}}});
        let memory = |factor: &str, max: &str| json!({"retry": {"memory": [{"factor": factor, "max": max}]}});
        let memories = [
            (memory("1", "1Gi"), "spec.retry.memory.factor \"1\""),
            (memory("2", "1Gib"), "spec.retry.memory.max \"1Gib\" is not a quantity"),
            (json!({"retry": {"deadline": {"factor": "0.5", "maxSeconds": 9}}}), "spec.retry.deadline.factor \"0.5\""),
            (json!({"retry": {"deadline": {"factor": "2", "maxSeconds": 0}}}), "spec.retry.deadline.maxSeconds"),
        ];
        for (spec, part) in memories
            .into_iter()
            .chain([(selector, "spec.selector is not a valid"), (action, "spec: unknown variant `Explode`")])
        {
            let policy = policy("bad", &spec);
            assert!(policy.rules.is_none() && !policy.covers(&Labels::default()));
            assert!(policy.invalid.as_deref().unwrap().starts_with(part), "{:?}", policy.invalid);
        }
    }
}
