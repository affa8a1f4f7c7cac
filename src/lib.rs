//! Jobwright runs Kubernetes Jobs.
//!
//! It is one controller binary that takes the place of the built-in Job controller, or works beside it. The rules of
//! the Job API are pure functions in [`job::decide`]; [`runtime`] holds what controllers share; [`cli`] is the
//! command line. `ARCHITECTURE.md` is the map.

#![warn(missing_docs)]

pub mod cli;
pub mod job;
pub mod limit;
pub mod runtime;
pub mod schedule;
pub mod ttl;

/// Field manager and name under which Jobwright writes.
pub const FIELD_MANAGER: &str = "jobwright";
