//! The CronJob controller: stamps out Jobs when they are due
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>).
//!
//! [`schedule`] knows when that is, [`decide`] what to do (pure), [`controller`] waits and does it, for CronJobs and whatever
//! else is [`schedule_source`].

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

/// The kind of the objects this controller reconciles.
pub const KIND: &str = "CronJob";
/// The annotation that tells a Job the time it was started for.
pub const SCHEDULED_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
