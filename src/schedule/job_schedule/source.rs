//! Implementation of [`ScheduleSource`] for JobSchedules, which use the controller of CronJobs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::suspension::{failures, suspension};
use super::view::{JobScheduleView, Stored, WireJobSchedule, backfill_patch};
use super::{API_VERSION, KIND, NAME_LABEL, SCHEDULED_VARIABLE, backfill, conditions, decide, names, runs};
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

    fn last_failure(&self) -> Option<Timestamp> {
        let failed = self.stored.history.iter().filter(|run| run.outcome == "Failed");
        failed.filter_map(|run| Some(run.finished.as_ref()?.0)).max()
    }

    fn timing(&self, now: Timestamp) -> Timing {
        let Ok(table) = &self.timetable else { return Timing::default() };
        let suspension = suspension(self, &self.stored.failures);
        let status = &self.base.status;
        let mut timing = Timing::of(table, suspension.is_some(), self.base.created, now);
        timing.next = timing.next.filter(|_| self.runs_left(status) != Some(0));
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
