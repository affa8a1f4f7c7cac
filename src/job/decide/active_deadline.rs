//! `spec.activeDeadlineSeconds`: how long a Job may be active, counted from its start or its last resumption.

use jiff::Timestamp;

use crate::job::view::JobView;

/// When the Job's time is up. A suspended Job's clock stands; a Job that has not started starts now.
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
    fn it_counts_from_the_start() {
        let job = Job::new().active_deadline(30).started(5);
        assert_eq!(deadline(&job.view, time(20)), Some(time(35)));
        assert_eq!(deadline(&Job::new().active_deadline(30).view, time(20)), Some(time(50)));
        assert_eq!(deadline(&Job::new().started(5).view, time(20)), None);
    }

    #[test]
    fn a_suspended_job_has_none() {
        let job = Job::new().active_deadline(30).started(5).suspend(true);
        assert_eq!(deadline(&job.view, time(500)), None);
    }

    #[test]
    fn a_deadline_beyond_the_end_of_time_is_never_reached() {
        let job = Job::new().active_deadline(u64::MAX / 2).started(5);
        assert_eq!(deadline(&job.view, time(20)), Some(Timestamp::MAX));
    }
}
