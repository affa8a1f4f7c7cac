//! JobLimit: the maximum number of Jobs of a namespace, or of their pods, that are active; the other Jobs wait
//! (kubernetes/kubernetes issue 75821).
//!
//! [`types`] is the resource. [`workload`] says what a Job claims (pure), [`admission`] which Jobs are admitted (pure and
//! incremental), [`message`] why a Job waits. [`registry`] keeps the admissions of each namespace, and
//! [`controller`] feeds it and answers the Job controller.

pub mod admission;
#[cfg(test)]
mod admission_tests;
pub mod controller;
pub mod message;
pub mod registry;
pub mod types;
pub mod view;
pub mod workload;
