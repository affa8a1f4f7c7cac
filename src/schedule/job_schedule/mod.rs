//! JobSchedule: a CronJob's spec and what its users have asked for, run by the CronJob controller's core. It works beside the
//! built-in CronJob controller, where that cannot be switched off.
//!
//! [`types`] is the resource, [`timetable`] says when one is due, [`decide`] what to do (pure); [`crate::schedule::controller`]
//! waits and does it.

pub mod decide;
pub mod hashed;
pub mod instants;
pub mod names;
pub mod runs;
pub mod source;
pub mod timetable;
pub mod types;
pub mod view;

/// The resource's API group and version.
pub const API_VERSION: &str = "jobwright.dev/v1beta1";
/// The kind of the objects.
pub const KIND: &str = "JobSchedule";
/// The environment variable that tells a container the time it was started for.
pub const SCHEDULED_VARIABLE: &str = "JOBWRIGHT_SCHEDULED_TIME";
