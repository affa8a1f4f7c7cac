//! `spec.activeDeadlineSeconds`: the maximum time for which a Job may be active since its start or its last resumption.

use jiff::Timestamp;

use crate::job::view::JobView;

/// Returns the time of the Job's deadline. A suspended Job has no deadline. For a Job that has not started, the time
/// counts from `now`.
pub fn deadline(job: &JobView, now: Timestamp) -> Option<Timestamp> {
    if job.spec.suspend {
        return None;
    }
    let allowed = job.spec.active_deadline?;
    let started = job.status.start_time.unwrap_or(now);
    Some(started.checked_add(allowed).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn deadline_counts_from_the_start() {
        let job = Job::new().active_deadline(30).started(5);
        assert_eq!(deadline(&job.view, time(20)), Some(time(35)));
        assert_eq!(deadline(&Job::new().active_deadline(30).view, time(20)), Some(time(50)));
        assert_eq!(deadline(&Job::new().started(5).view, time(20)), None);
    }

    #[test]
    fn suspended_job_has_no_deadline() {
        let job = Job::new().active_deadline(30).started(5).suspend(true);
        assert_eq!(deadline(&job.view, time(500)), None);
    }

    #[test]
    fn deadline_beyond_the_maximum_timestamp_is_never_reached() {
        let job = Job::new().active_deadline(u64::MAX / 2).started(5);
        assert_eq!(deadline(&job.view, time(20)), Some(Timestamp::MAX));
    }
}
