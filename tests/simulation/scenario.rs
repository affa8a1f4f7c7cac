//! A story as data: who does what when, and what goes wrong. A story can be told again, and cut down.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admission::Policy;
use crate::faults::{Faults, PLAIN, PROXIES, SILENCE};

/// A history's script. With its seed it decides everything that happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// How many replicas of Jobwright; one works without a Lease.
    pub replicas: usize,
    /// How many of a hundred pods fail.
    pub failing: u32,
    /// How many of a hundred pods succeed when they are deleted.
    pub graceful: u32,
    pub faults: Faults,
    /// Our own resources are installed.
    pub extended: bool,
    /// Pods go on within milliseconds.
    pub hasty: bool,
    /// What happens, and at what millisecond.
    pub actions: Vec<(u64, Action)>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A user creates a Job, by number, with this metadata and spec.
    CreateJob(usize, Value),
    /// A user creates a CronJob, by number.
    CreateCronJob(usize, Value),
    /// A user deletes a Job, with this propagation policy.
    DeleteJob(usize, &'static str),
    DeleteCronJob(usize),
    /// A user suspends or resumes a Job.
    Suspend(usize, bool),
    /// A user suspends a Job and deletes its pods.
    Withdraw(usize),
    /// A user changes a Job's parallelism; an elastic Job's completions with it.
    Scale(usize, i32),
    /// A user deletes a pod and its kubelet ends it.
    DeletePod(usize),
    /// A user deletes a pod by force, its finalizers first.
    ForcePod(usize),
    /// A kubelet evicts a pod.
    Evict(usize),
    /// Kubelets evict every pod of a Job that has not ended.
    EvictAll(usize),
    /// A node is gone, and its pods with it.
    LoseNode(usize),
    /// Somebody takes a pod's owner away.
    Disown(usize),
    /// Somebody takes the labels off a pod that its Job is known by.
    Unlabel(usize),
    /// Nothing more can be created, or again.
    Quota(bool),
    /// The API server forgets what watches have not read yet.
    Compact,
    /// The API server is away for so many milliseconds.
    Away(u64),
    /// A replica crashes, and another begins after so many milliseconds.
    Crash(usize, u64),
    /// A replica hears nothing for so many milliseconds.
    Deafen(usize, u64),
    /// An administrator creates a JobLimit, by number.
    CreateLimit(usize, Value),
    ChangeLimit(usize, Value),
    DeleteLimit(usize),
    /// A user suspends a Job and resumes it after so many milliseconds.
    Blink(usize, u64),
    /// A user creates a JobSchedule, by number.
    CreateSchedule(usize, Value),
    DeleteSchedule(usize),
    SuspendSchedule(usize, bool),
    /// A user moves the times of a CronJob or JobSchedule to other minutes.
    Reschedule(&'static str, usize),
    /// A user changes something of a CronJob or JobSchedule that its times do not depend on.
    Touch(&'static str, usize),
    /// The status of a CronJob says that it ran at a time that has not come.
    Foretell(usize),
    /// A user creates Jobs with the first names of a JobSchedule's run so many runs ahead.
    TakeName(usize, i64, usize),
    /// A user replaces the annotations of a Job that say how long it is kept.
    Annotate(usize, Value),
    /// An administrator replaces the annotations of the namespace.
    AnnotateNamespace(Value),
    /// An administrator creates a policy.
    Forbid(Policy),
    /// An administrator deletes a policy, by number.
    Permit(usize),
    /// A mutating policy that removes our finalizer from created pods begins or ends.
    Strip(bool),
    /// A mutating policy that adds a label to what is created begins or ends.
    Mark(bool),
    /// A replica is told to stop, and another begins after so many milliseconds.
    Stop(usize, u64),
    /// Every open connection of a replica goes silent, and so many idle ones.
    Silence(usize, u32),
    /// Watches of a resource deliver nothing for so many milliseconds.
    Hush(&'static str, u64),
    /// Time goes by.
    Nothing,
}

impl Scenario {
    /// The story of this seed, with its chapters.
    pub fn new(seed: u64) -> Self {
        Self::plain(seed).with_chapters()
    }

    /// The story of this seed, without what only some stories have.
    pub fn plain(seed: u64) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut faults = Faults::default();
        // Many faults of one kind show more than a few of each.
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
        // Much of one thing shows more than a little of all.
        let action = [action, action, action, act_on_owners][random.usize(0..4)];
        for _ in 0..random.usize(0..14) {
            actions.push((random.u64(1_000..150_000), action(random, jobs)));
        }
        actions.sort_by_key(|(at, _)| *at);
        let replicas = if random.u32(0..4) == 0 { 2 } else { 1 };
        let failing = [0, 10, 40][random.usize(0..3)];
        let graceful = [25, 25, 95][random.usize(0..3)];
        Self { seed, replicas, failing, graceful, faults, extended: false, hasty: false, actions }
    }

    /// Nothing keeps a replica from carrying out what it has begun.
    pub fn is_steady(&self) -> bool {
        let Faults { lost_request, lost_answer, refused, timed_out, throttled, silent, .. } = self.faults;
        let disturbs = |action: &Action| {
            matches!(
                action,
                Action::Crash(..)
                    | Action::Stop(..)
                    | Action::Deafen(..)
                    | Action::Away(_)
                    | Action::Quota(_)
                    | Action::Forbid(_)
                    | Action::Strip(_)
                    | Action::Silence(..)
            )
        };
        self.replicas == 1
            && [lost_request, lost_answer, refused, timed_out, throttled, silent] == [0; 6]
            && !self.actions.iter().any(|(_, action)| disturbs(action))
    }

    /// How many seconds it may take until a controller knows of a change.
    pub fn news(&self) -> i64 {
        let Faults { silent, hushed, throttled, .. } = self.faults;
        let delays = |action: &Action| {
            matches!(
                action,
                Action::Deafen(..)
                    | Action::Away(_)
                    | Action::Silence(..)
                    | Action::Hush(..)
                    | Action::Crash(..)
                    | Action::Stop(..)
            )
        };
        let late = silent + hushed + throttled > 0 || self.replicas > 1;
        if late || self.actions.iter().any(|(_, action)| delays(action)) { 300 } else { 20 }
    }

    /// Whether connections or watches go silent.
    pub fn is_silent(&self) -> bool {
        let silent = |action: &Action| matches!(action, Action::Silence(..) | Action::Hush(..));
        self.faults.silent + self.faults.hushed > 0 || self.actions.iter().any(|(_, action)| silent(action))
    }

    /// How long a Job may be without pods, where disruptions that its policy ignores are all that happens.
    pub fn replaced_within(&self) -> Option<Duration> {
        let disrupts = |action: &Action| matches!(action, Action::EvictAll(_));
        self.actions.iter().any(|(_, action)| disrupts(action)).then_some(Duration::from_secs(8))
    }

    /// How long a Job may wait for its first pods where nothing stands in its way.
    pub fn patience(&self) -> Duration {
        let Faults { lost_request, lost_answer, refused, timed_out, throttled, silent, hushed, .. } = self.faults;
        let faulty = lost_request + lost_answer + refused + timed_out + throttled + silent + hushed > 0;
        Duration::from_secs(if faulty { 420 } else { 240 })
    }

    /// The same with less: each one thing left out.
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
        11 => Action::ForcePod(pod),
        12 | 13 => Action::Evict(pod),
        14 => Action::LoseNode(random.usize(0..3)),
        15 | 16 => Action::Disown(pod),
        17 => Action::Unlabel(pod),
        18 => Action::Quota(true),
        19 => Action::Quota(false),
        20 | 21 => Action::Compact,
        22 => Action::Away(random.u64(1_000..120_000)),
        23..=27 => Action::Crash(random.usize(0..2), random.u64(6_000..40_000)),
        28 => Action::DeleteCronJob(0),
        _ => Action::Deafen(random.usize(0..2), random.u64(1_000..40_000)),
    }
}

/// One who plays with who owns what.
fn act_on_owners(random: &mut fastrand::Rng, jobs: usize) -> Action {
    let (job, pod) = (random.usize(0..jobs), random.usize(0..100));
    match random.u32(0..12) {
        0..=4 => Action::Disown(pod),
        5 => Action::Suspend(job, random.bool()),
        6 => Action::Unlabel(pod),
        7 => Action::DeleteJob(job, "Orphan"),
        8 => Action::CreateJob(job, json!({"spec": spec(random)})),
        _ => Action::Withdraw(job),
    }
}

/// A spec the API server takes.
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
