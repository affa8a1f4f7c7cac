//! Targets for property tests and fuzzing: everything that parses texts and objects of users, each as a function of
//! arbitrary bytes. A target must not panic, hang or grow without bound. The property tests of this crate call the
//! targets, and cargo-fuzz does so in `make fuzz`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use jobwright::job::admission::Admission;
use jobwright::job::config::SyncConfig;
use jobwright::job::decide::Raised;
use jobwright::job::decide::after;
use jobwright::job::decide::backoff::Backoff;
use jobwright::job::decide::start_waits::StartWaits;
use jobwright::job::decide::summary::PodSummary;
use jobwright::job::decide::{DecisionInput, NewPod, Step, decide};
use jobwright::job::gang::plan::GroupObjects;
use jobwright::job::index::IndexSet;
use jobwright::job::pod::PodBuilder;
use jobwright::job::policy::{MemoryRule, PolicyRules, ProgressDeadline, StartDeadline, StartDeadlines};
use jobwright::job::view::index_subset::{INDEXES_ANNOTATION, IndexSubset};
use jobwright::job::view::memory::MemorySizes;
use jobwright::job::view::start::StartAction;
use jobwright::job::view::{CompletionMode, IndexFailures, JobView, Labels, PodView, Selector};
use jobwright::job::wire::{WireJob, WirePod};
use jobwright::job::write_kinds::{CREATE, DELETE, UNTRACK};
use jobwright::limit::view::{LimitView, WireJobLimit};
use jobwright::runtime::codec::frames::Frames;
use jobwright::runtime::codec::{self, Encoding, envelope};
use jobwright::runtime::election::record::LastWrites;
use jobwright::runtime::errors::WriteError;
use jobwright::runtime::refusals::Refusals;
use jobwright::schedule::creation::Creation;
use jobwright::schedule::cron_job::decide as cron;
use jobwright::schedule::cron_job::view::CronJobView;
use jobwright::schedule::cron_job::wire::WireCronJob;
use jobwright::schedule::expression::Schedule;
use jobwright::schedule::job_schedule::view::{JobScheduleView, WireJobSchedule};
use jobwright::schedule::source::{Facts, ScheduleSource};
use jobwright::schedule::{go_duration, missed, zones};
use jobwright::ttl;
use jobwright::ui::ansi::{MAX_LINE, Reader};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::WatchEvent;
use serde_json::{Value, json};

/// Name of a target, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("indexes", indexes),
    ("schedule", schedule),
    ("duration", duration),
    ("last_writes", last_writes),
    ("selector", selector),
    ("watch", watch),
    ("protobuf", protobuf),
    ("job", job),
    ("cron_job", cron_job),
    ("job_schedule", job_schedule),
    ("ansi", ansi),
];

/// Parses index sets, as in `status.completedIndexes`, `podFailurePolicy` and `successPolicy`, and as in the annotation that
/// lists the indexes of a Job.
pub fn indexes(data: &[u8]) {
    let Some((limit, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    for completions in [0, u32::from(*limit), 100_000, u32::MAX] {
        let set = IndexSet::parse(&text, completions);
        assert!(set.len() <= u64::from(completions));
        assert_eq!(IndexSet::parse(&set.to_string(), completions), set);
        let annotations = [(INDEXES_ANNOTATION.to_owned(), text.to_string())].into();
        let subset = IndexSubset::parse(Some(&annotations), &CompletionMode::Indexed, completions);
        if let Some(IndexSubset::Listed(listed)) = subset {
            assert!(!listed.is_empty());
            assert_eq!(listed, set);
        }
    }
}

/// Parses `spec.schedule` of a CronJob and computes times.
pub fn schedule(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(schedule) = Schedule::parse(&text) else { return };
    let paris = zones::zone("Europe/Paris").unwrap_or(TimeZone::UTC);
    for zone in [&TimeZone::UTC, &paris] {
        for after in ["1970-01-01T00:00:00Z", "2026-03-29T00:59:59.5Z", "2026-10-25T00:30:00Z", "9999-12-30T22:00:00Z"]
        {
            let after: Timestamp = after.parse().expect("a valid timestamp");
            if let Some(next) = schedule.next(after, schedule.zone(zone)) {
                // An interval of less than a second is refused later, together with its object.
                assert!(next > after || text.contains("@every"), "{text:?}: {next} after {after}");
            }
        }
        let (early, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(1_800_000_000).expect("a valid timestamp"));
        let _ = missed::since(&schedule, zone, early, now);
    }
}

/// Parses the duration of `@every`.
pub fn duration(data: &[u8]) {
    let _ = go_duration::parse(&String::from_utf8_lossy(data));
}

/// Reads the lines of a log for a page of the console. The page has no tag and no control character of the log.
pub fn ansi(data: &[u8]) {
    let mut reader = Reader::default();
    for bytes in data.split(|byte| *byte == b'\n') {
        let line = reader.read(bytes);
        assert!(line.text().len() <= MAX_LINE);
        let shown = line.markup().into_string();
        assert!(!shown.chars().any(|character| character.is_control() && character != '\t'), "{shown:?}");
        let tags = shown.matches("<span class=\"").count() + shown.matches("</span>").count();
        assert_eq!(shown.matches('<').count(), tags, "{shown:?}");
    }
}

/// Parses the record of last writes that the previous leader stored in the Lease.
pub fn last_writes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(writes) = LastWrites::parse(&text) {
        assert_eq!(LastWrites::parse(&writes.to_string()), Some(writes));
    }
}

/// Parses `spec.selector` and matches it with labels.
pub fn selector(data: &[u8]) {
    let mut choices = Choices(data);
    let expressions: Vec<Value> = (0..choices.below(4))
        .map(|_| {
            let operator = choices.of(&["In", "NotIn", "Exists", "DoesNotExist", "Like", ""]);
            json!({"key": choices.text(), "operator": operator, "values": [choices.text(), choices.text()]})
        })
        .collect();
    let selector = json!({"matchLabels": {choices.text(): choices.text()}, "matchExpressions": expressions});
    let labels: Labels = [(choices.text(), choices.text())].into_iter().collect();
    let Ok(selector) = serde_json::from_value::<LabelSelector>(selector) else { return };
    if let Some(selector) = Selector::parse(selector) {
        let _ = selector.matches(&labels);
    }
}

/// Parses lines of a watch response.
pub fn watch(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) = serde_json::from_slice(line) {
            let _ = JobView::parse(object);
        }
        if let Ok(WatchEvent::Added(object) | WatchEvent::Deleted(object)) = serde_json::from_slice(line) {
            let _ = PodView::parse(object);
        }
        if let Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) = serde_json::from_slice(line) {
            let _ = CronJobView::parse(object);
        }
    }
}

/// Decodes protobuf responses: objects, lists, statuses and watches of Jobs and Pods. Builds pods from the templates.
pub fn protobuf(data: &[u8]) {
    let sealed = || envelope::seal("batch/v1", "Job", data.to_vec()).bytes.into();
    let memory = Some(MemorySizes::from_iter([("a".into(), 1 << 30)]));
    let raised = Raised { memory, deadline_seconds: Some(60) };
    for bytes in [data.to_vec().into(), sealed()] {
        let bytes = || Clone::clone(&bytes);
        if let Ok(wire) = codec::object::<WireJob>(Encoding::Protobuf, bytes())
            && let Some(view) = JobView::parse(wire)
            && let Ok(builder) = PodBuilder::new(&view, None, &raised)
        {
            let failures = Some(IndexFailures { counted: 1, ignored: 1 });
            let body = builder.pod(&NewPod { index: Some(7), failures }).expect("a pod of a valid template");
            assert!(body.bytes.len() < 3 * data.len() + 4096, "a pod of {} bytes", body.bytes.len());
        }
        let _ = codec::object::<WirePod>(Encoding::Protobuf, bytes()).map(PodView::parse);
        let _ = codec::object_or_status::<WirePod>(Encoding::Protobuf, bytes());
        let _ = codec::list::<WireJob>(Encoding::Protobuf, bytes());
        let _ = codec::list::<WirePod>(Encoding::Protobuf, bytes());
    }
    let mut frames = Frames::new(Encoding::Protobuf);
    frames.push(data);
    while let Ok(Some(frame)) = frames.pop() {
        let _ = codec::event::<WirePod>(Encoding::Protobuf, frame);
    }
    let _ = codec::event::<WireJob>(Encoding::Protobuf, data.to_vec().into());
}

/// Decides on Jobs and pods whose fields have the right types and arbitrary values, as a malicious user could write
/// them.
pub fn job(data: &[u8]) {
    let mut choices = Choices(data);
    let wire: WireJob = serde_json::from_value(job_of(&mut choices)).expect("a Job with the right types");
    let Some(view) = JobView::parse(wire) else { return };
    let pods: Vec<Arc<PodView>> = (0..choices.below(6))
        .filter_map(|number| {
            let wire: WirePod =
                serde_json::from_value(pod_of(&mut choices, number)).expect("a pod with the right types");
            PodView::parse(wire).map(Arc::new)
        })
        .collect();
    let summary = PodSummary::new(&view, pods.iter().cloned());
    let orphans: Vec<_> = pods.iter().filter(|pod| pod.owner.is_none()).cloned().collect();
    let limits = SyncConfig::default();
    let now = choices.time().parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let mut backoff = Backoff::default();
    for last_untracked_deletion in [None, Some(now), Some(Timestamp::MAX)] {
        let mut refusals = Refusals::default();
        for kind in [CREATE, DELETE, UNTRACK].into_iter().filter(|_| choices.flag()) {
            refusals.refuse(kind, None, &WriteError::Deferred, now);
        }
        let policy = policy(&mut choices);
        let mut starts = StartWaits::default();
        starts.observe_all(pods.iter().map(Arc::as_ref), now);
        let input = DecisionInput {
            policy: policy.as_ref(),
            starts: &starts,
            refused_memory: None,
            retries: None,
            admission: &Admission::Unlimited,
            groups: GroupObjects::Unmanaged,
            job: &view,
            pods: &summary,
            orphans: &orphans,
            backoff: &backoff,
            last_untracked_deletion,
            counters_dirty_since: last_untracked_deletion,
            refusals: &refusals,
        };
        let decision = decide(&input, now, &limits);
        match &decision.step {
            Step::CreatePods { pods, .. } => assert!(pods.len() <= limits.max_pods_per_sync),
            Step::WriteStatus { status, .. } => {
                let patch = status.to_patch().to_string();
                assert!(patch.len() < 1 << 20, "a status of {} bytes", patch.len());
            }
            _ => {}
        }
        backoff = decision.backoff;
    }
    let own = &view.retention;
    let rules = ttl::decide::Rules { spec: true, policy: own, namespace: own, controller: own };
    let _ = ttl::decide::decide(&view, rules, now);
    let _ = view.template_memory();
    let held = Arc::new(view.clone());
    let _ = after::waiting(&view, |_| Some(held.clone()));
}

/// Returns no policy, or one with every rule.
fn policy(choices: &mut Choices<'_>) -> Option<PolicyRules> {
    let actions = [StartAction::FailJob, StartAction::FailIndex, StartAction::RetryPod, StartAction::Suspend];
    let mut deadline = || {
        let after = Duration::from_secs(u64::from(choices.flag()) * 60);
        choices.flag().then(|| StartDeadline { after, action: actions[choices.below(4)] })
    };
    let start = StartDeadlines {
        image: deadline(),
        config: deadline(),
        unschedulable: deadline(),
        admission: None,
        other: deadline(),
    };
    let fails = choices.flag();
    let hour = Duration::from_secs(3600);
    choices.flag().then(|| PolicyRules {
        name: "fuzzed".into(),
        start,
        progress: Some(ProgressDeadline { after: hour, fails }),
        running: Some(hour),
        jitter: true,
        memory: vec![MemoryRule { container: None, percent: 9999, max: u64::MAX }],
        ..PolicyRules::default()
    })
}

/// Decides on CronJobs whose fields have the right types and arbitrary values.
pub fn cron_job(data: &[u8]) {
    let mut choices = Choices(data);
    let schedules = [
        "* * * * *",
        "@every 1ns",
        "@every 1h",
        "0 0 30 2 *",
        "TZ=Europe/Paris 30 2 * * *",
        "59 23 31 12 6",
        "@every 290000h",
    ];
    let zone = match choices.below(4) {
        0 => Value::Null,
        1 => json!("Europe/Paris"),
        2 => json!("America/St_Johns"),
        _ => json!(choices.text()),
    };
    let object = json!({
        "metadata": choices.metadata("cron"),
        "spec": {
            "schedule": if choices.flag() { choices.of(&schedules).to_owned() } else { choices.text() },
            "timeZone": zone,
            "startingDeadlineSeconds": choices.number(),
            "concurrencyPolicy": choices.text(),
            "suspend": choices.flag(),
            "successfulJobsHistoryLimit": choices.small_number(),
            "failedJobsHistoryLimit": choices.small_number(),
            "jobTemplate": {"spec": {"template": {"metadata": {"labels": {choices.text(): choices.text()}}}}},
        },
        "status": {
            "active": [{"name": choices.text(), "uid": "u"}, {}, null],
            "lastScheduleTime": choices.time(),
            "lastSuccessfulTime": choices.time(),
        },
    });
    let Ok(wire) = serde_json::from_value::<WireCronJob>(object) else { return };
    let Some(view) = CronJobView::parse(wire) else { return };
    let jobs: Vec<Arc<JobView>> = (0..choices.below(4))
        .filter_map(|_| {
            JobView::parse(serde_json::from_value(job_of(&mut choices)).expect("a Job with the right types"))
        })
        .map(Arc::new)
        .collect();
    let now = choices.time().parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let _ = cron::history(&view, &jobs);
    let update = cron::reconcile_active_list(&view.status, &jobs);
    let due = cron::due(&view, &update.status, now);
    if let Some(scheduled) = due.start {
        assert!(scheduled <= now);
        for name in view.job_names(scheduled) {
            let _ = view.job(&name, scheduled, false);
        }
    }
    let _ = view.annotations(now);
}

/// Decides on JobSchedules and JobLimits with arbitrary values, as another version of the CRD could have accepted them.
pub fn job_schedule(data: &[u8]) {
    let mut choices = Choices(data);
    let schedules = [
        "H * * * *",
        "H(0-29)/10 H * * *",
        "H/0 H(5-1) H H H",
        "* 0-22 25 12 *",
        "@at 2026-12-24T18:00",
        "@at 2026-02-30T18:00",
        "@every 1s",
        "@every 290000h",
        "0 0 30 2 *",
        "30 2 * * *",
    ];
    let mut schedule = || if choices.flag() { choices.of(&schedules).to_owned() } else { choices.text() };
    let schedules = [schedule(), schedule(), schedule()];
    let exclusion = |choices: &mut Choices<'_>| match choices.below(4) {
        0 => json!({"date": choices.of(&["12-25", "02-29", "2026-12-25", "02-30", "-1", ""])}),
        1 => json!({"from": "2026-01-01T00:00", "to": choices.of(&["9999-12-31T00:00", "2026-01-01T00:00", "x"])}),
        2 => json!({"date": choices.text(), "from": choices.text(), "to": choices.text()}),
        _ => json!({}),
    };
    let mut object = json!({
        "metadata": choices.metadata("schedule"),
        "spec": {
            "schedules": schedules,
            "timeZone": choices.of(&["UTC", "Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia", "Mars/Olympus"]),
            "dst": choices.of(&["Once", "Shift", "Skip", "?"]),
            "jitter": choices.of(&["5m", "24h", "999999h", "-5m", ""]),
            "suspend": choices.flag(),
            "notBefore": choices.time(), "notAfter": choices.time(),
            "exclude": [exclusion(&mut choices), exclusion(&mut choices)],
            "startingDeadlineSeconds": choices.number(),
            "catchUp": choices.of(&["Latest", "All", "?"]), "maxCatchUp": choices.small_number(),
            "concurrencyPolicy": choices.of(&["Allow", "Forbid", "Replace", "Queue", "?"]),
            "maxActive": choices.small_number(), "historyLimit": choices.small_number(),
            "backfill": {
                "from": choices.time(), "to": choices.time(), "order": choices.of(&["OldestFirst", "NewestFirst"]),
                "maxActive": choices.small_number(), "skip": [choices.time()],
            },
            "jobTemplate": {"metadata": {"labels": {choices.text(): choices.text()}}, "spec": {"template": {"spec": {"containers": [null, {}]}}}},
        },
        "status": {
            "active": [{"name": choices.text(), "uid": "u"}, {}, null],
            "lastScheduleTime": choices.time(), "timesSince": choices.time(), "timesHash": choices.text(),
            "history": [{"job": choices.text()}],
            "backfill": {
                "from": choices.time(), "to": choices.time(), "until": choices.time(), "lastTime": choices.time(),
                "order": "NewestFirst", "total": choices.small_number(), "started": choices.small_number(),
                "skipped": 0, "remaining": 0, "active": -1, "succeeded": 0, "failed": 0,
            },
        },
    });
    for field in [
        "backfill",
        "timeZone",
        "dst",
        "jitter",
        "notBefore",
        "notAfter",
        "exclude",
        "catchUp",
        "maxCatchUp",
        "maxActive",
    ] {
        if choices.flag() {
            object["spec"].as_object_mut().expect("an object").remove(field);
        }
    }
    let wire: WireJobSchedule = serde_json::from_value(object).expect("an object");
    let Some(view) = JobScheduleView::parse(wire) else { return };
    let now = choices.time().parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let due = view.due(Facts { status: &view.base.status, ended: &[], jobs: &[], backfilled: None, now });
    if let Some(scheduled) = due.start {
        assert!(scheduled <= now);
        for name in view.job_names(scheduled) {
            let _ = view.job(&name, scheduled, due.is_backfill);
        }
    }
    assert!(due.wake.is_none_or(|wake| wake >= now));
    if let Some(patch) = view.status_patch(&view.base.status, &[], &Creation::default(), now) {
        assert!(patch.to_string().len() < 1 << 16);
    }
    let spec = json!({"maxActiveJobs": choices.small_number(), "maxActivePods": choices.text(), "selector": {"matchLabels": choices.text()}});
    let limit: WireJobLimit =
        serde_json::from_value(json!({"metadata": choices.metadata("limit"), "spec": spec})).expect("an object");
    let _ = LimitView::parse(limit);
}

fn job_of(choices: &mut Choices<'_>) -> Value {
    let condition = |choices: &mut Choices<'_>| {
        let types = ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "Suspended"];
        let type_ = if choices.flag() { choices.of(&types).to_owned() } else { choices.text() };
        json!({
            "type": type_, "status": choices.of(&["True", "False", "Unknown", ""]), "reason": choices.text(),
            "message": choices.text(), "lastTransitionTime": choices.time(), "lastProbeTime": choices.time(),
        })
    };
    let rule = |choices: &mut Choices<'_>| {
        json!({
            "action": choices.of(&["Ignore", "FailJob", "FailIndex", "Count", "?"]),
            "onExitCodes": {"operator": choices.of(&["In", "NotIn", "?"]), "values": [choices.small_number(), 1]},
            "onPodConditions": [{"type": choices.text(), "status": "True"}],
        })
    };
    let mut spec = json!({
        "parallelism": choices.small_number(), "completions": choices.small_number(),
        "completionMode": choices.of(&["Indexed", "NonIndexed", "?"]),
        "activeDeadlineSeconds": choices.number(), "backoffLimit": choices.small_number(),
        "backoffLimitPerIndex": choices.small_number(), "maxFailedIndexes": choices.small_number(),
        "podReplacementPolicy": choices.of(&["Failed", "TerminatingOrFailed", "?"]),
        "suspend": choices.flag(), "ttlSecondsAfterFinished": choices.small_number(),
        "selector": {"matchLabels": {"app": "a"}},
        "podFailurePolicy": {"rules": [rule(choices), rule(choices)]},
        "successPolicy": {"rules": [{"succeededIndexes": choices.text(), "succeededCount": choices.small_number()}]},
    });
    // Any field can be absent.
    let fields: Vec<String> = spec.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
    for field in fields {
        if choices.flag() {
            spec[field] = Value::Null;
        }
    }
    spec["template"] = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": choices.text()}});
    let conditions: Vec<Value> = (0..choices.below(4)).map(|_| condition(choices)).collect();
    let mut metadata = choices.metadata("job");
    if choices.flag() {
        let listed = choices.of(&["0", "1,3", "0-2147483646", "9-7", ""]);
        metadata["annotations"][INDEXES_ANNOTATION] = json!(listed);
    }
    json!({
        "metadata": metadata,
        "spec": spec,
        "status": {
            "conditions": conditions, "startTime": choices.time(), "completionTime": choices.time(),
            "active": choices.small_number(), "ready": choices.small_number(), "terminating": choices.small_number(),
            "succeeded": choices.small_number(), "failed": choices.small_number(),
            "completedIndexes": choices.text(), "failedIndexes": choices.text(),
            "uncountedTerminatedPods": {"succeeded": ["uid-pod-0", choices.text()], "failed": ["uid-pod-1", "uid-pod-0"]},
        },
    })
}

fn pod_of(choices: &mut Choices<'_>, number: usize) -> Value {
    let mut metadata = choices.metadata(&format!("pod-{number}"));
    metadata["labels"]["app"] = json!("a");
    if choices.flag() {
        metadata["ownerReferences"] =
            json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "uid-job", "controller": true}]);
    }
    let container = |choices: &mut Choices<'_>| {
        json!({
            "name": choices.text(), "restartCount": choices.small_number(),
            "state": {"terminated": {
                "exitCode": choices.small_number(), "finishedAt": choices.time(),
                "reason": choices.of(&["Error", "OOMKilled"]), "message": choices.text(),
            }},
            "lastState": {},
        })
    };
    let waiting = json!({"waiting": {
        "reason": choices.of(&["ContainerCreating", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"]),
        "message": choices.text(),
    }});
    json!({
        "metadata": metadata,
        "spec": {"nodeName": choices.text(), "initContainers": [{"name": choices.text(), "restartPolicy": "Always"}]},
        "status": {
            "phase": choices.of(&["Pending", "Running", "Succeeded", "Failed", "Unknown", "?"]),
            "conditions": [
                {
                    "type": choices.of(&["Ready", "DisruptionTarget", "jobwright.dev/StartDeadlineExceeded"]),
                    "status": "True", "lastTransitionTime": choices.time(),
                },
                {
                    "type": "PodScheduled", "status": choices.of(&["True", "False"]), "reason": "Unschedulable",
                    "lastTransitionTime": choices.time(),
                },
            ],
            "containerStatuses": [container(choices), container(choices), {"name": "waiting", "state": waiting}],
            "initContainerStatuses": [container(choices)],
        },
    })
}

/// Source of choices that are read from bytes, so that the bytes determine every generated object. After the last byte,
/// every choice is the first one.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// Returns a number for fields of 32 bits.
    fn small_number(&mut self) -> i32 {
        let some = [0, 1, 2, 3, 7, -1, 100_000, i32::MAX, i32::MIN, i32::MAX - 1];
        self.of(&some)
    }

    /// Returns a number for fields of 64 bits.
    fn number(&mut self) -> i64 {
        let some = [0, 1, 30, -1, i64::MAX, i64::MIN, 1 << 40, -(1 << 40), 9_223_372_036, 253_402_207_200];
        self.of(&some)
    }

    /// Returns an ordinary timestamp, an extreme one, or an empty text.
    fn time(&mut self) -> &'static str {
        let some = [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:30Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "-001-12-31T14:00:00Z",
            "",
        ];
        self.of(&some)
    }

    fn text(&mut self) -> String {
        let some = [
            "",
            "0",
            "a",
            "0-3,7",
            "99999999999999999999",
            "5-1",
            "-",
            "4294967295",
            "1,1,1",
            "\u{0}",
            "\u{202e}\u{1f980}",
            "line\nbreak",
            "NotThere",
            "app",
            "0-4294967295",
            "-1",
        ];
        let choice = self.below(some.len() + 2);
        match some.get(choice) {
            Some(text) => (*text).to_owned(),
            None => (0..self.below(12)).map(|_| char::from(self.byte())).collect(),
        }
    }

    fn metadata(&mut self, name: &str) -> Value {
        let time = |choices: &mut Self| {
            // Timestamps that the API server writes itself are valid and fit into 64 bits of nanoseconds.
            choices.of(&["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2318-12-31T23:59:59Z"])
        };
        let mut metadata = json!({
            "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "creationTimestamp": time(self), "labels": {self.text(): self.text()},
            "annotations": {
                "batch.kubernetes.io/job-completion-index": self.text(),
                "batch.kubernetes.io/job-index-failure-count": self.text(),
                "batch.kubernetes.io/job-index-ignored-failure-count": self.text(),
            },
            "managedFields": [{"manager": "kube-controller-manager", "subresource": "status", "time": self.time()}],
        });
        if self.flag() {
            metadata["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
        }
        if self.flag() {
            metadata["deletionTimestamp"] = json!(time(self));
            metadata["deletionGracePeriodSeconds"] = json!(self.number());
        }
        metadata
    }
}
