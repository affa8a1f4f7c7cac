//! CronJob and JobSchedule controllers: create Jobs at the times of a schedule
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>).
//!
//! [`expression`] parses a schedule. [`cron_job`] and [`job_schedule`] decide what to do for an object of each kind and are
//! pure. [`controller`] waits and executes the decisions, for every kind that implements [`source::ScheduleSource`].

pub mod backfill;
pub mod calendar;
pub mod civil;
pub mod clock_changes;
pub mod controller;
pub mod creation;
pub mod cron_job;
pub mod expression;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod go_duration;
pub mod job;
pub mod job_schedule;
pub mod missed;
pub mod once;
pub mod parameters;
pub mod source;
pub mod workload;
pub mod write_kinds;
pub mod zones;

/// Annotation of a Job that holds its scheduled time.
pub const SCHEDULED_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
