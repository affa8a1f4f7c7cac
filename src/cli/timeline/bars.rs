//! The data of a timeline: the phases of each pod of a Job with their times, and how each pod ended.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::super::cluster::end;
use crate::job::INDEX_ANNOTATION;

/// Phase of a pod in a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The pod had no node.
    Waiting,
    /// The pod had a node, and none of its containers had run yet.
    Starting,
    /// A container of the pod had started.
    Running,
}

/// End of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The pod has not ended.
    NotYet,
    /// The pod succeeded.
    Succeeded,
    /// The pod failed. The text is the exit code or the reason.
    Failed(String),
}

/// Bar of a chart: one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Name of the pod.
    pub pod: String,
    /// Completion index of the pod, for an Indexed Job.
    pub index: Option<String>,
    /// Phases with their begin and end, without gaps and in ascending order. There is at least one.
    pub spans: Vec<(Phase, Timestamp, Timestamp)>,
    /// End of the pod.
    pub end: End,
}

/// Pods of a Job over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// Name of the Job.
    pub job: String,
    /// Outcome of the Job so far, in words.
    pub outcome: String,
    /// Begin of the first phase of all pods.
    pub from: Timestamp,
    /// End of the last phase of all pods.
    pub to: Timestamp,
    /// Bars in the order in which the pods were created.
    pub bars: Vec<Bar>,
    /// Number of pods that are left out because of the maximum number of rows.
    pub more: usize,
}

impl Timeline {
    /// Returns the timeline of the first `rows` pods. `None` if the Job has no pods.
    pub(crate) fn of(job: &Job, pods: &[Pod], now: Timestamp, rows: usize) -> Option<Self> {
        let mut bars: Vec<Bar> = pods.iter().filter_map(|pod| bar(pod, now)).collect();
        bars.sort_by_key(|bar| (bar.spans.first().map(|(_, from, _)| *from), bar.pod.clone()));
        let spans = || bars.iter().flat_map(|bar| &bar.spans);
        let from = spans().map(|(_, from, _)| *from).min()?;
        let to = spans().map(|(_, _, to)| *to).max()?;
        let more = bars.len().saturating_sub(rows);
        bars.truncate(rows);
        Some(Self { job: job.name_any(), outcome: outcome(job), from, to, bars, more })
    }
}

fn outcome(job: &Job) -> String {
    let status = job.status.clone().unwrap_or_default();
    let word = match end(&status) {
        Some(end) if end.type_ == "Complete" => "complete".to_owned(),
        Some(end) => format!("failed ({})", end.reason.as_deref().unwrap_or_default()),
        None => "under way".to_owned(),
    };
    let (succeeded, failed) = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
    format!("{word}: {succeeded} succeeded, {failed} failed")
}

fn bar(pod: &Pod, now: Timestamp) -> Option<Bar> {
    let created = pod.creation_timestamp()?.0;
    let status = pod.status.clone().unwrap_or_default();
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|one| one.type_ == "PodScheduled" && one.status == "True")
        .and_then(|one| one.last_transition_time.as_ref())
        .map(|time| time.0);
    let containers: Vec<_> =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten()).collect();
    let states = || containers.iter().flat_map(|container| [&container.last_state, &container.state]).flatten();
    let begun = states().filter_map(|state| {
        let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref());
        ended.or_else(|| state.running.as_ref().and_then(|running| running.started_at.as_ref()))
    });
    let started = begun.map(|time| time.0).min();
    let finished =
        states().filter_map(|state| state.terminated.as_ref()?.finished_at.as_ref()).map(|time| time.0).max();
    let end = match status.phase.as_deref() {
        Some("Succeeded") => End::Succeeded,
        Some("Failed") => End::Failed(words(&status)),
        _ => End::NotYet,
    };
    let last = match end {
        End::NotYet => now,
        _ => finished.or(started).or(scheduled).unwrap_or(created),
    };
    let mut spans = Vec::new();
    let mut at = created;
    let mut go_on = |phase, to: Timestamp| {
        let to = to.clamp(at, last.max(at));
        if to > at || phase == Phase::Running {
            spans.push((phase, at, to));
        }
        at = to;
    };
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    go_on(Phase::Waiting, scheduled.unwrap_or(if has_node { created } else { last }));
    if has_node || scheduled.is_some() {
        go_on(Phase::Starting, started.unwrap_or(last));
    }
    if started.is_some() {
        go_on(Phase::Running, last);
    }
    if spans.is_empty() {
        spans.push((Phase::Waiting, created, last.max(created)));
    }
    Some(Bar { pod: pod.name_any(), index: pod.annotations().get(INDEX_ANNOTATION).cloned(), spans, end })
}

/// Describes the end of a failed pod in a few words: exit code and reason.
fn words(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    let ended = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref());
    match ended.rev().find(|ended| ended.exit_code != 0) {
        Some(ended) => match ended.reason.as_deref() {
            Some(reason) if reason != "Error" => format!("{reason}, exit {}", ended.exit_code),
            _ => format!("exit {}", ended.exit_code),
        },
        None => status.reason.clone().unwrap_or_else(|| "failed".to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, created: &str, status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{created}Z"), "annotations": {INDEX_ANNOTATION: "3"}},
            "spec": {"nodeName": "n", "containers": []}, "status": status,
        }))
        .unwrap()
    }

    fn ended(code: i32, from: &str, to: &str) -> Value {
        json!([{"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {
            "exitCode": code, "startedAt": format!("2026-01-01T00:00:{from}Z"), "finishedAt": format!("2026-01-01T00:00:{to}Z"),
        }}}])
    }

    /// Returns a timeline of one succeeded, one failed and one running pod.
    pub(crate) fn timeline() -> Timeline {
        let scheduled = |at: &str| json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": format!("2026-01-01T00:00:{at}Z")}]);
        let running = json!([{"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {
            "running": {"startedAt": "2026-01-01T00:00:32Z"},
        }}]);
        let pods = [
            pod(
                "b",
                "10",
                json!({"phase": "Failed", "conditions": scheduled("10"), "containerStatuses": ended(3, "12", "20")}),
            ),
            pod(
                "a",
                "00",
                json!({"phase": "Succeeded", "conditions": scheduled("05"), "containerStatuses": ended(0, "10", "30")}),
            ),
            pod("c", "30", json!({"phase": "Running", "conditions": scheduled("31"), "containerStatuses": running})),
        ];
        let job = serde_json::from_value(json!({
            "metadata": {"name": "etl"}, "status": {"succeeded": 1, "failed": 1},
        }))
        .unwrap();
        Timeline::of(&job, &pods, "2026-01-01T00:00:40Z".parse().unwrap(), 10).unwrap()
    }

    #[test]
    fn bar_has_a_span_for_each_phase_of_its_pod() {
        let timeline = timeline();
        let second = |at: Timestamp| at.as_second() - timeline.from.as_second();
        let seen: Vec<_> = timeline
            .bars
            .iter()
            .map(|bar| {
                let spans = bar.spans.iter().map(|(phase, from, to)| (*phase, second(*from), second(*to)));
                (bar.pod.as_str(), spans.collect::<Vec<_>>(), bar.end.clone())
            })
            .collect();
        use Phase::{Running, Starting, Waiting};
        assert_eq!(
            seen,
            [
                ("a", vec![(Waiting, 0, 5), (Starting, 5, 10), (Running, 10, 30)], End::Succeeded),
                ("b", vec![(Starting, 10, 12), (Running, 12, 20)], End::Failed("exit 3".to_owned())),
                ("c", vec![(Waiting, 30, 31), (Starting, 31, 32), (Running, 32, 40)], End::NotYet),
            ]
        );
        assert_eq!(second(timeline.to), 40);
        assert_eq!(timeline.outcome, "under way: 1 succeeded, 1 failed");
    }

    #[test]
    fn job_without_pods_has_no_timeline_and_surplus_pods_are_counted() {
        let job: Job = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let now: Timestamp = "2026-01-01T00:00:40Z".parse().unwrap();
        assert_eq!(Timeline::of(&job, &[], now, 10), None);
        let pods: Vec<Pod> = (0..5).map(|number| pod(&number.to_string(), "10", json!({}))).collect();
        let cut = Timeline::of(&job, &pods, now, 2).unwrap();
        assert_eq!((cut.bars.len(), cut.more), (2, 3));
    }
}
