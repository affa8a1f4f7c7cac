//! JobLimit: the maximum number of active Jobs in a namespace, or of their pods. The other Jobs wait
//! (kubernetes/kubernetes issue 75821).
//!
//! [`types`] defines the resource. [`workload`] computes the reservation of a Job (pure). [`admission`] decides which
//! Jobs are admitted (pure and incremental). [`message`] describes why a Job waits. [`registry`] holds the admissions
//! of each namespace, and [`controller`] watches the limits and answers the Job controller.

pub mod admission;
#[cfg(test)]
mod admission_tests;
pub mod controller;
pub mod message;
pub mod registry;
pub mod types;
pub mod view;
pub mod workload;
