//! CronJobs: when they are due.

pub mod go_duration;
pub mod schedule;
pub mod zones;
