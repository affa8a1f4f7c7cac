//! CronJob: what is stored of it, and what to do next for it. A JobSchedule has all of this, too.
//!
//! [`view`] parses the object, [`decide`] decides what to do (pure), and [`schedule_changes`] records when the schedule was changed.

pub mod decide;
pub mod schedule_changes;
pub mod source;
pub mod view;
pub mod wire;

/// The kind of the objects.
pub const KIND: &str = "CronJob";
