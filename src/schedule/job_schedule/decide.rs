//! Decision whether a Job of a JobSchedule is due: a pure function, as for CronJobs.

use jiff::{SignedDuration, Timestamp};

use super::backfill;
use super::suspension::Suspension;
use super::timetable::Timetable;
use super::types::{CatchUp, ConcurrencyPolicy};
use super::view::JobScheduleView;
use crate::runtime::events::EventText;
use crate::schedule::cron_job::decide::{Due, WAKE_MARGIN, schedule_time_in_future};
use crate::schedule::cron_job::view::CronJobStatus;
use crate::schedule::source::Facts;

/// Decides whether a Job is due, given whether the JobSchedule is suspended.
pub fn due(schedule: &JobScheduleView, facts: Facts<'_>, suspension: Suspension) -> Due {
    let (base, status, now) = (&schedule.base, facts.status, facts.now);
    if base.deleting {
        return Due { backfill: base.status.backfill.clone(), ..Due::default() };
    }
    let table = match &schedule.timetable {
        Ok(table) => table,
        Err(error) => {
            let event =
                EventText::warning("InvalidSchedule", format!("{error}; no Job is started until this is fixed"));
            return Due { events: vec![event], backfill: backfill::without_times(schedule, facts), ..Due::default() };
        }
    };
    let waiting = pending_runs(schedule, status, table, now);
    let pending: Vec<Timestamp> = waiting.iter().map(|run| run.time).collect();
    let state = backfill::state(schedule, table, facts, &pending);
    let mut due = Due { backfill: state.progress().cloned(), ..Due::default() };
    due.events.extend(backfill::event(schedule, &state));
    if suspension.is_some() {
        due.events.extend(suspension.event());
        return due;
    }
    due.events.extend(schedule_time_in_future(status, now));
    // Among the runs whose start has come: the oldest if all missed runs are started, else the newest.
    let come = |waiting: &&PendingRun| waiting.start <= now;
    let scheduled = if is_in_order(schedule) { waiting.first().filter(come) } else { waiting.iter().rev().find(come) };
    let mut rest: Vec<PendingRun> = waiting.clone();
    let mut too_late = None;
    if let Some(scheduled) = scheduled {
        let full = no_room(schedule, status, waiting.len());
        if full.is_none() {
            due.start = Some(scheduled.time);
            due.replace = schedule.policy == ConcurrencyPolicy::Replace;
            rest.retain(|other| other.time > scheduled.time);
        } else {
            // The end of an active Job triggers the next sync. A run that waits too long is no longer queued.
            let deadline = base.spec.starting_deadline;
            let end = |run: &PendingRun| deadline.and_then(|deadline| run.start.checked_add(deadline).ok());
            too_late = rest.iter().filter(|run| run.start <= now).filter_map(end).min();
            rest.retain(|other| other.start > now);
        }
        due.events.extend(full);
    }
    let mut next = rest.into_iter().map(|waiting| waiting.start).min();
    if scheduled.is_none()
        && let (Some(backfill), backfill::State::Next(progress, Some(time))) = (&schedule.backfill, &state)
        && no_room(schedule, status, 0).is_none()
        && status.active.len() < backfill.max_active
    {
        (due.start, due.is_backfill) = (Some(*time), true);
        // The end of an active Job triggers the next sync.
        if progress.remaining() > 1 && status.active.len() + 1 < backfill.max_active {
            next = Some(now);
        }
    }
    let future = upcoming(schedule, status, table, now).map(|time| table.start_of(time));
    let wake = next.into_iter().chain(future).chain(too_late).min();
    due.wake = wake.and_then(|wake| wake.max(now).checked_add(WAKE_MARGIN).ok());
    due
}

/// Run whose scheduled time has passed and whose Job was not started yet.
#[derive(Clone, Copy, Debug)]
struct PendingRun {
    /// Scheduled time.
    time: Timestamp,
    /// Start time of the Job: the scheduled time plus the jitter.
    start: Timestamp,
}

/// Returns the first scheduled time that is after both now and the scheduled time of the last run.
fn upcoming(
    schedule: &JobScheduleView,
    status: &CronJobStatus,
    table: &Timetable,
    now: Timestamp,
) -> Option<Timestamp> {
    if schedule.runs_left(status) == Some(0) {
        return None;
    }
    table.next(status.last_schedule.unwrap_or(schedule.base.created).max(now))
}

/// Returns whether every missed run is started, the oldest first, instead of only the newest.
fn is_in_order(schedule: &JobScheduleView) -> bool {
    schedule.catch_up == CatchUp::All || schedule.policy == ConcurrencyPolicy::Queue
}

/// Returns the missed runs, the oldest first. Only the newest ones are returned if there are more than the catch-up
/// limit, and of these no more than are left of `spec.maxRuns`.
fn pending_runs(
    schedule: &JobScheduleView,
    status: &CronJobStatus,
    table: &Timetable,
    now: Timestamp,
) -> Vec<PendingRun> {
    let base = &schedule.base;
    let served = status.last_schedule.unwrap_or(base.created).max(schedule.times_since(now));
    // The deadline counts from the start, which is later than the scheduled time by the jitter.
    let deadline = base.spec.starting_deadline;
    let late = deadline.and_then(|deadline| now.checked_sub(deadline).ok()?.checked_sub(table.jitter).ok());
    let earliest = served.max(late.unwrap_or(Timestamp::MIN));
    let max_times = if is_in_order(schedule) {
        schedule.max_catch_up
    } else {
        // With a jitter, the start of the newest run may still be in the future.
        if table.jitter > SignedDuration::ZERO { 2 } else { 1 }
    };
    let times = table.missed(earliest, now, max_times);
    let jittered = table.jitter > SignedDuration::ZERO;
    let after_the_last = times.last().filter(|_| jittered).and_then(|last| table.next(*last));
    let following = times.iter().skip(1).copied().map(Some).chain([after_the_last]);
    let waiting = times.iter().zip(following).map(|(time, next)| PendingRun {
        time: *time,
        start: if jittered { table.start_between(*time, next) } else { *time },
    });
    let too_late = |waiting: &PendingRun| {
        let latest = deadline.and_then(|deadline| waiting.start.checked_add(deadline).ok());
        latest.is_some_and(|latest| latest < now)
    };
    let active: Vec<Timestamp> =
        status.active.iter().filter_map(|active| schedule.scheduled_time(&active.name)).collect();
    let is_active = |waiting: &PendingRun| active.contains(&waiting.time);
    let waiting = waiting.filter(|waiting| !too_late(waiting) && !is_active(waiting));
    match schedule.runs_left(status) {
        Some(0) => Vec::new(),
        Some(left) if is_in_order(schedule) => waiting.take(left).collect(),
        _ => waiting.collect(),
    }
}

/// Returns the event about a run that waits because no Job can be started in addition to the active ones; none if there
/// is room.
fn no_room(schedule: &JobScheduleView, status: &CronJobStatus, waiting: usize) -> Option<EventText> {
    let active = status.active.len();
    let room = match schedule.policy {
        ConcurrencyPolicy::Allow => schedule.max_active,
        ConcurrencyPolicy::Queue => Some(schedule.max_active.unwrap_or(1)),
        ConcurrencyPolicy::Forbid => Some(1),
        ConcurrencyPolicy::Replace => None,
    };
    let room = room.filter(|room| active >= *room)?;
    Some(match schedule.policy {
        ConcurrencyPolicy::Forbid => EventText::normal(
            "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid",
        ),
        _ => EventText::normal(
            "Waiting",
            format!("waiting for an active Job to finish: {waiting} due, {active} active, at most {room} allowed"),
        ),
    })
}

/// Returns the scheduled time of the oldest run whose start has come and that was not started.
pub fn oldest_due(
    schedule: &JobScheduleView,
    status: &CronJobStatus,
    suspension: Suspension,
    now: Timestamp,
) -> Option<Timestamp> {
    let table = schedule.timetable.as_ref().ok().filter(|_| !suspension.is_some())?;
    let mut pending = pending_runs(schedule, status, table, now).into_iter();
    pending.find(|run| run.start <= now).map(|run| run.time)
}

/// Returns the number of runs that are due and wait for room among the active Jobs.
pub fn queued(schedule: &JobScheduleView, status: &CronJobStatus, suspension: Suspension, now: Timestamp) -> usize {
    match &schedule.timetable {
        Ok(table) if !suspension.is_some() => {
            let due = pending_runs(schedule, status, table, now).iter().filter(|run| run.start <= now).count();
            no_room(schedule, status, due).map_or(0, |_| due)
        }
        _ => 0,
    }
}

/// Returns the scheduled time of the next run: the first pending run, or else the first time after now.
pub fn next(
    schedule: &JobScheduleView,
    status: &CronJobStatus,
    suspension: Suspension,
    now: Timestamp,
) -> Option<Timestamp> {
    let table = schedule.timetable.as_ref().ok()?;
    if suspension.is_some() || schedule.base.deleting {
        return None;
    }
    let waiting = pending_runs(schedule, status, table, now);
    let is_deferred = |waiting: &PendingRun| is_in_order(schedule) || waiting.start > now;
    let first = waiting.into_iter().find(is_deferred).map(|waiting| waiting.time);
    first.or_else(|| upcoming(schedule, status, table, now))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schedule::cron_job::view::ActiveJob;
    use crate::schedule::fixtures::{job, job_schedule};
    use crate::schedule::job_schedule::suspension::suspension;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}Z").parse().unwrap()
    }

    /// Returns a JobSchedule created at 10:00.
    fn schedule(spec: Value) -> JobScheduleView {
        job_schedule(&spec, &Value::Null)
    }

    fn due(schedule: &JobScheduleView, status: &CronJobStatus, now: Timestamp) -> Due {
        let facts = Facts { status, ended: &[], jobs: &[], backfilled: None, now };
        super::due(schedule, facts, suspension(schedule, &schedule.stored.failures))
    }

    fn next(schedule: &JobScheduleView, status: &CronJobStatus, now: Timestamp) -> Option<Timestamp> {
        super::next(schedule, status, suspension(schedule, &schedule.stored.failures), now)
    }

    fn decided(schedule: &JobScheduleView, now: &str) -> Due {
        due(schedule, &schedule.base.status, at(now))
    }

    fn with_active(mut schedule: JobScheduleView, names: &[&str]) -> JobScheduleView {
        schedule.base.status.active =
            names.iter().map(|name| ActiveJob::new(&job(name, None, "2026-01-05T10:00:00Z"))).collect();
        schedule
    }

    #[test]
    fn job_is_due_once_for_each_scheduled_time() {
        let mut hourly = schedule(json!({}));
        let early = decided(&hourly, "10:59:59");
        assert_eq!((early.start, early.wake), (None, Some(at("11:00:00.1"))));
        let now = decided(&hourly, "11:00:00.2");
        assert_eq!((now.start, now.wake), (Some(at("11:00:00")), Some(at("12:00:00.1"))));
        hourly.base.status.last_schedule = Some(at("11:00:00"));
        assert_eq!(decided(&hourly, "11:00:01").start, None);
    }

    #[test]
    fn missed_runs_start_the_latest_or_all_in_order() {
        let missed = decided(&schedule(json!({})), "14:30:00");
        assert_eq!((missed.start, missed.wake), (Some(at("14:00:00")), Some(at("15:00:00.1"))));
        let mut all = schedule(json!({"catchUp": "All", "maxCatchUp": 3}));
        let mut started = Vec::new();
        loop {
            let due = decided(&all, "14:30:00");
            let Some(start) = due.start else {
                assert_eq!(due.wake, Some(at("15:00:00.1")));
                break;
            };
            started.push(start);
            all.base.status.last_schedule = Some(start);
            if start < at("14:00:00") {
                assert_eq!(due.wake, Some(at("14:30:00.1")), "more missed runs are left");
            }
        }
        assert_eq!(started, [at("12:00:00"), at("13:00:00"), at("14:00:00")], "the newest three of four missed runs");
    }

    #[test]
    fn times_before_a_change_of_the_schedules_are_not_caught_up_on() {
        let mut changed = schedule(json!({"schedules": ["* * * * *"], "catchUp": "All"}));
        changed.stored.times = Some("others".to_owned());
        let due = decided(&changed, "14:30:20");
        assert_eq!((due.start, due.wake), (None, Some(at("14:31:00.1"))));
        (changed.stored.times, changed.stored.times_since) = (Some(changed.times.clone()), Some(at("14:30:20")));
        assert_eq!(decided(&changed, "14:32:01").start, Some(at("14:31:00")));
    }

    #[test]
    fn years_of_missed_times_start_the_newest_runs_without_an_event() {
        for catch_up in ["Latest", "All"] {
            let mut minutely = schedule(json!({"schedules": ["* * * * *"], "catchUp": catch_up}));
            minutely.base.status.last_schedule = Some("2006-01-01T00:00:00Z".parse().unwrap());
            let due = decided(&minutely, "12:00:30");
            let expected = if catch_up == "All" { at("11:51:00") } else { at("12:00:00") };
            assert_eq!((due.start, due.events.len()), (Some(expected), 0), "{catch_up}");
        }
    }

    #[test]
    fn concurrency_policy_decides_whether_active_jobs_prevent_a_start() {
        let policy = |spec: Value, active: &[&str]| {
            let due = decided(&with_active(schedule(spec), active), "11:00:01");
            (due.start.is_some(), due.replace, due.events.first().map(|event| event.reason.to_string()))
        };
        let event_reason = |reason: &str| Some(reason.to_owned());
        assert_eq!(policy(json!({}), &["a", "b"]), (true, false, None));
        assert_eq!(policy(json!({"maxActive": 2}), &["a"]), (true, false, None));
        assert_eq!(policy(json!({"maxActive": 2}), &["a", "b"]), (false, false, event_reason("Waiting")));
        assert_eq!(
            policy(json!({"concurrencyPolicy": "Forbid"}), &["a"]),
            (false, false, event_reason("JobAlreadyActive"))
        );
        assert_eq!(policy(json!({"concurrencyPolicy": "Replace"}), &["a"]), (true, true, None));
        assert_eq!(policy(json!({"concurrencyPolicy": "Queue"}), &["a"]), (false, false, event_reason("Waiting")));
        assert_eq!(policy(json!({"concurrencyPolicy": "Queue", "maxActive": 2}), &["a"]), (true, false, None));
    }

    #[test]
    fn queued_runs_start_in_order_when_there_is_room() {
        let queue = with_active(schedule(json!({"concurrencyPolicy": "Queue"})), &["a"]);
        let waiting = decided(&queue, "13:30:00");
        assert_eq!(
            (waiting.start, waiting.wake),
            (None, Some(at("14:00:00.1"))),
            "the end of an active Job triggers the next sync"
        );
        assert_eq!(next(&queue, &queue.base.status, at("13:30:00")), Some(at("11:00:00")));
        let room = CronJobStatus { active: Vec::new(), ..queue.base.status.clone() };
        assert_eq!(due(&queue, &room, at("13:30:00")).start, Some(at("11:00:00")));
    }

    #[test]
    fn jitter_delays_the_start_and_the_deadline() {
        let spec = json!({"jitter": "10m", "startingDeadlineSeconds": 30});
        let jittered = schedule(spec);
        let start = jittered.timetable.as_ref().unwrap().start_of(at("11:00:00"));
        assert!(
            start > at("11:00:01") && start <= at("11:10:00"),
            "{start}: this test needs a name with a jitter of more than a second"
        );
        let second = SignedDuration::from_secs(1);
        let before = due(&jittered, &jittered.base.status, start - second);
        assert_eq!((before.start, before.wake), (None, Some(start + WAKE_MARGIN)));
        assert_eq!(
            next(&jittered, &jittered.base.status, start - second),
            Some(at("11:00:00")),
            "a delayed run is still the next one"
        );
        assert_eq!(due(&jittered, &jittered.base.status, start + second).start, Some(at("11:00:00")));
        assert_eq!(due(&jittered, &jittered.base.status, start + second * 31).start, None, "too late");
    }

    #[test]
    fn no_run_is_due_after_as_many_as_max_runs() {
        let mut ordered = schedule(json!({"catchUp": "All", "maxRuns": 3}));
        ordered.base.status.started_runs = 1;
        let mut starts = Vec::new();
        while let Some(start) = decided(&ordered, "14:30:00").start {
            starts.push(start);
            ordered.base.status.last_schedule = Some(start);
            ordered.base.status.started_runs += 1;
        }
        assert_eq!(starts, [at("11:00:00"), at("12:00:00")]);
        let queue = with_active(schedule(json!({"concurrencyPolicy": "Queue", "maxRuns": 2})), &["a"]);
        assert_eq!(queued(&queue, &queue.base.status, Suspension::None, at("14:30:00")), 2, "no more than are left");
        let mut latest = schedule(json!({"maxRuns": 2}));
        latest.base.status.started_runs = 1;
        let due = decided(&latest, "14:30:00");
        assert_eq!(due.start, Some(at("14:00:00")));
        latest.base.status.last_schedule = due.start;
        latest.base.status.started_runs = 2;
        let due = decided(&latest, "15:30:00");
        assert_eq!((due.start, due.wake, due.events.len()), (None, None, 0));
        assert_eq!(next(&latest, &latest.base.status, at("15:30:00")), None);
        latest.max_runs = Some(3);
        assert_eq!(decided(&latest, "15:30:00").start, Some(at("15:00:00")), "a higher number goes on");
    }

    #[test]
    fn jitter_longer_than_the_interval_drops_no_run() {
        for catch_up in ["Latest", "All"] {
            let mut minutely = schedule(
                json!({"schedules": ["* * * * *"], "jitter": "10m", "catchUp": catch_up, "notAfter": "2026-01-05T10:40:00Z"}),
            );
            let mut now = at("10:00:00");
            let mut started = Vec::new();
            while let Some(wake) = decided_at(&minutely, now).wake {
                now = wake;
                if let Some(start) = decided_at(&minutely, now).start {
                    started.push(start);
                    minutely.base.status.last_schedule = Some(start);
                }
            }
            let expected: Vec<Timestamp> =
                (1..=40).map(|minute| at("10:00:00") + SignedDuration::from_mins(minute)).collect();
            assert_eq!(started, expected, "{catch_up}");
        }
    }

    fn decided_at(schedule: &JobScheduleView, now: Timestamp) -> Due {
        due(schedule, &schedule.base.status, now)
    }

    #[test]
    fn last_schedule_time_ahead_of_the_clock_is_reported_and_no_job_is_due_before_it() {
        let mut ahead = schedule(json!({}));
        ahead.base.status.last_schedule = Some(at("18:00:00"));
        let due = decided(&ahead, "12:30:00");
        assert_eq!((due.start, due.wake), (None, Some(at("19:00:00.1"))));
        assert_eq!(due.events[0].reason, "ScheduleTimeInFuture");
        assert_eq!(next(&ahead, &ahead.base.status, at("12:30:00")), Some(at("19:00:00")));
    }

    #[test]
    fn active_job_named_by_any_version_prevents_a_second_one_for_its_time() {
        for name in ["nightly-s29460180", "nightly-29460180"] {
            let active = with_active(schedule(json!({})), &[name]);
            assert_eq!(decided(&active, "11:00:01").start, None, "{name}");
        }
        assert_eq!(
            decided(&with_active(schedule(json!({})), &["nightly-s29460120"]), "11:00:01").start,
            Some(at("11:00:00"))
        );
    }

    #[test]
    fn invalid_spec_records_an_event_that_names_the_field_and_starts_no_job() {
        let cases = [
            (
                json!({"schedules": ["0 * * * *", "61 * * * *"]}),
                "spec.schedules[1]: minute: \"61\" is not within 0 to 59",
            ),
            (json!({"schedules": ["H(9-3) * * * *"]}), "spec.schedules[0]: minute: \"H(9-3)\" is invalid"),
            (json!({"timeZone": "Mars/Olympus"}), "spec.timeZone: \"Mars/Olympus\" is not an IANA time zone"),
            (json!({"exclude": [{"date": "2026-02-30"}]}), "spec.exclude[0]: this day or time does not exist"),
            (json!({"jitter": "soon"}), "spec.jitter: \"soon\" is not a duration"),
            (json!({"schedules": 5}), "spec: invalid type"),
        ];
        for (spec, message) in cases {
            let due = decided(&schedule(spec), "12:00:00");
            assert_eq!((due.start, due.wake), (None, None));
            assert!(due.events[0].message.starts_with(message), "{}", due.events[0].message);
        }
        let mut suspended = schedule(json!({"suspend": true}));
        assert_eq!(decided(&suspended, "12:00:00"), Due::default());
        assert_eq!(next(&suspended, &suspended.base.status, at("12:00:00")), None);
        suspended.base.deleting = true;
        assert_eq!(decided(&suspended, "12:00:00"), Due::default());
    }
}
