//! `spec.podReplacementPolicy`: whether a pod counts as failed and is replaced when its deletion begins, or only when
//! the pod has ended
//! ([KEP-3939](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3939-allow-replacement-when-fully-terminated)).

use crate::job::view::{JobView, Phase, PodView};

/// Returns whether the pod counts as failed. A pod that is being deleted may never reach the Failed phase, so it counts
/// as failed unless the Job waits for that phase (`podReplacementPolicy: Failed`).
pub fn is_failed(job: &JobView, pod: &PodView) -> bool {
    pod.phase == Phase::Failed || (!job.spec.replace_only_failed && pod.deleting && pod.phase != Phase::Succeeded)
}

/// Returns the number of pods that block a replacement although they are not active: all terminating pods, if the
/// policy is `Failed`.
pub fn blocking_replacement(job: &JobView, terminating: usize) -> usize {
    if job.spec.replace_only_failed { terminating } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn terminating_pod_counts_as_failed_unless_the_job_waits_for_its_phase() {
        let deleting = pod("a").running(1).deleting(2);
        let both = [Job::new(), Job::new().replace_only_failed()];
        assert_eq!(both.each_ref().map(|job| is_failed(&job.view, &deleting.view)), [true, false]);
        assert_eq!(both.each_ref().map(|job| blocking_replacement(&job.view, 1)), [0, 1]);
        assert_eq!(both.each_ref().map(|job| is_failed(&job.view, &pod("a").failed(2).view)), [true, true]);
        let succeeded = pod("a").succeeded(2).deleting(3);
        assert_eq!(both.each_ref().map(|job| is_failed(&job.view, &succeeded.view)), [false, false]);
    }
}
