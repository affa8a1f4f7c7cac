//! JobSchedule: a resource with the fields of a CronJob and additional features that users of CronJobs have requested.
//! The controller of CronJobs manages it. A JobSchedule also works in clusters in which the built-in CronJob controller
//! cannot be turned off.
//!
//! [`types`] defines the resource. [`timetable`] computes the scheduled times. [`decide`] decides what to do and is
//! pure. [`crate::schedule::controller`] waits and executes the decisions.

pub mod backfill;
#[cfg(test)]
mod calendar_tests;
pub mod conditions;
pub mod decide;
pub mod hashed;
pub mod instants;
pub mod names;
pub mod one_off;
pub mod runs;
pub mod source;
pub mod suspension;
pub mod timetable;
pub mod types;
pub mod view;

/// API group and version of the resource.
pub const API_VERSION: &str = "jobwright.dev/v1beta1";
/// Kind of the resource.
pub const KIND: &str = "JobSchedule";
/// Label of a Job and its pods that holds the name of the JobSchedule.
pub const NAME_LABEL: &str = "jobwright.dev/jobschedule";
/// Annotation that ends a suspension after failed runs. Each new value does so once.
pub const RESUME: &str = "jobwright.dev/resume";
/// Environment variable of a container that holds the scheduled time of its Job.
pub const SCHEDULED_VARIABLE: &str = "JOBWRIGHT_SCHEDULED_TIME";
