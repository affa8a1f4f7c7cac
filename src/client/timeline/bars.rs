//! The data of a timeline: the phases of each pod of a Job with their times, and how each pod ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::super::cluster::end;
use crate::client::explain::pod::{self, Surroundings};
use crate::client::suggest::Suggestions;
use crate::job::INDEX_ANNOTATION;

/// Phase of a pod in a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The pod had no node.
    Pending,
    /// The pod had a node, and none of its containers had run yet.
    Starting,
    /// A container of the pod had started.
    Running,
    /// The kubelet waits before it restarts a container that failed.
    BackOff,
}

/// End of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The pod has not ended. The text is the reason why it makes no progress, or its number of restarts.
    Unfinished(Option<String>),
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
    /// Namespace and name of the Job.
    pub namespace: String,
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
    /// Returns the timeline of the first `rows` pods. Without pods, the timeline has no bars.
    pub(crate) fn of(job: &Job, pods: &[Pod], now: Timestamp, rows: usize) -> Self {
        let mut bars: Vec<Bar> = pods.iter().filter_map(|pod| bar(pod, now)).collect();
        bars.sort_by_key(|bar| (bar.spans.first().map(|(_, from, _)| *from), bar.pod.clone()));
        let spans = || bars.iter().flat_map(|bar| &bar.spans);
        let begin = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        let begin = begin.or(job.creation_timestamp().map(|time| time.0)).unwrap_or(now);
        let from = spans().map(|(_, from, _)| *from).min().unwrap_or(begin);
        let to = spans().map(|(_, _, to)| *to).max().unwrap_or(begin);
        let more = bars.len().saturating_sub(rows);
        bars.truncate(rows);
        let namespace = job.namespace().unwrap_or_default();
        Self { namespace, job: job.name_any(), outcome: outcome(job), from, to, bars, more }
    }

    /// Returns the sentence for a Job without pods.
    pub(crate) fn empty(&self) -> Option<&'static str> {
        self.bars.is_empty().then_some("no pods: none has been created yet, or all were deleted")
    }
}

fn outcome(job: &Job) -> String {
    let status = job.status.clone().unwrap_or_default();
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let word = match end(&status) {
        Some(end) if end.type_ == "Complete" => "is complete".to_owned(),
        Some(end) => format!("failed ({})", end.reason.as_deref().unwrap_or_default()),
        None if suspended => "is suspended".to_owned(),
        None => "is running".to_owned(),
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
        Some("Failed") => End::Failed(words(pod)),
        _ => End::Unfinished(unfinished(pod, now)),
    };
    let last = match end {
        End::Unfinished(_) => now,
        _ => finished.or(started).or(scheduled).unwrap_or(created),
    };
    let crash = containers.iter().any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    });
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
    go_on(Phase::Pending, scheduled.unwrap_or(if has_node { created } else { last }));
    if has_node || scheduled.is_some() {
        go_on(Phase::Starting, started.unwrap_or(last));
    }
    if started.is_some() {
        go_on(Phase::Running, finished.filter(|_| crash).unwrap_or(last));
        if crash {
            go_on(Phase::BackOff, last);
        }
    }
    if spans.is_empty() {
        spans.push((Phase::Pending, created, last.max(created)));
    }
    Some(Bar { pod: pod.name_any(), index: pod.annotations().get(INDEX_ANNOTATION).cloned(), spans, end })
}

/// Describes an unfinished pod that makes no progress, or whose containers were restarted, in a few words.
fn unfinished(pod: &Pod, now: Timestamp) -> Option<String> {
    let (nodes, suggest) = (BTreeMap::new(), Suggestions::default());
    let around = Surroundings { events: &[], nodes: &nodes, suggest: &suggest, now };
    let state = pod::state(pod, &around);
    let reason = state.blocker.and(state.reason);
    let restarts = match pod::report(pod, &around).restarts {
        0 => None,
        1 => Some("1 restart".to_owned()),
        count => Some(format!("{count} restarts")),
    };
    let words: Vec<String> = reason.into_iter().chain(restarts).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Describes the end of a failed pod in a few words: exit code and reason. The container is the one that `explain` and
/// the controller name.
fn words(pod: &Pod) -> String {
    let cause = pod::cause(pod).unwrap_or_default();
    match cause.exit_code {
        Some(code) if matches!(cause.reason.as_str(), "" | "Error") => format!("exit {code}"),
        Some(code) => format!("{}, exit {code}", cause.reason),
        None if cause.reason.is_empty() => "failed".to_owned(),
        None => cause.reason,
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
            "metadata": {"name": "etl", "namespace": "default"}, "status": {"succeeded": 1, "failed": 1},
        }))
        .unwrap();
        Timeline::of(&job, &pods, "2026-01-01T00:00:40Z".parse().unwrap(), 10)
    }

    /// Returns the timeline of a real Job, which the documentation shows.
    pub(crate) fn documented() -> Timeline {
        // Index, generated part of the name, seconds of creation, start and end, and exit code.
        let pods = [
            (0, "v9ckq", 0, 2, 3, 0),
            (1, "ccvp6", 0, 2, 5, 0),
            (2, "dmh2k", 0, 3, 8, 0),
            (3, "lbhh7", 5, 6, 13, 0),
            (4, "7mvld", 8, 8, 17, 1),
            (5, "jknsq", 10, 11, 22, 0),
            (4, "phfmw", 27, 27, 36, 1),
        ];
        let at = |second: i64| Timestamp::from_second(1_764_102_321 + 31_536_000 + second).unwrap();
        let bars = pods.iter().map(|(index, suffix, created, started, ended, code)| {
            let starting = (Phase::Starting, at(*created), at(*started));
            let running = (Phase::Running, at(*started), at(*ended));
            Bar {
                pod: format!("etl-{index}-{suffix}"),
                index: Some(index.to_string()),
                spans: [starting, running].into_iter().filter(|(_, from, to)| from < to).collect(),
                end: if *code == 0 { End::Succeeded } else { End::Failed(format!("exit {code}")) },
            }
        });
        Timeline {
            namespace: "default".to_owned(),
            job: "etl".to_owned(),
            outcome: "failed (FailedIndexes): 5 succeeded, 2 failed".to_owned(),
            from: at(0),
            to: at(36),
            bars: bars.collect(),
            more: 0,
        }
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
        use Phase::{Pending, Running, Starting};
        assert_eq!(
            seen,
            [
                ("a", vec![(Pending, 0, 5), (Starting, 5, 10), (Running, 10, 30)], End::Succeeded),
                ("b", vec![(Starting, 10, 12), (Running, 12, 20)], End::Failed("exit 3".to_owned())),
                ("c", vec![(Pending, 30, 31), (Starting, 31, 32), (Running, 32, 40)], End::Unfinished(None)),
            ]
        );
        assert_eq!(second(timeline.to), 40);
        assert_eq!(timeline.outcome, "is running: 1 succeeded, 1 failed");
    }

    #[test]
    fn job_without_pods_has_no_bars_and_surplus_pods_are_counted() {
        let job: Job = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let now: Timestamp = "2026-01-01T00:00:40Z".parse().unwrap();
        let none = Timeline::of(&job, &[], now, 10);
        assert!(none.bars.is_empty() && none.empty().is_some(), "{none:?}");
        let pods: Vec<Pod> = (0..5).map(|number| pod(&number.to_string(), "10", json!({}))).collect();
        let cut = Timeline::of(&job, &pods, now, 2);
        assert_eq!((cut.bars.len(), cut.more, cut.empty()), (2, 3, None));
    }

    #[test]
    fn crash_loop_has_its_last_run_the_back_off_and_the_number_of_restarts() {
        let mut main = ended(1, "12", "20");
        main[0]["lastState"] = main[0]["state"].clone();
        main[0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        main[0]["restartCount"] = json!(5);
        let crashing = pod("a", "10", json!({"phase": "Running", "containerStatuses": main}));
        let bar = bar(&crashing, "2026-01-01T00:00:40Z".parse().unwrap()).unwrap();
        assert_eq!(
            bar.spans.iter().map(|(phase, ..)| *phase).collect::<Vec<_>>(),
            [Phase::Starting, Phase::Running, Phase::BackOff]
        );
        assert_eq!(bar.end, End::Unfinished(Some("CrashLoopBackOff, 5 restarts".to_owned())));
    }

    #[test]
    fn sidecar_does_not_set_the_end_of_a_failed_pod() {
        let mut failed = pod(
            "a",
            "00",
            json!({"phase": "Failed", "containerStatuses": ended(3, "02", "09"),
            "initContainerStatuses": ended(137, "01", "05")}),
        );
        failed.status.as_mut().unwrap().init_container_statuses.as_mut().unwrap()[0].name = "proxy".to_owned();
        let sidecar = json!([{"name": "proxy", "restartPolicy": "Always"}]);
        failed.spec.as_mut().unwrap().init_containers = serde_json::from_value(sidecar).unwrap();
        assert_eq!(words(&failed), "exit 3");
    }
}
