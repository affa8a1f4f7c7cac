//! Golden output for every state of a Job, and the causes that an explanation names.

use serde_json::{Value, json};

use super::*;
use crate::client::leases::LeaseState;
use crate::client::terminal::Screen;

const NOW: &str = "2026-01-01T01:00:00Z";

/// Everything from which a Job is explained, with values for a running Job.
struct Case {
    job: Value,
    pods: Option<Vec<Pod>>,
    events: Vec<Event>,
    pod_events: Vec<Event>,
    nodes: BTreeMap<String, NodeState>,
    admission: Admission,
    leases: Leases,
    unread: Vec<Unread>,
}

impl Case {
    fn new() -> Self {
        let job = json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7"},
            "spec": {
                "completions": 3, "parallelism": 1, "backoffLimit": 6,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u"}},
                             "spec": {"restartPolicy": "Never", "containers": []}},
            },
            "status": {"startTime": "2026-01-01T00:00:00Z"},
        });
        Self {
            job,
            pods: Some(Vec::new()),
            events: Vec::new(),
            pod_events: Vec::new(),
            nodes: BTreeMap::new(),
            admission: Admission::Unlimited,
            leases: Leases::default(),
            unread: Vec::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.job);
        self
    }

    fn pods(mut self, pods: impl IntoIterator<Item = Pod>) -> Self {
        self.pods = Some(pods.into_iter().collect());
        self
    }

    fn ended(self, type_: &str, reason: &str) -> Self {
        let condition = json!([{"type": type_, "status": "True", "reason": reason, "message": "the message",
            "lastTransitionTime": "2026-01-01T00:02:05Z"}]);
        self.with(|job| job["status"]["conditions"] = condition)
    }

    fn explained(&self) -> Explanation {
        let job = serde_json::from_value(self.job.clone()).unwrap();
        let suggest = Suggestions::new("jobwright", Some("ux".to_owned()), Vec::new());
        let facts = Facts {
            job: &job,
            pods: self.pods.as_deref(),
            events: &self.events,
            pod_events: &self.pod_events,
            nodes: &self.nodes,
            limits: &SyncConfig::default(),
            policy: &PolicyState::Nothing,
            group: None,
            admission: &self.admission,
            leases: &self.leases,
            suggest: &suggest,
            unread: &self.unread,
        };
        explain(&facts, NOW.parse().unwrap())
    }
}

/// Returns the Leases of a cluster where Jobwright has stopped.
pub(crate) fn stopped(renewed: &str) -> Leases {
    let lease = LeaseState {
        namespace: "kube-system".to_owned(),
        name: "jobwright".to_owned(),
        holder: Some("jobwright-0".to_owned()),
        installation: None,
        claim: Some("all".to_owned()),
        renewed: Some(renewed.parse().unwrap()),
        duration: jiff::SignedDuration::from_secs(15),
    };
    Leases { found: vec![lease], ..Leases::default() }
}

fn pod(status: Value) -> Pod {
    pod_with(|pod| pod["status"] = status)
}

fn pod_with(change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "a-1", "namespace": "default", "uid": "p", "resourceVersion": "8", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"batch.kubernetes.io/controller-uid": "u"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "u", "controller": true}],
        },
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running"},
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn exited(name: &str, code: i32, at: &str) -> Value {
    let end =
        json!({"exitCode": code, "reason": "Error", "message": "disk full", "finishedAt": format!("2026-01-01T{at}Z")});
    container(name, json!({"terminated": end}))
}

fn failed(at: &str) -> Pod {
    pod(json!({"phase": "Failed", "containerStatuses": [exited("main", 3, at)]}))
}

fn waiting(reason: &str, message: &str) -> Pod {
    let state = json!({"waiting": {"reason": reason, "message": message}});
    pod(json!({"phase": "Pending", "containerStatuses": [container("main", state)]}))
}

fn warning(about: &str, reason: &str, message: &str, at: &str) -> Event {
    serde_json::from_value(json!({
        "metadata": {}, "involvedObject": {"uid": about}, "type": "Warning", "reason": reason, "message": message,
        "lastTimestamp": format!("2026-01-01T{at}Z"),
    }))
    .unwrap()
}

const REFUSED: &str = "Error: ValidatingAdmissionPolicy 'p' denied request: no";

#[test]
fn each_state_has_a_headline() {
    let new = || Case::new();
    let interim = |type_: &str| new().ended(type_, "R");
    let limited = WaitingStatus {
        limit: "lim".to_owned(),
        position: 2,
        reason: Reason::Queue,
        message: "position 2 at JobLimit lim: 2 of 2 pods in use".to_owned(),
    };
    let running = pod(json!({"phase": "Running", "startTime": "2026-01-01T00:59:52Z"}));
    let pull = || waiting("ImagePullBackOff", "Back-off pulling image");
    let mut queued = new();
    queued.admission = Admission::Pending(limited);
    let mut refused = new();
    refused.events = vec![warning("u", "FailedCreate", "Error creating: no", "00:59:00")];
    let mut unstored = new().with(|job| job["status"] = json!({}));
    unstored.events = vec![warning("u", "FailedStatusUpdate", REFUSED, "00:59:00")];
    let mut unfinishable = interim("SuccessCriteriaMet");
    unfinishable.events = vec![warning("u", "FailedFinalizerRemoval", REFUSED, "00:59:00")];
    let cases = [
        (new(), State::Running, "Job a has no pods at the moment: 0 of 3 succeeded, 0 failed."),
        (
            new().with(|job| job["status"] = json!({})),
            State::NotStarted,
            "Job a has not been started by a controller yet.",
        ),
        (new().pods([running]), State::Running, "Job a is running: 0 of 3 succeeded, 0 failed."),
        (
            new().pods([pull()]),
            State::Stuck,
            "Job a is stuck: its pod cannot start (ImagePullBackOff). 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().pods([pull(), pull()]),
            State::Stuck,
            "Job a is stuck: none of its 2 pods can start (ImagePullBackOff). 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().pods([pull(), pod(json!({"phase": "Running"}))]),
            State::Running,
            "Job a is running, but 1 of its 2 pods are stuck: 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().with(|job| job["spec"]["suspend"] = json!(true)),
            State::Suspended,
            "Job a is suspended: 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().with(|job| job["spec"]["parallelism"] = json!(0)),
            State::Paused,
            "Job a has no pods because spec.parallelism is 0: 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().with(|job| job["spec"]["managedBy"] = json!("example.com/other")),
            State::ManagedExternally,
            "Job a is managed by example.com/other (spec.managedBy); Jobwright and the built-in controller ignore it: 0 of 3 succeeded, 0 failed.",
        ),
        (
            queued,
            State::Pending,
            "Job a waits for a JobLimit: position 2 at JobLimit lim: 2 of 2 pods in use. 0 of 3 succeeded, 0 failed.",
        ),
        (
            refused,
            State::Stuck,
            "Job a is stuck: the API server refuses its pods: Error creating: no. 0 of 3 succeeded, 0 failed.",
        ),
        (
            unstored,
            State::Stuck,
            "Job a is stuck: the API server refuses its status: Error: ValidatingAdmissionPolicy 'p' denied request: no.",
        ),
        (
            unfinishable,
            State::Stuck,
            "Job a has succeeded (R: the message), and cannot finish: Error: ValidatingAdmissionPolicy 'p' denied request: no. 0 of 3 succeeded, 0 failed.",
        ),
        (
            interim("FailureTarget"),
            State::Finishing,
            "Job a has failed (R: the message), and finishes once its pods have terminated: 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().ended("Complete", "CompletionsReached"),
            State::Complete,
            "Job a completed in 2 min 5 s: 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().ended("Failed", "DeadlineExceeded"),
            State::Failed,
            "Job a failed after 2 min 5 s: DeadlineExceeded: the message. 0 of 3 succeeded, 0 failed.",
        ),
        (
            new().with(|job| {
                job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
                job["metadata"]["finalizers"] = json!(["example.com/held"]);
            }),
            State::Terminating,
            "Job a has been terminating for 1 min.",
        ),
    ];
    for (case, state, headline) in cases {
        let explained = case.explained();
        assert_eq!((explained.headline.as_str(), explained.state), (headline, state));
        assert_eq!(
            (explained.kind.as_str(), explained.namespace.as_str(), explained.name.as_str()),
            ("Job", "default", "a")
        );
    }
}

#[test]
fn text_of_a_stuck_job_is_complete() {
    let mut case = Case::new().pods([waiting("ImagePullBackOff", "Back-off pulling image \"nowhere/i\"")]);
    case.events = vec![warning("u", "Other", "something else", "00:58:00")];
    let expected = "\
Job a is stuck: its pod cannot start (ImagePullBackOff). 0 of 3 succeeded, 0 failed.
  Pod a-1: container main is in ImagePullBackOff: Back-off pulling image \"nowhere/i\"
  Warning 2 min ago: Other: something else
Next: the controller syncs the Job at 2026-01-01T01:00:01Z (in 1 s)
";
    assert_eq!(case.explained().text(&Screen::PLAIN), expected);
    crate::client::transcripts::assert_in_page("explain.md", expected);
}

#[test]
fn old_refusal_is_not_the_cause() {
    let mut case = Case::new().with(|job| job["status"] = json!({}));
    case.events = vec![warning("u", "FailedStatusUpdate", REFUSED, "00:50:00")];
    assert_eq!(case.explained().state, State::NotStarted);
    case.events = vec![warning("u", "FailedStatusUpdate", REFUSED, "00:59:00")];
    let hints = case.explained().hints;
    let command =
        hints.iter().filter_map(|hint| hint.command.as_deref()).find(|one| one.contains("validatingadmission"));
    assert!(command.is_some_and(|command| !command.contains("-n ux")), "policies have no namespace: {hints:?}");
}

#[test]
fn unscheduled_and_gated_pods_are_named() {
    let unscheduled = pod(json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }]}));
    let explained = Case::new().pods([unscheduled]).explained();
    assert_eq!(explained.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(explained.details, ["Pod a-1 has no node: 0/3 nodes are available: 3 Insufficient cpu."]);
    let gated = pod_with(|pod| {
        pod["spec"] = json!({"containers": [], "schedulingGates": [{"name": "example.com/gate"}]});
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]});
    });
    let explained = Case::new().pods([gated]).explained();
    assert_eq!(explained.details, ["Pod a-1 is not scheduled before its scheduling gate example.com/gate is removed."]);
}

#[test]
fn warnings_of_a_pod_that_cannot_start_make_the_job_stuck() {
    let starting = || waiting("ContainerCreating", "");
    for (reason, message) in [
        ("FailedMount", "MountVolume.SetUp failed for volume \"v\": secret \"nope\" not found"),
        ("FailedCreatePodSandBox", "plugin type=\"bridge\" failed"),
        ("FailedAttachVolume", "Multi-Attach error"),
    ] {
        let mut case = Case::new().pods([starting()]);
        case.pod_events =
            vec![warning("p", reason, message, "00:59:30"), warning("another", "FailedMount", "x", "00:59:50")];
        let explained = case.explained();
        assert_eq!((explained.state, explained.reason.as_deref()), (State::Stuck, Some(reason)));
        assert_eq!(explained.details, [format!("Pod a-1 cannot start: {reason}: {message}")]);
        assert!(explained.pods[0].stuck && explained.pods[0].reason.as_deref() == Some(reason), "{explained:?}");
    }
    let mut overcome = Case::new().pods([starting()]);
    overcome.pod_events = vec![warning("p", "FailedMount", "old", "00:40:00")];
    assert_eq!(overcome.explained().state, State::Running);
}

#[test]
fn failed_probes_are_reported_for_a_pod_that_runs() {
    let running = pod(json!({"phase": "Running", "containerStatuses": [container("main", json!({"running": {}}))]}));
    let mut case = Case::new().pods([running]);
    case.pod_events = vec![warning("p", "Unhealthy", "Liveness probe failed: HTTP probe failed", "00:59:30")];
    let explained = case.explained();
    assert_eq!(explained.state, State::Running);
    assert_eq!(
        explained.details,
        ["Pod a-1 is running, and its probe fails: Liveness probe failed: HTTP probe failed"]
    );
}

#[test]
fn init_container_that_runs_is_named() {
    let state = json!({"running": {"startedAt": "2026-01-01T00:59:00Z"}});
    let init = pod(json!({"phase": "Pending", "initContainerStatuses": [container("prepare", state)]}));
    let explained = Case::new().pods([init]).explained();
    assert_eq!(explained.details, ["Pod a-1: init container prepare has been running for 1 min."]);
}

#[test]
fn crash_loop_has_the_last_exit_and_the_command_for_its_logs() {
    let mut status = container("main", json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}));
    status["restartCount"] = json!(4);
    status["lastState"] = json!({"terminated": {"exitCode": 1, "message": "no database\n"}});
    let crashing = pod(json!({"phase": "Running", "containerStatuses": [status]}));
    let explained = Case::new().pods([crashing]).explained();
    assert_eq!(
        explained.headline,
        "Job a is stuck: its pod keeps crashing (CrashLoopBackOff). 0 of 3 succeeded, 0 failed."
    );
    assert_eq!(
        explained.details,
        ["Pod a-1: container main is in CrashLoopBackOff after 4 restarts; it last exited with code 1: no database"]
    );
    assert_eq!(
        explained.hints,
        [Hint::new("see the logs of its last run", "kubectl logs a-1 -c main --previous -n ux")]
    );
    assert_eq!((explained.pods[0].restarts, explained.pods[0].exit_code), (4, Some(1)));
}

/// Returns a pod that is being deleted, with a grace period of 30 s that ends at this time.
fn terminating_pod(end: &str, change: impl FnOnce(&mut Value)) -> Pod {
    pod_with(|pod| {
        pod["metadata"]["deletionTimestamp"] = json!(format!("2026-01-01T{end}Z"));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        change(pod);
    })
}

#[test]
fn terminating_pod_is_stuck_only_after_its_grace_period() {
    let graceful = Case::new().pods([terminating_pod("01:00:20", |_| {})]).explained();
    assert_eq!(graceful.details, ["Pod a-1 is terminating on node n; its grace period ends in 20 s."]);
    assert_ne!(graceful.state, State::Stuck);
    let overdue = Case::new().pods([terminating_pod("00:55:00", |_| {})]).explained();
    assert_eq!(
        overdue.headline,
        "Job a is stuck: its pod does not terminate (Terminating). 0 of 3 succeeded, 0 failed."
    );
    assert_eq!(
        overdue.details,
        [
            "Pod a-1 has been terminating for 5 min 30 s on node n; its grace period ended 5 min ago, and the kubelet has not ended it."
        ]
    );
    let force = Hint::new(
        "delete the pod, once its containers are known not to run",
        "kubectl delete pod a-1 --grace-period=0 --force -n ux",
    );
    assert!(overdue.hints.contains(&force), "{overdue:?}");
    let forced = terminating_pod("00:59:00", |pod| pod["metadata"]["deletionGracePeriodSeconds"] = json!(0));
    let forced = Case::new().pods([forced]).explained();
    assert_eq!(forced.details, ["Pod a-1 was force-deleted 1 min ago; its containers may still be running on node n."]);
    assert_eq!(forced.pods[0].reason.as_deref(), Some("ForceDeleted"));
}

#[test]
fn pod_on_a_lost_node_is_named_with_the_node_and_the_remedy() {
    let since = "2026-01-01T00:50:00Z".parse().unwrap();
    let mut case = Case::new().pods([terminating_pod("00:55:00", |_| {})]);
    case.nodes = BTreeMap::from([("n".to_owned(), NodeState::NotReady(Some(since)))]);
    let explained = case.explained();
    assert_eq!(explained.reason.as_deref(), Some("NodeLost"));
    assert_eq!(
        explained.details,
        ["Pod a-1 has been terminating for 5 min 30 s: its node n has not been ready for 10 min."]
    );
    assert_eq!(explained.hints[0], Hint::new("see why node n is not ready", "kubectl describe node n"));
    case.nodes = BTreeMap::from([("n".to_owned(), NodeState::Missing)]);
    assert_eq!(case.explained().details, ["Pod a-1 has been terminating for 5 min 30 s: its node n no longer exists."]);
    let running = pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}));
    assert_eq!(pod::doubtful_node(&running, NOW.parse().unwrap()), Some("n"));
    let mut case = Case::new().pods([running]);
    case.nodes = BTreeMap::from([("n".to_owned(), NodeState::NotReady(None))]);
    let explained = case.explained();
    assert_eq!(
        explained.headline,
        "Job a is stuck: the node of its pod is lost (NodeLost). 0 of 3 succeeded, 0 failed."
    );
    assert_eq!(explained.details, ["Pod a-1 is not running: its node n has not been ready."]);
}

#[test]
fn finalizer_of_another_owner_is_named_with_the_command_that_removes_it() {
    let held = || {
        terminating_pod("00:55:00", |pod| {
            pod["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking", "example.com/hold"]);
            pod["status"] = json!({"phase": "Succeeded"});
        })
    };
    let explained = Case::new().ended("FailureTarget", "R").pods([held()]).explained();
    assert_eq!(explained.state, State::Stuck);
    assert_eq!(
        explained.details,
        [
            "Pod a-1 has been terminating for 5 min 30 s: the finalizer example.com/hold keeps it until its owner removes it."
        ]
    );
    let expected = "kubectl patch pod a-1 --type=json -p '[{\"op\":\"test\",\"path\":\"/metadata/finalizers/1\",\"value\":\"example.com/hold\"},\
                    {\"op\":\"remove\",\"path\":\"/metadata/finalizers/1\"}]' -n ux";
    assert_eq!(explained.hints[0].command.as_deref(), Some(expected));
    // A finished Job that is being deleted waits for such a pod too.
    let deleted = Case::new().ended("Complete", "R").with(|job| {
        job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
        job["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    });
    let explained = deleted.pods([held()]).explained();
    assert!(explained.details.iter().any(|detail| detail.contains("example.com/hold")), "{explained:?}");
}

#[test]
fn back_off_after_failures_is_listed_with_its_end() {
    let case = Case::new().pods([failed("00:59:55")]).with(|job| {
        job["status"] = json!({
            "startTime": "2026-01-01T00:00:00Z", "failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
        });
    });
    let explained = case.explained();
    assert_eq!(explained.state, State::BackingOff);
    assert_eq!(
        explained.headline,
        "Job a waits 5 s before its next pod, until 2026-01-01T01:00:05Z, after 1 failure (backoffLimit 6): 0 of 3 succeeded, 1 failed."
    );
    assert_eq!(explained.details, ["Pod a-1: container main exited with code 3: disk full"]);
    crate::client::transcripts::assert_in_page("explain.md", &explained.text(&Screen::PLAIN));
    assert_eq!(explained.next_step.unwrap(), "the controller syncs the Job at 2026-01-01T01:00:05Z (in 5 s)");
    assert_eq!(
        explained.hints,
        [Hint::new("see the logs of its last failed pod", "kubectl logs a-1 --all-containers -n ux")]
    );
}

#[test]
fn surplus_failed_pods_are_counted() {
    let explained =
        Case::new().ended("Failed", "BackoffLimitExceeded").pods((0..5).map(|_| failed("00:01:00"))).explained();
    assert_eq!(explained.details.iter().filter(|detail| detail.contains("exited with code 3")).count(), 3);
    assert!(explained.details.contains(&"2 failed pods more.".to_owned()), "{explained:?}");
}

#[test]
fn recorded_failure_is_shown_where_the_pods_lack_it() {
    let annotated = || {
        Case::new().ended("Failed", "BackoffLimitExceeded").with(|job| {
            let report = json!({"pod": "a-1", "container": "main", "exitCode": 3, "log": ["one", "two"]}).to_string();
            job["metadata"]["annotations"] = json!({FAILURE: report});
        })
    };
    let gone = annotated().explained();
    assert_eq!(
        gone.details,
        [
            "Recorded cause: Pod a-1, container main: exit code 3.",
            "End of the log of the failed container:\n    one\n    two"
        ]
    );
    let kept = annotated().pods([failed("00:01:00")]).explained();
    assert_eq!(
        kept.details,
        [
            "Pod a-1: container main exited with code 3: disk full",
            "End of the log of the failed container:\n    one\n    two"
        ]
    );
    let advice = |reason: &str, policy: &str| {
        let case = Case::new().ended("Failed", reason);
        let policy = json!(policy);
        case.with(|job| job["spec"]["template"]["spec"]["restartPolicy"] = policy).explained().details.join(" ")
    };
    assert!(advice("BackoffLimitExceeded", "OnFailure").contains("With restartPolicy: Never, failed pods are kept."));
    assert_eq!(
        advice("DeadlineExceeded", "Never"),
        "The pods that were still running were deleted, and their logs with them."
    );
}

const FAILURE: &str = crate::job::FAILURE_ANNOTATION;

#[test]
fn sidecar_is_never_the_cause() {
    let with_sidecar = pod_with(|pod| {
        pod["spec"]["initContainers"] = json!([{"name": "proxy", "restartPolicy": "Always"}]);
        pod["status"] = json!({"phase": "Failed", "containerStatuses": [exited("main", 3, "00:01:09")],
            "initContainerStatuses": [exited("proxy", 137, "00:01:05")]});
    });
    let explained = Case::new().ended("Failed", "BackoffLimitExceeded").pods([with_sidecar]).explained();
    assert_eq!(explained.details, ["Pod a-1: container main exited with code 3: disk full"]);
    assert_eq!((explained.pods[0].container.as_deref(), explained.pods[0].exit_code), (Some("main"), Some(3)));
}

#[test]
fn field_manager_that_suspended_the_job_is_named() {
    let suspended = Case::new().with(|job| {
        job["spec"]["suspend"] = json!(true);
        job["metadata"]["managedFields"] = json!([{
            "manager": "kubectl-patch", "operation": "Update", "apiVersion": "batch/v1", "time": "2026-01-01T00:58:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:suspend": {}}},
        }]);
    });
    let explained = suspended.explained();
    assert_eq!(explained.details, ["spec.suspend was set by kubectl-patch 2 min ago."]);
    let command = "kubectl patch job a --type=merge -p '{\"spec\":{\"suspend\":false}}' -n ux";
    assert_eq!(explained.hints, [Hint::new("resume the Job", command)]);
}

#[test]
fn stopped_controller_is_named_and_the_next_step_depends_on_it() {
    let mut case = Case::new().with(|job| job["status"] = json!({}));
    case.leases = stopped("2026-01-01T00:48:00Z");
    let explained = case.explained();
    assert_eq!(
        explained.details[0],
        "No controller works on the Job: the Lease jobwright in namespace kube-system was last renewed 12 min ago by jobwright-0."
    );
    assert_eq!(explained.reason.as_deref(), Some("ControllerNotRunning"));
    assert!(explained.next_step.unwrap().ends_with(", once a controller is running"));
    case.leases = stopped("2026-01-01T00:59:55Z");
    assert_eq!(case.explained().reason, None);
    case.leases = Leases { unread: Some("forbidden".to_owned()), ..Leases::default() };
    let unread = case.explained().unread;
    assert_eq!(unread.len(), 1, "{unread:?}");
    assert_eq!(unread[0].resource, "leases");
}

#[test]
fn unreadable_pods_are_named_and_the_rest_is_answered() {
    let mut case = Case::new().with(|job| job["status"]["active"] = json!(1));
    case.pods = None;
    let unread = |resource: &str| Unread { resource: resource.into(), reason: "forbidden".into(), effect: "e".into() };
    case.unread = vec![unread("pods"), unread("events")];
    let explained = case.explained();
    assert_eq!(
        explained.headline,
        "Job a has active pods, which cannot be read: 0 of 3 succeeded, 0 failed, 1 active."
    );
    assert_eq!(explained.next_step, None, "the step depends on the pods");
    assert_eq!(explained.unread.len(), 2);
}

#[test]
fn invalid_annotations_are_reported() {
    let kept = Case::new().ended("Complete", "CompletionsReached").with(|job| {
        job["metadata"]["annotations"] = json!({"jobwright.dev/ttl-seconds-after-success": "10m"});
    });
    let details = kept.explained().details;
    assert!(
        details[0]
            .starts_with("The Job is not deleted automatically: annotation jobwright.dev/ttl-seconds-after-success"),
        "{details:?}"
    );
    let mut queued = Case::new().with(|job| job["metadata"]["annotations"] = json!({PRIORITY_ANNOTATION: "high"}));
    queued.admission =
        Admission::Pending(WaitingStatus { limit: "lim".to_owned(), position: 2, ..WaitingStatus::default() });
    let explained = queued.explained();
    assert!(explained.details[0].contains("jobwright.dev/priority \"high\" is not a whole number"), "{explained:?}");
    assert_eq!(
        explained.headline,
        "Job a waits for a JobLimit: position 2 in the queue of JobLimit lim. 0 of 3 succeeded, 0 failed."
    );
}

#[test]
fn success_policy_is_named_as_the_reason_of_an_early_end() {
    let explained = Case::new().ended("Complete", "SuccessPolicy").explained();
    assert_eq!(explained.details, ["Its successPolicy ended the Job before all completions: the message."]);
}

#[test]
fn listed_indexes_are_named_and_an_invalid_list_is_the_cause() {
    let listed = |text: &str| {
        Case::new().with(|job| {
            job["metadata"]["annotations"] = json!({INDEXES_ANNOTATION: text});
            job["spec"]["completionMode"] = json!("Indexed");
            job["spec"]["managedBy"] = json!(MANAGED_BY);
        })
    };
    let valid = listed("0,2").explained();
    assert_eq!(valid.details[0], "The Job runs 2 of 3 indexes: 0,2 (annotation jobwright.dev/indexes).");
    let ended = listed("0,2").ended("Complete", "CompletionsReached").explained();
    assert_eq!(ended.details, ["The Job ran 2 of 3 indexes: 0,2 (annotation jobwright.dev/indexes)."]);
    let invalid = listed("2,3").explained();
    assert_eq!(invalid.state, State::Stuck);
    assert!(
        invalid.headline.starts_with("Job a is stuck: metadata.annotations[jobwright.dev/indexes]: \"2,3\": "),
        "{}",
        invalid.headline
    );
    assert!(invalid.hints.iter().any(|hint| format!("{hint:?}").contains("annotate job a --overwrite")));
    let mut builtin = listed("0,2").with(|job| job["spec"]["managedBy"] = Value::Null);
    builtin.leases.found = vec![LeaseState {
        namespace: "kube-system".to_owned(),
        name: "kube-controller-manager".to_owned(),
        holder: Some("m".to_owned()),
        installation: None,
        claim: None,
        renewed: Some(NOW.parse().unwrap()),
        duration: jiff::SignedDuration::from_secs(15),
    }];
    assert!(builtin.explained().details[0].contains("has no effect"), "{:?}", builtin.explained().details);
}
