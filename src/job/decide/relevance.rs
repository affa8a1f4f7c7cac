//! Changes of a pod from which no step can follow. They need no sync of the pod's Job.
//!
//! Between its creation and its end, a pod changes several times without a consequence for its Job: it gets a node and an
//! IP address, its containers are created, it starts.

use crate::job::view::{Phase, PodView};

/// Returns whether a step can follow from the change of a pod from one version to another. Both versions belong to the
/// same Job. The order in which surplus pods are deleted depends on more fields, but causes no deletion.
pub fn can_matter(before: &PodView, after: &PodView) -> bool {
    facts(before) != facts(after) || before.labels != after.labels || before.owner != after.owner
}

/// Returns whether a rule of a JobPolicy about the start of pods can follow from the change of a pod.
pub fn can_matter_to_policy(before: &PodView, after: &PodView) -> bool {
    let start = |pod: &PodView| pod.start.as_ref().map(|start| (start.cause, start.since, start.is_final));
    before.phase != after.phase || start(before) != start(after)
}

/// Returns the parts of a pod that decisions read.
fn facts(pod: &PodView) -> impl PartialEq + use<'_> {
    let ended = match pod.phase {
        Phase::Succeeded | Phase::Failed => Some(pod.phase),
        Phase::Pending | Phase::Running | Phase::Unknown => None,
    };
    let restarts = if pod.phase == Phase::Unknown { 0 } else { pod.restarts };
    let is_over = ended.is_some() || pod.deleting;
    let end = pod.end.as_ref().filter(|_| is_over);
    let finished_at = is_over.then_some(pod.finished_at);
    let failed_start = &pod.start_failure;
    let of_index = (pod.index, pod.index_failures);
    (ended, pod.deleting, pod.tracked, pod.is_ready(), restarts, of_index, end, finished_at, failed_start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn start_of_a_pod_does_not_matter_but_its_readiness_and_its_end_do() {
        let new = pod("a").unscheduled();
        let matters = |before: &Pod, after: &Pod| can_matter(&before.view, &after.view);
        let scheduled = pod("a");
        assert!(!matters(&new, &scheduled));
        let running = pod("a").running(1);
        assert!(!matters(&scheduled, &running));
        let ready = running.clone().ready(2);
        assert!(matters(&running, &ready));
        for after in [
            ready.clone().succeeded(3),
            ready.clone().failed(3),
            ready.clone().deleting(3),
            ready.clone().restarts(1),
            ready.clone().label("app", "other"),
            ready.clone().orphan(),
            ready.clone().untracked(),
            ready.clone().index(1),
        ] {
            assert!(matters(&ready, &after), "{after:?}");
        }
        let failed = ready.clone().failed(3);
        assert!(matters(&failed, &failed.clone().exit("main", 3)));
    }

    /// Returns a running pod with any values in the fields of which decisions read nothing as long as it runs.
    fn running_pod() -> impl Strategy<Value = Pod> {
        let phases = prop::sample::select(&[Phase::Pending, Phase::Running][..]);
        (phases, any::<bool>(), 0_i64..90, 0_i32..3).prop_map(|(phase, scheduled, at, sidecar)| {
            pod("a").index(0).with(|pod| {
                (pod.phase, pod.scheduled, pod.created, pod.finished_at) = (phase, scheduled, time(1), time(at));
                pod.most_restarts = (0, sidecar);
            })
        })
    }

    proptest! {
        /// A change that does not matter changes no decision.
        #[test]
        fn change_that_cannot_matter_leads_to_the_same_decision(
            before in running_pod(),
            after in running_pod(),
            indexed in any::<bool>(),
            others in 0_usize..4,
        ) {
            prop_assert!(!can_matter(&before.view, &after.view));
            let job = Job::new().completions(3).parallelism(2).started(0);
            let job = if indexed { job.indexed(3) } else { job };
            let decision = |changed: Pod| {
                let others = (0..others).map(|number| pod(&format!("b{number}")).index(1).running(1));
                let pods: Vec<Pod> = std::iter::once(changed).chain(others).collect();
                let decision = job.decide(&pods);
                (format!("{:?}", decision.step.summary()), decision.wake)
            };
            prop_assert_eq!(decision(before), decision(after));
        }
    }
}
