//! Implementation of [`ScheduleSource`] for JobSchedules, which use the controller of CronJobs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::suspension::{failures, suspension};
use super::types::Run;
use super::view::{JobScheduleView, Stored, WireJobSchedule, backfill_patch};
use super::{API_VERSION, KIND, NAME_LABEL, SCHEDULED_VARIABLE, backfill, conditions, decide, names, runs};
use crate::job::view::JobView;
use crate::schedule::calendar::controller::Calendars;
use crate::schedule::creation::Creation;
use crate::schedule::cron_job::decide::{Due, is_run_recorded};
use crate::schedule::cron_job::view::{CronJobStatus, CronJobView};
use crate::schedule::source::{EndedRun, Facts, ScheduleSource};
use crate::schedule::workload::{Timing, missed_between};
use crate::schedule::{job, parameters};

impl ScheduleSource for JobScheduleView {
    type Wire = WireJobSchedule;

    const API_VERSION: &'static str = API_VERSION;
    const KIND: &'static str = KIND;
    const RESOURCE: &'static str = "jobschedules";
    const NAME: &'static str = "jobschedule";
    const RECORDS_HISTORY: bool = true;

    fn parse(wire: WireJobSchedule) -> Option<Self> {
        Self::parse(wire)
    }

    fn names_calendars(&self) -> bool {
        !self.calendars.is_empty()
    }

    fn with_calendars(&self, calendars: &Calendars) -> Option<Self> {
        self.with_calendars(|name| calendars.find(&self.base.identity.namespace, name))
    }

    fn base(&self) -> &CronJobView {
        &self.base
    }

    fn due(&self, facts: Facts<'_>) -> Due {
        decide::due(self, facts, suspension(self, &failures(self, facts.ended)))
    }

    fn is_recorded(&self, job: &str) -> bool {
        let scheduled = self.scheduled_time(job);
        // Until the backfill has come to the time, its Job also keeps the backfill from running it again.
        is_run_recorded(&self.base, scheduled) && !scheduled.is_some_and(|time| self.is_to_be_backfilled(time))
    }

    fn job_names(&self, scheduled: Timestamp) -> Vec<String> {
        let identity = &self.base.identity;
        names::names(&identity.name, &identity.uid.text(), scheduled).into()
    }

    fn scheduled_time(&self, job: &str) -> Option<Timestamp> {
        self.scheduled_time(job)
    }

    fn job(&self, name: &str, scheduled: Timestamp, is_backfill: bool) -> serde_json::Result<Vec<u8>> {
        let owner = job::OwnerKind { api_version: API_VERSION, kind: KIND };
        // A name has at most 52 characters, so that it is a valid value.
        let mut labels = vec![(NAME_LABEL, &*self.base.identity.name)];
        let backfill = self.backfill.as_ref().filter(|_| is_backfill);
        let range = backfill.map(|backfill| backfill::label(&backfill.range));
        labels.extend(range.as_deref().map(|range| (backfill::LABEL, range)));
        let set = backfill.map(|backfill| &*backfill.parameters).unwrap_or_default();
        let parameters = &parameters::values(&self.parameters, set);
        let additions = job::Additions { variable: SCHEDULED_VARIABLE, parameters, labels: &labels };
        job::from_template(&self.base, owner, name, scheduled, Some(additions))
    }

    fn has_recorded_end(&self, job: &JobView) -> bool {
        let started = job.status.start_time;
        let is_of_job =
            |run: &Run| *run.job == *job.identity.name && run.started.as_ref().map(|time| time.0) == started;
        // Without a history, nothing shows whether the end of a run of a backfill was counted.
        let is_unknown = self.history_limit == 0 && backfill::has_started(job);
        is_unknown || self.stored.history.iter().any(is_of_job)
    }

    fn last_failure(&self) -> Option<Timestamp> {
        let failed = self.stored.history.iter().filter(|run| run.outcome == "Failed");
        failed.filter_map(|run| Some(run.finished.as_ref()?.0)).max()
    }

    fn timing(&self, now: Timestamp) -> Timing {
        let Ok(table) = &self.timetable else { return Timing::default() };
        let suspension = suspension(self, &self.stored.failures);
        let status = &self.base.status;
        if self.runs_left(status) == Some(0) {
            return Timing { valid: true, suspended: suspension.is_some(), ..Timing::default() };
        }
        let mut timing = Timing::of(table, suspension.is_some(), self.base.created.max(self.times_since(now)), now);
        timing.due = decide::oldest_due(self, status, suspension, now);
        timing.queued = decide::queued(self, status, suspension, now);
        timing
    }

    fn missed(&self, last: Option<Timestamp>, scheduled: Timestamp) -> usize {
        let from = last.unwrap_or(self.base.created).max(self.times_since(scheduled));
        self.timetable.as_ref().map_or(0, |table| missed_between(table, from, scheduled))
    }

    fn is_pruned(&self) -> bool {
        // Each status that this version writes has conditions.
        self.stored.conditions.is_empty() || self.resume.is_some() && self.stored.failures.resume.is_none()
    }

    fn status_patch(
        &self,
        status: &CronJobStatus,
        ended: &[EndedRun],
        creation: &Creation,
        now: Timestamp,
    ) -> Option<Value> {
        let failures = failures(self, ended);
        let suspension = suspension(self, &failures);
        let next = decide::next(self, status, suspension, now).map(|next| self.format_time(next));
        let history = runs::added(&self.stored.history, ended, self.history_limit, now);
        let facts = conditions::Facts {
            generation: self.base.generation,
            invalid: self.timetable.as_ref().err().map(String::as_str),
            suspension,
            creation,
            backfill: self.backfill.as_ref().map(|_| status.backfill.as_ref()),
            runs: self.max_runs.map(|max| conditions::Runs {
                started: status.started_runs,
                max,
                active: status.active.len(),
            }),
            history: &history,
            now,
        };
        let conditions = conditions::conditions(&self.stored.conditions, facts);
        let newest = ended.iter().map(runs::outcome).next_back().map(str::to_owned);
        let stored = Stored {
            active_count: i32::try_from(status.active.len()).unwrap_or(i32::MAX),
            next,
            last_outcome: newest.or_else(|| self.stored.last_outcome.clone()),
            history,
            conditions,
            observed_generation: self.base.generation,
            queued: i32::try_from(decide::queued(self, status, suspension, now)).unwrap_or(i32::MAX),
            failures,
            times: Some(self.times.clone()),
            times_since: Some(self.times_since(now)),
        };
        if stored == self.stored && *status == self.base.status {
            return None;
        }
        let mut patch = status.to_patch();
        patch["activeCount"] = json!(stored.active_count);
        patch["nextScheduleTime"] = json!(stored.next);
        patch["lastOutcome"] = json!(stored.last_outcome);
        patch["queued"] = json!(stored.queued);
        patch["startedRuns"] = json!(status.started_runs);
        patch["failedRunsInARow"] = json!(stored.failures.in_a_row);
        patch["lastResume"] = json!(stored.failures.resume);
        patch["observedGeneration"] = json!(stored.observed_generation);
        patch["conditions"] = json!(stored.conditions);
        patch["backfill"] = json!(status.backfill.as_ref().map(backfill_patch));
        patch["history"] = json!(stored.history);
        patch["timesHash"] = json!(stored.times);
        patch["timesSince"] = json!(stored.times_since.map(Time));
        Some(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::status::{COMPLETE, FAILED};
    use crate::schedule::fixtures;
    use crate::schedule::fixtures::job_schedule as schedule;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}Z").parse().unwrap()
    }

    #[test]
    fn timing_knows_only_times_that_a_run_can_be_expected_for() {
        let timing = |spec: Value, status: Value| schedule(&spec, &status).timing(at("14:30:00"));
        let plain = timing(json!({}), json!({"lastScheduleTime": "2026-01-05T14:00:00Z"}));
        let expected =
            Timing { valid: true, next: Some(at("15:00:00")), second_last: Some(at("13:00:00")), ..Timing::default() };
        assert_eq!(plain, expected);
        let complete = timing(json!({"maxRuns": 2}), json!({"startedRuns": 2}));
        assert_eq!(complete, Timing { valid: true, ..Timing::default() }, "nothing is due any more");
        let hash = schedule(&json!({}), &json!({})).times;
        let changed = timing(json!({}), json!({"timesHash": hash, "timesSince": "2026-01-05T13:30:00Z"}));
        assert_eq!(changed.second_last, None, "times before the change were not those of the schedule");
        assert_eq!(changed.due, Some(at("14:00:00")));
        assert!(!timing(json!({"timeZone": "Mars"}), json!({})).valid);
        let suspended = timing(json!({"suspend": true}), json!({}));
        assert_eq!((suspended.suspended, suspended.next, suspended.due), (true, None, None));
    }

    #[test]
    fn recorded_end_of_a_run_is_known_by_its_job_and_start() {
        let run = json!({"job": "nightly-s1", "started": "2026-01-05T10:00:00Z", "outcome": "Failed"});
        let schedule = schedule(&json!({}), &json!({"history": [run]}));
        let job = |name: &str, start: &str| fixtures::job(name, Some(FAILED), start);
        assert!(schedule.has_recorded_end(&job("nightly-s1", "2026-01-05T10:00:00Z")));
        assert!(!schedule.has_recorded_end(&job("nightly-s2", "2026-01-05T10:00:00Z")));
        assert!(!schedule.has_recorded_end(&fixtures::job("nightly-s1", Some(COMPLETE), "2026-01-05T11:00:00Z")));
    }

    #[test]
    fn empty_lists_of_calendars_do_not_change_the_times() {
        let of = |spec: Value| schedule(&spec, &json!({})).times;
        let plain = of(json!({}));
        assert_eq!(of(json!({"excludeCalendars": [], "onlyCalendars": []})), plain);
        assert_ne!(of(json!({"excludeCalendars": ["a"]})), plain);
        assert_ne!(of(json!({"excludeCalendars": ["a"]})), of(json!({"onlyCalendars": ["a"]})));
    }
}
