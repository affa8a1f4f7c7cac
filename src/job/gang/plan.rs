//! Decides which Workload and PodGroup a Job needs next, and which PodGroup its new pods belong to.
//!
//! Workload and PodGroup are created only for a Job that has never started. So a Job from before the feature gate was
//! on stays as it is, and the objects of a running Job are found and not created.

use std::sync::Arc;

use super::compile;
use super::view::{PodGroupView, WorkloadView};
use crate::job::decide::summary::PodSummary;
use crate::job::status::SUSPENDED;
use crate::job::view::JobView;
use crate::job::view::scheduling::reference_key;
use crate::job::write_kinds::{POD_GROUP, RESIZE, WORKLOAD};
use crate::runtime::identity::Uid;
use crate::runtime::refusals::WriteKind;

/// The Workloads and PodGroups from which a plan is made.
#[derive(Clone, Copy, Debug)]
pub enum GroupObjects<'a> {
    /// The controller manages no such objects.
    Unmanaged,
    /// The objects that concern the Job.
    Known {
        /// Workloads that refer to the Job, or to its owner if that owner delegates the PodGroup.
        workloads: &'a [Arc<WorkloadView>],
        /// PodGroups that the Job controls.
        pod_groups: &'a [Arc<PodGroupView>],
        /// Whether the Workload of the owner was read from the API server, so that the cache is not behind.
        parent_read: bool,
    },
}

/// Next step for the Workload and the PodGroup of a Job.
#[derive(Clone, Debug)]
pub enum Plan {
    /// New pods belong to no group.
    Ungrouped,
    /// New pods belong to the PodGroup with this name.
    Grouped(Arc<str>),
    /// A write comes before the next pods.
    Write(GroupWrite),
    /// The Workload of the owner is not in the cache. It is read from the API server before the next pods.
    ReadParent,
    /// The Workload of the Job is unusable, for this reason. No pods are created.
    Unusable(String),
}

/// A write of a Workload or a PodGroup.
#[derive(Clone, Debug)]
pub enum GroupWrite {
    /// Create the Workload of the Job.
    CreateWorkload,
    /// Create the PodGroup of the Job from a template of this Workload.
    CreatePodGroup {
        /// The Workload.
        workload: Arc<WorkloadView>,
        /// Name of the template.
        template: Box<str>,
        /// Whether the Job owns the Workload.
        is_of_job: bool,
    },
    /// Set the size of the gang in the Workload of the Job.
    ResizeWorkload {
        /// The Workload.
        workload: Arc<WorkloadView>,
        /// Minimum number of pods that are placed together.
        min_count: i32,
    },
    /// Set the size of the gang of the PodGroup of the Job.
    ResizePodGroup {
        /// The PodGroup.
        group: Arc<PodGroupView>,
        /// Minimum number of pods that are placed together.
        min_count: i32,
    },
}

impl GroupWrite {
    /// Returns the kind of the write, which has its own back-off.
    pub fn kind(&self) -> WriteKind {
        match self {
            Self::CreateWorkload => WORKLOAD,
            Self::CreatePodGroup { .. } => POD_GROUP,
            Self::ResizeWorkload { .. } | Self::ResizePodGroup { .. } => RESIZE,
        }
    }

    /// Returns a short text about the write.
    pub fn summary(&self) -> String {
        match self {
            Self::CreateWorkload => "create the Workload".to_owned(),
            Self::CreatePodGroup { .. } => "create the PodGroup".to_owned(),
            Self::ResizeWorkload { min_count, .. } => format!("set minCount {min_count} in the Workload"),
            Self::ResizePodGroup { min_count, .. } => format!("set minCount {min_count} in the PodGroup"),
        }
    }
}

/// The objects that the controller manages for a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Management<'a> {
    /// None: the template names a group, or another controller owns the Job and delegates nothing.
    Nothing,
    /// Workload and PodGroup.
    Both,
    /// The PodGroup. The Workload with this template belongs to the owner of the Job.
    PodGroup { template: &'a str },
}

fn management(job: &JobView) -> Management<'_> {
    if job.template.has_scheduling_group {
        return Management::Nothing;
    }
    match (&job.owner, &job.delegation) {
        (None, _) => Management::Both,
        (Some(_), Some(delegation)) => Management::PodGroup { template: &delegation.template },
        (Some(_), None) => Management::Nothing,
    }
}

/// Returns whether `spec.scheduling` of a Job decides how its pods are scheduled: the Job sets it, and neither the owner of
/// the Job nor its template takes precedence.
pub fn asks_for_scheduling(job: &JobView) -> bool {
    job.spec.scheduling.is_some() && management(job) == Management::Both
}

/// Returns the key by which the Workload of a Job, or of its owner, is found; none if the controller needs no Workload.
pub fn workload_key(job: &JobView) -> Option<Uid> {
    match management(job) {
        Management::Nothing => None,
        Management::Both => Some(reference_key("batch", "Job", &job.identity.name)),
        Management::PodGroup { .. } => job.delegation.as_ref().map(|delegation| delegation.parent.clone()),
    }
}

/// Returns the size of the gang of a Job; none if its pods are scheduled one by one.
pub fn min_count(job: &JobView) -> Option<i32> {
    compile::size_of(job.spec.scheduling.as_ref()?.policy, job.spec.parallelism)
}

/// Returns whether a Job has never started. Each sign alone is not enough: pods can be gone, a suspension resets the start
/// time, and a Job that was suspended before its first pod has no counters.
pub fn is_new(job: &JobView, pods: &PodSummary) -> bool {
    let status = &job.status;
    pods.is_empty()
        && status.start_time.is_none()
        && status.succeeded == 0
        && status.failed == 0
        && status.uncounted.is_empty()
        && !status.conditions.iter().any(|condition| condition.type_ == SUSPENDED)
}

/// Returns the next step for the Workload and the PodGroup of a Job.
pub fn plan(job: &JobView, pods: &PodSummary, objects: GroupObjects<'_>) -> Plan {
    let GroupObjects::Known { workloads, pod_groups, parent_read } = objects else { return Plan::Ungrouped };
    match management(job) {
        Management::Nothing => Plan::Ungrouped,
        Management::Both => {
            let own: Vec<_> =
                workloads.iter().filter(|workload| workload.owner == Some(job.identity.uid.clone())).collect();
            both(job, is_new(job, pods), &own, pod_groups)
        }
        Management::PodGroup { template } => {
            let is_new = is_new(job, pods);
            match workloads.first() {
                Some(workload) => delegated(is_new, workload, template, pod_groups),
                None if is_new && !parent_read => Plan::ReadParent,
                None => Plan::Ungrouped,
            }
        }
    }
}

fn both(job: &JobView, is_new: bool, workloads: &[&Arc<WorkloadView>], pod_groups: &[Arc<PodGroupView>]) -> Plan {
    let workload = match workloads {
        [] if is_new => return Plan::Write(GroupWrite::CreateWorkload),
        [workload] => *workload,
        // Without a Workload, or with several, the pods are scheduled one by one.
        _ => return Plan::Ungrouped,
    };
    let [template] = workload.templates.as_slice() else {
        return Plan::Unusable(format!(
            "The Workload {} of the Job has {} templates of PodGroups and needs exactly 1; the controller creates no pods",
            workload.identity.name,
            workload.templates.len()
        ));
    };
    let group = match of_workload(pod_groups, workload).as_slice() {
        [] if is_new => {
            let (workload, template) = (workload.clone(), template.name.clone());
            return Plan::Write(GroupWrite::CreatePodGroup { workload, template, is_of_job: true });
        }
        [group] => Some(*group),
        _ => None,
    };
    if let Some(min_count) = min_count(job) {
        if template.min_count.is_some_and(|current| current != min_count) {
            return Plan::Write(GroupWrite::ResizeWorkload { workload: workload.clone(), min_count });
        }
        if let Some(resize) = group.and_then(|group| resize(group, min_count)) {
            return resize;
        }
    }
    group.map_or(Plan::Ungrouped, |group| Plan::Grouped(group.identity.name.clone()))
}

fn delegated(is_new: bool, workload: &Arc<WorkloadView>, name: &str, pod_groups: &[Arc<PodGroupView>]) -> Plan {
    // An empty name selects the first template, as in the built-in controller.
    let template = if name.is_empty() { workload.templates.first() } else { workload.template(name) };
    let Some(template) = template else { return Plan::Ungrouped };
    let Some(group) = of_workload(pod_groups, workload).first().copied() else {
        if !is_new {
            return Plan::Ungrouped;
        }
        let (workload, template) = (workload.clone(), template.name.clone());
        return Plan::Write(GroupWrite::CreatePodGroup { workload, template, is_of_job: false });
    };
    let resized = template.min_count.and_then(|min_count| resize(group, min_count));
    resized.unwrap_or_else(|| Plan::Grouped(group.identity.name.clone()))
}

/// Returns the PodGroups that were created from this Workload.
fn of_workload<'a>(pod_groups: &'a [Arc<PodGroupView>], workload: &WorkloadView) -> Vec<&'a Arc<PodGroupView>> {
    let name = Some(&*workload.identity.name);
    pod_groups.iter().filter(|group| group.workload.as_deref() == name).collect()
}

fn resize(group: &Arc<PodGroupView>, min_count: i32) -> Option<Plan> {
    let differs = group.min_count.is_some_and(|current| current != min_count);
    differs.then(|| Plan::Write(GroupWrite::ResizePodGroup { group: group.clone(), min_count }))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
