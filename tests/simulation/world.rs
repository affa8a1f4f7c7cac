//! The simulated cluster without Jobwright: kubelets, the garbage collector, and users.

use jobwright::runtime::quantity;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::State;
use crate::checks::indexes::{Listed, listed};
use crate::checks::limits::can_never_fit;
use crate::objects::{controller, has_finalizer, is_deleting, is_finished, is_over, is_tracked, number};
use crate::scenario::Action;
use crate::store::{Key, Store};
use crate::users::list_indexes;

/// Image that does not exist for most of a history.
pub const MISSING_IMAGE: &str = "missing";
/// Image whose container needs [`NEEDED_MEMORY`].
pub const HUNGRY_IMAGE: &str = "hungry";
/// Image whose container needs [`NEEDED_SECONDS`].
pub const SLOW_IMAGE: &str = "slow";
/// Memory that a container needs, in bytes.
const NEEDED_MEMORY: u64 = 150 << 20;
/// Time that a pod needs, in seconds.
const NEEDED_SECONDS: i64 = 50;
/// Namespace of all simulated objects.
pub const NAMESPACE: &str = "simulation";

/// State and random numbers of kubelets and users.
pub struct World {
    pub random: fastrand::Rng,
    /// Percentage of pods that fail.
    pub failing: u32,
    /// Percentage of pods that succeed when they are deleted while they run.
    pub graceful: u32,
    /// Percentage of pods with a missing image that stay as they are from one tick to the next.
    pub stuck: u32,
    /// Actions that users take later, with their times.
    pub later: Vec<(Instant, Action)>,
}

impl World {
    /// Carries out the due actions, runs the garbage collector, and advances some pods.
    pub fn tick(&mut self, state: &mut State) {
        let now = Instant::now();
        let due: Vec<Action> = self.later.extract_if(.., |(at, _)| *at <= now).map(|(_, action)| action).collect();
        due.iter().for_each(|action| self.action(state, action));
        self.collect_garbage(&mut state.store);
        let pods: Vec<Key> = state.store.of("pods").map(|(key, _)| key.clone()).collect();
        for key in pods {
            if self.random.bool() {
                self.advance(state, &key);
            }
        }
    }

    fn advance(&mut self, state: &mut State, key: &Key) {
        let Ok(pod) = state.store.get(key) else { return };
        let (finished, deleting) = (is_finished(pod), is_deleting(pod));
        let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let restarts = pod["spec"]["restartPolicy"] == "OnFailure";
        match (phase.as_str(), finished, deleting) {
            (_, true, true) => delete_for_good(state, key),
            (_, false, true) => {
                let code = if self.random.u32(0..100) < self.graceful { 0 } else { 143 };
                finish(state, key, code);
                if self.random.bool() {
                    delete_for_good(state, key);
                }
            }
            ("Pending", ..) if self.is_stuck(pod) => self.keep_stuck(state, key),
            ("Pending", ..) => {
                let ready = self.random.bool();
                state.store.change(key, |pod| {
                    pod["status"]["phase"] = "Running".into();
                    if pod["status"]["containerStatuses"].is_array() {
                        let running = json!({"name": "main", "restartCount": 0, "state": {"running": {}}});
                        pod["status"]["containerStatuses"] = json!([running]);
                    }
                    pod["status"]["conditions"] =
                        json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
                });
            }
            ("Running", ..) if self.random.bool() => {
                let fails = self.random.u32(0..100) < self.failing;
                if fails && restarts {
                    state.store.change(key, |pod| {
                        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default();
                        let running = json!({"name": "main", "restartCount": count + 1, "state": {"running": {}}});
                        pod["status"]["containerStatuses"] = json!([running]);
                    });
                } else {
                    let code = if self.random.u32(0..4) == 0 { 42 } else { 1 };
                    finish(state, key, if fails { code } else { 0 });
                }
            }
            _ => {}
        }
    }

    /// Returns whether a pod stays without a start: its image is missing at present.
    fn is_stuck(&mut self, pod: &Value) -> bool {
        pod["spec"]["containers"][0]["image"] == MISSING_IMAGE && self.random.u32(0..100) < self.stuck
    }

    /// Gives a pod the state of one whose image is missing, or at times of one whose configuration is wrong.
    fn keep_stuck(&mut self, state: &mut State, key: &Key) {
        let changes = self.random.u32(0..20) == 0;
        let now = state.store.now();
        state.store.change(key, |pod| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            let reason = match waiting.as_str() {
                Some(reason) if !changes => reason.to_owned(),
                Some("ErrImagePull") => "CreateContainerConfigError".to_owned(),
                _ => "ErrImagePull".to_owned(),
            };
            if waiting.is_null() {
                pod["status"]["conditions"] =
                    json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}]);
            }
            let state = json!({"waiting": {"reason": reason, "message": "not found"}});
            pod["status"]["containerStatuses"] = json!([{"name": "main", "restartCount": 0, "state": state}]);
        });
    }

    /// Deletes the dependents of deleted owners, and then the owners that wait for their dependents.
    fn collect_garbage(&mut self, store: &mut Store) {
        let kinds: [(_, &[_]); 4] = [
            ("pods", &["jobs"]),
            ("jobs", &["cronjobs", "jobschedules"]),
            ("podgroups", &["jobs"]),
            ("workloads", &["jobs"]),
        ];
        for (dependents, owners) in kinds {
            let owned: Vec<(Key, String)> = store
                .of(dependents)
                .filter_map(|(key, object)| Some((key.clone(), controller(object)?.to_owned())))
                .collect();
            for (key, owner) in &owned {
                let mut all = owners.iter().flat_map(|owners| store.of(owners)).map(|(_, object)| object);
                let found = all.find(|object| object["metadata"]["uid"] == **owner).cloned();
                drop(all);
                let found = found.as_ref();
                let deletes =
                    found.is_none_or(|owner| is_deleting(owner) && has_finalizer(owner, "foregroundDeletion"));
                let orphaned = found.is_some_and(|owner| is_deleting(owner) && has_finalizer(owner, "orphan"));
                if orphaned {
                    store.change(key, |object| object["metadata"]["ownerReferences"] = json!([]));
                } else if deletes && store.get(key).is_ok_and(|object| !is_deleting(object)) {
                    let _ = store.delete(key, None, "Background");
                }
            }
            let waiting: Vec<(Key, bool)> = owners
                .iter()
                .flat_map(|owners| store.of(owners))
                .filter(|(_, owner)| is_deleting(owner))
                .map(|(key, owner)| {
                    let uid = owner["metadata"]["uid"].as_str();
                    (key.clone(), store.of(dependents).any(|(_, object)| controller(object) == uid))
                })
                .collect();
            for (key, waits) in waiting {
                if !waits {
                    store.change(&key, |owner| owner["metadata"]["finalizers"] = json!([]));
                }
            }
        }
    }

    /// Carries out an action of the scenario.
    pub fn action(&mut self, state: &mut State, action: &Action) {
        state.trace(|| format!("{action:?}"));
        match action {
            Action::CreateJob(job, given) => {
                let mut object = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": given["spec"]});
                object["metadata"] = if given["metadata"].is_null() { json!({}) } else { given["metadata"].clone() };
                object["metadata"]["name"] = format!("job-{job}").into();
                let _ = state.store.create("jobs", NAMESPACE, object);
            }
            Action::CreateCronJob(cron_job, spec) => {
                let object = json!({
                    "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": format!("cron-{cron_job}")},
                    "spec": spec, "status": {},
                });
                let _ = state.store.create("cronjobs", NAMESPACE, object);
            }
            Action::DeleteJob(job, policy) => {
                let _ = state.store.delete(&job_key(*job), None, policy);
            }
            Action::DeleteCronJob(cron_job) => {
                let key = ("cronjobs", NAMESPACE.to_owned(), format!("cron-{cron_job}"));
                let _ = state.store.delete(&key, None, "Background");
            }
            Action::Suspend(job, suspend) => state.store.change(&job_key(*job), |job| {
                if !is_over(job) {
                    job["spec"]["suspend"] = json!(suspend);
                }
            }),
            Action::SuspendAndDeletePods(job) => {
                let Ok(owner) = state.store.get(&job_key(*job)) else { return };
                let uid = owner["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                let own = state.store.of("pods").filter(|(_, pod)| controller(pod) == Some(&uid) && !is_finished(pod));
                for key in own.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    let _ = state.store.delete(&key, None, "Background");
                }
                self.action(state, &Action::Suspend(*job, true));
            }
            Action::Scale(job, size) => state.store.change(&job_key(*job), |job| scale(job, *size)),
            Action::DeletePod(pick) => {
                if let Some(key) = pick_pod(&state.store, *pick) {
                    let _ = state.store.delete(&key, None, "Background");
                }
            }
            Action::ForceDeletePod(pick) => {
                if let Some(key) = pick_pod(&state.store, *pick) {
                    disturb_owner(state, &key);
                    state.store.change(&key, |pod| pod["metadata"]["finalizers"] = json!([]));
                    let _ = state.store.delete(&key, Some(0), "Background");
                }
            }
            Action::Evict(pick) => {
                if let Some(key) = pick_pod(&state.store, *pick) {
                    evict(state, &key);
                }
            }
            Action::EvictAll(job) => {
                let uid = state.store.get(&job_key(*job)).ok().and_then(|job| job["metadata"]["uid"].as_str());
                let uid = uid.map(str::to_owned);
                let live =
                    state.store.of("pods").filter(|(_, pod)| !is_finished(pod) && controller(pod) == uid.as_deref());
                for key in live.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    evict(state, &key);
                }
            }
            Action::LoseNode(node) => {
                let node = format!("node-{node}");
                let lost = state.store.of("pods").filter(|(_, pod)| pod["spec"]["nodeName"] == *node);
                for key in lost.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    finish(state, &key, 137);
                    let _ = state.store.delete(&key, Some(0), "Background");
                }
            }
            Action::RemoveOwner(pick) => {
                if let Some(key) = pick_pod(&state.store, *pick) {
                    state.store.change(&key, |pod| pod["metadata"]["ownerReferences"] = json!([]));
                }
            }
            Action::RemoveLabels(pick) => {
                if let Some(key) = pick_pod(&state.store, *pick) {
                    disturb_owner(state, &key);
                    state.store.change(&key, |pod| pod["metadata"]["labels"] = json!({}));
                }
            }
            Action::Quota(full) => state.quota = *full,
            Action::Compact => {
                state.store.horizon = state.store.version;
            }
            Action::ApiServerOutage(_) => {
                state.unavailable = true;
                state.store.changed.notify_waiters();
            }
            _ => self.extended_action(state, action),
        }
    }

    /// Suspends all CronJobs and JobSchedules, so that they start no more Jobs.
    pub fn suspend_schedules(&mut self, state: &mut State) {
        for resource in ["cronjobs", "jobschedules"] {
            let keys: Vec<Key> = state.store.of(resource).map(|(key, _)| key.clone()).collect();
            for key in keys {
                state.store.change(&key, |object| object["spec"]["suspend"] = json!(true));
            }
        }
    }

    /// Ends everything that keeps Jobs from finishing: faults, policies, quotas, suspension and a parallelism of 0.
    pub fn remove_obstacles(&mut self, state: &mut State) {
        (self.failing, self.stuck) = (0, 0);
        // A policy could fail or suspend Jobs without end.
        self.delete_all(state, "jobpolicies");
        state.faults = crate::faults::Faults { late: 5, ..Default::default() };
        state.quota = false;
        state.unavailable = false;
        state.admission.clear();
        state.paused_watches.clear();
        let jobs: Vec<Key> = state.store.of("jobs").map(|(key, _)| key.clone()).collect();
        for key in jobs {
            state.store.change(&key, |job| {
                if !is_over(job) {
                    job["spec"]["suspend"] = json!(false);
                    if job["spec"]["parallelism"] == 0 {
                        scale(job, 2);
                    }
                    if listed(job) == Listed::Invalid {
                        list_indexes(job, None);
                    }
                    // Another Job may have ended otherwise, or be gone.
                    if let Some(annotations) = job["metadata"]["annotations"].as_object_mut() {
                        annotations.remove("jobwright.dev/after");
                    }
                }
            });
        }
    }

    /// Describes the first object for which work is left, if any.
    pub fn unsettled(&self, store: &Store) -> Option<String> {
        for resource in ["jobs", "cronjobs", "jobschedules", "pods"] {
            for (key, object) in store.of(resource) {
                let stays = match resource {
                    "jobs" => {
                        !(is_over(object) || number(object, "/status/active") == 0 && can_never_fit(store, object))
                    }
                    "pods" => is_tracked(object) || !is_finished(object) && controller(object).is_some(),
                    _ => false,
                };
                if stays || is_deleting(object) {
                    let finalizers = &object["metadata"]["finalizers"];
                    return Some(format!("{resource} {}: {finalizers} {}", key.2, object["status"]));
                }
            }
        }
        None
    }
}

/// Sets the parallelism of a Job, and its completions too if it is an elastic Indexed Job.
fn scale(job: &mut Value, size: i32) {
    if is_over(job) {
        return;
    }
    let elastic = job["spec"]["completionMode"] == "Indexed"
        && job["spec"]["completions"] == job["spec"]["parallelism"]
        && job["spec"]["successPolicy"].is_null()
        && job["spec"]["backoffLimitPerIndex"].is_null();
    job["spec"]["parallelism"] = size.into();
    if elastic && size > 0 {
        job["spec"]["completions"] = size.into();
    }
}

/// Records that the owner of a pod will not be able to count the pod.
fn disturb_owner(state: &mut State, key: &Key) {
    let owner = state.store.get(key).ok().and_then(|pod| controller(pod).map(str::to_owned));
    state.checks.disturb(owner.as_deref());
}

pub fn job_key(job: usize) -> Key {
    ("jobs", NAMESPACE.to_owned(), format!("job-{job}"))
}

/// Picks one of the pods that are neither finished nor being deleted.
fn pick_pod(store: &Store, pick: usize) -> Option<Key> {
    let live: Vec<&Key> =
        store.of("pods").filter(|(_, pod)| !is_finished(pod) && !is_deleting(pod)).map(|(key, _)| key).collect();
    (!live.is_empty()).then(|| live[pick % live.len()].clone())
}

/// Sets the grace period to 0, as a kubelet does when the containers of a deleted pod have terminated.
fn delete_for_good(state: &mut State, key: &Key) {
    state.store.change(key, |pod| pod["metadata"]["deletionGracePeriodSeconds"] = json!(0));
}

/// Fails a pod with a DisruptionTarget condition, as an eviction does.
fn evict(state: &mut State, key: &Key) {
    finish_with(state, key, 137, |status| {
        status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    });
}

/// Terminates the containers of a pod with this exit code, and finishes the pod. A pod with too little memory or time fails.
fn finish(state: &mut State, key: &Key, code: i64) {
    let spec = state.store.get(key).map(|pod| pod["spec"].clone()).unwrap_or_default();
    let container = &spec["containers"][0];
    let memory = container["resources"]["limits"]["memory"].as_str().and_then(quantity::bytes);
    let is_killed = container["image"] == HUNGRY_IMAGE && memory.is_some_and(|memory| memory < NEEDED_MEMORY);
    let is_late = container["image"] == SLOW_IMAGE && spec["activeDeadlineSeconds"].as_i64() < Some(NEEDED_SECONDS);
    let code = if is_killed || is_late { 137 } else { code };
    finish_with(state, key, code, |status| {
        status["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        if is_killed {
            status["containerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled".into();
        }
        if is_late {
            status["reason"] = "DeadlineExceeded".into();
        }
    });
}

/// Finishes a pod with this exit code, and completes its status in the same write. A pod that succeeds leaves a result.
fn finish_with(state: &mut State, key: &Key, code: i64, complete: impl FnOnce(&mut Value)) {
    let now = state.store.now();
    state.store.change(key, |pod| {
        if is_finished(pod) {
            return;
        }
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default();
        pod["status"]["phase"] = if code == 0 { "Succeeded" } else { "Failed" }.into();
        let mut terminated = json!({"exitCode": code, "finishedAt": now});
        if code == 0 {
            terminated["message"] = format!("result of {}", pod["metadata"]["name"]).into();
        }
        pod["status"]["containerStatuses"] =
            json!([{"name": "main", "restartCount": restarts, "state": {"terminated": terminated}}]);
        complete(&mut pod["status"]);
    });
}
