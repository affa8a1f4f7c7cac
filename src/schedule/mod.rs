//! CronJobs and JobSchedules: starts Jobs when they are due
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>).
//!
//! [`expression`] parses a schedule. [`cron_job`] and [`job_schedule`] decide, as pure functions, what to do for an object
//! of each kind. [`controller`] waits and does it, for each kind of objects that is a [`source`].

pub mod civil;
pub mod clock_changes;
pub mod controller;
pub mod cron_job;
pub mod expression;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod go_duration;
pub mod job;
pub mod job_schedule;
pub mod missed;
pub mod once;
pub mod source;
pub mod write_kinds;
pub mod zones;

/// The annotation that tells a Job the time it was started for.
pub const SCHEDULED_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
