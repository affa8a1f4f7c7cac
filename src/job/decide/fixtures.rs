//! Builders for the Jobs and Pods of table tests.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::jitter::Jitter;
use super::outcome::{Outcome, outcome};
use super::parallelism::{PodPlan, manage};
use super::retry_memory::RefusedMemory;
use super::start_waits::StartWaits;
use super::summary::PodSummary;
use super::{Decision, DecisionInput, decide};
use crate::job::admission::Admission;
use crate::job::config::SyncConfig;
use crate::job::gang::plan::GroupObjects;
use crate::job::gang::view::{PodGroupView, WorkloadView};
use crate::job::index::StoredIndexes;
use crate::job::policy::PolicyRules;
use crate::job::retry_budget::Allowance;
use crate::job::status::{Condition, JobStatus};
use crate::job::view::cause::Cause;
use crate::job::view::index_subset::{INDEXES_ANNOTATION, IndexSubset};
use crate::job::view::policies::{FailureRule, SuccessRule};
use crate::job::view::start::{StartAction, StartCause, StartFailure, StartState, StartText};
use crate::job::view::{CompletionMode, ControllerRef, IndexFailures, JobView, Phase, PodEnd, PodView};
use crate::job::wire::WireJob;
use crate::job::write_kinds::{CREATE, DELETE, UNTRACK};
use crate::runtime::errors::WriteError;
use crate::runtime::identity::{Identity, ResourceVersion};
use crate::runtime::refusals::{Refusals, WriteKind};

/// The time at which [`Job::decide`] decides.
pub(crate) const NOW: i64 = 100;

/// Returns the time this number of seconds after the beginning of the test.
pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A Job under test: `parallelism` 1, `completions` 1, the pods' label `app: own`.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub view: JobView,
    refusals: Refusals,
    failure_rules: Vec<Value>,
    groups: Option<Groups>,
    policy: Option<PolicyRules>,
    refused_memory: Option<RefusedMemory>,
    retries: Option<Allowance>,
}

/// Workloads and PodGroups that the controller knows.
type Groups = (Vec<Arc<WorkloadView>>, Vec<Arc<PodGroupView>>);

impl Job {
    pub(crate) fn new() -> Self {
        let wire: WireJob = serde_json::from_str(&json!({
            "metadata": {"name": "job", "namespace": "default", "uid": "job-uid", "resourceVersion": "1"},
            "spec": {
                "completions": 1, "parallelism": 1,
                "selector": LabelSelector { match_labels: Some([("app".to_owned(), "own".to_owned())].into()), ..LabelSelector::default() },
                "template": {"metadata": {"labels": {"app": "own"}}, "spec": {"restartPolicy": "Never"}},
            },
        }).to_string())
        .unwrap();
        Self {
            view: JobView::parse(wire).unwrap(),
            refusals: Refusals::default(),
            failure_rules: Vec::new(),
            groups: None,
            policy: None,
            refused_memory: None,
            retries: None,
        }
    }

    /// Switches gang scheduling on, with these objects.
    pub(crate) fn groups(mut self, workloads: &[Arc<WorkloadView>], pod_groups: &[Arc<PodGroupView>]) -> Self {
        self.groups = Some((workloads.to_vec(), pod_groups.to_vec()));
        self
    }

    fn group_objects(&self) -> GroupObjects<'_> {
        match &self.groups {
            Some((workloads, pod_groups)) => GroupObjects::Known { workloads, pod_groups, parent_read: false },
            None => GroupObjects::Unmanaged,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut JobView)) -> Self {
        change(&mut self.view);
        self
    }

    pub(crate) fn mode(self, mode: CompletionMode) -> Self {
        self.with(|job| job.spec.completion_mode = mode)
    }

    pub(crate) fn completions(self, completions: i32) -> Self {
        self.with(|job| job.spec.completions = Some(completions))
    }

    /// Makes the Job Indexed, with this number of completions.
    pub(crate) fn indexed(self, completions: i32) -> Self {
        self.mode(CompletionMode::Indexed).completions(completions)
    }

    pub(crate) fn per_index(self, limit: i32) -> Self {
        self.with(|job| (job.spec.backoff_limit_per_index, job.spec.backoff_limit) = (Some(limit), i32::MAX))
    }

    pub(crate) fn max_failed(self, limit: i32) -> Self {
        self.with(|job| job.spec.max_failed_indexes = Some(limit))
    }

    /// Adds a rule to the pod failure policy, in the API's JSON.
    pub(crate) fn failure_rule(mut self, rule: Value) -> Self {
        self.failure_rules.push(rule);
        let policy = serde_json::from_value(json!({"rules": self.failure_rules})).unwrap();
        self.with(|job| job.spec.failure_rules = Some(FailureRule::parse_all(policy).into()))
    }

    /// Adds a rule for one exit code of any container to the pod failure policy.
    pub(crate) fn rule(self, action: &str, code: i32) -> Self {
        self.failure_rule(json!({"action": action, "onExitCodes": {"operator": "In", "values": [code]}}))
    }

    pub(crate) fn success_rules(self, rules: Value) -> Self {
        self.with(|job| {
            let policy = serde_json::from_value(json!({"rules": rules})).unwrap();
            job.spec.success_rules = Some(SuccessRule::parse_all(policy, job.indexes()).into());
        })
    }

    /// Sets the annotation that lists the indexes to run. Comes after the number of completions.
    pub(crate) fn indexes(self, text: &str) -> Self {
        let annotations = [(INDEXES_ANNOTATION.to_owned(), text.to_owned())].into();
        self.with(|job| {
            let subset = IndexSubset::parse(Some(&annotations), &job.spec.completion_mode, job.indexes());
            job.index_subset = subset.map(Box::new);
        })
    }

    pub(crate) fn completed(self, text: &str) -> Self {
        self.with(|job| job.status.completed_indexes = StoredIndexes::parse(text, job.indexes()))
    }

    pub(crate) fn failed_indexes(self, text: &str) -> Self {
        self.with(|job| job.status.failed_indexes = Some(StoredIndexes::parse(text, job.indexes())))
    }

    pub(crate) fn work_queue(self) -> Self {
        self.with(|job| job.spec.completions = None)
    }

    pub(crate) fn parallelism(self, parallelism: i32) -> Self {
        self.with(|job| job.spec.parallelism = parallelism)
    }

    pub(crate) fn backoff_limit(self, limit: i32) -> Self {
        self.with(|job| job.spec.backoff_limit = limit)
    }

    pub(crate) fn active_deadline(self, seconds: u64) -> Self {
        self.with(|job| job.spec.active_deadline = Some(Duration::from_secs(seconds)))
    }

    pub(crate) fn ttl(self, ttl: Option<Duration>) -> Self {
        self.with(|job| job.spec.ttl = ttl)
    }

    pub(crate) fn suspend(self, suspend: bool) -> Self {
        self.with(|job| job.spec.suspend = suspend)
    }

    pub(crate) fn replace_only_failed(self) -> Self {
        self.with(|job| job.spec.replace_only_failed = true)
    }

    pub(crate) fn restarts_on_failure(self) -> Self {
        self.with(|job| job.template.restarts_on_failure = true)
    }

    pub(crate) fn deleting(self) -> Self {
        self.with(|job| job.deleting = true)
    }

    pub(crate) fn started(self, at: i64) -> Self {
        self.with(|job| job.status.start_time = Some(time(at)))
    }

    pub(crate) fn counted(self, succeeded: i32, failed: i32) -> Self {
        self.with(|job| (job.status.succeeded, job.status.failed) = (succeeded, failed))
    }

    pub(crate) fn uncounted(self, succeeded: &[&str], failed: &[&str]) -> Self {
        self.with(|job| {
            job.status.uncounted.succeeded = succeeded.iter().map(|&uid| uid.into()).collect();
            job.status.uncounted.failed = failed.iter().map(|&uid| uid.into()).collect();
        })
    }

    pub(crate) fn condition(self, type_: &str) -> Self {
        let condition = Condition::new(type_, true, "BackoffLimitExceeded", "message", time(0));
        self.with(|job| job.status.conditions.push(condition))
    }

    /// Returns this Job with another status.
    pub(crate) fn with_status(&self, status: JobStatus) -> Self {
        self.clone().with(|job| job.status = status)
    }

    /// Records that this write was refused at [`NOW`]: for one pod, or for the Job and all its pods.
    pub(crate) fn refuses(mut self, cause: WriteKind, pod: Option<&str>) -> Self {
        let pod = pod.map(|name| format!("uid-{name}").into());
        self.refusals.refuse(cause, pod.as_ref(), &WriteError::Deferred, time(NOW));
        self
    }

    /// Records that a creation and a deletion were refused at [`NOW`].
    pub(crate) fn refused(mut self) -> Self {
        for cause in [CREATE, DELETE] {
            self.refusals.refuse(cause, None, &WriteError::Deferred, time(NOW));
        }
        self
    }

    /// Records that the removal of a finalizer was refused at [`NOW`].
    pub(crate) fn refused_untracking(mut self) -> Self {
        self.refusals.refuse(UNTRACK, None, &WriteError::Deferred, time(NOW));
        self
    }

    /// Sets the rules of the JobPolicy that governs the Job.
    pub(crate) fn governed(mut self, policy: PolicyRules) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets the retries that the budget of the policy allows.
    pub(crate) fn allowed_retries(mut self, retries: Allowance) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Records that the API server refused pods with these sizes.
    pub(crate) fn refused_memory(mut self, refused: RefusedMemory) -> Self {
        self.refused_memory = Some(refused);
        self
    }

    /// Sets the template of the pods.
    pub(crate) fn template(self, template: Value) -> Self {
        self.with(|job| job.template.wire = Some(serde_json::from_str(&template.to_string()).unwrap()))
    }

    /// Stores the name of the policy that governs the Job in its annotation.
    pub(crate) fn policy_recorded(self) -> Self {
        let name = self.policy.as_ref().map(|policy| policy.name.clone());
        self.with(|job| job.policy.get_or_insert_default().governed_by = name)
    }

    pub(crate) fn summary(&self, pods: &[Pod]) -> PodSummary {
        PodSummary::new(&self.view, views(pods))
    }

    /// Returns the plan for the number of active pods.
    pub(crate) fn plan(&self, pods: &[Pod], now: i64) -> PodPlan {
        let summary = self.summary(pods);
        let backoff = Backoff::default();
        let jitter = Jitter::of(&self.view, self.policy.as_ref());
        manage(&self.view, &summary, &backoff, None, time(now), &SyncConfig::default(), jitter)
    }

    pub(crate) fn decide(&self, pods: &[Pod]) -> Decision {
        // Without the delay, status writes that change only counters are visible immediately.
        self.decide_at(
            pods,
            None,
            time(NOW),
            &SyncConfig { counter_write_delay: Duration::ZERO, ..SyncConfig::default() },
        )
    }

    pub(crate) fn decide_at(
        &self,
        pods: &[Pod],
        counters_dirty_since: Option<Timestamp>,
        now: Timestamp,
        config: &SyncConfig,
    ) -> Decision {
        self.decide_all(pods, &Admission::Unlimited, counters_dirty_since, now, config)
    }

    /// Decides with this admission by the limits.
    pub(crate) fn decide_admitted(&self, pods: &[Pod], admission: &Admission) -> Decision {
        self.decide_all(
            pods,
            admission,
            None,
            time(NOW),
            &SyncConfig { counter_write_delay: Duration::ZERO, ..SyncConfig::default() },
        )
    }

    fn decide_all(
        &self,
        pods: &[Pod],
        admission: &Admission,
        counters_dirty_since: Option<Timestamp>,
        now: Timestamp,
        config: &SyncConfig,
    ) -> Decision {
        self.with_input(pods, admission, counters_dirty_since, |input| decide(input, now, config))
    }

    /// Returns the outcome that the rules and the time lead to.
    pub(crate) fn outcome(&self, pods: &[Pod], now: i64) -> Option<Outcome> {
        let now = time(now);
        self.with_input(pods, &Admission::Unlimited, None, |input| outcome(input, now))
    }

    fn with_input<T>(
        &self,
        pods: &[Pod],
        admission: &Admission,
        counters_dirty_since: Option<Timestamp>,
        evaluate: impl FnOnce(&DecisionInput<'_>) -> T,
    ) -> T {
        let summary = self.summary(pods);
        let orphans: Vec<_> = views(pods).into_iter().filter(|pod| pod.owner.is_none()).collect();
        let backoff = Backoff::default();
        let mut starts = StartWaits::default();
        // Each cause was observed when it began.
        for pod in pods {
            let since = pod.view.start.as_ref().map_or(pod.view.created, |start| start.since);
            starts.observe(&pod.view.identity.uid, Some(&pod.view), since);
        }
        let input = DecisionInput {
            admission,
            groups: self.group_objects(),
            policy: self.policy.as_ref(),
            refused_memory: self.refused_memory.as_ref(),
            retries: self.retries,
            starts: &starts,
            job: &self.view,
            pods: &summary,
            orphans: &orphans,
            backoff: &backoff,
            last_untracked_deletion: None,
            counters_dirty_since,
            refusals: &self.refusals,
        };
        evaluate(&input)
    }
}

/// A Pod under test: pending, on a node, tracked, owned by the Job.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub view: PodView,
}

pub(crate) fn pod(name: &str) -> Pod {
    let identity = Identity {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}").into(),
        resource_version: ResourceVersion(1),
    };
    let view = PodView {
        identity,
        owner: Some(ControllerRef { uid: "job-uid".into(), name: "job".into(), is_job: true }),
        tracked: true,
        has_finalizers: true,
        labels: [("app", "own")].into_iter().collect(),
        index: None,
        index_failures: IndexFailures::default(),
        created: time(1),
        deleting: false,
        scheduled: true,
        phase: Phase::Pending,
        ready_since: None,
        restarts: 0,
        most_restarts: (0, 0),
        finished_at: time(1),
        end: None,
        cause: None,
        result: None,
        start: None,
        start_failure: None,
    };
    Pod { view }
}

impl Pod {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut PodView)) -> Self {
        change(&mut self.view);
        self
    }

    pub(crate) fn name(&self) -> String {
        self.view.identity.name.to_string()
    }

    pub(crate) fn running(self, created: i64) -> Self {
        self.with(|pod| (pod.phase, pod.created) = (Phase::Running, time(created)))
    }

    pub(crate) fn unknown(self) -> Self {
        self.with(|pod| pod.phase = Phase::Unknown)
    }

    pub(crate) fn ready(self, since: i64) -> Self {
        self.with(|pod| pod.ready_since = Some(time(since)))
    }

    pub(crate) fn unscheduled(self) -> Self {
        self.with(|pod| pod.scheduled = false)
    }

    pub(crate) fn restarts(self, restarts: i32) -> Self {
        self.with(|pod| (pod.restarts, pod.most_restarts) = (restarts.into(), (restarts, 0)))
    }

    pub(crate) fn succeeded(self, at: i64) -> Self {
        self.with(|pod| (pod.phase, pod.finished_at) = (Phase::Succeeded, time(at)))
    }

    pub(crate) fn failed(self, at: i64) -> Self {
        self.with(|pod| (pod.phase, pod.finished_at) = (Phase::Failed, time(at)))
    }

    pub(crate) fn index(self, index: u32) -> Self {
        self.with(|pod| pod.index = Some(index))
    }

    /// Sets the numbers of failures of the index before this pod, as its annotations record them.
    pub(crate) fn failures(self, counted: i32, ignored: i32) -> Self {
        self.with(|pod| pod.index_failures = IndexFailures { counted, ignored })
    }

    /// Adds a container that ended with this exit code.
    pub(crate) fn exit(self, container: &str, code: i32) -> Self {
        self.with(|pod| pod.end.get_or_insert_default().exits.push((container.to_owned(), code)))
    }

    /// Sets the cause why the pod failed or does not start.
    pub(crate) fn cause(self, cause: Cause) -> Self {
        self.with(|pod| pod.cause = Some(Box::new(cause)))
    }

    /// Makes the pod one that has not started because of this cause.
    pub(crate) fn unstarted(self, cause: StartCause, since: i64) -> Self {
        let text = StartText { reason: "ErrImagePull".to_owned(), message: "container main: not found".to_owned() };
        let state = StartState { cause: Some(cause), is_final: false, since: time(since), text: Some(Box::new(text)) };
        self.with(|pod| pod.start = Some(Box::new(state)))
    }

    /// Makes the pod one that did not start in time, as its condition records.
    pub(crate) fn failed_start(self, action: StartAction) -> Self {
        let message = format!("Pod {} did not start", self.name());
        self.with(|pod| pod.start_failure = Some(Box::new(StartFailure { action, message, at: time(NOW) })))
    }

    pub(crate) fn condition(self, type_: &str, status: &str) -> Self {
        self.with(|pod| {
            let end: &mut PodEnd = pod.end.get_or_insert_default();
            end.conditions.push((type_.to_owned(), status.to_owned()));
        })
    }

    pub(crate) fn deleting(self, at: i64) -> Self {
        self.with(|pod| (pod.deleting, pod.finished_at) = (true, time(at)))
    }

    pub(crate) fn untracked(self) -> Self {
        self.with(|pod| (pod.tracked, pod.has_finalizers) = (false, false))
    }

    pub(crate) fn orphan(self) -> Self {
        self.with(|pod| pod.owner = None)
    }

    pub(crate) fn label(self, key: &str, value: &str) -> Self {
        self.with(|pod| {
            let labels = pod.labels.iter().chain([(key, value.into())]);
            pod.labels = labels.collect();
        })
    }
}

pub(crate) fn views(pods: &[Pod]) -> Vec<Arc<PodView>> {
    pods.iter().map(|pod| Arc::new(pod.view.clone())).collect()
}

pub(crate) fn names(pods: &[Arc<PodView>]) -> Vec<String> {
    pods.iter().map(|pod| pod.identity.name.to_string()).collect()
}
