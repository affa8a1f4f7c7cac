//! The marks by which a Job shows that Kueue decides when it starts.
//!
//! Kueue manages a Job with its queue label directly. The child Jobs of an object that Kueue manages, such as a JobSet, carry no
//! queue label; on admission Kueue marks their pod templates instead (`podset.Merge` in Kueue's reconciler).

use super::Labels;

/// The label that assigns a Job to a queue of Kueue.
pub const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
/// Labels or annotations of a Job: a workload made beforehand, and a copy that MultiKueue made in a worker cluster.
const JOB_MARKS: &[&str] = &[
    QUEUE_LABEL,
    "kueue.x-k8s.io/prebuilt-workload-name",
    "kueue.x-k8s.io/multikueue-origin",
    "kueue.x-k8s.io/multikueue-origin-uid",
];
/// Labels or annotations of a pod template: `podset` and `workload` come with admission, the queues' names with a feature gate;
/// the others make Kueue manage each pod.
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
/// Scheduling gates that Kueue sets and removes.
const SCHEDULING_GATES: &[&str] =
    &["kueue.x-k8s.io/topology", "kueue.x-k8s.io/admission", "kueue.x-k8s.io/elastic-job"];

/// Whether a Job with these labels and annotations is managed by Kueue.
pub fn manages_job(labels: Option<&Labels>, annotations: Option<&Labels>) -> bool {
    JOB_MARKS.iter().any(|mark| has(labels, mark) || has(annotations, mark))
}

/// Whether pods made from a template with these marks start when Kueue says so.
pub fn manages_template<'a>(
    labels: Option<&Labels>,
    annotations: Option<&Labels>,
    mut gates: impl Iterator<Item = &'a str>,
) -> bool {
    TEMPLATE_MARKS.iter().any(|mark| has(labels, mark) || has(annotations, mark))
        || gates.any(|gate| SCHEDULING_GATES.contains(&gate))
}

fn has(map: Option<&Labels>, key: &str) -> bool {
    map.is_some_and(|map| map.contains_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: &str) -> Labels {
        [(key.to_owned(), "x".to_owned())].into()
    }

    #[test]
    fn every_mark_counts_and_what_a_user_asks_of_kueue_does_not() {
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
        let requested_update = map("kueue.x-k8s.io/podset-required-topology");
        assert!(!manages_job(None, Some(&requested_update)));
        assert!(!manages_template(None, Some(&requested_update), ["x"].into_iter()));
    }
}
