//! `spec.suspend`: the condition, the start time and the event for suspending and resuming a Job
//! ([KEP-2232](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2232-suspend-jobs)).

use jiff::Timestamp;

use crate::job::status::{Condition, JobStatus, SUSPENDED};
use crate::job::view::JobView;
use crate::runtime::clock::whole_seconds;
use crate::runtime::events::EventText;

/// Updates the status according to `spec.suspend`. Returns the event to record if the condition changed.
pub fn apply(job: &JobView, status: &mut JobStatus, now: Timestamp) -> Option<EventText> {
    if job.spec.suspend {
        let changed = status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", now));
        changed.then(|| {
            // The active time starts again from zero when the Job is resumed.
            status.start_time = None;
            EventText::normal("Suspended", "Job suspended")
        })
    } else {
        let changed = status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", now));
        changed.then(|| {
            status.start_time = Some(whole_seconds(now));
            EventText::normal("Resumed", "Job resumed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn suspended_job_gets_the_condition_and_loses_its_start_time_once() {
        let job = Job::new().suspend(true).started(5);
        let mut status = job.view.status.clone();
        let event = apply(&job.view, &mut status, time(9)).unwrap();
        assert_eq!((&*event.reason, event.message.as_str()), ("Suspended", "Job suspended"));
        assert_eq!(status.start_time, None);
        let condition = status.condition(SUSPENDED).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "JobSuspended"));
        assert_eq!(apply(&job.view, &mut status, time(10)), None, "the Job is suspended already");
    }

    #[test]
    fn resumed_job_gets_a_false_condition_and_a_new_start_time() {
        let suspended = Job::new().suspend(true);
        let mut status = suspended.view.status.clone();
        apply(&suspended.view, &mut status, time(3));
        let event = apply(&Job::new().view, &mut status, time(60)).unwrap();
        assert_eq!((&*event.reason, event.message.as_str()), ("Resumed", "Job resumed"));
        assert_eq!(status.start_time, Some(time(60)));
        let condition = status.condition(SUSPENDED).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "JobResumed"));
    }

    #[test]
    fn job_never_suspended_gets_no_condition() {
        let mut status = JobStatus::default();
        assert_eq!(apply(&Job::new().view, &mut status, time(3)), None);
        assert!(status.conditions.is_empty());
    }
}
