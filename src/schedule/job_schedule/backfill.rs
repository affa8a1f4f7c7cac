//! Backfill of a JobSchedule: runs for the past times of a range, beside the runs that fall due. A pure function.
//!
//! The runs are started in order, one sync after the other, and the status stores the last time that was handled. A time
//! that has a run already is skipped. Each Job of a backfill has a label, so that a Job that was started before a crash
//! is known as one of the backfill.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::timetable::Timetable;
use super::view::JobScheduleView;
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::runtime::clock::whole_seconds;
use crate::runtime::events::EventText;
use crate::schedule::backfill::{Backfill, Order, Progress, Range};
pub use crate::schedule::backfill::{LABEL, has_started};
use crate::schedule::cron_job::view::ActiveJob;
use crate::schedule::source::Facts;

/// Maximum number of scheduled times of a backfill. The controller counts the times of a range once.
pub const MAX_TIMES: usize = 10_000;
/// Reason of the event and of the condition after the last run.
pub const COMPLETED: &str = "BackfillCompleted";

/// Smallest step of a timestamp.
const STEP: SignedDuration = SignedDuration::from_nanos(1);

/// State of a backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The JobSchedule has no backfill.
    None,
    /// The range has more than [`MAX_TIMES`] times, so that no run is started.
    TooManyTimes,
    /// Progress to store, and the next time that can be started.
    Next(Progress, Option<Timestamp>),
}

impl State {
    /// Returns the progress to store.
    pub fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Next(progress, _) => Some(progress),
            _ => None,
        }
    }
}

/// Returns the label value of a backfill, such as `20260101T000000Z-20260131T235900Z`.
pub fn label(range: &Range) -> String {
    let text = |time: Timestamp| time.strftime("%Y%m%dT%H%M%SZ").to_string();
    format!("{}-{}", text(range.from), text(range.to))
}

/// Returns the scheduled times of a range up to `until`, at most `most` of them, in the order of the range.
pub fn times(table: &Timetable, range: &Range, until: Timestamp, most: usize) -> Vec<Timestamp> {
    rest(table, range, until, None).take(most).collect()
}

/// Returns the times that follow the last handled one, in the order of the range.
fn rest<'a>(
    table: &'a Timetable,
    range: &Range,
    until: Timestamp,
    last: Option<Timestamp>,
) -> Box<dyn Iterator<Item = Timestamp> + 'a> {
    let from = range.from;
    match range.order {
        Order::OldestFirst => {
            let after = last.or_else(|| from.checked_sub(STEP).ok()).unwrap_or(from);
            Box::new(table.times(after).take_while(move |time| *time <= until))
        }
        Order::NewestFirst => {
            let to = last.map_or(Some(until), |last| last.checked_sub(STEP).ok());
            Box::new(table.times_before(to.unwrap_or(Timestamp::MIN), from))
        }
    }
}

/// Decides how far the backfill has come, and which time can be started next.
///
/// `pending` are the scheduled times that the schedule itself will run; the backfill waits with these.
pub fn state(schedule: &JobScheduleView, table: &Timetable, facts: Facts<'_>, pending: &[Timestamp]) -> State {
    let Some(backfill) = &schedule.backfill else { return State::None };
    let mut progress = match schedule.backfill_progress() {
        Some(stored) => stored.clone(),
        None => {
            let until = backfill.range.to.min(whole_seconds(facts.now));
            let total = times(table, &backfill.range, until, MAX_TIMES + 1).len();
            if total > MAX_TIMES {
                return State::TooManyTimes;
            }
            Progress::new(backfill.range, until, total)
        }
    };
    if progress.completed.is_some() {
        return State::Next(progress, None);
    }
    let label = label(&backfill.range);
    let is_of_backfill = |job: &JobView| is_of(job, &label);
    count_ended(&mut progress, &label, facts);
    let has_ended = |job: &JobView| facts.ended.iter().any(|ended| ended.job.uid == job.identity.uid);
    let jobs = facts.jobs.iter().filter_map(|job| Some((schedule.scheduled_time(&job.identity.name)?, job)));
    let jobs: BTreeMap<Timestamp, &Arc<JobView>> = jobs.collect();
    let (mut next, mut is_waiting) = (None, false);
    for time in rest(table, &backfill.range, progress.until, progress.last) {
        match jobs.get(&time) {
            // Its start could not be stored.
            Some(job) if is_of_backfill(job) => {
                progress.start(time);
                if !facts.status.is_active(&job.identity.uid) && !has_ended(job) {
                    count_outcome(&mut progress, job);
                }
            }
            Some(_) => progress.skip(time),
            None if has_run(schedule, backfill, time) => progress.skip(time),
            // Its start could not be stored either, and its Job is gone.
            None if facts.backfilled.is_some_and(|last| backfill.range.order.is_passed(time, last)) => {
                progress.start(time);
            }
            // The backfill waits until the schedule itself has started this run, or has given it up.
            None if pending.contains(&time) => {
                is_waiting = true;
                break;
            }
            None => {
                next = Some(time);
                break;
            }
        }
    }
    let is_active = |job: &&Arc<JobView>| is_of_backfill(job) && facts.status.is_active(&job.identity.uid);
    progress.active = facts.jobs.iter().filter(is_active).count();
    // The watch may not have delivered the last Job yet.
    let is_unknown = |active: &ActiveJob| !facts.jobs.iter().any(|job| job.identity.uid == active.uid);
    if next.is_none() && !is_waiting && progress.active == 0 && !facts.status.active.iter().any(is_unknown) {
        progress.completed = Some(whole_seconds(facts.now));
        // A change of the schedules changes the number of times.
        progress.total = progress.started + progress.skipped;
    }
    State::Next(progress, next)
}

/// Returns the stored progress with the outcomes of the Jobs that have ended, for a JobSchedule whose times are not known.
pub fn without_times(schedule: &JobScheduleView, facts: Facts<'_>) -> Option<Progress> {
    let mut stored = schedule.base.status.backfill.clone()?;
    if let Some(backfill) = schedule.backfill.as_ref().filter(|_| schedule.backfill_progress().is_some()) {
        count_ended(&mut stored, &label(&backfill.range), facts);
    }
    Some(stored)
}

/// Returns whether the backfill with this label has started a Job.
fn is_of(job: &JobView, label: &str) -> bool {
    job.admission_info.labels.get(LABEL).is_some_and(|found| *found == *label)
}

/// Counts the outcomes of the Jobs of the backfill with this label that have ended since the status was stored.
fn count_ended(progress: &mut Progress, label: &str, facts: Facts<'_>) {
    let ended = facts.ended.iter().filter_map(|ended| ended.end.as_ref()).map(|(job, _)| job);
    ended.filter(|job| is_of(job, label)).for_each(|job| count_outcome(progress, job));
}

/// Returns the event about a backfill that was completed since the status was stored.
pub fn event(schedule: &JobScheduleView, state: &State) -> Option<EventText> {
    let progress = state.progress().filter(|progress| progress.completed.is_some())?;
    if schedule.backfill_progress().is_some_and(|stored| stored.completed.is_some()) {
        return None;
    }
    Some(EventText::normal(COMPLETED, format!("the backfill is complete: {}", summary(progress))))
}

/// Describes how far a backfill has come.
pub fn summary(progress: &Progress) -> String {
    let Progress { total, started, skipped, active, succeeded, failed, .. } = progress;
    format!(
        "{started} of {total} runs started ({active} active, {succeeded} succeeded, {failed} failed), {skipped} skipped"
    )
}

/// Returns whether a time has a run that no Job shows any more, or is excluded by the spec.
fn has_run(schedule: &JobScheduleView, backfill: &Backfill, time: Timestamp) -> bool {
    let runs = &schedule.stored.history;
    backfill.skip.contains(&time)
        || runs.iter().any(|run| run.scheduled.as_ref().is_some_and(|scheduled| scheduled.0 == time))
}

fn count_outcome(progress: &mut Progress, job: &JobView) {
    if job.status.true_condition(COMPLETE).is_some() {
        progress.succeeded += 1;
    } else if job.status.true_condition(FAILED).is_some() {
        progress.failed += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::job::view::Labels;
    use crate::schedule::creation::Creation;
    use crate::schedule::cron_job::decide::Due;
    use crate::schedule::cron_job::view::CronJobStatus;
    use crate::schedule::fixtures;
    use crate::schedule::job_schedule::view::WireJobSchedule;
    use crate::schedule::source::{EndedRun, ScheduleSource};

    const NOW: &str = "2026-01-05T12:00:30Z";

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}Z").parse().unwrap()
    }

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// Returns an hourly JobSchedule, created at 12:00, with a backfill from 06:00 to 09:30.
    fn schedule(changes: &Value, status: &Value) -> JobScheduleView {
        let mut spec = json!({
            "schedules": ["0 * * * *"], "jobTemplate": {"spec": {"template": {}}},
            "backfill": {"from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:30:00Z"},
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata = json!({
            "name": "nightly", "namespace": "default", "uid": "uid", "resourceVersion": "7",
            "creationTimestamp": "2026-01-05T12:00:10Z",
        });
        let wire = json!({"metadata": metadata, "spec": spec, "status": status}).to_string();
        let wire: WireJobSchedule = serde_json::from_str(&wire).unwrap();
        JobScheduleView::parse(wire).unwrap()
    }

    /// Returns the Job of a time. A Job of the backfill has its label.
    fn job(schedule: &JobScheduleView, time: Timestamp, condition: Option<&str>, is_of_backfill: bool) -> Arc<JobView> {
        let name = schedule.job_names(time).remove(0);
        let mut job = (*fixtures::job(&name, condition, NOW)).clone();
        if is_of_backfill {
            let label = label(&schedule.backfill.as_ref().unwrap().range);
            job.admission_info.labels = [(LABEL, &*label)].into_iter().collect::<Labels>();
        }
        Arc::new(job)
    }

    /// Returns the number of started, skipped and remaining times, and the next time to start.
    fn seen(state: &State) -> (usize, usize, usize, Option<Timestamp>) {
        let State::Next(progress, next) = state else { panic!("{state:?}") };
        (progress.started, progress.skipped, progress.remaining(), *next)
    }

    fn decided(schedule: &JobScheduleView, status: &CronJobStatus, jobs: &[Arc<JobView>]) -> Due {
        schedule.due(Facts { status, ended: &[], jobs, backfilled: None, now: now() })
    }

    fn state_of(schedule: &JobScheduleView, jobs: &[Arc<JobView>], backfilled: Option<Timestamp>) -> State {
        let facts = Facts { status: &schedule.base.status, ended: &[], jobs, backfilled, now: now() };
        state(schedule, schedule.timetable.as_ref().unwrap(), facts, &[])
    }

    #[test]
    fn times_of_the_range_are_started_in_order() {
        let oldest = schedule(&json!({}), &json!({}));
        assert_eq!(seen(&state_of(&oldest, &[], None)), (0, 0, 4, Some(at("06:00:00"))));
        let range = json!({"from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:00:00Z", "order": "NewestFirst"});
        let newest = schedule(&json!({"backfill": range}), &json!({}));
        assert_eq!(seen(&state_of(&newest, &[], None)), (0, 0, 4, Some(at("09:00:00"))));
        let stored = json!({"backfill": {
            "from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:00:00Z", "order": "NewestFirst",
            "until": "2026-01-05T09:00:00Z", "total": 4, "started": 1, "skipped": 0, "remaining": 3, "active": 0,
            "succeeded": 1, "failed": 0, "lastTime": "2026-01-05T09:00:00Z",
        }});
        let newest = schedule(&json!({"backfill": range}), &stored);
        assert_eq!(seen(&state_of(&newest, &[], None)), (1, 0, 3, Some(at("08:00:00"))));
        assert!(!newest.is_recorded(&newest.job_names(at("08:00:00"))[0]), "a Job of the range must stay");
        assert!(newest.is_recorded(&newest.job_names(at("09:00:00"))[0]));
        let other = schedule(&json!({}), &stored);
        assert_eq!(
            seen(&state_of(&other, &[], None)),
            (0, 0, 4, Some(at("06:00:00"))),
            "another range starts from its begin"
        );
    }

    #[test]
    fn times_with_a_run_are_skipped() {
        let history = json!({"history": [{"job": "old", "scheduled": "2026-01-05T07:00:00Z", "outcome": "Failed"}]});
        let backfill = json!({
            "from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:30:00Z", "skip": ["2026-01-05T08:00:00Z"],
        });
        let schedule = schedule(&json!({"backfill": backfill}), &history);
        let run = job(&schedule, at("06:00:00"), Some(COMPLETE), false);
        assert_eq!(seen(&state_of(&schedule, &[run], None)), (0, 3, 1, Some(at("09:00:00"))));
    }

    #[test]
    fn job_whose_start_was_not_stored_is_counted_and_not_started_again() {
        let schedule = schedule(&json!({}), &json!({}));
        let failed = job(&schedule, at("06:00:00"), Some(FAILED), true);
        let state = state_of(&schedule, std::slice::from_ref(&failed), None);
        assert_eq!(seen(&state), (1, 0, 3, Some(at("07:00:00"))));
        assert_eq!(state.progress().unwrap().failed, 1);
        // The Job is gone.
        let state = state_of(&schedule, &[], Some(at("07:00:00")));
        assert_eq!(seen(&state), (2, 0, 2, Some(at("08:00:00"))));
    }

    #[test]
    fn backfill_waits_for_room_for_due_runs_and_for_a_suspension() {
        let start = |changes: Value, active: &[&str]| {
            let schedule = schedule(&changes, &json!({}));
            let mut status = schedule.base.status.clone();
            status.active = active.iter().map(|name| ActiveJob::new(&fixtures::job(name, None, NOW))).collect();
            let due = decided(&schedule, &status, &[]);
            (due.start, due.is_backfill)
        };
        let first = (Some(at("06:00:00")), true);
        assert_eq!(start(json!({}), &[]), first);
        assert_eq!(start(json!({}), &["a"]), (None, false), "maxActive is 1");
        let two = json!({"from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:30:00Z", "maxActive": 2});
        assert_eq!(start(json!({"backfill": two}), &["a"]), first);
        for policy in ["Forbid", "Queue"] {
            let limited = json!({"backfill": two, "concurrencyPolicy": policy});
            assert_eq!(start(limited, &["a"]), (None, false), "{policy}");
        }
        assert_eq!(start(json!({"suspend": true}), &[]), (None, false));
        assert_eq!(start(json!({"schedules": ["* * * * *"]}), &[]).0, first.0, "no run is due yet");
        let schedule = schedule(&json!({"schedules": ["* * * * *"]}), &json!({}));
        let now = at("12:01:05");
        let facts = Facts { status: &schedule.base.status, ended: &[], jobs: &[], backfilled: None, now };
        let due = schedule.due(facts);
        assert_eq!((due.start, due.is_backfill), (Some(at("12:01:00")), false), "a run that is due comes first");
    }

    #[test]
    fn fractions_of_seconds_do_not_begin_another_backfill() {
        let backfill = json!({"from": "2026-01-05T06:00:00.5Z", "to": "2026-01-05T09:30:00.7Z"});
        let first = schedule(&json!({"backfill": backfill}), &json!({}));
        let mut status = first.base.status.clone();
        let due = decided(&first, &status, &[]);
        (status.backfill, status.last_schedule) = (due.backfill, None);
        status.backfill.as_mut().unwrap().record(due.start.unwrap(), &Creation::Done);
        let patch = first.status_patch(&status, &[], &Creation::Done, now()).unwrap();
        let stored = schedule(&json!({"backfill": backfill}), &json!({"backfill": patch["backfill"]}));
        assert_eq!(seen(&state_of(&stored, &[], None)), (1, 0, 3, Some(at("07:00:00"))));
    }

    #[test]
    fn backfill_waits_for_a_job_that_the_watch_has_not_delivered() {
        let stored = json!({"backfill": {
            "from": "2026-01-05T06:00:00Z", "to": "2026-01-05T06:30:00Z", "order": "OldestFirst",
            "until": "2026-01-05T06:30:00Z", "total": 1, "started": 1, "skipped": 0, "remaining": 0, "active": 0,
            "succeeded": 0, "failed": 0, "lastTime": "2026-01-05T06:00:00Z",
        }});
        let backfill = json!({"from": "2026-01-05T06:00:00Z", "to": "2026-01-05T06:30:00Z"});
        let schedule = schedule(&json!({"backfill": backfill}), &stored);
        let known = job(&schedule, at("06:00:00"), None, true);
        let status = CronJobStatus { active: vec![ActiveJob::new(&known)], ..schedule.base.status.clone() };
        assert_eq!(decided(&schedule, &status, &[]).backfill.unwrap().completed, None);
        let complete = decided(&schedule, &schedule.base.status, &[]).backfill.unwrap();
        assert_eq!(complete.completed, Some(at("12:00:30")));
    }

    #[test]
    fn range_that_ends_in_the_future_ends_now() {
        let backfill = json!({"from": "2026-01-05T10:30:00Z", "to": "2027-01-05T09:30:00Z"});
        let schedule = schedule(&json!({"backfill": backfill}), &json!({}));
        let state = state_of(&schedule, &[], None);
        assert_eq!(seen(&state), (0, 0, 2, Some(at("11:00:00"))));
        assert_eq!(state.progress().unwrap().until, at("12:00:30"));
    }

    #[test]
    fn range_of_too_many_times_starts_nothing_and_is_told() {
        let changes = json!({
            "schedules": ["* * * * *"], "backfill": {"from": "2020-01-05T10:30:00Z", "to": "2025-01-05T09:30:00Z"},
        });
        let schedule = schedule(&changes, &json!({}));
        assert_eq!(state_of(&schedule, &[], None), State::TooManyTimes);
        let due = decided(&schedule, &schedule.base.status, &[]);
        assert_eq!((due.start, &due.backfill), (None, &None));
        let patch = schedule.status_patch(&schedule.base.status, &[], &Creation::Untried, now()).unwrap();
        let conditions = patch["conditions"].as_array().unwrap();
        assert_eq!(conditions.last().unwrap()["reason"], "TooManyTimes");
    }

    #[test]
    fn patch_for_another_range_removes_the_times_of_the_last_one() {
        let stored = json!({"backfill": {
            "from": "2026-01-05T01:00:00Z", "to": "2026-01-05T09:30:00Z", "order": "OldestFirst",
            "until": "2026-01-05T09:30:00Z", "total": 9, "started": 9, "skipped": 0, "remaining": 0, "active": 0,
            "succeeded": 9, "failed": 0, "lastTime": "2026-01-05T09:00:00Z", "completionTime": "2026-01-05T11:00:00Z",
        }});
        let schedule = schedule(&json!({}), &stored);
        let mut status = schedule.base.status.clone();
        status.backfill = decided(&schedule, &status, &[]).backfill;
        let patch = schedule.status_patch(&status, &[], &Creation::Untried, now()).unwrap();
        let removed = patch["backfill"].as_object().unwrap();
        assert!(removed.get("lastTime") == Some(&Value::Null) && removed.get("completionTime") == Some(&Value::Null));
    }

    #[test]
    fn invalid_spec_keeps_the_progress() {
        let stored = json!({"backfill": {
            "from": "2026-01-05T06:00:00Z", "to": "2026-01-05T09:30:00Z", "order": "OldestFirst",
            "until": "2026-01-05T09:30:00Z", "total": 4, "started": 1, "skipped": 0, "remaining": 3, "active": 0,
            "succeeded": 1, "failed": 0, "lastTime": "2026-01-05T06:00:00Z",
        }});
        let invalid = schedule(&json!({"timeZone": "Mars"}), &stored);
        let due = decided(&invalid, &invalid.base.status, &[]);
        assert_eq!(due.backfill, invalid.base.status.backfill);
        assert!(due.backfill.is_some());
        // A Job that ends meanwhile is counted, and not again when the times are known.
        let ended = job(&invalid, at("07:00:00"), Some(FAILED), true);
        let wire = json!({"metadata": {"name": "a"}, "spec": {"template": {}}}).to_string();
        let end = Some(((*ended).clone(), serde_json::from_str(&wire).unwrap()));
        let ends = [EndedRun { job: ActiveJob::new(&ended), end, replaced: false }];
        let status = &invalid.base.status;
        let jobs = [ended];
        let facts = Facts { status, ended: &ends, jobs: &jobs, backfilled: None, now: now() };
        assert_eq!(invalid.due(facts).backfill.unwrap().failed, 1);
        let valid = schedule(&json!({}), &stored);
        let facts = Facts { status: &valid.base.status, ..facts };
        let progress = valid.due(facts).backfill.unwrap();
        assert_eq!((progress.started, progress.failed), (2, 1));
    }

    proptest! {
        /// Each time of the range is started or skipped exactly once, whatever was run before, and whether or not the
        /// status is stored after a start.
        #[test]
        fn each_time_is_handled_once(
            newest_first in any::<bool>(),
            max_active in 1_usize..4,
            runs in prop::collection::btree_set(0_i64..12, 0..6),
            stored in prop::collection::vec(any::<bool>(), 40),
            ends in prop::collection::vec(0_usize..3, 40),
        ) {
            let order = if newest_first { "NewestFirst" } else { "OldestFirst" };
            let backfill = json!({
                "from": "2026-01-05T00:00:00Z", "to": "2026-01-05T11:59:00Z", "order": order, "maxActive": max_active,
            });
            let mut schedule = schedule(&json!({"backfill": backfill}), &json!({}));
            let time = |hour: i64| at("00:00:00") + SignedDuration::from_hours(hour);
            let mut jobs: Vec<Arc<JobView>> =
                runs.iter().map(|hour| job(&schedule, time(*hour), Some(COMPLETE), false)).collect();
            let (mut started, mut outcomes) = (Vec::new(), [0, 0]);
            for (stores, end) in stored.into_iter().chain(std::iter::repeat(true)).zip(ends.into_iter().cycle()) {
                let mut status = schedule.base.status.clone();
                let ended: Vec<EndedRun> = status.active.iter().filter_map(|active| {
                    let job = jobs.iter().find(|job| job.identity.uid == active.uid && job.status.is_finished())?;
                    let wire = json!({"metadata": {"name": active.name}, "spec": {"template": {}}}).to_string();
                    let end = Some(((**job).clone(), serde_json::from_str(&wire).unwrap()));
                    Some(EndedRun { job: active.clone(), end, replaced: false })
                }).collect();
                status.active.retain(|active| !ended.iter().any(|ended| ended.job.uid == active.uid));
                for job in &jobs {
                    if !job.status.is_finished() && !status.is_active(&job.identity.uid) {
                        status.active.push(ActiveJob::new(job));
                    }
                }
                let due = schedule.due(Facts { status: &status, ended: &ended, jobs: &jobs, backfilled: None, now: now() });
                status.backfill = due.backfill;
                prop_assert!(status.active.len() <= max_active);
                if let Some(time) = due.start {
                    prop_assert!(due.is_backfill && status.active.len() < max_active);
                    started.push(time);
                    let made = job(&schedule, time, None, true);
                    status.backfill.as_mut().unwrap().record(time, &Creation::Done);
                    status.active.push(ActiveJob::new(&made));
                    jobs.push(made);
                }
                let is_done = status.backfill.as_ref().unwrap().completed.is_some();
                if stores {
                    schedule.base.status = status;
                }
                if is_done && stores {
                    break;
                }
                // A Job ends.
                let active = jobs.iter().position(|job| !job.status.is_finished());
                if let Some(active) = active.filter(|_| end < 2) {
                    outcomes[end] += 1;
                    let time = schedule.scheduled_time(&jobs[active].identity.name).unwrap();
                    jobs[active] = job(&schedule, time, Some([COMPLETE, FAILED][end]), true);
                }
            }
            let progress = schedule.base.status.backfill.unwrap();
            let unique: BTreeSet<Timestamp> = started.iter().copied().collect();
            prop_assert_eq!(unique.len(), started.len(), "a time was started twice: {:?}", started);
            prop_assert_eq!((progress.started, progress.skipped), (12 - runs.len(), runs.len()));
            prop_assert_eq!([progress.succeeded, progress.failed], outcomes);
            prop_assert_eq!((progress.active, progress.remaining()), (0, 0));
            let mut sorted = started.clone();
            sorted.sort();
            if newest_first {
                sorted.reverse();
            }
            prop_assert_eq!(started, sorted);
        }
    }
}
