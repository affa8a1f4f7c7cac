//! JobPolicy: rules for the Jobs of a namespace that go beyond the API of a Job, such as the time for which a pod may wait
//! for its start (kubernetes/kubernetes issues 113211 and 122300).
//!
//! [`types`] defines the resource, and [`view`] parses it. [`select`] chooses the policy that governs a Job (pure).
//! [`controller`] watches the policies and answers the Job controller. [`status`] derives the status of a policy (pure),
//! and [`crate::runtime::status_writer`] stores that status. The Job controller and the TTL controller evaluate the rules.

pub mod controller;
#[cfg(test)]
mod fixtures;
pub mod select;
pub mod status;
pub mod types;
pub mod view;
pub mod write_kinds;

/// API group and version of the resource.
pub const API_VERSION: &str = "jobwright.dev/v1beta1";
/// Kind of the resource.
pub const KIND: &str = "JobPolicy";
