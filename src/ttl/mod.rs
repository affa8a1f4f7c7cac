//! The TTL controller: deletes finished Jobs some time after their end (`spec.ttlSecondsAfterFinished`, and annotations
//! that tell success and failure apart).
//!
//! [`decide`] says when (pure), [`controller`] waits for it and deletes. It looks at the Jobs the Job controller watches, and
//! at what [`namespaces`] say. See <https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>.

pub mod controller;
pub mod decide;
pub mod namespaces;
