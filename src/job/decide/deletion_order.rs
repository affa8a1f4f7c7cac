//! The order in which a Job's surplus pods are deleted.

use std::cmp::{Ordering, Reverse};

use crate::job::view::PodView;

/// Compares two pods in the order in which surplus pods are deleted, the least advanced pod first. Deleted first are,
/// in this order of criteria: pods without a node; by phase, Pending, Unknown, Running; pods that are not ready; pods
/// that have been ready for a shorter time; pods with more restarts; newer pods.
pub fn deletion_priority(a: &PodView, b: &PodView) -> Ordering {
    let distance = |pod: &PodView| (pod.scheduled, pod.phase, pod.ready_since.is_some(), Reverse(pod.ready_since));
    distance(a)
        .cmp(&distance(b))
        .then_with(|| b.most_restarts.cmp(&a.most_restarts))
        .then_with(|| b.created.cmp(&a.created))
        // Ties go to the lower index, as in the built-in controller, and then to any fixed order.
        .then_with(|| a.index.cmp(&b.index))
        .then_with(|| a.identity.uid.cmp(&b.identity.uid))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::parallelism::PodPlan;

    #[test]
    fn surplus_pods_are_deleted_from_the_least_to_the_most_advanced() {
        // Each pod differs from the next in one criterion, and is deleted before it.
        let order = [
            pod("without-node").unscheduled(),
            pod("pending"),
            pod("unknown").unknown(),
            pod("not-ready").running(50),
            pod("ready-since-90").running(50).ready(90),
            pod("ready-since-60-restarted").running(50).ready(60).restarts(3),
            pod("ready-since-60-newer").running(55).ready(60),
            pod("ready-since-60-older").running(50).ready(60),
        ];
        for surplus in 1..order.len() {
            let job = Job::new().work_queue().parallelism((order.len() - surplus) as i32);
            // The order of the input must not matter.
            let mut shuffled: Vec<_> = order.iter().rev().cloned().collect();
            shuffled.rotate_left(surplus);
            let PodPlan::Delete { pods, .. } = job.plan(&shuffled, NOW) else { panic!() };
            let expected: Vec<_> = order[..surplus].iter().map(Pod::name).collect();
            assert_eq!(names(&pods), expected);
        }
    }
}
