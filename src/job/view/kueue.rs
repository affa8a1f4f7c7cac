//! Labels, annotations and scheduling gates that show that Kueue decides when a Job starts.
//!
//! Kueue manages a Job with a queue label directly. The child Jobs of an object that Kueue manages, such as a JobSet,
//! have no queue label. Kueue marks their pod templates on admission instead (`podset.Merge` in the reconciler of
//! Kueue).

use std::collections::BTreeMap;

/// Labels or annotations.
type Map = BTreeMap<String, String>;

/// Label that assigns a Job to a queue of Kueue.
pub const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
/// Labels or annotations of a Job with a queue, of a Job with a prebuilt workload, and of a copy that MultiKueue
/// created in a worker cluster.
const JOB_MARKS: &[&str] = &[
    QUEUE_LABEL,
    "kueue.x-k8s.io/prebuilt-workload-name",
    "kueue.x-k8s.io/multikueue-origin",
    "kueue.x-k8s.io/multikueue-origin-uid",
];
/// Labels or annotations of a pod template. Kueue sets `podset` and `workload` on admission, and the names of the
/// queues if a feature gate is on. The other ones make Kueue manage each pod.
const TEMPLATE_MARKS: &[&str] = &[
    QUEUE_LABEL,
    "kueue.x-k8s.io/podset",
    "kueue.x-k8s.io/workload",
    "kueue.x-k8s.io/workload-slice-name",
    "kueue.x-k8s.io/local-queue-name",
    "kueue.x-k8s.io/cluster-queue-name",
    "kueue.x-k8s.io/multikueue-worker-workload-pod",
    "kueue.x-k8s.io/managed",
    "kueue.x-k8s.io/pod-group-name",
];
/// Scheduling gates of pods that Kueue sets and removes.
const SCHEDULING_GATES: &[&str] =
    &["kueue.x-k8s.io/topology", "kueue.x-k8s.io/admission", "kueue.x-k8s.io/elastic-job"];

/// Returns whether Kueue manages a Job with these labels and annotations.
pub fn manages_job(labels: Option<&Map>, annotations: Option<&Map>) -> bool {
    JOB_MARKS.iter().any(|mark| has(labels, mark) || has(annotations, mark))
}

/// Returns whether Kueue decides when the pods of a template with these labels, annotations and scheduling gates start.
pub fn manages_template<'a>(
    labels: Option<&Map>,
    annotations: Option<&Map>,
    mut gates: impl Iterator<Item = &'a str>,
) -> bool {
    TEMPLATE_MARKS.iter().any(|mark| has(labels, mark) || has(annotations, mark))
        || gates.any(|gate| SCHEDULING_GATES.contains(&gate))
}

fn has(map: Option<&Map>, key: &str) -> bool {
    map.is_some_and(|map| map.contains_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: &str) -> Map {
        [(key.to_owned(), "x".to_owned())].into()
    }

    #[test]
    fn every_mark_of_kueue_is_detected_and_a_topology_request_of_a_user_is_ignored() {
        for mark in JOB_MARKS {
            let map = map(mark);
            assert!(manages_job(Some(&map), None) && manages_job(None, Some(&map)), "{mark}");
        }
        for mark in TEMPLATE_MARKS {
            let map = map(mark);
            assert!(manages_template(Some(&map), None, [].into_iter()), "{mark}");
            assert!(manages_template(None, Some(&map), [].into_iter()), "{mark}");
        }
        for gate in SCHEDULING_GATES {
            assert!(manages_template(None, None, ["other", *gate].into_iter()), "{gate}");
        }
        let topology_request = map("kueue.x-k8s.io/podset-required-topology");
        assert!(!manages_job(None, Some(&topology_request)));
        assert!(!manages_template(None, Some(&topology_request), ["x"].into_iter()));
    }
}
