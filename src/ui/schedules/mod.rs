//! Schedules as the pages show them: CronJobs and JobSchedules with their runs.

pub mod calendar;
pub mod compare;
pub mod plan;
pub mod query;
pub mod runs;
pub mod times;

pub use self::plan::{Plan, ScheduleKind};
pub use self::query::{Column, ScheduleQuery};
pub use self::runs::{Record, Run};
