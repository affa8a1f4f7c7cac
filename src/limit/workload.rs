//! Reservation of a Job under the limits that select it: a pure rule over the data that the API server stores.
//!
//! An admission is stored before the first pod is created: the status write that sets `startTime` also removes the
//! annotation [`crate::job::admission::WAITING_ANNOTATION`]. A release is stored before another Job gets the capacity: the suspension
//! of a Job stores the condition `Suspended`, and scaling a Job to zero stores the annotation. After a restart or a
//! change of the leader, the controller therefore finds the same admissions, and these do not exceed a limit.

use std::sync::Arc;

use jiff::Timestamp;

use crate::job::admission::PublishedWaiting;
use crate::job::index::IndexSet;
use crate::job::status::SUSPENDED;
use crate::job::view::{JobView, Labels};
use crate::runtime::identity::Uid;

/// Reservation of a Job under the limits that select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// No reservation: the Job is suspended or ending, and starts no pods.
    None,
    /// No reservation, because `spec.parallelism` is 0.
    Zero {
        /// Whether the Job still has its earlier reservation, because the release is not stored yet.
        reserved: bool,
    },
    /// Stored reservation: the Job was admitted and has not released it.
    Reserved,
    /// Request for a reservation that the Job does not have yet.
    Requested,
}

/// Job, reduced to the data that limits need.
#[derive(Clone, Debug)]
pub struct Workload {
    /// UID of the Job.
    pub uid: Uid,
    /// Name of the Job.
    pub name: Arc<str>,
    /// Labels of the Job.
    pub labels: Labels,
    /// Priority of the Job. The Job with the highest priority is admitted first.
    pub priority: i32,
    /// Creation time of the Job. Among equal priorities, the oldest Job is admitted first.
    pub created: Timestamp,
    /// Group whose Jobs may depend on each other, such as a JobSet.
    pub group: Option<Arc<str>>,
    /// Reservation of the Job.
    pub reservation: Reservation,
    /// Maximum number of concurrent pods of the Job once it is admitted.
    pub need: usize,
    /// Number of existing pods that have not ended, including terminating pods. They use capacity even if the Job is
    /// not admitted.
    pub live: usize,
    /// Content of the annotation of the waiting Job.
    pub published: Option<PublishedWaiting>,
}

impl Workload {
    /// Returns the data of a Job that limits need; none if limits do not apply because the Job is finished or Kueue
    /// manages it. `active_pods` counts the active pods of the Job. It is called only if the status has no start time.
    /// `waits` states whether the Job waits for other Jobs before it can start.
    pub fn of(job: &JobView, waits: bool, active_pods: impl FnOnce() -> usize) -> Option<Self> {
        if job.status.is_finished() || job.is_managed_by_kueue() {
            return None;
        }
        let started = job.status.start_time.is_some();
        let pods = if started { 0 } else { active_pods() };
        let stored = count(job.status.active).saturating_add(count(job.status.terminating.unwrap_or_default()));
        let live = stored.max(pods);
        let left = left(job);
        let started = started || pods > 0;
        let starts = started || job.invalid_indexes().is_none() && !waits;
        let stays = !job.deleting && !job.status.has_outcome() && !job.spec.suspend && starts;
        let reservation = if waits && !started { Reservation::None } else { reservation(job, started, live, left) };
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

/// Returns the reservation of an unfinished Job that has `live` pods and `left` remaining completions. `started` states
/// whether the Job has a start time or an active pod.
///
/// | | reservation stored | not stored |
/// |---|---|---|
/// | being deleted, or its outcome is decided | kept until its pods have ended | none |
/// | suspended | kept until `Suspended` is stored | none |
/// | its list of indexes is invalid, and it has not started | | none |
/// | parallelism 0 | kept until the annotation is stored | none |
/// | no completion left | kept | none |
/// | otherwise | kept | requested |
///
/// A reservation is stored if the Job has a start time or an active pod, and neither the condition `Suspended` nor the
/// annotation. The pods of a Job without a reservation, active or terminating, use capacity but do not imply a
/// reservation.
fn reservation(job: &JobView, started: bool, live: usize, left: usize) -> Reservation {
    if !started && job.invalid_indexes().is_some() {
        return Reservation::None;
    }
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

/// Returns the maximum number of pods that still have to succeed or fail before the Job has an outcome.
fn left(job: &JobView) -> usize {
    let Some(completions) = job.spec.completions else { return usize::MAX };
    let failed = job.status.failed_indexes.as_ref().map(|indexes| &indexes.set);
    if let Some(listed) = job.listed_indexes() {
        let ended = |indexes: &IndexSet| listed.overlap(indexes);
        let ended = ended(&job.status.completed_indexes.set).saturating_add(failed.map_or(0, ended));
        return usize::try_from(listed.len().saturating_sub(ended)).unwrap_or(usize::MAX);
    }
    let failed = failed.map_or(0, IndexSet::len);
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
        Box::new(PublishedWaiting { limit: "l".into(), position: 3, reason: Reason::Queue, message: String::new() })
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
    fn reservation_lasts_from_the_stored_start_to_the_stored_release() {
        let job = || Job::new().completions(5).parallelism(2);
        let started = || job().started(1);
        let live = |job: Job, active, terminating| {
            change(job, |job| (job.status.active, job.status.terminating) = (active, Some(terminating)))
        };
        let annotated = |job: Job| change(job, |job| job.admission_info.published_waiting = Some(published()));
        // Description, Job, active pods in the cache, and the expected reservation, needed pods and existing pods.
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
            ("one index is listed", job().indexed(5).indexes("3"), 0, (Reservation::Requested, 1, 0)),
            (
                "one listed index is left",
                started().indexed(5).indexes("0,3,4").completed("0-2,4").counted(4, 0),
                0,
                (Reservation::Reserved, 1, 0),
            ),
            ("invalid list of indexes", job().indexed(5).indexes("5"), 0, (Reservation::None, 0, 0)),
            ("invalid list, started", started().indexed(5).indexes("5"), 0, (Reservation::Reserved, 2, 0)),
            ("deleted", change(started(), |job| job.deleting = true), 0, (Reservation::None, 0, 0)),
            (
                "deleted, pods run",
                change(live(started(), 1, 0), |job| job.deleting = true),
                0,
                (Reservation::Reserved, 0, 1),
            ),
        ];
        for (name, job, pods, expected) in cases {
            let workload = Workload::of(&job.view, false, || pods).unwrap();
            assert_eq!((workload.reservation, workload.need, workload.live), expected, "{name}");
        }
        let waiting = Workload::of(&job().view, true, || 0).unwrap();
        assert_eq!((waiting.reservation, waiting.need), (Reservation::None, 0), "waits for other Jobs");
    }

    #[test]
    fn finished_jobs_and_jobs_of_kueue_are_not_subject_to_limits() {
        let finished = change(Job::new(), |job| {
            job.status.set_condition(Condition::new("Complete", true, "", "", time(1)));
        });
        assert!(Workload::of(&finished.view, false, || 0).is_none());
        let queued = change(Job::new(), |job| job.admission_info.managed_by_kueue = true);
        assert!(Workload::of(&queued.view, false, || 0).is_none());
    }
}
