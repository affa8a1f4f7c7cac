//! Decisions of the CronJob controller, as pure functions.
//!
//! A sync calls three of them: [`history`] selects the finished Jobs to delete, [`reconcile_active_list`] computes the
//! list of active Jobs, and [`due`] decides whether a Job is due.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::view::{ActiveJob, ConcurrencyPolicy, CronJobStatus, CronJobView};
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::runtime::events::EventText;
use crate::schedule::backfill::Progress;
use crate::schedule::expression::Schedule;
use crate::schedule::missed::{self, Missed};
use crate::schedule::once::SCHEDULE_TIME_IN_FUTURE;
use crate::schedule::zones;

/// Margin added to each wake-up, so that clock skew cannot make a sync run before the scheduled time.
pub const WAKE_MARGIN: SignedDuration = SignedDuration::from_millis(100);

/// Maximum clock skew that is tolerated without an event.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Returns the finished Jobs that exceed the history limits, oldest first: `spec.successfulJobsHistoryLimit` for
/// complete Jobs and `spec.failedJobsHistoryLimit` for failed Jobs.
pub fn history(cron_job: &CronJobView, jobs: &[Arc<JobView>]) -> Vec<Arc<JobView>> {
    let spec = &cron_job.spec;
    let limits = [(COMPLETE, spec.successful_limit), (FAILED, spec.failed_limit)];
    let surplus = limits.into_iter().filter_map(|(condition, limit)| {
        let mut ended: Vec<_> =
            jobs.iter().filter(|job| job.status.true_condition(condition).is_some()).cloned().collect();
        // A Job that never started counts as the newest.
        ended.sort_by_key(|job| {
            let start = job.status.start_time;
            (start.is_none(), start, job.identity.name.clone())
        });
        ended.truncate(ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()));
        Some(ended)
    });
    surplus.flatten().collect()
}

/// Returns whether the stored status includes a run of this scheduled time, or the time is not that of a run. A finished Job
/// whose time is not recorded must stay: its name is all that keeps the time from being run again.
pub fn is_run_recorded(cron_job: &CronJobView, scheduled: Option<Timestamp>) -> bool {
    scheduled.is_none_or(|time| time <= served(cron_job, &cron_job.status))
}

/// Differences between the list of active Jobs in the status and the Jobs of the CronJob.
#[derive(Debug, Default)]
pub struct ActiveListUpdate {
    /// Status to store, as far as it is known without a request to the API server.
    pub status: CronJobStatus,
    /// Events to record.
    pub events: Vec<EventText>,
    /// Unfinished Jobs of the CronJob that are not in the list. The list on the API server may be newer than the cached
    /// one.
    pub unexpected: Vec<Arc<JobView>>,
    /// Entries of the list whose Jobs are not in the cache. These Jobs may have been deleted.
    pub missing: Vec<ActiveJob>,
}

/// Compares the list of active Jobs in the status with the Jobs of the CronJob.
pub fn reconcile_active_list(stored: &CronJobStatus, jobs: &[Arc<JobView>]) -> ActiveListUpdate {
    let mut update = ActiveListUpdate { status: stored.clone(), ..ActiveListUpdate::default() };
    for job in jobs {
        let status = &job.status;
        if !status.is_finished() {
            if !stored.is_active(&job.identity.uid) {
                update.unexpected.push(job.clone());
            }
            continue;
        }
        let succeeded = status.true_condition(COMPLETE).is_some();
        if update.status.drop_active(&job.identity.uid) {
            let condition = if succeeded { COMPLETE } else { FAILED };
            let message = format!("Saw completed job: {}, condition: {condition}", job.identity.name);
            update.events.push(EventText::normal("SawCompletedJob", message));
        }
        if succeeded {
            update.status.last_successful = update.status.last_successful.max(status.completion_time);
        }
    }
    let known = |active: &&ActiveJob| jobs.iter().any(|job| job.identity.uid == active.uid);
    update.missing = update.status.active.iter().filter(|active| !known(active)).cloned().collect();
    update
}

/// Result of [`due`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Events to record.
    pub events: Vec<EventText>,
    /// Scheduled time for which to start a Job, if a Job is due.
    pub start: Option<Timestamp>,
    /// Whether to delete the active Jobs before the start.
    pub replace: bool,
    /// Whether the Job to start is one of the backfill.
    pub is_backfill: bool,
    /// Progress of the backfill, without the Job to start.
    pub backfill: Option<Progress>,
    /// Time of the next sync; none if only a change of the object can make a Job due.
    pub wake: Option<Timestamp>,
}

/// Decides whether a Job is due at `now`, given the status `status`.
pub fn due(cron_job: &CronJobView, status: &CronJobStatus, now: Timestamp) -> Due {
    let spec = &cron_job.spec;
    let only = |event| Due { events: vec![event], ..Due::default() };
    if cron_job.deleting {
        return Due::default();
    }
    let zone = match &spec.time_zone {
        Some(name) => match zones::zone(name) {
            Some(zone) => zone,
            None => {
                let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
                return only(EventText::warning("UnknownTimeZone", message));
            }
        },
        None => zones::local(),
    };
    if spec.suspend {
        return Due::default();
    }
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
            return only(EventText::warning("UnparseableSchedule", message));
        }
    };
    let mut due = Due::default();
    if schedule.names_zone() {
        let message = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        due.events.push(EventText::warning("UnsupportedSchedule", message));
    }
    due.events.extend(schedule_time_in_future(status, now));
    let unserved = unserved(cron_job, status, now);
    let changed = cron_job.changes.last(&cron_job.spec, cron_job.created, now);
    let earliest = unserved.max(changed.unwrap_or(Timestamp::MIN));
    if let Some(changed) =
        changed.filter(|_| cron_job.changes.to_record(&cron_job.spec, cron_job.created, now).is_some())
        && schedule.next(unserved, &zone).is_some_and(|first| first <= changed)
    {
        let message = format!("spec.schedule or spec.timeZone was changed: times up to {changed} are not due");
        due.events.push(EventText::normal("ScheduleChanged", message));
    }
    let scheduled = match missed::since(&schedule, &zone, earliest, now) {
        Missed::Invalid => {
            let why = "time difference between two schedules is less than 1 second";
            let message = format!("invalid schedule: {} : {why}", spec.schedule);
            due.events.push(EventText::warning("InvalidSchedule", message));
            return due;
        }
        Missed::None => None,
        Missed::Some { latest, many } => {
            if many {
                let message =
                    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                due.events.push(EventText::warning("TooManyMissedTimes", message));
            }
            Some(latest)
        }
    };
    if let Some(scheduled) = scheduled {
        decide_start(cron_job, status, scheduled, now, &mut due);
    }
    let last = due.start.unwrap_or_else(|| served(cron_job, status));
    let upcoming = missed::upcoming(&schedule, &zone, last.max(changed.unwrap_or(Timestamp::MIN)), now);
    due.wake = upcoming.and_then(|time| time.checked_add(WAKE_MARGIN).ok());
    due
}

/// Returns a Warning event if `status.lastScheduleTime` is later than now. Like the built-in controller, this
/// controller then starts no Job before the first scheduled time after `status.lastScheduleTime`.
pub fn schedule_time_in_future(status: &CronJobStatus, now: Timestamp) -> Option<EventText> {
    let last = time_in_future(status.last_schedule, now)?;
    let message = format!(
        "status.lastScheduleTime is {last}, later than the clock of this controller: no Job is started before the first time \
         after it; if a clock was wrong, patch status.lastScheduleTime"
    );
    Some(EventText::warning(SCHEDULE_TIME_IN_FUTURE, message))
}

/// Returns `last` if it is later than now by more than the tolerated clock skew of one minute.
pub fn time_in_future(last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    last.filter(|last| last.duration_since(now) > MAX_CLOCK_SKEW)
}

fn decide_start(cron_job: &CronJobView, status: &CronJobStatus, scheduled: Timestamp, now: Timestamp, due: &mut Due) {
    let spec = &cron_job.spec;
    let too_late = spec.starting_deadline.and_then(|deadline| scheduled.checked_add(deadline).ok());
    let name = job_name(cron_job, scheduled);
    if too_late.is_some_and(|latest| latest < now) {
        let time = scheduled.strftime("%a, %d %b %Y %H:%M:%S +0000");
        due.events.push(EventText::warning("MissSchedule", format!("Missed scheduled time to start a job: {time}")));
    } else if status.active.iter().any(|active| active.name == name) || status.last_schedule == Some(scheduled) {
        // A Job for this scheduled time exists already.
    } else if spec.concurrency_policy == ConcurrencyPolicy::Forbid && !status.active.is_empty() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        due.events.push(EventText::normal("JobAlreadyActive", message));
    } else {
        due.start = Some(scheduled);
        due.replace = spec.concurrency_policy == ConcurrencyPolicy::Replace;
    }
}

/// Returns the name of the Job for a scheduled time. The name is derived from the time, so that the API server rejects
/// a second Job for the same time.
pub fn job_name(cron_job: &CronJobView, scheduled: Timestamp) -> String {
    format!("{}-{}", cron_job.identity.name, scheduled.as_second().div_euclid(60))
}

/// Returns the time up to which no run is started any more: it was served, or its start is too late.
pub fn unserved(cron_job: &CronJobView, status: &CronJobStatus, now: Timestamp) -> Timestamp {
    let latest_start = cron_job.spec.starting_deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    served(cron_job, status).max(latest_start.unwrap_or(Timestamp::MIN))
}

fn served(cron_job: &CronJobView, status: &CronJobStatus) -> Timestamp {
    status.last_schedule.unwrap_or(cron_job.created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::cron_job::schedule_changes::ScheduleChanges;
    use crate::schedule::fixtures::{cron_job, job};

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}Z").parse().unwrap()
    }

    fn decided(cron_job: &CronJobView, now: &str) -> Due {
        due(cron_job, &cron_job.status, at(now))
    }

    fn reasons(due: &Due) -> Vec<&str> {
        due.events.iter().map(|event| &*event.reason).collect()
    }

    fn names(jobs: &[Arc<JobView>]) -> Vec<String> {
        jobs.iter().map(|job| job.identity.name.to_string()).collect()
    }

    #[test]
    fn run_is_recorded_once_its_time_is_stored() {
        let mut cron_job = cron_job("0 * * * *");
        let recorded = |cron_job: &CronJobView, time: Option<&str>| is_run_recorded(cron_job, time.map(at));
        assert!(recorded(&cron_job, None) && recorded(&cron_job, Some("00:00:00")), "no run of this CronJob");
        assert!(!recorded(&cron_job, Some("12:00:00")));
        cron_job.status.last_schedule = Some(at("12:00:00"));
        assert!(recorded(&cron_job, Some("12:00:00")) && !recorded(&cron_job, Some("13:00:00")));
    }

    #[test]
    fn oldest_finished_jobs_beyond_the_limits_are_selected() {
        let good = |name: &str, start: &str| job(name, Some(COMPLETE), &format!("2026-01-05T{start}Z"));
        let bad = |name: &str, start: &str| job(name, Some(FAILED), &format!("2026-01-05T{start}Z"));
        let jobs = [
            good("g4", "04:00:00"),
            good("g1", "01:00:00"),
            good("g3", "03:00:00"),
            good("g2", "02:00:00"),
            bad("b2", "02:00:00"),
            bad("b1", "02:00:00"),
            job("active", None, "2026-01-05T00:00:00Z"),
        ];
        let mut cron_job = cron_job("0 * * * *");
        assert_eq!(names(&history(&cron_job, &jobs)), ["g1", "b1"], "Jobs with equal start times are ordered by name");
        (cron_job.spec.successful_limit, cron_job.spec.failed_limit) = (Some(0), None);
        assert_eq!(names(&history(&cron_job, &jobs)), ["g1", "g2", "g3", "g4"]);
    }

    #[test]
    fn active_list_drops_finished_jobs_and_reports_missing_and_unexpected_ones() {
        let (done, lost, forgotten) = (
            job("done", Some(COMPLETE), "2026-01-05T10:00:00Z"),
            job("lost", None, "2026-01-05T10:00:00Z"),
            job("forgotten", None, "2026-01-05T10:00:00Z"),
        );
        let active = vec![ActiveJob::new(&done), ActiveJob::new(&lost)];
        let stored = CronJobStatus { active, ..CronJobStatus::default() };
        let update = reconcile_active_list(&stored, &[done, forgotten]);
        assert_eq!(
            update.events,
            [EventText::normal("SawCompletedJob", "Saw completed job: done, condition: Complete")]
        );
        assert_eq!(update.status.last_successful, Some(at("10:00:00")));
        assert_eq!(update.missing.iter().map(|job| &*job.name).collect::<Vec<_>>(), ["lost"]);
        assert_eq!(names(&update.unexpected), ["forgotten"]);
        assert_eq!(
            update.status.active.len(),
            1,
            "a missing Job stays in the list until the API server confirms its deletion"
        );
    }

    #[test]
    fn job_is_due_once_for_each_scheduled_time() {
        let mut cron_job = cron_job("30 * * * *");
        let early = decided(&cron_job, "10:29:59");
        assert_eq!((early.start, early.wake), (None, Some(at("10:30:00.1"))));
        let now = decided(&cron_job, "10:30:00.2");
        assert_eq!((now.start, now.wake), (Some(at("10:30:00")), Some(at("11:30:00.1"))));
        assert_eq!(job_name(&cron_job, at("10:30:00")), "nightly-29460150");
        cron_job.status.last_schedule = Some(at("10:30:00"));
        let served = decided(&cron_job, "10:31:00");
        assert_eq!((served.start, served.wake), (None, Some(at("11:30:00.1"))));
    }

    #[test]
    fn most_recent_of_several_missed_times_is_started() {
        let cron_job = cron_job("*/10 * * * *");
        assert_eq!(decided(&cron_job, "10:59:00").start, Some(at("10:50:00")));
        let mut minutely = crate::schedule::fixtures::cron_job("* * * * *");
        let late = decided(&minutely, "12:00:30");
        assert_eq!((late.start, reasons(&late)), (Some(at("12:00:00")), vec!["TooManyMissedTimes"]));
        minutely.spec.starting_deadline = Some(SignedDuration::from_secs(600));
        assert_eq!(
            reasons(&decided(&minutely, "12:00:30")),
            [""; 0],
            "times beyond the deadline do not count as missed"
        );
    }

    #[test]
    fn run_later_than_the_starting_deadline_is_skipped() {
        let mut cron_job = cron_job("0 * * * *");
        cron_job.spec.starting_deadline = Some(SignedDuration::from_secs(30));
        assert_eq!(decided(&cron_job, "11:00:20").start, Some(at("11:00:00")));
        let late = decided(&cron_job, "11:00:40");
        assert_eq!((late.start, late.wake), (None, Some(at("12:00:00.1"))));
        assert_eq!(reasons(&late), [""; 0], "times before the deadline are not searched");
    }

    #[test]
    fn concurrency_policy_decides_whether_an_active_job_prevents_a_start() {
        let mut cron_job = cron_job("0 * * * *");
        cron_job.status.active = vec![ActiveJob::new(&job("before", None, "2026-01-05T10:00:00Z"))];
        let allowed = decided(&cron_job, "11:00:00");
        assert_eq!((allowed.start.is_some(), allowed.replace), (true, false));
        cron_job.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
        let forbidden = decided(&cron_job, "11:00:00");
        assert_eq!((forbidden.start, reasons(&forbidden)), (None, vec!["JobAlreadyActive"]));
        cron_job.spec.concurrency_policy = ConcurrencyPolicy::Replace;
        let replaced = decided(&cron_job, "11:00:00");
        assert_eq!((replaced.start.is_some(), replaced.replace), (true, true));
    }

    #[test]
    fn invalid_schedule_or_zone_records_an_event_and_schedules_no_sync() {
        let mut odd = cron_job("0 * * * *");
        odd.spec.time_zone = Some("Mars/Olympus".to_owned());
        let zone = decided(&odd, "12:00:00");
        assert_eq!(zone.events[0].message, "invalid timeZone: \"Mars/Olympus\": unknown time zone Mars/Olympus");
        let unparseable = decided(&cron_job("61 * * * *"), "12:00:00");
        assert!(unparseable.events[0].message.starts_with("unparseable schedule: \"61 * * * *\" : minute"));
        let invalid = decided(&cron_job("0 0 31 2 *"), "12:00:00");
        assert_eq!(reasons(&invalid), ["InvalidSchedule"]);
        for due in [zone, unparseable, invalid] {
            assert_eq!((due.start, due.wake), (None, None));
        }
        assert_eq!(reasons(&decided(&cron_job("TZ=UTC 0 * * * *"), "10:20:00")), ["UnsupportedSchedule"]);
    }

    #[test]
    fn suspended_or_deleted_cron_job_is_never_due() {
        let mut suspended = cron_job("0 * * * *");
        suspended.spec.suspend = true;
        let mut deleted = cron_job("0 * * * *");
        deleted.deleting = true;
        for cron_job in [suspended, deleted] {
            assert_eq!(decided(&cron_job, "12:00:00"), Due::default());
        }
    }

    fn changed(to: &str, owned_since: Option<&str>) -> CronJobView {
        let mut changed = cron_job("0 23 * * *");
        changed.changes = ScheduleChanges::recorded_for(&changed.spec, None, owned_since.map(at));
        to.clone_into(&mut changed.spec.schedule);
        changed.status.last_schedule = Some("2026-01-04T23:00:00Z".parse().unwrap());
        changed
    }

    #[test]
    fn changed_schedule_starts_no_run_that_was_due_before_the_change() {
        // Changed at 12:00 from 23:00 to 05:00. The time 05:00 of this day has passed.
        let moved = changed("0 5 * * *", Some("12:00:00"));
        for now in ["12:00:01", "18:30:00", "22:59:59", "23:00:05"] {
            let due = decided(&moved, now);
            assert_eq!((due.start, reasons(&due)), (None, vec!["ScheduleChanged"]), "{now}");
            assert_eq!(due.wake.map(|wake| wake.to_string()), Some("2026-01-06T05:00:00.1Z".to_owned()));
        }
    }

    #[test]
    fn run_between_the_change_and_its_observation_is_started() {
        let moved = changed("*/30 * * * *", Some("12:10:00"));
        assert_eq!(decided(&moved, "12:29:00").start, None);
        assert_eq!(decided(&moved, "12:31:00").start, Some(at("12:30:00")));
        let unknown = changed("*/30 * * * *", None);
        assert_eq!(
            decided(&unknown, "12:31:00").start,
            None,
            "without a field owner the time of the observation counts as the time of the change"
        );
    }

    #[test]
    fn missed_run_is_still_started_after_an_unrelated_change() {
        let mut touched = changed("0 23 * * *", Some("12:00:00"));
        touched.status.last_schedule = Some("2026-01-03T23:00:00Z".parse().unwrap());
        assert_eq!(decided(&touched, "12:00:01").start, Some("2026-01-04T23:00:00Z".parse().unwrap()));
    }

    #[test]
    fn last_schedule_time_ahead_of_the_clock_is_reported() {
        let mut ahead = cron_job("0 * * * *");
        ahead.status.last_schedule = Some("2027-01-01T00:00:00Z".parse().unwrap());
        let due = decided(&ahead, "12:00:01");
        assert_eq!((due.start, reasons(&due)), (None, vec!["ScheduleTimeInFuture"]));
        assert_eq!(due.wake.map(|wake| wake.to_string()), Some("2027-01-01T01:00:00.1Z".to_owned()));
        ahead.status.last_schedule = Some(at("12:00:30"));
        assert_eq!(reasons(&decided(&ahead, "12:00:01")), [""; 0], "the difference is within the tolerated clock skew");
    }
}
