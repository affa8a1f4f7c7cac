//! The invariants, held against every write that takes effect and against what the cluster has come to in the end.
//!
//! The checks know the truth: every version of every object, in order. A breach is noted and ends the history.

pub mod limits;
pub mod pauses;
pub mod progress;
pub mod refusals;
pub mod retention;
pub mod schedules;

use std::collections::{BTreeMap, BTreeSet};

use jobwright::job::{CONTROLLER_UID_LABEL, INDEX_ANNOTATION};
use serde_json::Value;

use self::limits::Limits;
use self::pauses::Pauses;
use self::progress::Progress;
use self::refusals::Refusals;
use self::retention::Retention;
use self::schedules::Schedules;
use crate::admission::Policy;
use crate::objects::{
    controller, has_condition, indexes, is_decided, is_deleting, is_finished, is_over, is_tracked, number, uncounted,
    uncounted_as,
};
use crate::scenario::Scenario;
use crate::store::{Happened, Store};

/// How long it may take until what users did is known, in seconds: the API server may be away for two minutes.
const NEWS_ARRIVES: i64 = 300;

/// What has been seen, and what was wrong with it.
pub struct Checks {
    /// The first breach.
    pub broken: Option<String>,
    /// Nothing keeps a controller from carrying out what it has begun.
    steady: bool,
    seen: usize,
    jobs: BTreeMap<String, JobTruth>,
    pods: BTreeMap<String, PodTruth>,
    pub limits: Limits,
    pub schedules: Schedules,
    pub retention: Retention,
    pub refusals: Refusals,
    pub pauses: Pauses,
    pub progress: Progress,
}

/// What is true of a Job.
#[derive(Default)]
struct JobTruth {
    /// The most pods it was ever allowed at once.
    parallelism: i64,
    /// A user has asked for fewer pods, or for none, or meddled with its pods: what is given up is not counted.
    meddled: bool,
    /// Since when it has been suspended, in seconds.
    suspended_since: Option<i64>,
    /// A controller has written the status of it as one that is to be suspended, and it still is.
    known_suspended: bool,
    /// A controller has written the status of it as one that is being deleted.
    known_deleting: bool,
    /// UIDs that were ever listed as uncounted.
    listed: BTreeSet<String>,
    /// Those of them that were listed as failed.
    listed_failed: BTreeSet<String>,
    /// Pods made for it.
    made: BTreeSet<String>,
}

/// What is true of a pod.
#[derive(Default, Clone)]
struct PodTruth {
    /// The Jobs that controlled it, in order.
    owners: Vec<String>,
    index: Option<String>,
    /// It ended so.
    succeeded: Option<bool>,
    deleted: bool,
    /// Lost its finalizer before it had ended.
    given_up: bool,
    /// A controller took the finalizer off while it ran and was a Job's that stays.
    untracked: bool,
    /// What its container ended with.
    exit_code: i64,
}

impl Checks {
    /// The checks of one story.
    pub fn new(scenario: &Scenario) -> Self {
        let news = scenario.news();
        Self {
            broken: None,
            steady: scenario.is_steady(),
            seen: 0,
            jobs: BTreeMap::new(),
            pods: BTreeMap::new(),
            limits: Limits::new(news),
            schedules: Schedules::new(news),
            retention: Retention::default(),
            refusals: Refusals::default(),
            pauses: Pauses::default(),
            progress: Progress::new(scenario.patience(), scenario.replaced_within()),
        }
    }

    /// Notes the breach that a check found.
    fn hold(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.breaks(what);
        }
    }

    /// A replica begins a write that goes through its gate.
    pub fn sent(&mut self, who: &str) {
        let result = self.pauses.sent(who);
        self.hold(result);
    }

    /// A policy refused a write.
    pub fn refused(&mut self, policy: &Policy, object: &Value, now: i64) {
        let result = self.refusals.refused(policy, object, now);
        self.hold(result);
    }

    /// A controller deletes an object.
    pub fn deleted(&mut self, store: &Store, object: &Value, propagation: &str) {
        self.observe(store);
        // The TTL controller deletes in the foreground; schedules delete their Jobs in the background.
        if object["kind"] == "Job" && propagation == "Foreground" {
            let result = self.retention.deletes(store, object);
            self.hold(result);
        }
    }

    /// A controller wrote the status of a JobSchedule.
    pub fn schedule_written(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        let result = self.schedules.status_written(before, after);
        self.hold(result);
    }

    /// Notes a breach; the first one counts.
    pub fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A user or a machine took something away that is not counted then.
    pub fn meddled_with(&mut self, job: Option<&str>) {
        if let Some(job) = job {
            self.jobs.entry(job.to_owned()).or_default().meddled = true;
        }
    }

    /// Takes in what has happened since.
    pub fn observe(&mut self, store: &Store) {
        for happened in &store.log[self.seen..] {
            self.limits.observe(happened);
            self.schedules.observe(happened);
            self.retention.observe(happened);
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
        let truth = self.jobs.entry(uid(job)).or_default();
        truth.parallelism = truth.parallelism.max(number(job, "/spec/parallelism"));
        let less = happened.before.as_ref().is_some_and(|before| {
            ["/spec/parallelism", "/spec/completions"].iter().any(|field| number(job, field) < number(before, field))
        });
        let suspended = job["spec"]["suspend"] == true;
        truth.known_suspended &= suspended;
        truth.suspended_since = suspended.then(|| truth.suspended_since.unwrap_or(now));
        truth.meddled |= less || suspended || is_deleting(job);
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
            truth.given_up = true;
        }
    }

    /// A pod was created by a controller.
    pub fn created(&mut self, store: &Store, created: &Value) {
        self.observe(store);
        let Some(owner) = controller(created).map(str::to_owned) else { return };
        if created["kind"] != "Pod" {
            return self.job_created(store, created, &owner);
        }
        let name = &created["metadata"]["name"];
        let Some((_, job)) = store.of("jobs").find(|(_, job)| uid(job) == owner) else {
            // It was deleted a moment ago; the garbage collector sees to it.
            return;
        };
        if is_decided(job) {
            return self.breaks(format!("pod {name} is created for a Job whose outcome is stored: {}", job["status"]));
        }
        let result = self.limits.starts(store, job);
        self.hold(result);
        let result = self.progress.created(&owner, store.seconds());
        self.hold(result);
        let truth = self.jobs.get(&owner);
        if truth.is_some_and(|truth| truth.known_suspended || truth.known_deleting) {
            return self.breaks(format!("pod {name} is created for a Job that is known to be held or to go"));
        }
        let since = self.jobs.get(&owner).and_then(|truth| truth.suspended_since);
        if since.is_some_and(|since| store.seconds() - since > NEWS_ARRIVES) {
            return self.breaks(format!("pod {name} is created for a Job that has long been suspended"));
        }
        let waits = job["spec"]["podReplacementPolicy"] == "Failed";
        let live: Vec<&Value> = store
            .of("pods")
            .map(|(_, pod)| pod)
            .filter(|pod| is_own(pod, &owner))
            .filter(|pod| !is_finished(pod) && (waits || !is_deleting(pod)))
            .collect();
        let most = self.jobs.get(&owner).map_or(0, |truth| truth.parallelism);
        if live.len() as i64 > most {
            return self.breaks(format!("{} pods live with {name}, {most} are allowed", live.len()));
        }
        let index = &created["metadata"]["annotations"][INDEX_ANNOTATION];
        if index.is_null() {
            return;
        }
        let twins = live.iter().filter(|pod| pod["metadata"]["annotations"][INDEX_ANNOTATION] == *index).count();
        if twins > 1 {
            return self.breaks(format!("{twins} live pods of index {index}, with {name}"));
        }
        let done = indexes(&job["status"]["completedIndexes"]);
        if done.iter().any(|done| index.as_str() == Some(done.to_string().as_str())) {
            self.breaks(format!("pod {name} is created for index {index}, which has completed"));
        }
    }

    /// A Job of a CronJob or a JobSchedule.
    fn job_created(&mut self, store: &Store, created: &Value, owner: &str) {
        let owners = || store.of("cronjobs").chain(store.of("jobschedules")).map(|(_, owner)| owner);
        if let Some(schedule) = owners().find(|found| uid(found) == owner) {
            let result = self.schedules.started(store, created, schedule);
            self.hold(result);
        }
        let Some((_, cron_job)) = store.of("cronjobs").find(|(_, cron_job)| uid(cron_job) == owner) else { return };
        let running = store.of("jobs").filter(|(_, job)| controller(job) == Some(owner) && !is_over(job)).count();
        if cron_job["spec"]["concurrencyPolicy"] != "Allow" && running > 1 {
            self.breaks(format!("{} is started while another one runs", created["metadata"]["name"]));
        }
    }

    /// A pod is about to be changed by a controller.
    pub fn pod_patched(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        if controller(before).is_none() && controller(after).is_some() && !is_tracked(after) {
            return self.breaks(format!("pod {} is adopted without the finalizer", before["metadata"]["name"]));
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
        // Pods that are too many are given up, and one may end at that moment: so it may be where one that was being
        // deleted, and replaced, has succeeded after all.
        let deletes = truth.made.iter().any(|pod| self.pods.get(pod).is_some_and(|pod| pod.deleted));
        if !accounted && !truth.meddled && !deletes && !is_decided(job) {
            self.breaks(format!(
                "pod {} loses its finalizer before the status tells of it: {}",
                before["metadata"]["name"], job["status"]
            ));
        }
    }

    /// A Job's status is about to be changed by a controller.
    pub fn status_written(&mut self, store: &Store, before: &Value, after: &Value) {
        self.observe(store);
        let job = uid(after);
        let name = &after["metadata"]["name"];
        if is_over(before) {
            return self.breaks(format!("{name} is over and its status is written: {}", after["status"]));
        }
        self.limits.status_written(after);
        let starts = before["status"]["startTime"].is_null() && !after["status"]["startTime"].is_null();
        // One that is being deleted gets a start time, and no pods.
        if starts && !is_decided(after) && !is_deleting(before) {
            let result = self.limits.starts(store, after);
            self.hold(result);
        }
        let truth = self.jobs.entry(job.clone()).or_default();
        truth.known_suspended = before["spec"]["suspend"] == true;
        truth.known_deleting |= is_deleting(before);
        let (was, is) = (uncounted(before), uncounted(after));
        for listed in is.iter().filter(|uid| !was.contains(uid)) {
            let pod = self.pods.get(*listed).cloned().unwrap_or_default();
            if !truth.made.contains(*listed) {
                return self.breaks(format!("{name} counts a pod that is not its own: {listed}"));
            }
            if !truth.listed.insert((*listed).to_owned()) {
                return self.breaks(format!("{name} counts {listed} a second time"));
            }
            let as_succeeded = uncounted_as(after, "succeeded").contains(listed);
            if !as_succeeded {
                truth.listed_failed.insert((*listed).to_owned());
            }
            // Where the outcome is decided, what is not known to have ended counts as failed.
            let failed = pod.succeeded == Some(false) || pod.deleted || is_decided(after);
            let rightly = if as_succeeded { pod.succeeded == Some(true) } else { failed };
            if !rightly {
                return self.breaks(format!("{name} counts {listed} wrongly: as succeeded: {as_succeeded}"));
            }
        }
        let left = |list_: &str| -> Vec<&str> {
            let is = uncounted_as(after, list_);
            uncounted_as(before, list_).into_iter().filter(|uid| !is.contains(uid)).collect()
        };
        let (succeeded, failed) = (left("succeeded"), left("failed"));
        for uid_ in succeeded.iter().chain(&failed) {
            // One that was disowned while it was being deleted is adopted by nobody and cannot be counted again.
            let may_return = |pod: &Value| controller(pod) == Some(&job) || !is_deleting(pod);
            let held = store.of("pods").any(|(_, pod)| uid(pod) == **uid_ && is_tracked(pod) && may_return(pod));
            if held {
                return self.breaks(format!("{uid_} leaves the uncounted pods of {name} with its finalizer on"));
            }
        }
        let grows = |field: &str| number(after, field) - number(before, field);
        if grows("/status/failed") != failed.len() as i64 {
            return self.breaks(format!("failed of {name} grows by {}, not {}", grows("/status/failed"), failed.len()));
        }
        let indexed = after["spec"]["completionMode"] == "Indexed";
        if !indexed && grows("/status/succeeded") != succeeded.len() as i64 {
            let grown = grows("/status/succeeded");
            return self.breaks(format!("succeeded of {name} grows by {grown}, not {}", succeeded.len()));
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
                    let why = "no pod of it succeeded that is not counted as failed";
                    return self.breaks(format!("{name} counts index {index} as completed and {why}"));
                }
            }
            if number(after, "/status/succeeded") != completed.len() as i64 {
                self.breaks(format!("{name}: succeeded is not the number of completed indexes: {}", after["status"]));
            }
        }
        if is_over(after) {
            let mut left = store.of("pods").map(|(_, pod)| pod).filter(|pod| is_own(pod, &job));
            if let Some(pod) = left.find(|pod| !is_finished(pod)) {
                let (pod, phase) = (&pod["metadata"]["name"], &pod["status"]["phase"]);
                self.breaks(format!("{name} is said to be over while {pod} is {phase}"));
            }
        }
    }

    /// What the cluster has come to, when nothing is left to be done. Says what is wrong with it.
    pub fn end(&mut self, store: &Store) -> Result<(), String> {
        self.observe(store);
        for (_, pod) in store.of("pods") {
            let Some(owner) = controller(pod) else {
                if is_tracked(pod) {
                    return Err(format!("{} is nobody's and has our finalizer", pod["metadata"]["name"]));
                }
                continue;
            };
            let live = store.of("jobs").any(|(_, job)| uid(job) == owner && !is_over(job));
            if is_tracked(pod) && !live {
                return Err(format!("{} has our finalizer and no live Job", pod["metadata"]["name"]));
            }
        }
        let mut forgotten = self.pods.iter().filter(|(_, pod)| pod.untracked && !pod.deleted);
        if let Some((pod, _)) = forgotten.next().filter(|_| self.steady) {
            return Err(format!("{pod} was let go while it ran and was a Job's, and never deleted"));
        }
        self.schedules.history(store)?;
        let taken = self.schedules.untold(store, |uid| self.refusals.lost || self.refusals.has_warning(uid, ""));
        if let Some(untold) = self.refusals.untold().or(taken) {
            return Err(untold);
        }
        for (_, cron_job) in store.of("cronjobs").chain(store.of("jobschedules")) {
            let own = store.of("jobs").map(|(_, job)| job).filter(|job| controller(job) == Some(&uid(cron_job)));
            let own: Vec<&Value> = own.collect();
            for (condition, limit) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")]
            {
                let kept = own.iter().filter(|job| has_condition(job, condition)).count() as i64;
                if kept > number(cron_job, &format!("/spec/{limit}")) {
                    return Err(format!("{kept} {condition} Jobs of {} are kept", cron_job["metadata"]["name"]));
                }
            }
        }
        for (_, job) in store.of("jobs") {
            if retention::expiry(store, job).is_some_and(|at| at <= store.seconds()) {
                return Err(format!("{} has outlived its time to live", job["metadata"]["name"]));
            }
            self.ended(job).map_err(|wrong| format!("{}: {wrong}: {}", job["metadata"]["name"], job["status"]))?;
        }
        Ok(())
    }

    /// Whether a Job's end is the one that its pods make it.
    fn ended(&self, job: &Value) -> Result<(), String> {
        let truth = self.jobs.get(&uid(job)).ok_or("never seen")?;
        let pods: Vec<&PodTruth> = truth.made.iter().filter_map(|pod| self.pods.get(pod)).collect();
        let strict = !truth.meddled && pods.iter().all(|pod| !pod.given_up && !pod.deleted && pod.owners.len() == 1);
        let (succeeded, failed) = (number(job, "/status/succeeded"), number(job, "/status/failed"));
        let ended = pods.iter().filter(|pod| pod.succeeded.is_some() || pod.deleted).count() as i64;
        if succeeded + failed > ended {
            return Err(format!("{ended} pods have ended"));
        }
        let completions = job["spec"]["completions"].as_i64();
        let ends = |wanted: bool| pods.iter().filter(|pod| pod.succeeded == Some(wanted)).count() as i64;
        let policy = &job["spec"]["successPolicy"];
        if has_condition(job, "Complete") {
            if let Some(completions) = completions
                && policy.is_null()
                && succeeded != completions
                && (strict || succeeded < completions)
            {
                return Err(format!("complete with {succeeded} of {completions}"));
            }
            if strict && policy.is_null() && completions.is_none() && succeeded != ends(true) {
                return Err(format!("{} pods succeeded", ends(true)));
            }
            let counted = !has_rule(job, "Ignore");
            if strict && policy.is_null() && counted && failed != ends(false) {
                return Err(format!("{} pods failed", ends(false)));
            }
            return Ok(());
        }
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let failure = conditions.iter().find(|one| one["type"] == "Failed").ok_or("not over")?;
        let limit = number(job, "/spec/backoffLimit");
        let because = match failure["reason"].as_str().unwrap_or_default() {
            // Restarts of containers count too, where pods are restarted.
            "BackoffLimitExceeded" => {
                job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
                    || failed > limit
                    || pods.iter().filter(|pod| pod.succeeded == Some(false) || pod.deleted).count() as i64 > limit
            }
            "DeadlineExceeded" => !job["spec"]["activeDeadlineSeconds"].is_null(),
            "PodFailurePolicy" => pods.iter().any(|pod| pod.exit_code == 42),
            "FailedIndexes" => !indexes(&job["status"]["failedIndexes"]).is_empty(),
            "MaxFailedIndexesExceeded" => {
                indexes(&job["status"]["failedIndexes"]).len() as i64 > number(job, "/spec/maxFailedIndexes")
            }
            _ => false,
        };
        if because { Ok(()) } else { Err("failed for no reason".to_owned()) }
    }
}

/// Whether a pod is this Job's. One that has lost its labels is no longer its own.
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
