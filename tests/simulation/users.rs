//! Actions of users and administrators that go beyond the built-in controllers: JobLimits, JobSchedules, retention,
//! admission policies.

use std::time::Duration;

use jiff::Timestamp;
use jobwright::job::view::index_subset::INDEXES_ANNOTATION;
use jobwright::schedule::job_schedule::view::{JobScheduleView, WireJobSchedule};
use jobwright::schedule::source::ScheduleSource;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::State;
use crate::objects::is_over;
use crate::scenario::Action;
use crate::store::Key;
use crate::world::{NAMESPACE, World, job_key};

const API_VERSION: &str = "jobwright.dev/v1beta1";

impl World {
    /// Carries out an action that only scenarios with features have.
    pub fn extended_action(&mut self, state: &mut State, action: &Action) {
        match action {
            Action::CreateLimit(limit, spec) => {
                let (_, _, name) = limit_key(*limit);
                let object = json!({
                    "apiVersion": API_VERSION, "kind": "JobLimit", "metadata": {"name": name}, "spec": spec,
                });
                let _ = state.store.create("joblimits", NAMESPACE, object);
            }
            Action::ChangeLimit(limit, spec) => {
                state.store.change(&limit_key(*limit), |limit| limit["spec"] = spec.clone())
            }
            Action::DeleteLimit(limit) => {
                let _ = state.store.delete(&limit_key(*limit), None, "Background");
            }
            Action::SetJobPolicy(policy, spec) => {
                let key = job_policy_key(*policy);
                if state.store.get(&key).is_ok() {
                    state.store.change(&key, |policy| policy["spec"] = spec.clone());
                } else {
                    let object = json!({
                        "apiVersion": API_VERSION, "kind": "JobPolicy", "metadata": {"name": key.2}, "spec": spec,
                    });
                    let _ = state.store.create("jobpolicies", NAMESPACE, object);
                }
            }
            Action::DeleteJobPolicy(policy) => {
                let _ = state.store.delete(&job_policy_key(*policy), None, "Background");
            }
            Action::SuspendBriefly(job, pause) => {
                self.action(state, &Action::Suspend(*job, true));
                self.later.push((Instant::now() + Duration::from_millis(*pause), Action::Suspend(*job, false)));
            }
            Action::CreateSchedule(schedule, spec) => {
                let (_, _, name) = schedule_key("jobschedules", *schedule);
                let mut object = json!({
                    "apiVersion": API_VERSION, "kind": "JobSchedule", "metadata": {"name": name}, "spec": spec,
                });
                let now = state.store.seconds();
                for field in ["from", "to"] {
                    if let Some(minutes) = spec["backfill"][field].as_i64() {
                        let time = Timestamp::from_second(now + minutes * 60).expect("a time near now");
                        object["spec"]["backfill"][field] = time.to_string().into();
                    }
                }
                for field in ["excludeCalendars", "onlyCalendars"] {
                    if spec[field].is_array() {
                        let (_, _, name) = calendar_key(*schedule);
                        let calendar = json!({
                            "apiVersion": API_VERSION, "kind": "Calendar", "metadata": {"name": name},
                            "spec": {"periods": periods(now, &spec[field])},
                        });
                        let _ = state.store.create("calendars", NAMESPACE, calendar);
                        object["spec"][field] = json!([name]);
                    }
                }
                let _ = state.store.create("jobschedules", NAMESPACE, object);
            }
            Action::ChangeCalendar(schedule, windows) => {
                let periods = periods(state.store.seconds(), windows);
                state.store.change(&calendar_key(*schedule), |calendar| calendar["spec"]["periods"] = periods);
            }
            Action::DeleteSchedule(schedule) => {
                let _ = state.store.delete(&schedule_key("jobschedules", *schedule), None, "Background");
            }
            Action::SuspendSchedule(schedule, suspend) => {
                let key = schedule_key("jobschedules", *schedule);
                state.store.change(&key, |schedule| schedule["spec"]["suspend"] = json!(suspend));
            }
            Action::Reschedule(resource, schedule) => {
                state.store.change(&schedule_key(resource, *schedule), |object| {
                    let times = match *resource {
                        "cronjobs" => &mut object["spec"]["schedule"],
                        _ => &mut object["spec"]["schedules"][0],
                    };
                    *times = json!(if *times == "*/2 * * * *" { "1-59/2 * * * *" } else { "*/2 * * * *" });
                });
            }
            Action::Touch(resource, schedule) => state.store.change(&schedule_key(resource, *schedule), |object| {
                let touched = object["metadata"]["annotations"]["touched"].as_str().map_or(0, str::len) + 1;
                object["metadata"]["annotations"]["touched"] = json!(touched.to_string());
            }),
            Action::SetFutureScheduleTime(cron_job) => {
                let future = Timestamp::from_second(state.store.seconds() + 7 * 24 * 3600).expect("a valid timestamp");
                let future = json!(future.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
                let key = schedule_key("cronjobs", *cron_job);
                state.store.change(&key, |cron_job| cron_job["status"]["lastScheduleTime"] = future);
                if let Ok(cron_job) = state.store.get(&key) {
                    let uid = cron_job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                    state.checks.refusals.expect(&uid, "lastScheduleTime");
                }
            }
            Action::TakeRunNames(schedule, ahead, names) => take_names(state, *schedule, *ahead, *names),
            Action::ListIndexes(job, listed) => state.store.change(&job_key(*job), |job| {
                if !is_over(job) {
                    list_indexes(job, listed.as_deref());
                }
            }),
            Action::Annotate(job, annotations) => state.store.change(&job_key(*job), |job| {
                annotate(job, annotations);
            }),
            Action::AnnotateNamespace(annotations) => {
                let key = ("namespaces", String::new(), NAMESPACE.to_owned());
                state.store.change(&key, |namespace| annotate(namespace, annotations));
            }
            Action::CreatePolicy(policy) => state.admission.policies.push(policy.clone()),
            Action::DeletePolicy(number) => {
                state.admission.policies.retain(|policy| policy.number != *number);
                state.checks.refusals.reset_attempts();
            }
            Action::RemoveFinalizers(on) => state.admission.removes_finalizers = *on,
            Action::AddLabels(on) => state.admission.adds_labels = *on,
            Action::PauseWatches(resource, pause) => {
                state.paused_watches.insert(*resource, Instant::now() + Duration::from_millis(*pause));
            }
            _ => {}
        }
    }

    /// Deletes every object of a resource.
    pub fn delete_all(&mut self, state: &mut State, resource: &'static str) {
        let keys: Vec<Key> = state.store.of(resource).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let _ = state.store.delete(&key, None, "Background");
        }
    }

    /// Returns whether an unfinished Job is left. Called when all other work is done, so that such a Job can only be
    /// waiting for a JobLimit.
    pub fn has_waiting(&self, state: &State) -> bool {
        state.store.of("jobs").any(|(_, job)| !is_over(job))
    }
}

/// Creates foreign Jobs with the first `names` names of the run that is `ahead` runs in the future.
fn take_names(state: &mut State, schedule: usize, ahead: i64, names: usize) {
    let key = schedule_key("jobschedules", schedule);
    let Ok(object) = state.store.get(&key).cloned() else { return };
    let wire: Option<WireJobSchedule> = serde_json::from_value(object.clone()).ok();
    let Some(view) = wire.and_then(JobScheduleView::parse) else { return };
    let Ok(table) = &view.timetable else { return };
    let mut time = Timestamp::from_second(state.store.seconds()).expect("a valid timestamp");
    for _ in 0..ahead {
        let Some(next) = table.next(time) else { return };
        time = next;
    }
    let all = view.job_names(time);
    for name in all.iter().take(names) {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"foreign": "yes"}},
            "spec": object["spec"]["jobTemplate"]["spec"],
        });
        let _ = state.store.create("jobs", NAMESPACE, job);
    }
    let key = |name: &String| ("jobs", NAMESPACE.to_owned(), name.clone());
    let is_foreign = |name| state.store.get(&key(name)).is_ok_and(|job| job["metadata"]["labels"]["foreign"] == "yes");
    if all.iter().all(is_foreign) {
        state.checks.schedules.take_names(&object, time.as_second(), all);
    }
}

/// Sets or removes the annotation that lists the indexes of a Job.
pub fn list_indexes(job: &mut Value, listed: Option<&str>) {
    match (listed, job["metadata"]["annotations"].as_object_mut()) {
        (Some(listed), _) => job["metadata"]["annotations"][INDEXES_ANNOTATION] = json!(listed),
        (None, Some(annotations)) => drop(annotations.remove(INDEXES_ANNOTATION)),
        (None, None) => {}
    }
}

/// Replaces the retention annotations of an object.
fn annotate(object: &mut Value, annotations: &Value) {
    if let Some(known) = object["metadata"]["annotations"].as_object_mut() {
        known.retain(|key, _| !key.starts_with("jobwright.dev/ttl-"));
    }
    for (key, value) in annotations.as_object().into_iter().flatten() {
        object["metadata"]["annotations"][key] = value.clone();
    }
}

/// Returns the periods of a calendar from windows in minutes after now.
fn periods(now: i64, windows: &Value) -> Value {
    let time = |minutes: &Value| {
        let second = now + minutes.as_i64().unwrap_or_default() * 60;
        let time = Timestamp::from_second(second).expect("a time near now");
        time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    };
    let windows = windows.as_array().into_iter().flatten();
    windows.map(|window| json!({"from": time(&window[0]), "to": time(&window[1])})).collect()
}

fn calendar_key(schedule: usize) -> Key {
    ("calendars", NAMESPACE.to_owned(), format!("calendar-{schedule}"))
}

fn job_policy_key(policy: usize) -> Key {
    ("jobpolicies", NAMESPACE.to_owned(), format!("policy-{policy}"))
}

fn limit_key(limit: usize) -> Key {
    ("joblimits", NAMESPACE.to_owned(), format!("limit-{limit}"))
}

/// Returns the key of a CronJob or JobSchedule. Both kinds use the same names, so that their Jobs can collide.
fn schedule_key(resource: &'static str, number: usize) -> Key {
    (resource, NAMESPACE.to_owned(), format!("cron-{number}"))
}
