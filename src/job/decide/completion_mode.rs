//! `spec.completionMode: Indexed`: the indexes that succeeded, the misplaced pods, and the next indexes
//! ([KEP-2214](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2214-indexed-job)).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deletion_order::deletion_priority;
use crate::job::index::{CompletionIndex, IndexSet};
use crate::job::view::{JobView, PodView};

/// Returns the misplaced active pods and then the remaining ones. Misplaced are pods without an index that the Job runs,
/// and all pods that share an index except the most advanced one.
pub fn misplaced(job: &JobView, active: &[Arc<PodView>]) -> (Vec<Arc<PodView>>, Vec<Arc<PodView>>) {
    let mut out = Vec::new();
    let mut keepers: BTreeMap<CompletionIndex, Arc<PodView>> = BTreeMap::new();
    for pod in active {
        let Some(index) = job.index_of(pod).filter(|index| job.runs_index(*index)) else {
            out.push(pod.clone());
            continue;
        };
        match keepers.get_mut(&index) {
            None => {
                keepers.insert(index, pod.clone());
            }
            Some(keeper) if deletion_priority(keeper, pod).is_lt() => out.push(std::mem::replace(keeper, pod.clone())),
            Some(_) => out.push(pod.clone()),
        }
    }
    (out, keepers.into_values().collect())
}

/// Returns the indexes for which a pod may be created, lowest first: those that are not `taken`.
pub fn pending<'a>(job: &JobView, taken: &'a IndexSet) -> impl Iterator<Item = CompletionIndex> + use<'a> {
    let completions = job.indexes();
    let mut next = 0;
    std::iter::from_fn(move || {
        let index = taken.first_missing(next, completions)?;
        next = index + 1;
        Some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::parallelism::PodPlan;
    use super::*;

    fn indexes(job: &Job, pods: &[Pod]) -> Vec<u32> {
        match job.clone().parallelism(9).plan(pods, NOW) {
            PodPlan::Create(pods) => pods.iter().filter_map(|pod| pod.index).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn index_has_succeeded_when_it_is_stored_or_one_of_its_pods_succeeded() {
        let job = Job::new().indexed(5).completed("0,9");
        let pods = [pod("a").index(2).succeeded(1), pod("b").index(2).failed(1), pod("c").index(5).succeeded(1)];
        assert_eq!(job.summary(&pods).succeeded_indexes().to_string(), "0,2");
        let accounted = [pod("a").index(2).succeeded(1).untracked()];
        assert_eq!(
            job.summary(&accounted).succeeded_indexes().to_string(),
            "0",
            "the result of an accounted pod comes from the status"
        );
    }

    #[test]
    fn pods_with_missing_invalid_or_duplicate_index_are_misplaced() {
        let job = Job::new().indexed(3);
        let pods = [
            pod("none"),
            pod("beyond").index(3),
            pod("double").index(1).running(5),
            pod("keeper").index(1).running(5).ready(6),
            pod("alone").index(0),
        ];
        let (out, rest) = misplaced(&job.view, &views(&pods));
        assert_eq!(names(&out), ["none", "beyond", "double"]);
        assert_eq!(names(&rest), ["alone", "keeper"]);
        let (out, _) = misplaced(&job.view, &views(&[pods[3].clone(), pods[2].clone()]));
        assert_eq!(names(&out), ["double"], "the order of the input does not matter");
    }

    #[test]
    fn lowest_indexes_without_a_pod_come_next() {
        let job = Job::new().indexed(6).completed("1");
        assert_eq!(indexes(&job, &[pod("a").index(0), pod("b").index(3).succeeded(1)]), [2, 4, 5]);
        let deleting = [pod("a").index(0).running(1).deleting(2)];
        assert_eq!(indexes(&job, &deleting), [0, 2, 3, 4, 5]);
        assert_eq!(indexes(&job.replace_only_failed(), &deleting), [2, 3, 4, 5]);
    }
}
