//! Features that only some scenarios have: JobLimits, JobSchedules, retention, admission policies, silent connections.
//!
//! A feature adds actions and faults to a scenario. They are drawn from a random number generator of their own, so that
//! the rest of the scenario stays the same.

use jobwright::job::admission::PRIORITY_ANNOTATION;
use jobwright::job::policy::POLICY_ANNOTATION;
use jobwright::job::view::after::AFTER_ANNOTATION;
use jobwright::job::view::index_subset::INDEXES_ANNOTATION;
use jobwright::job::view::retention::{AFTER_FAILURE, AFTER_SUCCESS};
use jobwright::job::view::start::START_DEADLINE_EXCEEDED;
use serde_json::{Value, json};

use crate::admission::{CODES, Policy, TARGETS};
use crate::checks::limits::KUEUE_LABEL;
use crate::faults::{Faults, PROXIES, SILENCE};
use crate::scenario::{Action, Scenario, cron_spec, spec};
use crate::world::{HUNGRY_IMAGE, MISSING_IMAGE, SLOW_IMAGE};

/// A feature that a scenario may have. `SIMULATION_CHAPTERS` selects features by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// JobLimits, and Jobs with labels and priorities.
    Limits,
    /// JobSchedules.
    Schedules,
    /// CronJobs whose schedule is changed, or whose stored schedule time is in the future.
    CronJobs,
    /// Retention annotations of Jobs and of the namespace.
    Retention,
    /// Admission policies that refuse writes.
    Policies,
    /// Admission policies that change created objects.
    Mutations,
    /// Responses 504 although the request took effect, and 429 with Retry-After.
    Proxies,
    /// Requests that are never answered, and watches that go silent.
    Silence,
    /// Jobs that run some of their indexes, and changes of the annotation that lists them.
    Indexes,
    /// Two replicas, of which one is stopped or crashes repeatedly.
    Handovers,
    /// A Job that ignores disruptions, and whose pods are evicted repeatedly. Nothing else happens.
    Disruptions,
    /// JobPolicies, and pods whose image is missing.
    JobPolicies,
    /// Pods that change their phase within milliseconds: they end between any two writes, and often while they are
    /// being deleted.
    Haste,
}

/// All features with their names in `SIMULATION_CHAPTERS`.
const ALL: [(&str, Feature); 13] = [
    ("limits", Feature::Limits),
    ("schedules", Feature::Schedules),
    ("cronjobs", Feature::CronJobs),
    ("retention", Feature::Retention),
    ("policies", Feature::Policies),
    ("mutations", Feature::Mutations),
    ("proxies", Feature::Proxies),
    ("silence", Feature::Silence),
    ("haste", Feature::Haste),
    ("handovers", Feature::Handovers),
    ("disruptions", Feature::Disruptions),
    ("indexes", Feature::Indexes),
    ("jobpolicies", Feature::JobPolicies),
];

/// Number of features that are combined at random. Of the last three, one replaces the whole scenario, and each of the
/// others is added to every 16th seed.
const COMBINABLE: usize = ALL.len() - 3;

/// Returns whether `SIMULATION_CHAPTERS` selects this feature; without the variable, all are selected.
fn is_selected(name: &str) -> bool {
    match std::env::var("SIMULATION_CHAPTERS") {
        Ok(names) if !names.is_empty() => names.split(',').any(|selected| selected == name),
        _ => true,
    }
}

impl Scenario {
    /// Adds features to a scenario: `disruptions` to every 16th seed; of the others, half get one feature, and a third
    /// of these get a second one. Every 16th seed gets `indexes` in addition, and another one `jobpolicies`.
    pub fn with_features(mut self) -> Self {
        if self.seed % 16 == 15 && is_selected("disruptions") {
            self.add(Feature::Disruptions, &mut fastrand::Rng::with_seed(self.seed));
            return self;
        }
        if self.seed % 16 == 7 && is_selected("indexes") {
            self.add(Feature::Indexes, &mut fastrand::Rng::with_seed(self.seed ^ 0x1d_e8e5));
            self.actions.sort_by_key(|(at, _)| *at);
        }
        if self.seed % 16 == 3 && is_selected("jobpolicies") {
            self.add(Feature::JobPolicies, &mut fastrand::Rng::with_seed(self.seed ^ 0x90_11c4));
            self.actions.sort_by_key(|(at, _)| *at);
        }
        let random = &mut fastrand::Rng::with_seed(self.seed ^ 0xba5e_ba11);
        if random.bool() {
            return self;
        }
        let count = if random.u32(0..3) == 0 { 2 } else { 1 };
        for _ in 0..count {
            let (name, feature) = ALL[random.usize(0..COMBINABLE)];
            // The random numbers are drawn whether or not the feature is selected, so that a seed stays the same
            // scenario.
            let random = &mut random.fork();
            if is_selected(name) {
                self.extended = true;
                self.add(feature, random);
            }
        }
        self.actions.sort_by_key(|(at, _)| *at);
        self
    }

    fn add(&mut self, feature: Feature, random: &mut fastrand::Rng) {
        match feature {
            Feature::Limits => self.add_limits(random),
            Feature::Schedules => self.add_schedules(random),
            Feature::CronJobs => self.add_cron_jobs(random),
            Feature::Retention => self.add_retention(random),
            Feature::Policies => self.add_policies(random),
            Feature::Mutations => self.add_mutations(random),
            Feature::Proxies => {
                for knob in PROXIES {
                    *knob(&mut self.faults) = [0, 10, 60][random.usize(0..3)];
                }
            }
            Feature::Silence => self.add_silence(random),
            Feature::Haste => self.add_haste(random),
            Feature::Disruptions => self.add_disruptions(random),
            Feature::Indexes => self.add_indexes(random),
            Feature::JobPolicies => self.add_job_policies(random),
            Feature::Handovers => self.add_handovers(random),
        }
    }

    fn new_jobs(&mut self) -> impl Iterator<Item = &mut Value> {
        self.actions.iter_mut().filter_map(|(_, action)| match action {
            Action::CreateJob(_, job) => Some(job),
            _ => None,
        })
    }

    fn add_limits(&mut self, random: &mut fastrand::Rng) {
        let first = 10;
        for job in first..first + random.usize(2..6) {
            self.actions.push((random.u64(0..60_000), Action::CreateJob(job, json!({"spec": spec(random)}))));
        }
        for job in self.new_jobs() {
            if random.bool() {
                job["metadata"]["labels"]["team"] = json!(["a", "b"][random.usize(0..2)]);
            }
            if random.u32(0..3) == 0 {
                job["metadata"]["annotations"][PRIORITY_ANNOTATION] = json!(random.i32(-1..3).to_string());
            }
            if random.u32(0..15) == 0 {
                job["metadata"]["labels"][KUEUE_LABEL] = json!("queue");
            }
        }
        for limit in 0..random.usize(1..3) {
            let at = if random.u32(0..4) > 0 { 0 } else { random.u64(0..60_000) };
            self.actions.push((at, Action::CreateLimit(limit, limit_spec(random))));
        }
        for _ in 0..random.usize(0..8) {
            let job = first + random.usize(0..6);
            let action = match random.u32(0..10) {
                0 => Action::CreateLimit(random.usize(0..2), limit_spec(random)),
                1 | 2 => Action::ChangeLimit(random.usize(0..2), limit_spec(random)),
                3 => Action::DeleteLimit(random.usize(0..2)),
                4 | 5 => Action::Suspend(job, true),
                6 | 7 => Action::Suspend(job, false),
                8 => Action::Scale(job, random.i32(0..6)),
                _ => Action::SuspendBriefly(job, random.u64(500..8_000)),
            };
            self.actions.push((random.u64(5_000..150_000), action));
        }
    }

    fn add_schedules(&mut self, random: &mut fastrand::Rng) {
        for schedule in 0..random.usize(1..3) {
            self.actions.push((random.u64(0..50_000), Action::CreateSchedule(schedule, schedule_spec(random))));
        }
        if random.u32(0..3) == 0 {
            self.actions.push((random.u64(0..50_000), Action::CreateCronJob(0, cron_spec(random))));
        }
        // The history has to be long enough for some runs.
        self.actions.push((random.u64(150_000..600_000), Action::Wait));
        for _ in 0..random.usize(0..4) {
            let schedule = random.usize(0..2);
            let action = match random.u32(0..9) {
                0 => Action::SuspendSchedule(schedule, true),
                1 | 2 => Action::SuspendSchedule(schedule, false),
                3 => Action::Reschedule("jobschedules", schedule),
                4 => Action::DeleteSchedule(schedule),
                5 | 6 => Action::TakeRunNames(schedule, random.i64(1..4), random.usize(1..3)),
                7 => Action::Crash(0, random.u64(60_000..300_000)),
                _ => Action::Touch("jobschedules", schedule),
            };
            self.actions.push((random.u64(60_000..500_000), action));
        }
        // The other draws of a seed stay as they were.
        let mut apart = fastrand::Rng::with_seed(random.get_seed());
        for _ in 0..apart.usize(0..4) {
            let action = Action::ChangeCalendar(apart.usize(0..2), windows(&mut apart));
            self.actions.push((apart.u64(60_000..500_000), action));
        }
    }

    fn add_cron_jobs(&mut self, random: &mut fastrand::Rng) {
        let mut cron_job = cron_spec(random);
        cron_job["schedule"] = json!(["* * * * *", "*/2 * * * *", "1-59/2 * * * *", "0-5 * * * *"][random.usize(0..4)]);
        self.actions.push((random.u64(0..60_000), Action::CreateCronJob(0, cron_job)));
        self.actions.push((random.u64(150_000..500_000), Action::Wait));
        for _ in 0..random.usize(1..6) {
            let action = match random.u32(0..8) {
                0..=2 => Action::Reschedule("cronjobs", 0),
                3 | 4 => Action::Touch("cronjobs", 0),
                5 | 6 => Action::Crash(0, random.u64(6_000..100_000)),
                _ => Action::SetFutureScheduleTime(0),
            };
            self.actions.push((random.u64(60_000..450_000), action));
        }
    }

    fn add_retention(&mut self, random: &mut fastrand::Rng) {
        for job in self.new_jobs() {
            if random.u32(0..3) == 0 {
                job["metadata"]["annotations"] = retention(random, false);
            }
        }
        for _ in 0..random.usize(1..7) {
            let action = match random.u32(0..4) {
                0 => Action::Annotate(random.usize(0..4), retention(random, false)),
                _ => Action::AnnotateNamespace(retention(random, true)),
            };
            let at = if random.u32(0..3) == 0 { 0 } else { random.u64(0..200_000) };
            self.actions.push((at, action));
        }
        for _ in 0..random.usize(0..4) {
            self.actions.push((random.u64(0..150_000), Action::PauseWatches("namespaces", random.u64(5_000..120_000))));
        }
    }

    fn add_policies(&mut self, random: &mut fastrand::Rng) {
        for number in 0..random.usize(1..4) {
            let policy = Policy {
                number,
                target: TARGETS[random.usize(0..TARGETS.len())],
                code: CODES[random.usize(0..CODES.len())],
            };
            let at = random.u64(0..90_000);
            self.actions.push((at, Action::CreatePolicy(policy)));
            self.actions.push((at + random.u64(3_000..120_000), Action::DeletePolicy(number)));
        }
    }

    fn add_mutations(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..3) {
            let at = random.u64(0..60_000);
            let action = if random.bool() { Action::RemoveFinalizers } else { Action::AddLabels };
            self.actions.push((at, action(true)));
            self.actions.push((at + random.u64(3_000..120_000), action(false)));
        }
    }

    fn add_silence(&mut self, random: &mut fastrand::Rng) {
        for knob in SILENCE {
            *knob(&mut self.faults) = [0, 0, 3, 15][random.usize(0..4)];
        }
        for job in 20..20 + random.usize(0..3) {
            self.actions.push((random.u64(60_000..200_000), Action::CreateJob(job, json!({"spec": spec(random)}))));
        }
        for _ in 0..random.usize(0..4) {
            let action = match random.u32(0..3) {
                0 => Action::PauseWatches(
                    ["jobs", "pods", "cronjobs", "leases"][random.usize(0..4)],
                    random.u64(5_000..90_000),
                ),
                _ => Action::SilenceConnections(random.usize(0..2), random.u32(0..3)),
            };
            self.actions.push((random.u64(1_000..150_000), action));
        }
    }
}

impl Scenario {
    fn add_handovers(&mut self, random: &mut fastrand::Rng) {
        self.replicas = 2;
        for _ in 0..random.usize(1..6) {
            let (place, pause) = (random.usize(0..2), random.u64(500..30_000));
            let action =
                if random.u32(0..4) > 0 { Action::Stop(place, pause) } else { Action::Crash(place, pause.max(6_000)) };
            self.actions.push((random.u64(500..120_000), action));
        }
    }

    /// Replaces the scenario by one Job and evictions that follow each other faster than a simulated pod ends.
    fn add_disruptions(&mut self, random: &mut fastrand::Rng) {
        (self.replicas, self.failing, self.faults) = (1, 0, Faults { late: 50, ..Faults::default() });
        let mut spec = spec(random);
        spec["template"]["spec"]["restartPolicy"] = "Never".into();
        for limit in ["activeDeadlineSeconds", "backoffLimitPerIndex", "maxFailedIndexes", "successPolicy", "suspend"] {
            spec.as_object_mut().expect("an object").remove(limit);
        }
        (spec["backoffLimit"], spec["parallelism"]) = (random.i32(0..3).into(), 1.into());
        let pattern = json!([{"type": "DisruptionTarget", "status": "True"}]);
        spec["podFailurePolicy"] = json!({"rules": [{"action": "Ignore", "onPodConditions": pattern}]});
        spec["podReplacementPolicy"] = "Failed".into();
        self.actions = vec![(0, Action::CreateJob(0, json!({"spec": spec})))];
        let (mut at, end) = (0, random.u64(60_000..200_000));
        while at < end {
            at += random.u64(500..2_500);
            self.actions.push((at, Action::EvictAll(0)));
        }
    }

    fn add_indexes(&mut self, random: &mut fastrand::Rng) {
        let first = 40;
        for job in first..first + random.usize(2..6) {
            let mut spec = spec(random);
            if random.u32(0..8) > 0 {
                spec["completionMode"] = "Indexed".into();
                if spec["completions"].is_null() || random.u32(0..4) == 0 {
                    let size = random.i32(1..6);
                    (spec["completions"], spec["parallelism"]) = (size.into(), size.into());
                }
            }
            let listed = listed_indexes(random);
            let metadata = json!({"annotations": {INDEXES_ANNOTATION: listed}});
            let created = random.u64(0..60_000);
            self.actions.push((created, Action::CreateJob(job, json!({"metadata": metadata, "spec": spec}))));
            for _ in 0..[0, 0, 1, 3][random.usize(0..4)] {
                let listed = (random.u32(0..5) > 0).then(|| listed_indexes(random));
                self.actions.push((created + random.u64(500..60_000), Action::ListIndexes(job, listed)));
            }
        }
        for _ in 0..random.usize(0..5) {
            let job = first + random.usize(0..6);
            let action = match random.u32(0..3) {
                0 => Action::SuspendBriefly(job, random.u64(500..8_000)),
                1 => Action::Scale(job, random.i32(0..6)),
                _ => Action::Crash(0, random.u64(6_000..20_000)),
            };
            self.actions.push((random.u64(1_000..120_000), action));
        }
    }

    fn add_job_policies(&mut self, random: &mut fastrand::Rng) {
        self.job_policies = true;
        for job in 50..50 + random.usize(2..5) {
            let mut spec = spec(random);
            let pod = &mut spec["template"]["spec"];
            match random.u32(0..6) {
                0..=2 => pod["containers"][0]["image"] = MISSING_IMAGE.into(),
                3 => {
                    pod["containers"][0]["image"] = HUNGRY_IMAGE.into();
                    pod["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
                    pod["restartPolicy"] = "Never".into();
                }
                4 => {
                    pod["containers"][0]["image"] = SLOW_IMAGE.into();
                    pod["activeDeadlineSeconds"] = random.i32(15..50).into();
                }
                _ => {}
            }
            if random.u32(0..4) == 0 {
                let pattern = json!([{"type": START_DEADLINE_EXCEEDED, "status": "True"}]);
                let action = ["Ignore", "FailJob", "Count"][random.usize(0..3)];
                spec["podFailurePolicy"] = json!({"rules": [{"action": action, "onPodConditions": pattern}]});
                spec["template"]["spec"]["restartPolicy"] = "Never".into();
                spec["podReplacementPolicy"] = "Failed".into();
            }
            let mut metadata = json!({});
            if random.bool() {
                metadata["labels"]["team"] = json!(["a", "b"][random.usize(0..2)]);
            }
            if random.u32(0..6) == 0 {
                metadata["annotations"][POLICY_ANNOTATION] = json!(format!("policy-{}", random.usize(0..3)));
            }
            if random.u32(0..3) == 0 {
                let (other, ending) = (random.usize(50..54), ["", ":failed", ":finished"][random.usize(0..3)]);
                metadata["annotations"][AFTER_ANNOTATION] = json!(format!("job/job-{other}{ending}"));
            }
            let created = random.u64(0..60_000);
            self.actions.push((created, Action::CreateJob(job, json!({"metadata": metadata, "spec": spec}))));
        }
        self.actions.push((0, Action::SetJobPolicy(0, job_policy_spec(random, false))));
        // A history without further changes shows that no pod waits without end.
        let changes = [0, 0, 2, 6][random.usize(0..4)];
        for _ in 0..changes {
            let job = 50 + random.usize(0..5);
            let action = match random.u32(0..8) {
                0..=2 => Action::SetJobPolicy(random.usize(0..2), job_policy_spec(random, true)),
                3 => Action::DeleteJobPolicy(random.usize(0..2)),
                4 | 5 => Action::Suspend(job, false),
                6 => Action::SuspendBriefly(job, random.u64(500..8_000)),
                _ => Action::Crash(0, random.u64(6_000..20_000)),
            };
            self.actions.push((random.u64(5_000..150_000), action));
        }
        self.actions.push((random.u64(150_000..300_000), Action::Wait));
    }

    fn add_haste(&mut self, random: &mut fastrand::Rng) {
        self.fast_pods = true;
        self.graceful = [25, 60, 95][random.usize(0..3)];
        self.failing = [10, 40, 40][random.usize(0..3)];
        for job in 30..30 + random.usize(1..4) {
            let mut spec = spec(random);
            if random.bool() {
                let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
                spec["podFailurePolicy"] = json!({"rules": [rule]});
                spec["template"]["spec"]["restartPolicy"] = "Never".into();
                spec["podReplacementPolicy"] = "Failed".into();
            }
            self.actions.push((random.u64(0..60_000), Action::CreateJob(job, json!({"spec": spec}))));
        }
        for _ in 0..random.usize(0..8) {
            let pod = random.usize(0..100);
            let action = if random.bool() { Action::DeletePod(pod) } else { Action::Evict(pod) };
            self.actions.push((random.u64(1_000..70_000), action));
        }
    }
}

/// Draws the text of the annotation that lists indexes, for a Job with up to 8 indexes. Some texts are invalid for every
/// Job, and others for a Job with few indexes.
fn listed_indexes(random: &mut fastrand::Rng) -> String {
    if random.u32(0..5) == 0 {
        return ["", "soon", "3-1", "0,0", "0-2,2", "2,1", "8", "0-999999999", "0,"][random.usize(0..9)].to_owned();
    }
    let listed: Vec<String> = (0..random.u32(2..9)).filter(|_| random.bool()).map(|index| index.to_string()).collect();
    match random.u32(0..3) {
        0 => format!("0-{}", random.u32(0..5)),
        _ if listed.is_empty() => "1".to_owned(),
        _ => listed.join(","),
    }
}

fn limit_spec(random: &mut fastrand::Rng) -> Value {
    let mut limit = match random.u32(0..3) {
        0 => json!({"maxActiveJobs": random.i32(0..4)}),
        1 => json!({"maxActivePods": random.i32(1..8)}),
        _ => json!({"maxActiveJobs": random.i32(1..4), "maxActivePods": random.i32(2..10)}),
    };
    if random.u32(0..3) == 0 {
        limit["selector"] = json!({"matchLabels": {"team": "a"}});
    }
    limit
}

fn job_policy_spec(random: &mut fastrand::Rng, selects: bool) -> Value {
    let mut spec = json!({});
    for cause in ["image", "config", "admission", "other"] {
        if random.bool() {
            let actions = ["FailJob", "Suspend", "FailIndex", "RetryPod"];
            let action = actions[random.usize(0..if cause == "admission" { 2 } else { 4 })];
            spec["startDeadlines"][cause] = json!({"seconds": random.i32(5..60), "action": action});
        }
    }
    if random.u32(0..3) == 0 {
        let action = ["FailJob", "Report"][random.usize(0..2)];
        spec["progressDeadline"] = json!({"seconds": random.i32(30..120), "action": action});
    }
    if random.u32(0..4) == 0 {
        spec["runningDeadlineSeconds"] = random.i32(30..120).into();
    }
    spec["retry"]["jitter"] = random.bool().into();
    if random.u32(0..3) == 0 {
        spec["retry"]["perMinute"] = random.i32(2..20).into();
    }
    if random.bool() {
        let (factor, max) = (["1.5", "2", "4"][random.usize(0..3)], ["96Mi", "1Gi"][random.usize(0..2)]);
        spec["retry"]["memory"] = json!([{"factor": factor, "max": max}]);
    }
    if random.bool() {
        let (factor, max) = (["1.25", "2"][random.usize(0..2)], [40, 300][random.usize(0..2)]);
        spec["retry"]["deadline"] = json!({"factor": factor, "maxSeconds": max});
    }
    if selects && random.bool() {
        spec["selector"] = json!({"matchLabels": {"team": "a"}});
    }
    spec
}

fn schedule_spec(random: &mut fastrand::Rng) -> Value {
    let mut job = spec(random);
    job["suspend"] = false.into();
    if random.bool() {
        // Short Jobs, so that the next run can start.
        job = json!({"template": job["template"]});
    }
    let policy = ["Allow", "Allow", "Forbid", "Replace", "Queue", "Queue"][random.usize(0..6)];
    let catch_up = ["Latest", "Latest", "All"][random.usize(0..3)];
    let times = ["* * * * *", "*/2 * * * *", "1-59/2 * * * *", "*/3 * * * *"][random.usize(0..4)];
    let mut schedule = json!({
        "schedules": [times],
        "concurrencyPolicy": policy,
        "catchUp": catch_up,
        "successfulJobsHistoryLimit": random.i32(0..3),
        "failedJobsHistoryLimit": random.i32(0..2),
        "historyLimit": random.i32(0..6),
        "jobTemplate": {"spec": job},
    });
    if (policy == "Queue" || catch_up == "All") && random.u32(0..4) > 0 {
        schedule["maxCatchUp"] = 1000.into();
    }
    if (policy == "Queue" || policy == "Allow") && random.u32(0..3) == 0 {
        schedule["maxActive"] = random.i32(1..3).into();
    }
    match random.u32(0..6) {
        0 => schedule["jitter"] = json!("20s"),
        1 => schedule["jitter"] = json!(["90s", "5m"][random.usize(0..2)]),
        2 => schedule["startingDeadlineSeconds"] = random.i32(10..200).into(),
        _ => {}
    }
    // The other draws of a seed stay as they were.
    let mut apart = fastrand::Rng::with_seed(random.get_seed());
    if apart.u32(0..3) == 0 {
        schedule["suspendAfterFailures"] = apart.i32(1..4).into();
    }
    if policy != "Replace" && apart.u32(0..3) == 0 {
        let order = ["OldestFirst", "NewestFirst"][apart.usize(0..2)];
        // Minutes before and after the creation: users create the JobSchedule with these times.
        schedule["backfill"] = json!({
            "from": -apart.i32(2..20), "to": apart.i32(-1..4), "maxActive": apart.i32(1..3),
            "order": order,
        });
    }
    if apart.u32(0..4) == 0 {
        schedule["maxRuns"] = apart.i32(1..7).into();
    }
    if apart.u32(0..3) == 0 {
        let field = ["excludeCalendars", "excludeCalendars", "onlyCalendars"][apart.usize(0..3)];
        // Users create the calendar with these windows before the JobSchedule.
        schedule[field] = windows(&mut apart);
    }
    schedule
}

/// Draws windows in minutes after now.
fn windows(random: &mut fastrand::Rng) -> Value {
    let window = |random: &mut fastrand::Rng| {
        let from = random.i32(-10..10);
        json!([from, from + random.i32(1..9)])
    };
    (0..random.usize(0..3)).map(|_| window(random)).collect()
}

/// Draws retention annotations. `longer` includes a TTL that outlasts the history.
fn retention(random: &mut fastrand::Rng, longer: bool) -> Value {
    let mut annotations = json!({});
    for key in [AFTER_SUCCESS, AFTER_FAILURE] {
        let seconds = [0, 5, 30, 60, 2_592_000][random.usize(0..if longer { 5 } else { 4 })];
        match random.u32(0..12) {
            0..=5 => annotations[key] = json!(seconds.to_string()),
            6 => annotations[key] = json!("soon"),
            _ => {}
        }
    }
    annotations
}
