//! Calendar: a resource with days and periods, such as holidays, that JobSchedules of its namespace exclude or are
//! restricted to.
//!
//! A change of a Calendar applies to later times alone. The status of the Calendar therefore holds the periods that
//! apply, and those of earlier changes with the time until which they applied. [`versions`] selects the periods of a
//! time and [`status`] decides what to store; both are pure. [`controller`] watches Calendars and stores their status.

pub mod controller;
pub mod period;
pub mod status;
pub mod types;
pub mod versions;
pub mod view;

/// API group and version of the resource.
pub const API_VERSION: &str = super::job_schedule::API_VERSION;
/// Kind of the resource.
pub const KIND: &str = "Calendar";
