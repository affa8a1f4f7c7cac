//! The Job controller: watches `batch/v1` Jobs and drives their Pods to the requested number of completions.
//!
//! One sync repeats three stages: [`view`] holds what is known, the pure function in [`decide`] returns the next step,
//! and [`execute`] carries that step out. The API server's responses go into the cache, from which the next step is
//! decided.

pub mod admission;
pub mod config;
pub mod conflicting_controller;
pub mod controller;
pub mod creation;
pub mod decide;
pub mod execute;
pub mod gang;
pub mod index;
pub mod key;
pub mod managed_by;
pub mod metrics;
pub mod pod;
pub mod policy;
pub mod protobuf;
pub mod retry_budget;
pub mod status;
pub mod template;
pub mod transitions;
pub mod view;
pub mod wire;
pub mod workload;
pub mod write_kinds;

/// The API version of the objects this controller reconciles.
pub const API_VERSION: &str = "batch/v1";
/// The kind of the objects this controller reconciles.
pub const KIND: &str = "Job";
/// The finalizer on a pod that is not accounted for in its Job's status
/// ([KEP-2307](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2307-job-tracking-without-lingering-pods)).
pub const TRACKING_FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The label that every pod of a Job with a generated selector carries: its Job's UID.
pub const CONTROLLER_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// The annotation and label that hold a pod's completion index
/// ([KEP-2214](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2214-indexed-job)).
pub const INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation that holds the number of counted failures of a pod's index before that pod
/// ([KEP-3850](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3850-backoff-limits-per-index-for-indexed-jobs)).
pub const INDEX_FAILURES_ANNOTATION: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation that holds the number of failures before a pod that `spec.podFailurePolicy` ignores.
pub const IGNORED_FAILURES_ANNOTATION: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The annotation that holds, as JSON, the reason why a Job failed ([`decide::failure_report`]).
pub const FAILURE_ANNOTATION: &str = "jobwright.dev/failure";
/// The annotation that holds, as JSON, the results of the pods of a Job ([`decide::result_report`]).
pub const RESULT_ANNOTATION: &str = "jobwright.dev/result";
/// Maximum size of [`RESULT_ANNOTATION`] in bytes.
pub const MAX_RESULT_BYTES: usize = 4096;
/// The environment variable that holds the completion index of a container's pod.
pub const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
