//! A CronJob, as the controller that it shares with JobSchedules sees it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::{self, Due};
use super::schedule_changes;
use super::view::{CronJobStatus, CronJobView};
use super::wire::WireCronJob;
use crate::schedule::creation::Creation;
use crate::schedule::job;
use crate::schedule::source::{EndedRun, Facts, ScheduleSource};

impl ScheduleSource for CronJobView {
    type Wire = WireCronJob;

    const API_VERSION: &'static str = crate::job::API_VERSION;
    const KIND: &'static str = super::KIND;
    const RESOURCE: &'static str = "cronjobs";
    const NAME: &'static str = "cronjob";
    const RECORDS_HISTORY: bool = false;

    fn parse(wire: WireCronJob) -> Option<Self> {
        Self::parse(wire)
    }

    fn base(&self) -> &CronJobView {
        self
    }

    fn due(&self, facts: Facts<'_>) -> Due {
        decide::due(self, facts.status, facts.now)
    }

    fn job_names(&self, scheduled: Timestamp) -> Vec<String> {
        vec![decide::job_name(self, scheduled)]
    }

    fn scheduled_time(&self, job: &str) -> Option<Timestamp> {
        let minutes = job.strip_prefix(&*self.identity.name)?.strip_prefix('-')?;
        Timestamp::from_second(minutes.parse::<i64>().ok()?.checked_mul(60)?).ok()
    }

    fn job(&self, name: &str, scheduled: Timestamp, _is_backfill: bool) -> serde_json::Result<Vec<u8>> {
        let owner = job::OwnerKind { api_version: Self::API_VERSION, kind: Self::KIND };
        job::from_template(self, owner, name, scheduled, None)
    }

    fn status_patch(&self, status: &CronJobStatus, _: &[EndedRun], _: &Creation, _: Timestamp) -> Option<Value> {
        (*status != self.status).then(|| status.to_patch())
    }

    fn annotations(&self, now: Timestamp) -> Option<Value> {
        let record = self.changes.to_record(&self.spec, self.created, now).filter(|_| !self.deleting)?;
        Some(json!({schedule_changes::ANNOTATION: record}))
    }
}
