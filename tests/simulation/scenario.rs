//! Scenarios as data: actions of users and the cluster with their times, and the frequency of faults. A scenario can be
//! replayed and shrunk.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admission::Policy;
use crate::faults::{Faults, PLAIN, PROXIES, SILENCE};

/// One of this number of histories has gang scheduling.
const GANGS: u64 = 8;

/// The script of one history. Together with its seed it determines everything that happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// Number of replicas of Jobwright. A single replica runs without leader election.
    pub replicas: usize,
    /// Percentage of pods that fail.
    pub failing: u32,
    /// Percentage of pods that succeed when they are deleted while they run.
    pub graceful: u32,
    pub faults: Faults,
    /// Whether Jobwright's custom resources are installed.
    pub extended: bool,
    /// Whether JobPolicies are installed.
    pub job_policies: bool,
    /// Whether the feature gate WorkloadWithJob is on.
    pub gangs: bool,
    /// Whether pods change their phase within milliseconds.
    pub fast_pods: bool,
    /// Actions with their times in milliseconds from the beginning of the history.
    pub actions: Vec<(u64, Action)>,
}

/// One action of a user, an administrator, a node or the infrastructure. Durations are in milliseconds.
#[derive(Clone, Debug)]
pub enum Action {
    /// A user creates a Job, by number, with this metadata and spec.
    CreateJob(usize, Value),
    /// A user creates a CronJob, by number.
    CreateCronJob(usize, Value),
    /// A user deletes a Job with this propagation policy.
    DeleteJob(usize, &'static str),
    DeleteCronJob(usize),
    /// A user suspends or resumes a Job.
    Suspend(usize, bool),
    /// A user suspends a Job and deletes its pods.
    SuspendAndDeletePods(usize),
    /// A user changes the parallelism of a Job, and the completions too if the Job is an elastic Indexed Job.
    Scale(usize, i32),
    /// A user deletes a pod, and the kubelet terminates it.
    DeletePod(usize),
    /// A user removes the finalizers of a pod and deletes it without a grace period.
    ForceDeletePod(usize),
    /// A kubelet evicts a pod.
    Evict(usize),
    /// Kubelets evict every unfinished pod of a Job.
    EvictAll(usize),
    /// A node is lost, and its pods are deleted.
    LoseNode(usize),
    /// A user removes the owner references of a pod.
    RemoveOwner(usize),
    /// A user removes the labels of a pod, among them the controller-uid label.
    RemoveLabels(usize),
    /// A quota that refuses new pods begins or ends.
    Quota(bool),
    /// The API server compacts its history: watches that have not read all of it expire.
    Compact,
    /// The API server is unavailable for this duration.
    ApiServerOutage(u64),
    /// A replica crashes, and another one starts after this duration.
    Crash(usize, u64),
    /// A replica receives no responses and no watch events for this duration.
    DelayResponses(usize, u64),
    /// An administrator creates a JobLimit, by number.
    CreateLimit(usize, Value),
    ChangeLimit(usize, Value),
    DeleteLimit(usize),
    /// An administrator creates a JobPolicy, by number, or changes it.
    SetJobPolicy(usize, Value),
    DeleteJobPolicy(usize),
    /// A user suspends a Job and resumes it after this duration.
    SuspendBriefly(usize, u64),
    /// A user creates a JobSchedule, by number.
    CreateSchedule(usize, Value),
    DeleteSchedule(usize),
    /// A user changes the calendar of a JobSchedule to these windows, in minutes after now.
    ChangeCalendar(usize, Value),
    SuspendSchedule(usize, bool),
    /// A user moves the schedule of a CronJob or JobSchedule to other minutes.
    Reschedule(&'static str, usize),
    /// A user changes an annotation of a CronJob or JobSchedule that its schedule does not depend on.
    Touch(&'static str, usize),
    /// A user stores a `lastScheduleTime` in the future in the status of a CronJob.
    SetFutureScheduleTime(usize),
    /// A user creates Jobs with the names of a future run of a JobSchedule: the schedule, how many runs ahead the run
    /// is, and the number of names.
    TakeRunNames(usize, i64, usize),
    /// A user sets, changes or removes the annotation that lists the indexes of a Job.
    ListIndexes(usize, Option<String>),
    /// A user replaces the retention annotations of a Job.
    Annotate(usize, Value),
    /// An administrator replaces the retention annotations of the namespace.
    AnnotateNamespace(Value),
    /// An administrator creates a policy that refuses requests.
    CreatePolicy(Policy),
    /// An administrator deletes a policy, by number.
    DeletePolicy(usize),
    /// A mutating policy that removes the tracking finalizer from created pods begins or ends.
    RemoveFinalizers(bool),
    /// A mutating policy that adds a label and an annotation to created objects begins or ends.
    AddLabels(bool),
    /// A replica receives SIGTERM, and another one starts after this duration.
    Stop(usize, u64),
    /// Every open connection of a replica goes silent, and this number of idle pooled connections is dead.
    SilenceConnections(usize, u32),
    /// Watches of a resource deliver no events for this duration.
    PauseWatches(&'static str, u64),
    /// Nothing happens; the history lasts at least until this time.
    Wait,
}

impl Scenario {
    /// Generates the scenario of a seed, with its features.
    pub fn new(seed: u64) -> Self {
        // Chosen without a random number, so that the histories of the other seeds stay the same.
        Self { gangs: seed % GANGS == GANGS - 1, ..Self::plain(seed).with_features() }
    }

    /// Generates the scenario of a seed without features.
    pub fn plain(seed: u64) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut faults = Faults::default();
        // Many faults of one kind find more bugs than a few faults of each kind.
        for knob in PLAIN {
            *knob(&mut faults) = [0, 0, 5, 40][random.usize(0..4)];
        }
        faults.late = [5, 50, 2000][random.usize(0..3)];
        let jobs = random.usize(1..4);
        let mut actions: Vec<(u64, Action)> = (0..jobs)
            .map(|job| (random.u64(0..20_000), Action::CreateJob(job, json!({"spec": spec(random)}))))
            .collect();
        if random.u32(0..4) == 0 {
            actions.push((random.u64(0..60_000), Action::CreateCronJob(0, cron_spec(random))));
        }
        // Many actions of one kind find more bugs than a few of each kind.
        let action = [action, action, action, ownership_action][random.usize(0..4)];
        for _ in 0..random.usize(0..14) {
            actions.push((random.u64(1_000..150_000), action(random, jobs)));
        }
        actions.sort_by_key(|(at, _)| *at);
        let replicas = if random.u32(0..4) == 0 { 2 } else { 1 };
        let failing = [0, 10, 40][random.usize(0..3)];
        let graceful = [25, 25, 95][random.usize(0..3)];
        Self {
            seed,
            replicas,
            failing,
            graceful,
            faults,
            extended: false,
            job_policies: false,
            gangs: false,
            fast_pods: false,
            actions,
        }
    }

    /// Returns whether one replica works from the beginning to the end.
    pub fn is_one_process(&self) -> bool {
        let ends = |action: &Action| matches!(action, Action::Crash(..) | Action::Stop(..));
        self.replicas == 1 && !self.actions.iter().any(|(_, action)| ends(action))
    }

    /// Returns whether no fault and no action can interrupt what a replica has begun.
    pub fn is_steady(&self) -> bool {
        let Faults { lost_request, lost_answer, refused, timed_out, throttled, silent, .. } = self.faults;
        let disturbs = |action: &Action| {
            matches!(
                action,
                Action::Crash(..)
                    | Action::Stop(..)
                    | Action::DelayResponses(..)
                    | Action::ApiServerOutage(_)
                    | Action::Quota(_)
                    | Action::CreatePolicy(_)
                    | Action::RemoveFinalizers(_)
                    | Action::SilenceConnections(..)
            )
        };
        self.replicas == 1
            && [lost_request, lost_answer, refused, timed_out, throttled, silent] == [0; 6]
            && !self.actions.iter().any(|(_, action)| disturbs(action))
    }

    /// Maximum time, in seconds, until a controller has observed a change.
    pub fn observation_delay(&self) -> i64 {
        let Faults { silent, stalled, throttled, .. } = self.faults;
        let delays = |action: &Action| {
            matches!(
                action,
                Action::DelayResponses(..)
                    | Action::ApiServerOutage(_)
                    | Action::SilenceConnections(..)
                    | Action::PauseWatches(..)
                    | Action::Crash(..)
                    | Action::Stop(..)
            )
        };
        let late = silent + stalled + throttled > 0 || self.replicas > 1;
        if late || self.actions.iter().any(|(_, action)| delays(action)) { 300 } else { 20 }
    }

    /// Returns whether connections or watches go silent in this scenario.
    pub fn is_silent(&self) -> bool {
        let silent = |action: &Action| matches!(action, Action::SilenceConnections(..) | Action::PauseWatches(..));
        self.faults.silent + self.faults.stalled > 0 || self.actions.iter().any(|(_, action)| silent(action))
    }

    /// Maximum time that a Job may be without pods after ignored disruptions. Only scenarios with [`Action::EvictAll`]
    /// have this bound: nothing else delays pods there.
    pub fn replaced_within(&self) -> Option<Duration> {
        let disrupts = |action: &Action| matches!(action, Action::EvictAll(_));
        self.actions.iter().any(|(_, action)| disrupts(action)).then_some(Duration::from_secs(8))
    }

    /// Maximum time that a Job may wait for its first pods while nothing blocks it.
    pub fn first_pods_timeout(&self) -> Duration {
        let Faults { lost_request, lost_answer, refused, timed_out, throttled, silent, stalled, .. } = self.faults;
        let faulty = lost_request + lost_answer + refused + timed_out + throttled + silent + stalled > 0;
        Duration::from_secs(if faulty { 420 } else { 240 })
    }

    /// Returns simpler scenarios, each with one part left out. They are the candidates for shrinking.
    pub fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let half = self.actions.len() / 2;
        for range in [0..half, half..self.actions.len()] {
            if range.is_empty() {
                continue;
            }
            let mut scenario = self.clone();
            scenario.actions.drain(range);
            simpler.push(scenario);
        }
        for place in (0..self.actions.len()).rev() {
            let mut scenario = self.clone();
            scenario.actions.remove(place);
            simpler.push(scenario);
        }
        for knob in PLAIN.into_iter().chain(PROXIES).chain(SILENCE) {
            let mut scenario = self.clone();
            if std::mem::take(knob(&mut scenario.faults)) > 0 {
                simpler.push(scenario);
            }
        }
        if self.faults.late > 5 {
            simpler.push(Self { faults: Faults { late: 5, ..self.faults }, ..self.clone() });
        }
        if self.failing > 0 {
            simpler.push(Self { failing: 0, ..self.clone() });
        }
        if self.replicas > 1 {
            simpler.push(Self { replicas: 1, ..self.clone() });
        }
        simpler
    }
}

/// Draws an action of any kind that needs no features.
fn action(random: &mut fastrand::Rng, jobs: usize) -> Action {
    let job = random.usize(0..jobs);
    let pod = random.usize(0..100);
    match random.u32(0..30) {
        0 | 1 => Action::DeleteJob(job, ["Background", "Foreground", "Orphan"][random.usize(0..3)]),
        2 => Action::CreateJob(job, json!({"spec": spec(random)})),
        3 | 4 => Action::Suspend(job, true),
        5 | 6 => Action::Suspend(job, false),
        7 | 8 => Action::Scale(job, random.i32(0..6)),
        9 | 10 => Action::DeletePod(pod),
        11 => Action::ForceDeletePod(pod),
        12 | 13 => Action::Evict(pod),
        14 => Action::LoseNode(random.usize(0..3)),
        15 | 16 => Action::RemoveOwner(pod),
        17 => Action::RemoveLabels(pod),
        18 => Action::Quota(true),
        19 => Action::Quota(false),
        20 | 21 => Action::Compact,
        22 => Action::ApiServerOutage(random.u64(1_000..120_000)),
        23..=27 => Action::Crash(random.usize(0..2), random.u64(6_000..40_000)),
        28 => Action::DeleteCronJob(0),
        _ => Action::DelayResponses(random.usize(0..2), random.u64(1_000..40_000)),
    }
}

/// Draws an action that changes owner references or labels, or that has to do with them.
fn ownership_action(random: &mut fastrand::Rng, jobs: usize) -> Action {
    let (job, pod) = (random.usize(0..jobs), random.usize(0..100));
    match random.u32(0..12) {
        0..=4 => Action::RemoveOwner(pod),
        5 => Action::Suspend(job, random.bool()),
        6 => Action::RemoveLabels(pod),
        7 => Action::DeleteJob(job, "Orphan"),
        8 => Action::CreateJob(job, json!({"spec": spec(random)})),
        _ => Action::SuspendAndDeletePods(job),
    }
}

/// Draws a Job spec that the API server accepts.
pub fn spec(random: &mut fastrand::Rng) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "simulated"}},
        "spec": {
            "restartPolicy": if random.u32(0..5) == 0 { "OnFailure" } else { "Never" },
            "containers": [{"name": "main", "image": "simulated"}],
        },
    });
    let completions = random.i32(1..9);
    let mut spec = json!({
        "template": template,
        "parallelism": random.i32(1..6),
        "completions": completions,
        "backoffLimit": ([0, 2, 6, 100][random.usize(0..4)]),
    });
    match random.u32(0..8) {
        0 => spec["completions"] = Value::Null,
        1..=3 => spec["completionMode"] = "Indexed".into(),
        _ => {}
    }
    let indexed = spec["completionMode"] == "Indexed";
    if indexed && random.u32(0..3) == 0 {
        spec["template"]["spec"]["restartPolicy"] = "Never".into();
        spec["backoffLimitPerIndex"] = random.i32(0..3).into();
        spec["backoffLimit"] = i32::MAX.into();
        if random.bool() {
            spec["maxFailedIndexes"] = random.i32(0..completions).into();
        }
    }
    if indexed && random.u32(0..4) == 0 {
        spec["successPolicy"] = json!({"rules": [{"succeededCount": random.i32(1..=completions)}]});
    }
    if random.u32(0..4) == 0 {
        spec["template"]["spec"]["restartPolicy"] = "Never".into();
        let action = ["Ignore", "FailJob", "Count"][random.usize(0..3)];
        spec["podFailurePolicy"] =
            json!({"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]});
        spec["podReplacementPolicy"] = "Failed".into();
    } else if random.u32(0..3) == 0 {
        spec["podReplacementPolicy"] = "Failed".into();
    }
    match random.u32(0..10) {
        0 => spec["activeDeadlineSeconds"] = random.i32(20..200).into(),
        1 => spec["suspend"] = true.into(),
        2 => spec["ttlSecondsAfterFinished"] = random.i32(0..60).into(),
        _ => {}
    }
    spec
}

/// Draws a CronJob spec that the API server accepts.
pub fn cron_spec(random: &mut fastrand::Rng) -> Value {
    let mut job = spec(random);
    job["suspend"] = false.into();
    json!({
        "schedule": "* * * * *",
        "concurrencyPolicy": (["Allow", "Forbid", "Replace"][random.usize(0..3)]),
        "successfulJobsHistoryLimit": random.i32(0..3),
        "failedJobsHistoryLimit": random.i32(0..2),
        "jobTemplate": {"spec": job},
    })
}
