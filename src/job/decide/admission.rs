//! Limits: the steps that a waiting Job may take. The admission of a Job is stored before its first pod is created.

use super::{DecisionInput, Step};
use crate::job::admission::{Admission, Reason, WaitingStatus};
use crate::job::status::SUSPENDED;
use crate::job::view::JobView;
use crate::runtime::events::EventText;

/// Returns what the Job waits for, if a limit keeps the Job from starting pods.
pub fn waiting_status<'a>(input: &DecisionInput<'a>) -> Option<&'a WaitingStatus> {
    let job = input.job;
    match input.admission {
        Admission::Pending(waiting) if !job.deleting && !job.spec.suspend && !job.status.has_outcome() => Some(waiting),
        _ => None,
    }
}

/// Returns whether the status contains nothing about pods of this Job. If so, no status write is needed while the Job
/// waits.
pub fn has_never_run(job: &JobView) -> bool {
    let status = &job.status;
    let counted = status.active != 0 || status.terminating.unwrap_or_default() != 0;
    status.start_time.is_none() && !counted && status.uncounted.is_empty()
}

/// Returns whether the limits admit the Job and the stored Job does not show that yet. The write that stores the
/// admission precedes the creation of the first pod: after a restart in between, the controller finds the admission and
/// gives the Job's place to no other Job.
pub fn is_admission_unstored(input: &DecisionInput<'_>) -> bool {
    let (job, status) = (input.job, &input.job.status);
    *input.admission == Admission::Admitted
        && !job.deleting
        && !job.spec.suspend
        && (status.start_time.is_none()
            || status.true_condition(SUSPENDED).is_some()
            || job.admission_info.published_waiting.is_some())
}

/// Returns whether the waiting annotation has to be removed. No status write removes that annotation.
pub fn should_remove_waiting(input: &DecisionInput<'_>) -> bool {
    let job = input.job;
    job.admission_info.published_waiting.is_some() && !job.deleting && !matches!(input.admission, Admission::Pending(_))
}

/// Returns the step that writes what the Job waits for, if the annotation does not contain that already.
pub fn publish(input: &DecisionInput<'_>, waiting: &WaitingStatus) -> Option<Step> {
    let published = input.job.admission_info.published_waiting.as_deref();
    waiting.should_publish(published).then(|| {
        let event = waiting.is_new_reason(published).then(|| {
            let message = waiting.message.clone();
            match waiting.reason {
                Reason::Queue | Reason::NoPods => EventText::normal("WaitingForLimit", message),
                Reason::TooLarge => EventText::warning("ExceedsLimit", message),
                Reason::Group => EventText::warning("GroupExceedsLimit", message),
                Reason::After => EventText::normal("WaitingForJobs", message),
            }
        });
        Step::PublishWaiting { waiting: waiting.clone(), event }
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::job::admission::PublishedWaiting;
    use crate::job::status::Condition;

    fn waits(reason: Reason) -> Admission {
        Admission::Pending(WaitingStatus { limit: "l".into(), position: 2, reason, message: "m".into() })
    }

    fn published(job: Job) -> Job {
        job.with(|job| {
            job.admission_info.published_waiting = Some(Box::new(PublishedWaiting {
                limit: "l".into(),
                position: 2,
                reason: Reason::Queue,
                message: String::new(),
            }));
        })
    }

    fn suspended(job: Job) -> Job {
        job.with(|job| {
            job.status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", time(1)));
        })
    }

    fn step(job: &Job, admission: &Admission, pods: &[Pod]) -> Step {
        job.decide_admitted(pods, admission).step
    }

    /// Returns the Job with its counters stored.
    fn counted(job: &Job, admission: &Admission) -> Job {
        let Step::WriteStatus { status, .. } = step(job, admission, &[]) else { panic!() };
        job.with_status(*status)
    }

    #[test]
    fn admission_is_stored_before_the_first_pod() {
        let new = Job::new().completions(3).parallelism(2);
        let Step::WriteStatus { status, .. } = step(&new, &Admission::Admitted, &[]) else { panic!() };
        assert!(status.start_time.is_some());
        let started = new.clone().with_status(*status);
        assert!(matches!(step(&started, &Admission::Admitted, &[]), Step::CreatePods { .. }));
        assert!(matches!(step(&new, &Admission::Unlimited, &[]), Step::CreatePods { .. }), "no limit, no extra write");
        let resumed = suspended(Job::new());
        let Step::WriteStatus { status, .. } = step(&resumed, &Admission::Admitted, &[]) else { panic!() };
        assert!(status.start_time.is_some() && status.true_condition(SUSPENDED).is_none());
        // Only the annotation shows that a started Job had released its place.
        let released = published(Job::new().started(0));
        assert!(matches!(step(&released, &Admission::Admitted, &[]), Step::RemoveWaiting));
    }

    #[test]
    fn waiting_job_starts_no_pods_and_publishes_the_reason() {
        let new = Job::new();
        let Step::PublishWaiting { event: Some(event), .. } = step(&new, &waits(Reason::Queue), &[]) else { panic!() };
        assert_eq!((&*event.reason, &*event.message), ("WaitingForLimit", "m"));
        assert!(matches!(step(&published(new), &waits(Reason::Queue), &[]), Step::None));
        let large = published(Job::new());
        let Step::PublishWaiting { event: Some(event), .. } = step(&large, &waits(Reason::TooLarge), &[]) else {
            panic!()
        };
        assert_eq!(&*event.reason, "ExceedsLimit");
        // Old pods of a resumed Job still terminate. They are accounted for, and no pod is created.
        let resumed = suspended(Job::new().completions(3));
        let pods = [pod("old").running(1).deleting(2)];
        match step(&resumed, &waits(Reason::Queue), &pods) {
            Step::WriteStatus { status, .. } => {
                assert_eq!((status.start_time, status.terminating), (None, Some(1)));
                assert!(status.true_condition(SUSPENDED).is_some());
            }
            other => panic!("{other:?}"),
        }
        // Once these pods have ended, the stored number shows that. Other Jobs wait for their places.
        let resumed = resumed.with(|job| job.status.terminating = Some(1));
        let Step::WriteStatus { status, .. } = step(&resumed, &waits(Reason::Queue), &[]) else { panic!() };
        assert_eq!((status.start_time, status.terminating), (None, Some(0)));
    }

    #[test]
    fn started_job_scaled_to_zero_deletes_its_pods_and_then_releases_its_place() {
        let scaled = Job::new().completions(3).parallelism(0).started(0);
        let pods = [pod("a").running(1)];
        assert!(matches!(step(&scaled, &waits(Reason::NoPods), &pods), Step::DeletePods { .. }));
        let scaled = counted(&scaled, &waits(Reason::NoPods));
        assert!(matches!(step(&scaled, &waits(Reason::NoPods), &[]), Step::PublishWaiting { .. }));
        // The deadline continues.
        let late = Job::new().completions(3).parallelism(0).started(0).active_deadline(1);
        let Step::WriteStatus { status, .. } = step(&late, &waits(Reason::NoPods), &[]) else { panic!() };
        assert!(status.has_outcome());
    }

    #[test]
    fn annotation_is_removed_when_the_job_no_longer_waits() {
        let suspended = suspended(published(Job::new().suspend(true)));
        assert!(matches!(
            step(&counted(&suspended, &Admission::Unlimited), &Admission::Unlimited, &[]),
            Step::RemoveWaiting
        ));
    }
}
