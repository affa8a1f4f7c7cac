//! JobLimit: the maximum number of active Jobs in a namespace, or of their pods. The other Jobs wait
//! (kubernetes/kubernetes issue 75821).
//!
//! [`types`] defines the resource. [`workload`] computes the reservation of a Job (pure). [`admission`] decides which
//! Jobs are admitted (pure and incremental). [`message`] describes why a Job waits. [`registry`] holds the admissions
//! of each namespace, and [`controller`] watches the limits and answers the Job controller. [`status`] derives the status
//! of a limit (pure), which [`crate::runtime::status_writer`] stores.

pub mod admission;
#[cfg(test)]
mod admission_tests;
pub mod controller;
pub mod message;
pub mod registry;
pub mod status;
pub mod types;
pub mod view;
pub mod workload;
pub mod write_kinds;

/// API group and version of the resource.
pub const API_VERSION: &str = "jobwright.dev/v1beta1";
/// Kind of the resource.
pub const KIND: &str = "JobLimit";
