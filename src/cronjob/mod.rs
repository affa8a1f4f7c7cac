//! CronJob controller: creates Jobs at the times of a schedule
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>).
//!
//! [`schedule`] computes the scheduled times. [`decide`] decides what to do and is pure. [`controller`] waits and
//! executes the decisions, for CronJobs and for every other kind that implements [`schedule_source::ScheduleSource`].

pub mod civil;
pub mod clock_changes;
pub mod controller;
pub mod decide;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod go_duration;
pub mod job;
pub mod missed;
pub mod once;
pub mod schedule;
pub mod schedule_changes;
pub mod schedule_source;
pub mod view;
pub mod wire;
pub mod write_kinds;
pub mod zones;

/// Kind of the objects that this controller reconciles.
pub const KIND: &str = "CronJob";
/// Annotation of a Job that holds its scheduled time.
pub const SCHEDULED_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
