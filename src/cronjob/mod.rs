//! CronJobs: when they are due.

pub mod clock_changes;
pub mod go_duration;
pub mod schedule;
pub mod zones;
