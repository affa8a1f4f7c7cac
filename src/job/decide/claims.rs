//! Ownership of pods: the Job adopts pods that its selector matches and releases pods that it no longer matches.

use std::sync::Arc;

use super::Step;
use crate::job::config::SyncConfig;
use crate::job::view::{JobView, PodView};

/// Returns the pods that the Job controls and that its selector matches.
pub fn owned<'a>(job: &'a JobView, pods: &'a [Arc<PodView>]) -> impl Iterator<Item = &'a Arc<PodView>> {
    pods.iter().filter(|pod| controls(job, pod) && job.selects(&pod.labels))
}

/// Returns the pods that the Job controls, whether or not its selector matches them. The release of a pod may have
/// failed, so that the Job still controls it.
pub fn controlled<'a>(job: &'a JobView, pods: &'a [Arc<PodView>]) -> impl Iterator<Item = &'a Arc<PodView>> {
    pods.iter().filter(|pod| controls(job, pod))
}

/// Returns the step that adopts and releases pods, if there are any to adopt or release, at most `max_pods_per_sync`. A
/// Job that is being deleted neither adopts nor releases pods.
pub fn claims(job: &JobView, pods: &[Arc<PodView>], config: &SyncConfig) -> Option<Step> {
    if job.deleting {
        return None;
    }
    let selects = |pod: &PodView| job.selects(&pod.labels);
    let max_pods = config.max_pods_per_sync;
    let release = pods.iter().filter(|pod| controls(job, pod) && !selects(pod));
    let release: Vec<_> = release.take(max_pods).cloned().collect();
    let orphan = |pod: &PodView| pod.owner.is_none() && !pod.deleting;
    let adopt = pods.iter().filter(|pod| orphan(pod) && selects(pod));
    let adopt: Vec<_> = adopt.take(max_pods - release.len()).cloned().collect();
    (!release.is_empty() || !adopt.is_empty()).then_some(Step::ClaimPods { adopt, release })
}

fn controls(job: &JobView, pod: &PodView) -> bool {
    pod.owner.as_ref().is_some_and(|owner| owner.uid == job.identity.uid)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn claim(job: &Job, pods: &[Pod]) -> Option<(Vec<String>, Vec<String>)> {
        match claims(&job.view, &views(pods), &SyncConfig::default()) {
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
        assert_eq!(names(&owned(&Job::new().view, &views(&pods)).cloned().collect::<Vec<_>>()), ["own"]);
    }

    #[test]
    fn pod_or_job_being_deleted_is_left_unchanged() {
        assert_eq!(claim(&Job::new(), &[pod("orphan").orphan().deleting(1)]), None);
        let deleting = Job::new().deleting();
        assert_eq!(claim(&deleting, &[pod("orphan").orphan(), pod("relabelled").label("app", "other")]), None);
    }
}
