//! Which place a Job claims under the limits that select it: a pure rule over what the API server stores.
//!
//! Admission is stored before the first pod is created: the status write that sets `startTime` also removes the annotation
//! [`crate::job::admission::WAITING_ANNOTATION`]. A release is stored before the room is given to another Job: suspending a Job stores the
//! condition `Suspended`, and scaling a Job to zero stores the annotation. So a restart or another leader finds the same
//! admissions, and none of them exceeds a limit.

use std::sync::Arc;

use jiff::Timestamp;

use crate::job::admission::PublishedWaiting;
use crate::job::status::SUSPENDED;
use crate::job::view::{JobLabels, JobView};
use crate::runtime::identity::Uid;

/// What a Job claims under the limits that select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// No place: it is suspended or ending, and starts no pods.
    None,
    /// No place while `spec.parallelism` is 0. `reserved` says that its release is not stored yet.
    Zero {
        /// It still holds the place that it had.
        reserved: bool,
    },
    /// A place that is stored: it was admitted, and has not been released.
    Reserved,
    /// A place that it does not have yet.
    Requested,
}

/// A Job, as limits see it.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The UID of the Job.
    pub uid: Uid,
    /// The name of the Job.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: JobLabels,
    /// Its priority; the highest is admitted first.
    pub priority: i32,
    /// When it was created; among equal priorities the oldest is admitted first.
    pub created: Timestamp,
    /// The group whose Jobs may need each other, such as a JobSet.
    pub group: Option<Arc<str>>,
    /// What it claims.
    pub reservation: Reservation,
    /// How many pods it may have concurrently once admitted.
    pub need: usize,
    /// How many of its pods exist and have not ended, terminating ones included. They use room, admitted or not.
    pub live: usize,
    /// What its annotation says that it waits for.
    pub published: Option<PublishedWaiting>,
}

impl Workload {
    /// Returns the Job as limits see it, or none if no limit applies: it is finished, or Kueue manages it. `active_pods`
    /// counts its active pods; the count is asked for only if the status does not say that the Job has started.
    pub fn of(job: &JobView, active_pods: impl FnOnce() -> usize) -> Option<Self> {
        if job.status.is_finished() || job.is_managed_by_kueue() {
            return None;
        }
        let started = job.status.start_time.is_some();
        let pods = if started { 0 } else { active_pods() };
        let stored = count(job.status.active).saturating_add(count(job.status.terminating.unwrap_or_default()));
        let live = stored.max(pods);
        let left = left(job);
        let stays = !job.deleting && !job.status.has_outcome() && !job.spec.suspend;
        let reservation = reservation(job, started || pods > 0, live, left);
        Some(Self {
            uid: job.identity.uid.clone(),
            name: job.identity.name.clone(),
            labels: job.admission_info.labels.clone(),
            priority: job.admission_info.priority,
            created: job.admission_info.created,
            group: job.admission_info.group.clone(),
            reservation,
            need: if stays { count(job.spec.parallelism).min(left) } else { 0 },
            live,
            published: job.admission_info.published_waiting.as_deref().cloned(),
        })
    }
}

/// The claim of an unfinished Job that is `started`, has `live` pods and `left` completions to go.
///
/// | | place stored | not stored |
/// |---|---|---|
/// | to be deleted, or its outcome is decided | holds until its pods have ended | nothing |
/// | suspended | holds until `Suspended` is stored | nothing |
/// | parallelism 0 | holds until the annotation is stored | nothing |
/// | no completion left | holds | nothing |
/// | otherwise | holds | wants |
///
/// A place is stored if the Job has a start time or an active pod, and neither the condition `Suspended` nor the annotation.
/// Pods of a Job without a place, active or terminating, use room but give no right to a place.
fn reservation(job: &JobView, started: bool, live: usize, left: usize) -> Reservation {
    let released = job.status.true_condition(SUSPENDED).is_some() || job.admission_info.published_waiting.is_some();
    let reserved = started && !released;
    if job.deleting || job.status.has_outcome() {
        return if reserved && live > 0 { Reservation::Reserved } else { Reservation::None };
    }
    if !job.spec.suspend && job.spec.parallelism <= 0 && left > 0 {
        return Reservation::Zero { reserved };
    }
    match (reserved, job.spec.suspend || left == 0) {
        (true, _) => Reservation::Reserved,
        (false, true) => Reservation::None,
        (false, false) => Reservation::Requested,
    }
}

/// How many more pods have to end before the Job has an outcome, at most.
fn left(job: &JobView) -> usize {
    let Some(completions) = job.spec.completions else { return usize::MAX };
    let failed = job.status.failed_indexes.as_ref().map_or(0, |indexes| indexes.set.len());
    count(completions.saturating_sub(job.status.succeeded))
        .saturating_sub(usize::try_from(failed).unwrap_or(usize::MAX))
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::admission::Reason;
    use crate::job::decide::fixtures::{Job, time};
    use crate::job::status::Condition;

    fn published() -> Box<PublishedWaiting> {
        Box::new(PublishedWaiting { limit: "l".into(), position: 3, reason: Reason::Queue })
    }

    fn suspended(mut job: Job, status: bool) -> Job {
        job.view.status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", time(1)));
        if !status {
            job.view.status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", time(1)));
        }
        job
    }

    fn change(mut job: Job, change: impl FnOnce(&mut JobView)) -> Job {
        change(&mut job.view);
        job
    }

    #[test]
    fn a_place_is_held_from_the_stored_start_to_the_stored_release() {
        let job = || Job::new().completions(5).parallelism(2);
        let started = || job().started(1);
        let live = |job: Job, active, terminating| {
            change(job, |job| (job.status.active, job.status.terminating) = (active, Some(terminating)))
        };
        let annotated = |job: Job| change(job, |job| job.admission_info.published_waiting = Some(published()));
        // The Job, its active pods in the cache, and what it claims: claim, pods that it may have, pods that exist.
        let cases = [
            ("new", job(), 0, (Reservation::Requested, 2, 0)),
            ("waiting", annotated(job()), 0, (Reservation::Requested, 2, 0)),
            ("pods exist, the start is not stored", job(), 1, (Reservation::Reserved, 2, 1)),
            ("started", started(), 0, (Reservation::Reserved, 2, 0)),
            ("running", live(started(), 2, 0), 0, (Reservation::Reserved, 2, 2)),
            ("running, pods terminate too", live(started(), 2, 3), 0, (Reservation::Reserved, 2, 5)),
            ("suspended, not stored yet", live(started().suspend(true), 2, 0), 0, (Reservation::Reserved, 0, 2)),
            ("suspended", suspended(live(job().suspend(true), 0, 2), true), 0, (Reservation::None, 0, 2)),
            ("resumed before it was suspended", live(started(), 1, 1), 0, (Reservation::Reserved, 2, 2)),
            ("resumed, old pods terminate", suspended(live(job(), 0, 2), true), 0, (Reservation::Requested, 2, 2)),
            (
                "resumed, old pods could not be deleted",
                suspended(live(job(), 2, 0), true),
                2,
                (Reservation::Requested, 2, 2),
            ),
            ("resumed and admitted", suspended(started(), false), 0, (Reservation::Reserved, 2, 0)),
            ("created suspended", job().suspend(true), 0, (Reservation::None, 0, 0)),
            ("new, parallelism 0", job().parallelism(0), 0, (Reservation::Zero { reserved: false }, 0, 0)),
            ("scaled to 0", live(started().parallelism(0), 1, 1), 0, (Reservation::Zero { reserved: true }, 0, 2)),
            (
                "scaled to 0, stored",
                annotated(started().parallelism(0)),
                0,
                (Reservation::Zero { reserved: false }, 0, 0),
            ),
            ("scaled up again", annotated(started()), 0, (Reservation::Requested, 2, 0)),
            ("nothing left", job().counted(5, 0), 0, (Reservation::None, 0, 0)),
            ("nothing left, started", started().counted(5, 0), 0, (Reservation::Reserved, 0, 0)),
            ("little left", started().counted(4, 0), 0, (Reservation::Reserved, 1, 0)),
            ("deleted", change(started(), |job| job.deleting = true), 0, (Reservation::None, 0, 0)),
            (
                "deleted, pods run",
                change(live(started(), 1, 0), |job| job.deleting = true),
                0,
                (Reservation::Reserved, 0, 1),
            ),
        ];
        for (name, job, pods, expected) in cases {
            let workload = Workload::of(&job.view, || pods).unwrap();
            assert_eq!((workload.reservation, workload.need, workload.live), expected, "{name}");
        }
    }

    #[test]
    fn finished_jobs_and_jobs_of_kueue_are_no_candidates() {
        let finished = change(Job::new(), |job| {
            job.status.set_condition(Condition::new("Complete", true, "", "", time(1)));
        });
        assert!(Workload::of(&finished.view, || 0).is_none());
        let queued = change(Job::new(), |job| job.admission_info.managed_by_kueue = true);
        assert!(Workload::of(&queued.view, || 0).is_none());
    }
}
