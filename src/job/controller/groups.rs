//! Workloads and PodGroups: their watches, the Jobs that a change concerns, and the Jobs whose `spec.scheduling` has no
//! effect.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Controller;
use crate::job::gang::GangScheduling;
use crate::job::gang::plan::{self, GroupObjects};
use crate::job::gang::view::{PodGroupView, WirePodGroup, WireWorkload, WorkloadView};
use crate::job::key::Key;
use crate::job::view::JobView;
use crate::runtime::cache::Change;
use crate::runtime::events::EventText;
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};

/// What the controller knows of Workloads and PodGroups.
#[derive(Default)]
pub(super) struct Groups {
    workloads_synced: Synced,
    workloads_watched: WatchMetrics,
    pod_groups_synced: Synced,
    pod_groups_watched: WatchMetrics,
}

/// Workloads and PodGroups that concern one Job.
#[derive(Default)]
pub(super) struct KnownGroups {
    workloads: Vec<Arc<WorkloadView>>,
    pod_groups: Vec<Arc<PodGroupView>>,
    is_managed: bool,
}

impl KnownGroups {
    /// Returns the objects for a decision. `parent_read` states whether the Workload of the owner was read.
    pub(super) fn objects(&self, parent_read: bool) -> GroupObjects<'_> {
        if !self.is_managed {
            return GroupObjects::Unmanaged;
        }
        GroupObjects::Known { workloads: &self.workloads, pod_groups: &self.pod_groups, parent_read }
    }
}

impl Controller {
    /// Sets whether the controller manages Workloads and PodGroups. The caller sets this before the watches start.
    pub fn set_gang_scheduling(&self, gang_scheduling: GangScheduling) {
        self.gang_scheduling.get_or_init(|| gang_scheduling);
    }

    pub(super) fn gang_scheduling(&self) -> GangScheduling {
        self.gang_scheduling.get().copied().unwrap_or_default()
    }

    pub(super) fn manages_groups(&self) -> bool {
        self.config.drives_pods && self.gang_scheduling() == GangScheduling::Enabled
    }

    /// Starts the watches, if the controller manages these objects.
    pub(super) fn watch_groups(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        if !self.manages_groups() {
            return;
        }
        let controller = self.clone();
        tasks.spawn(async move { controller.watch_workloads().await });
        let controller = self.clone();
        tasks.spawn(async move { controller.watch_pod_groups().await });
    }

    async fn watch_workloads(&self) {
        let (synced, metrics) = (&self.groups.workloads_synced, &self.groups.workloads_watched);
        let watch: Watch<WireWorkload, WorkloadView> = self.watched(None, WorkloadView::parse, metrics);
        let on_event = |event: CacheEvent<WorkloadView>| {
            if let CacheEvent::Changed(change) = event {
                self.workload_changed(&change);
            }
        };
        watch.feed(&self.executor.workloads, synced, on_event).await;
    }

    async fn watch_pod_groups(&self) {
        let (synced, metrics) = (&self.groups.pod_groups_synced, &self.groups.pod_groups_watched);
        let watch: Watch<WirePodGroup, PodGroupView> = self.watched(None, PodGroupView::parse, metrics);
        let on_event = |event: CacheEvent<PodGroupView>| {
            let CacheEvent::Changed(change) = event else { return };
            let has_changed = !matches!((&change.before, &change.after), (Some(before), Some(after)) if before.min_count == after.min_count);
            let owners = [&change.before, &change.after].into_iter().flatten().filter_map(|group| group.owner.clone());
            // Most changes are those of the scheduler, to the status.
            owners.filter(|_| has_changed).for_each(|owner| self.executor.queue.add(Key::Job(owner)));
        };
        watch.feed(&self.executor.pod_groups, synced, on_event).await;
    }

    /// Queues the Jobs of a Workload: its owner, or the Jobs to which the owner of the Workload delegates PodGroups.
    fn workload_changed(&self, change: &Change<WorkloadView>) {
        let Some(workload) = change.after.as_ref().or(change.before.as_ref()) else { return };
        if workload.is_of_job {
            workload.owner.iter().for_each(|owner| self.executor.queue.add(Key::Job(owner.clone())));
            return;
        }
        // The begin of a term queues all Jobs.
        if !self.executor.queue.is_open() {
            return;
        }
        let namespace = &workload.identity.namespace;
        let is_delegated = |job: &JobView| {
            let parent = job.delegation.as_ref().map(|delegation| &delegation.parent);
            job.identity.namespace == *namespace && parent.is_some() && parent == workload.reference.as_ref()
        };
        for job in self.executor.jobs.all(is_delegated) {
            self.executor.queue.add(Key::Job(job.identity.uid.clone()));
        }
    }

    /// Returns the Workloads and PodGroups that concern a Job.
    pub(super) fn known_groups(&self, job: &JobView) -> KnownGroups {
        if !self.manages_groups() {
            return KnownGroups::default();
        }
        let (uid, namespace) = (&job.identity.uid, &job.identity.namespace);
        let workloads = plan::workload_key(job).map(|key| self.executor.workloads.owned(&key, namespace));
        KnownGroups {
            workloads: workloads.unwrap_or_default(),
            pod_groups: self.executor.pod_groups.owned(uid, namespace),
            is_managed: true,
        }
    }

    /// Records an event about a new Job whose `spec.scheduling` has no effect.
    pub(super) fn report_scheduling(&self, job: &JobView) {
        let problem = self.gang_scheduling().problem().filter(|_| plan::asks_for_scheduling(job));
        if let Some(problem) = problem.filter(|_| self.claims(job) && !job.status.is_finished() && !job.deleting) {
            self.executor.record_event(job, EventText::warning("SchedulingIgnored", problem));
        }
    }
}

impl Groups {
    /// Waits until all objects are known.
    pub(super) async fn ready(&self) {
        self.workloads_synced.wait().await;
        self.pod_groups_synced.wait().await;
    }

    /// Returns the markers of the complete caches.
    pub(super) fn synced(&self) -> [&Synced; 2] {
        [&self.workloads_synced, &self.pod_groups_synced]
    }

    /// Returns the states of the caches, by resource.
    pub(super) fn caches(&self, controller: &Controller) -> [(&'static str, CacheState); 2] {
        let workloads =
            CacheState::of(&controller.executor.workloads, self.workloads_synced.is_done(), &self.workloads_watched);
        let pod_groups =
            CacheState::of(&controller.executor.pod_groups, self.pod_groups_synced.is_done(), &self.pod_groups_watched);
        [("workloads", workloads), ("podgroups", pod_groups)]
    }
}
