//! The invariants. They are checked at every write that takes effect, and at the end of the history.
//!
//! The checks observe every version of every object, in order, and derive from it what really happened. The first
//! breach ends the history.

pub mod backfill;
mod calendars;
mod end;
mod groups;
pub mod indexes;
pub mod job_policies;
pub mod limits;
pub mod pauses;
pub mod progress;
mod raises;
pub mod refusals;
mod results;
pub mod retention;
pub mod schedules;

use std::collections::{BTreeMap, BTreeSet};

use jobwright::job::{CONTROLLER_UID_LABEL, INDEX_ANNOTATION};
use serde_json::Value;

use self::indexes::{Indexes, Listed, listed};
use self::job_policies::JobPolicies;
use self::limits::Limits;
use self::pauses::Pauses;
use self::progress::Progress;
use self::refusals::Refusals;
use self::retention::Retention;
use self::schedules::Schedules;
use crate::admission::Policy;
use crate::objects::{
    controller, has_condition, indexes, is_decided, is_deleting, is_finished, is_over, is_tracked, number, uncounted,
    uncounted_as, waits_for_jobs,
};
use crate::scenario::Scenario;
use crate::store::{Happened, Store};

/// Maximum time until a controller has observed the action of a user, in seconds. The API server may be unavailable for
/// two minutes.
const MAX_OBSERVATION_DELAY: i64 = 300;

/// State of all checks of one history.
pub struct Checks {
    /// The first broken invariant.
    pub broken: Option<String>,
    /// Whether no fault and no action can interrupt what a controller has begun.
    steady: bool,
    /// Number of log entries of the store that were observed.
    seen: usize,
    jobs: BTreeMap<String, JobTruth>,
    pods: BTreeMap<String, PodTruth>,
    pub indexes: Indexes,
    pub limits: Limits,
    pub job_policies: JobPolicies,
    pub schedules: Schedules,
    pub retention: Retention,
    pub refusals: Refusals,
    /// Whether a policy refused the status of a JobSchedule.
    status_of_schedules_refused: bool,
    pub pauses: Pauses,
    pub progress: Progress,
    /// Whether the controller manages Workloads and PodGroups.
    gangs: bool,
}

/// Facts about a Job.
#[derive(Default)]
struct JobTruth {
    /// Largest parallelism that the Job ever had.
    parallelism: i64,
    /// Whether a user reduced or suspended the Job, deleted it, or changed its pods. Its pods may then be deleted
    /// without being counted.
    disturbed: bool,
    /// Time since which the Job has been suspended, in seconds.
    suspended_since: Option<i64>,
    /// Whether a controller wrote the status while `spec.suspend` was true, and it still is.
    known_suspended: bool,
    /// Whether a controller wrote the status while the Job was being deleted.
    known_deleting: bool,
    /// UIDs that were ever listed in `uncountedTerminatedPods`.
    listed: BTreeSet<String>,
    /// UIDs that were ever listed there as failed.
    listed_failed: BTreeSet<String>,
    /// UIDs of the pods that the Job ever controlled.
    made: BTreeSet<String>,
}

/// Facts about a pod.
#[derive(Default, Clone)]
struct PodTruth {
    /// UIDs of the Jobs that controlled the pod, in order.
    owners: Vec<String>,
    index: Option<String>,
    /// Whether the pod succeeded; none while it is unfinished.
    succeeded: Option<bool>,
    deleted: bool,
    /// Whether the pod lost its finalizer before it was finished.
    released_uncounted: bool,
    /// Whether a controller removed the finalizer while the pod was running and controlled by a Job that is not being
    /// deleted.
    untracked: bool,
    /// Exit code of its container.
    exit_code: i64,
}

impl Checks {
    /// Returns the checks of one scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let observation_delay = scenario.observation_delay();
        Self {
            broken: None,
            steady: scenario.is_steady(),
            seen: 0,
            jobs: BTreeMap::new(),
            pods: BTreeMap::new(),
            indexes: Indexes::new(observation_delay),
            limits: Limits::new(observation_delay),
            job_policies: JobPolicies::new(observation_delay, scenario.is_steady()),
            schedules: Schedules::new(observation_delay, scenario.is_one_process()),
            retention: Retention::default(),
            refusals: Refusals::default(),
            status_of_schedules_refused: false,
            pauses: Pauses::default(),
            progress: Progress::new(scenario.first_pods_timeout(), scenario.replaced_within()),
            gangs: scenario.gangs,
        }
    }

    /// Records the breach that a check found, if any.
    fn record(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.report_breach(what);
        }
    }

    /// Checks a write that a replica sends through its write gate.
    pub fn sent(&mut self, who: &str) {
        let result = self.pauses.sent(who);
        self.record(result);
    }

    /// Checks a write that a policy refused.
    pub fn refused(&mut self, policy: &Policy, object: &Value, now: i64) {
        // A run that starts and ends while its schedule's status cannot be stored leaves no record.
        self.status_of_schedules_refused |= policy.target.1 == "jobschedules";
        let result = self.refusals.refused(policy, object, now);
        self.record(result);
    }

    /// Checks the deletion of an object by a controller.
    pub fn deleted(&mut self, store: &Store, object: &Value, propagation: &str) {
        self.observe(store);
        // The TTL controller deletes with propagation Foreground; CronJobs and JobSchedules delete with Background.
        if object["kind"] == "Job" && propagation == "Foreground" {
            let result = self.retention.deletes(store, object);
            self.record(result);
        }
    }

    /// Checks a status of a JobSchedule that a controller wrote.
    pub fn schedule_written(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        let result = self.schedules.status_written(before, after);
        self.record(result);
    }

    /// Records a breach. Only the first one is kept.
    pub fn report_breach(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Records that a user or a node removed pods or labels in such a way that the Job cannot count its pods exactly.
    pub fn disturb(&mut self, job: Option<&str>) {
        if let Some(job) = job {
            self.jobs.entry(job.to_owned()).or_default().disturbed = true;
        }
    }

    /// Processes the changes since the last call.
    pub fn observe(&mut self, store: &Store) {
        for happened in &store.log[self.seen..] {
            self.limits.observe(happened);
            self.job_policies.observe(happened);
            self.schedules.observe(happened);
            self.retention.observe(happened);
            if happened.gone && happened.resource == "cronjobs" {
                // No controller may have seen the object.
                self.refusals.forget_expected(happened.object["metadata"]["uid"].as_str().unwrap_or_default());
            }
            match happened.resource {
                "jobs" => self.job_changed(happened, store.seconds()),
                "pods" => self.pod_changed(happened),
                _ => {}
            }
        }
        self.seen = store.log.len();
    }

    fn job_changed(&mut self, happened: &Happened, now: i64) {
        let job = &happened.object;
        let lists_others = self.indexes.observe(job, now);
        let truth = self.jobs.entry(uid(job)).or_default();
        truth.parallelism = truth.parallelism.max(number(job, "/spec/parallelism"));
        let less = happened.before.as_ref().is_some_and(|before| {
            ["/spec/parallelism", "/spec/completions"].iter().any(|field| number(job, field) < number(before, field))
        });
        let suspended = job["spec"]["suspend"] == true;
        truth.known_suspended &= suspended;
        truth.suspended_since = suspended.then(|| truth.suspended_since.unwrap_or(now));
        truth.disturbed |= less || suspended || lists_others || is_deleting(job);
    }

    fn pod_changed(&mut self, happened: &Happened) {
        let pod = &happened.object;
        let truth = self.pods.entry(uid(pod)).or_default();
        if let Some(owner) = controller(pod)
            && truth.owners.last().is_none_or(|last| last != owner)
        {
            truth.owners.push(owner.to_owned());
            self.jobs.entry(owner.to_owned()).or_default().made.insert(uid(pod));
        }
        truth.index = pod["metadata"]["annotations"][INDEX_ANNOTATION].as_str().map(str::to_owned);
        truth.deleted |= is_deleting(pod);
        if is_finished(pod) {
            truth.succeeded = Some(pod["status"]["phase"] == "Succeeded");
            truth.exit_code = number(pod, "/status/containerStatuses/0/state/terminated/exitCode");
        } else if !is_tracked(pod) {
            truth.released_uncounted = true;
        }
    }

    /// Checks an object that a controller created.
    pub fn created(&mut self, store: &Store, created: &Value) {
        self.observe(store);
        let Some(owner) = controller(created).map(str::to_owned) else { return };
        if matches!(created["kind"].as_str(), Some("Workload" | "PodGroup")) {
            return;
        }
        if created["kind"] != "Pod" {
            return self.job_created(store, created, &owner);
        }
        let name = &created["metadata"]["name"];
        let Some((_, job)) = store.of("jobs").find(|(_, job)| uid(job) == owner) else {
            // The Job was deleted a moment ago; the garbage collector deletes the pod.
            return;
        };
        if is_decided(job) {
            return self
                .report_breach(format!("pod {name} is created for a Job whose outcome is stored: {}", job["status"]));
        }
        // Jobs that have started no longer depend on others.
        let is_first = job["status"]["startTime"].is_null();
        if is_first && waits_for_jobs(job, store) {
            let after = &job["metadata"]["annotations"];
            return self
                .report_breach(format!("pod {name} is created before the Jobs that its Job waits for: {after}"));
        }
        let result = self.limits.starts(store, job);
        self.record(result);
        if self.gangs {
            self.record(groups::created(store, created, job));
        }
        let result = self.progress.created(&owner, store.seconds());
        self.record(result);
        let result = self.job_policies.pod_created(job, created);
        self.record(result);
        let truth = self.jobs.get(&owner);
        if truth.is_some_and(|truth| truth.known_suspended || truth.known_deleting) {
            return self.report_breach(format!(
                "pod {name} is created for a Job that the controller knows to be suspended or deleted"
            ));
        }
        let since = self.jobs.get(&owner).and_then(|truth| truth.suspended_since);
        if since.is_some_and(|since| store.seconds() - since > MAX_OBSERVATION_DELAY) {
            return self.report_breach(format!(
                "pod {name} is created for a Job that has been suspended for more than {MAX_OBSERVATION_DELAY} s"
            ));
        }
        let waits = job["spec"]["podReplacementPolicy"] == "Failed";
        let live: Vec<&Value> = store
            .of("pods")
            .map(|(_, pod)| pod)
            .filter(|pod| is_own(pod, &owner))
            .filter(|pod| !is_finished(pod) && (waits || !is_deleting(pod)))
            .collect();
        let max = self.jobs.get(&owner).map_or(0, |truth| truth.parallelism);
        if live.len() as i64 > max {
            return self.report_breach(format!("{} live pods with {name}, {max} are allowed", live.len()));
        }
        let index = &created["metadata"]["annotations"][INDEX_ANNOTATION];
        if let Err(what) = self.indexes.created(&owner, index, store.seconds()) {
            return self.report_breach(format!("{name}: {what}"));
        }
        if index.is_null() {
            return;
        }
        let same_index = live.iter().filter(|pod| pod["metadata"]["annotations"][INDEX_ANNOTATION] == *index).count();
        if same_index > 1 {
            return self.report_breach(format!("{same_index} live pods of index {index}, with {name}"));
        }
        let completed = indexes(&job["status"]["completedIndexes"]);
        if completed.iter().any(|completed| index.as_str() == Some(completed.to_string().as_str())) {
            self.report_breach(format!("pod {name} is created for index {index}, which has completed"));
        }
    }

    /// Checks a new Job of a CronJob or a JobSchedule.
    fn job_created(&mut self, store: &Store, created: &Value, owner: &str) {
        let owners = || store.of("cronjobs").chain(store.of("jobschedules")).map(|(_, owner)| owner);
        if let Some(schedule) = owners().find(|found| uid(found) == owner) {
            let result = self.schedules.started(store, created, schedule);
            self.record(result);
        }
        let Some((_, cron_job)) = store.of("cronjobs").find(|(_, cron_job)| uid(cron_job) == owner) else { return };
        let running = store.of("jobs").filter(|(_, job)| controller(job) == Some(owner) && !is_over(job)).count();
        if cron_job["spec"]["concurrencyPolicy"] != "Allow" && running > 1 {
            self.report_breach(format!(
                "{} is started while another Job of its CronJob is active",
                created["metadata"]["name"]
            ));
        }
    }

    /// Checks a patch of a pod by a controller before the patch takes effect.
    pub fn pod_patched(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        let result = self.job_policies.pod_patched(before, after, store.seconds());
        self.record(result);
        if controller(before).is_none() && controller(after).is_some() && !is_tracked(after) {
            return self.report_breach(format!("pod {} is adopted without the finalizer", before["metadata"]["name"]));
        }
        if !is_tracked(before) || is_tracked(after) {
            return;
        }
        if !is_finished(before) {
            let lives = |owner: &str| store.of("jobs").any(|(_, job)| uid(job) == owner && !is_deleting(job));
            let truth = self.pods.entry(uid(before)).or_default();
            truth.untracked |= !is_deleting(before) && controller(after).is_some_and(lives);
            return;
        }
        let Some(owner) = controller(after) else { return };
        let Some((_, job)) = store.of("jobs").find(|(_, job)| uid(job) == owner) else { return };
        let truth = self.jobs.entry(owner.to_owned()).or_default();
        let pod = uid(before);
        let succeeded = before["status"]["phase"] == "Succeeded";
        let index = before["metadata"]["annotations"][INDEX_ANNOTATION].as_str();
        let completed = succeeded
            && index.is_some_and(|index| {
                indexes(&job["status"]["completedIndexes"]).iter().any(|done| done.to_string() == index)
            });
        let ignored = !succeeded && has_rule(job, "Ignore");
        let accounted = uncounted(job).contains(&pod.as_str()) || completed || ignored || is_over(job);
        // Surplus pods are deleted without being counted, and one of them can finish at that moment. The same holds
        // if a pod that was being deleted and was already replaced succeeds.
        let deletes = truth.made.iter().any(|pod| self.pods.get(pod).is_some_and(|pod| pod.deleted));
        if !accounted && !truth.disturbed && !deletes && !is_decided(job) {
            self.report_breach(format!(
                "pod {} loses its finalizer before the status lists it: {}",
                before["metadata"]["name"], job["status"]
            ));
        }
    }

    /// Checks a status of a Job that a controller writes, before the write takes effect.
    pub fn status_written(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        let job = uid(after);
        let name = &after["metadata"]["name"];
        if is_over(before) {
            return self.report_breach(format!("the status of {name} is written after its end: {}", after["status"]));
        }
        self.limits.status_written(after);
        let conditions = after["status"]["conditions"].as_array().into_iter().flatten();
        if let Some(target) = conditions.into_iter().find(|one| one["type"] == "FailureTarget")
            && !is_decided(before)
        {
            let reason = target["reason"].as_str().unwrap_or_default();
            let result = self.job_policies.fails(after, reason, store.seconds());
            self.record(result);
        }
        let result = self.indexes.status_written(before, after);
        self.record(result);
        let starts = before["status"]["startTime"].is_null() && !after["status"]["startTime"].is_null();
        // A Job that is being deleted gets a start time but no pods.
        if starts && !is_decided(after) && !is_deleting(before) {
            let result = self.limits.starts(store, after);
            self.record(result);
        }
        let truth = self.jobs.entry(job.clone()).or_default();
        truth.known_suspended = before["spec"]["suspend"] == true;
        truth.known_deleting |= is_deleting(before);
        let (succeeded, failed) = (newly_listed(before, after, "succeeded"), newly_listed(before, after, "failed"));
        self.job_policies.listed_failed(after, &failed, store.seconds());
        let result = results::status_written(store, before, after, &succeeded);
        self.record(result);
        let truth = self.jobs.entry(job.clone()).or_default();
        let (was, is) = (uncounted(before), uncounted(after));
        for listed in is.iter().filter(|uid| !was.contains(uid)) {
            let pod = self.pods.get(*listed).cloned().unwrap_or_default();
            if !truth.made.contains(*listed) {
                return self.report_breach(format!("{name} counts a pod that is not its own: {listed}"));
            }
            if !truth.listed.insert((*listed).to_owned()) {
                return self.report_breach(format!("{name} counts {listed} a second time"));
            }
            let as_succeeded = uncounted_as(after, "succeeded").contains(listed);
            if !as_succeeded {
                truth.listed_failed.insert((*listed).to_owned());
            }
            // Once the outcome is decided, a pod that is not known to be finished counts as failed.
            let failed = pod.succeeded == Some(false) || pod.deleted || is_decided(after);
            let is_correct = if as_succeeded { pod.succeeded == Some(true) } else { failed };
            if !is_correct {
                let outcome = if as_succeeded { "succeeded" } else { "failed" };
                return self.report_breach(format!("{name} counts {listed} as {outcome}, which it has not"));
            }
        }
        let left = |list_: &str| -> Vec<&str> {
            let is = uncounted_as(after, list_);
            uncounted_as(before, list_).into_iter().filter(|uid| !is.contains(uid)).collect()
        };
        let (succeeded, failed) = (left("succeeded"), left("failed"));
        for uid_ in succeeded.iter().chain(&failed) {
            // A pod without an owner that is being deleted, or that has lost its labels, is not adopted and cannot be counted again.
            let is_adoptable =
                |pod: &Value| !is_deleting(pod) && pod["metadata"]["labels"][CONTROLLER_UID_LABEL] == *job;
            let may_return = |pod: &Value| controller(pod) == Some(&job) || is_adoptable(pod);
            let tracked = store.of("pods").any(|(_, pod)| uid(pod) == **uid_ && is_tracked(pod) && may_return(pod));
            if tracked {
                return self
                    .report_breach(format!("{uid_} leaves the uncounted pods of {name} but still has its finalizer"));
            }
        }
        let grows = |field: &str| number(after, field) - number(before, field);
        if grows("/status/failed") != failed.len() as i64 {
            return self.report_breach(format!(
                "status.failed of {name} increases by {}, expected {}",
                grows("/status/failed"),
                failed.len()
            ));
        }
        let indexed = after["spec"]["completionMode"] == "Indexed";
        if !indexed && grows("/status/succeeded") != succeeded.len() as i64 {
            let grown = grows("/status/succeeded");
            return self.report_breach(format!(
                "status.succeeded of {name} increases by {grown}, expected {}",
                succeeded.len()
            ));
        }
        if indexed {
            let completed = indexes(&after["status"]["completedIndexes"]);
            for index in &completed {
                let text = index.to_string();
                let done = truth
                    .made
                    .iter()
                    .filter(|pod| !truth.listed_failed.contains(*pod))
                    .filter_map(|pod| self.pods.get(pod))
                    .any(|pod| pod.succeeded == Some(true) && pod.index.as_deref() == Some(&text));
                if !done {
                    let why = "every succeeded pod of the index, if any, is counted as failed";
                    return self.report_breach(format!("{name} counts index {index} as completed, but {why}"));
                }
            }
            if number(after, "/status/succeeded") != completed.len() as i64 {
                self.report_breach(format!(
                    "{name}: status.succeeded is not the number of completed indexes: {}",
                    after["status"]
                ));
            }
        }
        if is_over(after) {
            let mut left = store.of("pods").map(|(_, pod)| pod).filter(|pod| is_own(pod, &job));
            if let Some(pod) = left.find(|pod| !is_finished(pod)) {
                let (pod, phase) = (&pod["metadata"]["name"], &pod["status"]["phase"]);
                self.report_breach(format!("{name} gets its final condition while {pod} is {phase}"));
            }
        }
    }
}

/// Returns the UIDs that a status lists in one of the lists for the first time.
fn newly_listed<'a>(before: &Value, after: &'a Value, list: &str) -> Vec<&'a str> {
    let known = uncounted_as(before, list);
    uncounted_as(after, list).into_iter().filter(|uid| !known.contains(uid)).collect()
}

/// Returns whether a pod belongs to a Job. A pod that lost its controller-uid label no longer does.
fn is_own(pod: &Value, job: &str) -> bool {
    controller(pod) == Some(job) && pod["metadata"]["labels"][CONTROLLER_UID_LABEL] == job
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn has_rule(job: &Value, action: &str) -> bool {
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array();
    rules.is_some_and(|rules| rules.iter().any(|rule| rule["action"] == action))
}
