//! What to do next for a CronJob: pure functions.
//!
//! A sync asks three times: which finished Jobs to drop ([`history`]), what its list of active Jobs should be
//! ([`reconcile_active_list`]), and whether a Job is due ([`due`]).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::view::{ActiveJob, ConcurrencyPolicy, CronJobStatus, CronJobView};
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::runtime::events::EventText;
use crate::schedule::expression::Schedule;
use crate::schedule::missed::{self, Missed};
use crate::schedule::once::SCHEDULE_TIME_IN_FUTURE;
use crate::schedule::zones;

/// A look just at the time could come just before it, by another clock.
pub const WAKE_MARGIN: SignedDuration = SignedDuration::from_millis(100);

/// The maximum difference of two clocks that is not reported.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// The finished Jobs beyond what is to be kept, oldest first.
pub fn history(cron_job: &CronJobView, jobs: &[Arc<JobView>]) -> Vec<Arc<JobView>> {
    let spec = &cron_job.spec;
    let limits = [(COMPLETE, spec.successful_limit), (FAILED, spec.failed_limit)];
    let surplus = limits.into_iter().filter_map(|(condition, limit)| {
        let mut ended: Vec<_> =
            jobs.iter().filter(|job| job.status.true_condition(condition).is_some()).cloned().collect();
        // One that never started is the newest.
        ended.sort_by_key(|job| {
            let start = job.status.start_time;
            (start.is_none(), start, job.identity.name.clone())
        });
        ended.truncate(ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()));
        Some(ended)
    });
    surplus.flatten().collect()
}

/// What the list of active Jobs says and should not, or does not and should.
#[derive(Debug, Default)]
pub struct ActiveListUpdate {
    /// The status as it should be, as far as can be told without asking the API server.
    pub status: CronJobStatus,
    /// What to tell.
    pub events: Vec<EventText>,
    /// Unfinished Jobs of its own that are not in the list; perhaps the list is newer than we know.
    pub unexpected: Vec<Arc<JobView>>,
    /// Entries of the list whose Jobs are not known; perhaps they are gone.
    pub missing: Vec<ActiveJob>,
}

/// Compares the list of active Jobs with a CronJob's Jobs.
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

/// Whether a Job is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// What to tell.
    pub events: Vec<EventText>,
    /// The time to start a Job for, if there is one.
    pub start: Option<Timestamp>,
    /// The active Jobs are to go first.
    pub replace: bool,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

/// Decides whether a Job is due, with this status.
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
    let latest_start = spec.starting_deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    let unserved = served(cron_job, status).max(latest_start.unwrap_or(Timestamp::MIN));
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

/// Returns the Warning event of a CronJob, or another object with such a status, whose last schedule time is later than now.
/// Until a time after it is due, no Job is started, as by the built-in controller.
pub fn schedule_time_in_future(status: &CronJobStatus, now: Timestamp) -> Option<EventText> {
    let last = time_in_future(status.last_schedule, now)?;
    let message = format!(
        "status.lastScheduleTime is {last}, later than the clock of this controller: no Job is started before the first time \
         after it; if a clock was wrong, patch status.lastScheduleTime"
    );
    Some(EventText::warning(SCHEDULE_TIME_IN_FUTURE, message))
}

/// Returns this last schedule time if it is later than now by more than clocks differ.
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
        // It is served already.
    } else if spec.concurrency_policy == ConcurrencyPolicy::Forbid && !status.active.is_empty() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        due.events.push(EventText::normal("JobAlreadyActive", message));
    } else {
        due.start = Some(scheduled);
        due.replace = spec.concurrency_policy == ConcurrencyPolicy::Replace;
    }
}

/// The name of the Job for a time: it keeps two from being started for one.
pub fn job_name(cron_job: &CronJobView, scheduled: Timestamp) -> String {
    format!("{}-{}", cron_job.identity.name, scheduled.as_second().div_euclid(60))
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
    fn the_oldest_finished_jobs_beyond_the_limits_go() {
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
        assert_eq!(names(&history(&cron_job, &jobs)), ["g1", "b1"], "of equals the first by name");
        (cron_job.spec.successful_limit, cron_job.spec.failed_limit) = (Some(0), None);
        assert_eq!(names(&history(&cron_job, &jobs)), ["g1", "g2", "g3", "g4"]);
    }

    #[test]
    fn the_active_list_follows_its_jobs() {
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
        assert_eq!(update.status.active.len(), 1, "a missing one is asked about first");
    }

    #[test]
    fn a_job_is_due_at_its_time_and_once() {
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
    fn of_several_missed_times_the_most_recent_is_served() {
        let cron_job = cron_job("*/10 * * * *");
        assert_eq!(decided(&cron_job, "10:59:00").start, Some(at("10:50:00")));
        let mut minutely = crate::schedule::fixtures::cron_job("* * * * *");
        let late = decided(&minutely, "12:00:30");
        assert_eq!((late.start, reasons(&late)), (Some(at("12:00:00")), vec!["TooManyMissedTimes"]));
        minutely.spec.starting_deadline = Some(SignedDuration::from_secs(600));
        assert_eq!(reasons(&decided(&minutely, "12:00:30")), [""; 0], "what is beyond the deadline is not missed");
    }

    #[test]
    fn what_is_later_than_the_deadline_is_told_and_left() {
        let mut cron_job = cron_job("0 * * * *");
        cron_job.spec.starting_deadline = Some(SignedDuration::from_secs(30));
        assert_eq!(decided(&cron_job, "11:00:20").start, Some(at("11:00:00")));
        let late = decided(&cron_job, "11:00:40");
        assert_eq!((late.start, late.wake), (None, Some(at("12:00:00.1"))));
        assert_eq!(reasons(&late), [""; 0], "the time is out of sight already");
    }

    #[test]
    fn the_concurrency_policy_says_what_becomes_of_the_one_before() {
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
    fn what_cannot_be_due_is_told_once_and_waited_for_no_more() {
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
    fn a_suspended_or_deleted_one_is_never_due() {
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
    fn a_moved_schedule_starts_nothing_that_was_due_before_the_change() {
        // Moved at 12:00 from 23:00 to 05:00, which has passed.
        let moved = changed("0 5 * * *", Some("12:00:00"));
        for now in ["12:00:01", "18:30:00", "22:59:59", "23:00:05"] {
            let due = decided(&moved, now);
            assert_eq!((due.start, reasons(&due)), (None, vec!["ScheduleChanged"]), "{now}");
            assert_eq!(due.wake.map(|wake| wake.to_string()), Some("2026-01-06T05:00:00.1Z".to_owned()));
        }
    }

    #[test]
    fn a_time_between_the_change_and_its_observation_is_served() {
        let moved = changed("*/30 * * * *", Some("12:10:00"));
        assert_eq!(decided(&moved, "12:29:00").start, None);
        assert_eq!(decided(&moved, "12:31:00").start, Some(at("12:30:00")));
        let unknown = changed("*/30 * * * *", None);
        assert_eq!(decided(&unknown, "12:31:00").start, None, "the change is taken for as new as its observation");
    }

    #[test]
    fn a_time_that_passed_before_an_unrelated_change_is_still_served() {
        let mut touched = changed("0 23 * * *", Some("12:00:00"));
        touched.status.last_schedule = Some("2026-01-03T23:00:00Z".parse().unwrap());
        assert_eq!(decided(&touched, "12:00:01").start, Some("2026-01-04T23:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_last_schedule_time_ahead_of_the_clock_is_reported() {
        let mut ahead = cron_job("0 * * * *");
        ahead.status.last_schedule = Some("2027-01-01T00:00:00Z".parse().unwrap());
        let due = decided(&ahead, "12:00:01");
        assert_eq!((due.start, reasons(&due)), (None, vec!["ScheduleTimeInFuture"]));
        assert_eq!(due.wake.map(|wake| wake.to_string()), Some("2027-01-01T01:00:00.1Z".to_owned()));
        ahead.status.last_schedule = Some(at("12:00:30"));
        assert_eq!(reasons(&decided(&ahead, "12:00:01")), [""; 0], "clocks differ by so much");
    }
}
