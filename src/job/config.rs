//! Settings of the Job controller, parsed and checked once.

use std::time::Duration;

use super::managed_by::Claim;

/// Settings of the Job controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// Jobs that the controller works on.
    pub claim: Claim,
    /// Whether the controller manages the pods of Jobs. Otherwise it only watches the Jobs, for other controllers.
    pub drives_pods: bool,
    /// Number of last lines of a log that are stored with a Job that fails.
    pub log_tail: u32,
    /// Maximum number of Jobs that are synced concurrently.
    pub concurrency: usize,
    /// Number of pods from which on the summary of a Job's pods is kept between syncs.
    pub min_pods_for_summary: usize,
    /// Limits of a decision.
    pub sync: SyncConfig,
}

/// Default of [`Config::min_pods_for_summary`]. For fewer pods, a summary costs less to compute again than it takes in
/// memory.
pub const MIN_PODS_FOR_SUMMARY: usize = 50;

/// Limits of a decision.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Delay of pod creation after the first pod failure. Each further failure doubles it.
    pub pod_failure_backoff: Duration,
    /// Maximum of this delay.
    pub pod_failure_backoff_max: Duration,
    /// Delay of pod creation after a pod was removed without being counted.
    pub untracked_deletion_delay: Duration,
    /// Maximum delay of a status write that changes only counters, so that such writes are batched.
    pub counter_write_delay: Duration,
    /// Number of finished pods that are worth a status write without that delay.
    pub counter_batch_size: usize,
    /// Maximum length of `status.uncountedTerminatedPods`.
    pub max_uncounted_pods: usize,
    /// Maximum number of pods that one step creates or deletes.
    pub max_pods_per_sync: usize,
}

impl Default for SyncConfig {
    /// Returns the values of the built-in controller.
    fn default() -> Self {
        Self {
            pod_failure_backoff: Duration::from_secs(10),
            pod_failure_backoff_max: Duration::from_secs(600),
            // The built-in controller waits this long before it acts on any change.
            untracked_deletion_delay: Duration::from_secs(1),
            counter_write_delay: Duration::from_secs(1),
            counter_batch_size: 100,
            max_uncounted_pods: 500,
            max_pods_per_sync: 500,
        }
    }
}
