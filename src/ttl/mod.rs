//! TTL controller: deletes finished Jobs when their time to live is over (`spec.ttlSecondsAfterFinished`, and
//! annotations with separate values for success and failure).
//!
//! [`decide`] computes the expiry time (pure). [`controller`] waits for that time and deletes the Job. The controller
//! uses the Jobs that the Job controller watches, and the annotations of [`namespaces`]. See
//! <https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>.

pub mod controller;
pub mod decide;
pub mod namespaces;
