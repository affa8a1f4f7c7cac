//! Describes the state of a pod in sentences: what the pod does, waits for, or how it failed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use kube::ResourceExt;

use super::explanation::{Hint, PodReport, counted};
use super::span;
use super::warnings::is_recent;
use crate::client::suggest::Suggestions;
use crate::job::view::cause::Cause;
use crate::job::wire::WirePodStatus;
use crate::job::{INDEX_ANNOTATION, TRACKING_FINALIZER};

/// Warnings of pods that other parts of the pod's status report already.
const REPORTED_ELSEWHERE: &[&str] = &["FailedScheduling", "BackOff", "Failed", "ErrImageNeverPull", "InspectFailed"];
/// Warnings of the probes of a running container.
const PROBES: &[&str] = &["Unhealthy", "ProbeWarning", "ProbeError"];

/// What prevents a pod from making progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocker {
    /// The pod has no node, or its containers cannot start.
    Start,
    /// A container fails again and again.
    Crash,
    /// The pod is being deleted, and does not end.
    Terminate,
    /// The node of the pod does not respond, or no longer exists.
    Node,
}

/// State of an unfinished pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodState {
    /// State as a sentence.
    pub text: String,
    /// Reason in one word.
    pub reason: Option<String>,
    /// What blocks the pod, if something does.
    pub blocker: Option<Blocker>,
    /// Actions that the user can take.
    pub hints: Vec<Hint>,
}

/// State of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// The node is ready.
    Ready,
    /// The node has not been ready since this time.
    NotReady(Option<Timestamp>),
    /// The node does not exist.
    Missing,
}

impl NodeState {
    /// Returns the state of a node. `None` stands for a node that does not exist.
    pub(crate) fn of(node: Option<&Node>) -> Self {
        let Some(node) = node else { return Self::Missing };
        let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
        match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "True" => Self::Ready,
            ready => Self::NotReady(ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0)),
        }
    }
}

/// What is known about the surroundings of pods.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Warning events about pods, the newest first.
    pub events: &'a [Event],
    /// Nodes of pods that may be lost.
    pub nodes: &'a BTreeMap<String, NodeState>,
    /// Writes the commands of hints.
    pub suggest: &'a Suggestions,
    /// Present time.
    pub now: Timestamp,
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Returns whether the pod has ended, in success or failure.
pub(crate) fn is_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Returns whether the pod has failed.
pub(crate) fn is_failed(pod: &Pod) -> bool {
    phase(pod) == "Failed"
}

/// Returns whether the state of the pod is of interest: the pod has not ended, or a finalizer of another owner keeps it.
pub(crate) fn is_live(pod: &Pod) -> bool {
    !is_ended(pod) || pod.metadata.deletion_timestamp.is_some() && foreign_finalizers(pod).next().is_some()
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn foreign_finalizers(pod: &Pod) -> impl Iterator<Item = (usize, &str)> {
    let all = pod.finalizers().iter().map(String::as_str).enumerate();
    all.filter(|(_, finalizer)| *finalizer != TRACKING_FINALIZER)
}

/// Returns the time since which the pod has been terminating, and the end of its grace period.
fn terminating(pod: &Pod) -> Option<(Timestamp, Timestamp)> {
    let end = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
    Some((end.checked_sub(grace).unwrap_or(end), end))
}

/// Returns the name of the node of a pod that may be lost: the pod is overdue in its termination, or its containers are
/// not known to be ready.
pub(crate) fn doubtful_node(pod: &Pod, now: Timestamp) -> Option<&str> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unready = conditions.iter().any(|one| one.type_ == "Ready" && one.status != "True");
    let overdue = terminating(pod).is_some_and(|(_, end)| end <= now);
    node(pod).filter(|_| !is_ended(pod) && (overdue || unready && phase(pod) == "Running" || phase(pod) == "Unknown"))
}

/// Returns the statuses of all containers of a pod, the init containers first.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let inits = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let apps = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    inits.iter().chain(apps)
}

/// Returns the names of the native sidecars: init containers that run beside the app containers.
pub(crate) fn sidecars(pod: &Pod) -> impl Iterator<Item = &str> {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
}

/// Returns the time at which the last container of the pod ended, if the status has one.
pub(crate) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let ends =
        containers(pod).filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    ends.map(|time| time.0).max()
}

/// Returns the cause of the pod's failure, by the rule that the controller applies for its annotation and its event.
pub(crate) fn cause(pod: &Pod) -> Option<Cause> {
    if phase(pod) == "Succeeded" {
        return None;
    }
    let status: WirePodStatus = serde_json::from_value(serde_json::to_value(pod.status.as_ref()?).ok()?).ok()?;
    Cause::of(&status, &sidecars(pod).collect::<Vec<_>>())
}

/// Returns the state of a pod that [`is_live`].
pub(crate) fn state(pod: &Pod, around: &Surroundings<'_>) -> PodState {
    if let Some((since, end)) = terminating(pod) {
        return terminating_state(pod, since, end, around);
    }
    let lost = node(pod).and_then(|name| lost_node(name, around));
    if let Some((text, hints)) = lost {
        let text = format!("Pod {} is not running: {text}.", pod.name_any());
        return PodState { text, reason: Some("NodeLost".to_owned()), blocker: Some(Blocker::Node), hints };
    }
    not_scheduled(pod)
        .or_else(|| waiting(pod, around.suggest))
        .or_else(|| warned(pod, around))
        .unwrap_or_else(|| progress(pod, around.now))
}

/// Describes a node that does not respond or no longer exists, with the remedy. `None` for a node that is ready or not
/// known.
fn lost_node(name: &str, around: &Surroundings<'_>) -> Option<(String, Vec<Hint>)> {
    match around.nodes.get(name)? {
        NodeState::Ready => None,
        NodeState::Missing => Some((format!("its node {name} no longer exists"), Vec::new())),
        NodeState::NotReady(since) => {
            let since = since.map_or_else(String::new, |since| format!(" for {}", span(since, around.now)));
            let hints = vec![Hint::new(
                format!("see why node {name} is not ready"),
                around.suggest.kubectl_elsewhere(&format!("describe node {name}")),
            )];
            Some((format!("its node {name} has not been ready{since}"), hints))
        }
    }
}

fn terminating_state(pod: &Pod, since: Timestamp, end: Timestamp, around: &Surroundings<'_>) -> PodState {
    let (name, now) = (pod.name_any(), around.now);
    let lasts = span(since, now);
    let foreign: Vec<(usize, &str)> = foreign_finalizers(pod).collect();
    let blocked = |text: String, reason: &str, hints| PodState {
        text,
        reason: Some(reason.to_owned()),
        blocker: Some(Blocker::Terminate),
        hints,
    };
    if let Some((place, first)) = foreign.first() {
        let names: Vec<&str> = foreign.iter().map(|(_, name)| *name).collect();
        let patch = format!(
            "patch pod {name} --type=json -p '[{{\"op\":\"test\",\"path\":\"/metadata/finalizers/{place}\",\"value\":\"{first}\"}},\
             {{\"op\":\"remove\",\"path\":\"/metadata/finalizers/{place}\"}}]'"
        );
        let purpose = format!("remove the finalizer {first}, if its owner no longer exists");
        let text = format!(
            "Pod {name} has been terminating for {lasts}: the finalizer {} keeps it until its owner removes it.",
            names.join(", ")
        );
        return blocked(text, "Finalizer", vec![Hint::new(purpose, around.suggest.kubectl(&patch))]);
    }
    let on = node(pod).map_or_else(String::new, |node| format!(" on node {node}"));
    let force =
        |why: &str| Hint::new(why, around.suggest.kubectl(&format!("delete pod {name} --grace-period=0 --force")));
    if let Some((lost, mut hints)) = node(pod).and_then(|node| lost_node(node, around)) {
        hints.push(force("delete the pod, once its containers are known not to run"));
        return blocked(format!("Pod {name} has been terminating for {lasts}: {lost}."), "NodeLost", hints);
    }
    if pod.metadata.deletion_grace_period_seconds == Some(0) {
        let text = format!("Pod {name} was force-deleted {lasts} ago; its containers may still be running{on}.");
        return PodState { text, reason: Some("ForceDeleted".to_owned()), ..PodState::default() };
    }
    if now < end {
        let text = format!("Pod {name} is terminating{on}; its grace period ends in {}.", span(now, end));
        return PodState { text, reason: Some("Terminating".to_owned()), ..PodState::default() };
    }
    let text = format!(
        "Pod {name} has been terminating for {lasts}{on}; its grace period ended {} ago, and the kubelet has not ended it.",
        span(end, now)
    );
    let mut hints: Vec<Hint> = node(pod)
        .map(|node| {
            Hint::new(
                format!("see the state of node {node}"),
                around.suggest.kubectl_elsewhere(&format!("get node {node}")),
            )
        })
        .into_iter()
        .collect();
    hints.push(force("delete the pod, once its containers are known not to run"));
    blocked(text, "Terminating", hints)
}

fn not_scheduled(pod: &Pod) -> Option<PodState> {
    let name = pod.name_any();
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    let start = |text: String, reason: &str| {
        Some(PodState { text, reason: Some(reason.to_owned()), blocker: Some(Blocker::Start), hints: Vec::new() })
    };
    if !gates.is_empty() {
        let gates: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        let text = format!("Pod {name} is not scheduled before its scheduling gate {} is removed.", gates.join(", "));
        return start(text, "SchedulingGated");
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    let why = unscheduled.message.as_deref().unwrap_or("the scheduler gives no reason");
    start(format!("Pod {name} has no node: {why}"), unscheduled.reason.as_deref().unwrap_or("Unschedulable"))
}

/// Returns the state of a pod with a container that cannot start.
fn waiting(pod: &Pod, suggest: &Suggestions) -> Option<PodState> {
    let name = pod.name_any();
    containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| !matches!(*reason, "" | "ContainerCreating" | "PodInitializing"))?;
        let restarts = match usize::try_from(container.restart_count).unwrap_or_default() {
            0 => String::new(),
            count => format!(" after {}", counted(count, "restart")),
        };
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let (detail, blocker, hints) = match last.filter(|_| reason == "CrashLoopBackOff") {
            Some(last) => {
                let words = last.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
                let words = words.map_or_else(String::new, |text| format!(": {text}"));
                let previous = format!("logs {name} -c {} --previous", container.name);
                let hint = Hint::new("see the logs of its last run", suggest.kubectl(&previous));
                (
                    format!("; it last {}{words}", exit(last.exit_code, last.signal, last.reason.as_deref())),
                    Blocker::Crash,
                    vec![hint],
                )
            }
            None => {
                let message = waiting.message.as_deref().map_or_else(String::new, |text| format!(": {text}"));
                (message, if reason == "CrashLoopBackOff" { Blocker::Crash } else { Blocker::Start }, Vec::new())
            }
        };
        Some(PodState {
            text: format!("Pod {name}: container {} is in {reason}{restarts}{detail}", container.name),
            reason: Some(reason.to_owned()),
            blocker: Some(blocker),
            hints,
        })
    })
}

/// Returns the state of a pod from a recent warning about it: a volume that cannot be mounted, a sandbox that cannot be
/// created, a probe that fails.
fn warned(pod: &Pod, around: &Surroundings<'_>) -> Option<PodState> {
    let uid = pod.uid();
    let event = around.events.iter().find(|event| {
        let reason = event.reason.as_deref().unwrap_or_default();
        event.involved_object.uid == uid && is_recent(event, around.now) && !REPORTED_ELSEWHERE.contains(&reason)
    })?;
    let (reason, message) =
        (event.reason.clone().unwrap_or_default(), event.message.as_deref().unwrap_or_default().trim());
    let name = pod.name_any();
    let starts = containers(pod).any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    if PROBES.contains(&&*reason) {
        let text = format!("Pod {name} is running, and its probe fails: {message}");
        return Some(PodState { text, reason: Some(reason), blocker: None, hints: Vec::new() });
    }
    // A warning about a pod whose containers run has been overcome, or concerns something else than its progress.
    if starts || phase(pod) != "Pending" {
        return None;
    }
    let text = format!("Pod {name} cannot start: {reason}: {message}");
    Some(PodState { text, reason: Some(reason), blocker: Some(Blocker::Start), hints: Vec::new() })
}

/// Returns the state of a pod that makes progress.
fn progress(pod: &Pod, now: Timestamp) -> PodState {
    let name = pod.name_any();
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let lasts = |since: Option<Timestamp>| since.map_or_else(String::new, |since| format!(" for {}", span(since, now)));
    let inits = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let sidecars: Vec<&str> = sidecars(pod).collect();
    let init = inits.iter().filter(|one| !sidecars.contains(&one.name.as_str())).find_map(|container| {
        let running = container.state.as_ref()?.running.as_ref()?;
        Some((&container.name, running.started_at.as_ref().map(|time| time.0)))
    });
    let text = match (init, phase(pod)) {
        (Some((init, since)), _) => format!("Pod {name}: init container {init} has been running{}.", lasts(since)),
        (None, "Running") => {
            let apps = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
            let begun = apps.iter().filter_map(|one| one.state.as_ref()?.running.as_ref()?.started_at.as_ref());
            let begun = begun.map(|time| time.0).min().or(started.map(|time| time.0));
            format!("Pod {name} has been running{}.", lasts(begun))
        }
        (None, "Unknown") => format!("The state of pod {name} is unknown: its node does not report it."),
        _ if node(pod).is_none() => format!("Pod {name} is waiting for a node."),
        _ => format!("Pod {name} has been starting{}.", lasts(started.map(|time| time.0))),
    };
    PodState { text, ..PodState::default() }
}

fn exit(code: i32, signal: Option<i32>, reason: Option<&str>) -> String {
    let reason = reason
        .filter(|reason| !matches!(*reason, "Error" | ""))
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    match signal.filter(|signal| *signal != 0) {
        Some(signal) => format!("was ended by signal {signal}{reason}"),
        None => format!("exited with code {code}{reason}"),
    }
}

/// Returns the failure of a failed pod as a sentence: the container, its exit code or signal, and its termination
/// message.
pub(crate) fn failure(pod: &Pod) -> String {
    let name = pod.name_any();
    let cause = cause(pod).unwrap_or_default();
    let words = if cause.message.is_empty() { String::new() } else { format!(": {}", cause.message) };
    let disruption = match cause.disruption.as_str() {
        "" => String::new(),
        reason => format!(" (disrupted: {reason})"),
    };
    match (&cause.container, cause.exit_code) {
        (Some(container), Some(code)) => {
            format!(
                "Pod {name}: container {container} {}{disruption}{words}",
                exit(code, cause.signal, Some(&cause.reason))
            )
        }
        _ if !cause.reason.is_empty() => format!("Pod {name} failed: {}{words}", cause.reason),
        _ if !cause.disruption.is_empty() => format!("Pod {name} was disrupted: {}{words}", cause.disruption),
        _ => format!("Pod {name} failed without a reason in its status."),
    }
}

/// Returns the pod as the output for programs has it.
pub(crate) fn report(pod: &Pod, around: &Surroundings<'_>) -> PodReport {
    let cause = cause(pod);
    let state = if is_live(pod) {
        state(pod, around)
    } else if is_failed(pod) {
        PodState { text: failure(pod), ..PodState::default() }
    } else {
        PodState { text: format!("Pod {} succeeded.", pod.name_any()), ..PodState::default() }
    };
    let reason = cause.as_ref().map(|cause| cause.reason.clone()).filter(|reason| !reason.is_empty());
    PodReport {
        name: pod.name_any(),
        phase: phase(pod).to_owned(),
        stuck: state.blocker.is_some(),
        reason: state.reason.or(reason),
        message: state.text,
        node: node(pod).map(str::to_owned),
        index: pod.annotations().get(INDEX_ANNOTATION).and_then(|text| text.parse().ok()),
        exit_code: cause.as_ref().and_then(|cause| cause.exit_code),
        container: cause.and_then(|cause| cause.container),
        restarts: containers(pod).map(|container| i64::from(container.restart_count)).sum(),
    }
}
