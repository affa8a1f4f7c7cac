//! Which pods are the Job's own: adopted when its selector matches, let go when it no longer does.

use std::sync::Arc;

use super::Step;
use crate::job::config::SyncConfig;
use crate::job::view::{JobView, PodView};

/// The pods that the Job controls and selects.
pub fn owned<'a>(job: &'a JobView, pods: &'a [Arc<PodView>]) -> impl Iterator<Item = &'a Arc<PodView>> {
    pods.iter().filter(|pod| controls(job, pod) && job.selects(&pod.labels))
}

/// The pods that the Job controls, whether or not it selects them: one that was to be released may still be its own.
pub fn controlled<'a>(job: &'a JobView, pods: &'a [Arc<PodView>]) -> impl Iterator<Item = &'a Arc<PodView>> {
    pods.iter().filter(|pod| controls(job, pod))
}

/// The pods to adopt and to release, if there are any, as many as one step may. A Job that is being deleted does neither.
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
    fn an_orphan_that_the_selector_matches_is_adopted() {
        let pods = [pod("own").running(1), pod("orphan").orphan(), pod("stranger").orphan().label("app", "other")];
        assert_eq!(claim(&Job::new(), &pods), Some((list(&["orphan"]), list(&[]))));
    }

    #[test]
    fn a_pod_that_the_selector_no_longer_matches_is_let_go() {
        let pods = [pod("own").running(1), pod("relabelled").running(1).label("app", "other")];
        assert_eq!(claim(&Job::new(), &pods), Some((list(&[]), list(&["relabelled"]))));
        assert_eq!(names(&owned(&Job::new().view, &views(&pods)).cloned().collect::<Vec<_>>()), ["own"]);
    }

    #[test]
    fn a_pod_or_job_being_deleted_takes_no_part() {
        assert_eq!(claim(&Job::new(), &[pod("orphan").orphan().deleting(1)]), None);
        let deleting = Job::new().deleting();
        assert_eq!(claim(&deleting, &[pod("orphan").orphan(), pod("relabelled").label("app", "other")]), None);
    }
}
