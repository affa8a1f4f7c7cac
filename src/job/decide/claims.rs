//! Ownership of pods: the Job adopts pods that its selector matches and releases pods that it no longer matches.

use std::sync::Arc;

use super::Step;
use super::summary::PodSummary;
use crate::job::config::SyncConfig;
use crate::job::view::{JobView, PodView};

/// Returns the step that adopts and releases pods, if there are any to adopt or release, at most `max_pods_per_sync`. A
/// Job that is being deleted neither adopts nor releases pods. `orphans` are pods without a controller. Pods for which
/// `is_backed_off` returns true are left out.
pub fn claims(
    job: &JobView,
    summary: &PodSummary,
    orphans: &[Arc<PodView>],
    is_backed_off: impl Fn(&PodView) -> bool,
    config: &SyncConfig,
) -> Option<Step> {
    if job.deleting {
        return None;
    }
    let max_pods = config.max_pods_per_sync;
    let release = summary.unselected().iter().filter(|pod| !is_backed_off(pod));
    let release: Vec<_> = release.take(max_pods).cloned().collect();
    let may_adopt =
        |pod: &&Arc<PodView>| pod.owner.is_none() && !pod.deleting && job.selects(&pod.labels) && !is_backed_off(pod);
    let adopt: Vec<_> = orphans.iter().filter(may_adopt).take(max_pods - release.len()).cloned().collect();
    (!release.is_empty() || !adopt.is_empty()).then_some(Step::ClaimPods { adopt, release })
}

/// Returns whether the Job controls a pod.
pub fn controls(job: &JobView, pod: &PodView) -> bool {
    pod.owner.as_ref().is_some_and(|owner| owner.uid == job.identity.uid)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn claim(job: &Job, pods: &[Pod]) -> Option<(Vec<String>, Vec<String>)> {
        match claims(&job.view, &job.summary(pods), &views(pods), |_| false, &SyncConfig::default()) {
            Some(Step::ClaimPods { adopt, release }) => Some((names(&adopt), names(&release))),
            _ => None,
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn orphaned_pod_that_the_selector_matches_is_adopted() {
        let pods = [pod("own").running(1), pod("orphan").orphan(), pod("unrelated").orphan().label("app", "other")];
        assert_eq!(claim(&Job::new(), &pods), Some((list(&["orphan"]), list(&[]))));
    }

    #[test]
    fn pod_that_the_selector_no_longer_matches_is_released() {
        let pods = [pod("own").running(1), pod("relabelled").running(1).label("app", "other")];
        assert_eq!(claim(&Job::new(), &pods), Some((list(&[]), list(&["relabelled"]))));
        assert_eq!(Job::new().summary(&pods).active(), 1);
    }

    #[test]
    fn pod_or_job_being_deleted_is_left_unchanged() {
        assert_eq!(claim(&Job::new(), &[pod("orphan").orphan().deleting(1)]), None);
        let deleting = Job::new().deleting();
        assert_eq!(claim(&deleting, &[pod("orphan").orphan(), pod("relabelled").label("app", "other")]), None);
    }
}
