//! The settings of a run, parsed and checked once.

use std::time::Duration;

/// What `spec.managedBy` says on a Job that is ours in any claim mode.
pub const MANAGED_BY: &str = "jobwright.dev/controller";
/// What `spec.managedBy` says on a Job of whoever runs the cluster's Jobs.
pub const BUILTIN_MANAGED_BY: &str = "kubernetes.io/job-controller";

/// The field manager that kube-controller-manager writes a Job's status as.
pub const BUILTIN_FIELD_MANAGER: &str = "kube-controller-manager";
/// The field manager that we write as.
pub const FIELD_MANAGER: &str = "jobwright";

/// Which Jobs are ours (`--claim`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Claim {
    /// Jobs whose spec.managedBy is jobwright.dev/controller; safe next to the built-in controllers
    ManagedBy,
    /// Every Job but those another controller manages; the built-in controllers must be off
    All,
}

impl Claim {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManagedBy => "managed-by",
            Self::All => "all",
        }
    }

    /// Whether a Job with this `spec.managedBy` is ours
    /// ([KEP-4368](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/4368-support-managed-by-for-batch-jobs)).
    pub fn covers(self, managed_by: Option<&str>) -> bool {
        match managed_by {
            Some(MANAGED_BY) => true,
            None | Some(BUILTIN_MANAGED_BY) => self == Self::All,
            Some(_) => false,
        }
    }
}

/// The settings of the Job controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which Jobs are ours.
    pub claim: Claim,
    /// Drive the Jobs' Pods; without it they are only watched, for other controllers.
    pub drives_pods: bool,
    /// How many last lines of a log are kept with a Job that fails.
    pub log_tail: u32,
    /// How many Jobs are worked on at once.
    pub concurrency: usize,
    /// The limits a decision is made with.
    pub sync: SyncConfig,
}

/// The limits a decision is made with.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// How long creation waits after the first pod failure; doubled by each further one.
    pub pod_failure_backoff: Duration,
    /// The longest such wait.
    pub pod_failure_backoff_max: Duration,
    /// How long creation waits after a pod was taken away by force, uncounted.
    pub untracked_deletion_delay: Duration,
    /// How long a change of nothing but numbers in the status may wait for others to be written with.
    pub counter_write_delay: Duration,
    /// How many ended pods to tell of are worth a write without waiting.
    pub counter_batch_size: usize,
    /// How many finished pods `status.uncountedTerminatedPods` holds at most.
    pub max_uncounted_pods: usize,
    /// How many pods one step creates or deletes at most.
    pub max_pods_per_sync: usize,
}

impl Default for SyncConfig {
    /// The values of the built-in controller.
    fn default() -> Self {
        Self {
            pod_failure_backoff: Duration::from_secs(10),
            pod_failure_backoff_max: Duration::from_secs(600),
            // As long as the built-in controller waits before it acts on any change.
            untracked_deletion_delay: Duration::from_secs(1),
            counter_write_delay: Duration::from_secs(1),
            counter_batch_size: 100,
            max_uncounted_pods: 500,
            max_pods_per_sync: 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_ours_by_its_managed_by_and_the_claim() {
        let cases = [
            (Claim::ManagedBy, None, false),
            (Claim::ManagedBy, Some(BUILTIN_MANAGED_BY), false),
            (Claim::ManagedBy, Some(MANAGED_BY), true),
            (Claim::ManagedBy, Some("kueue.x-k8s.io/multikueue"), false),
            (Claim::All, None, true),
            (Claim::All, Some(BUILTIN_MANAGED_BY), true),
            (Claim::All, Some(MANAGED_BY), true),
            (Claim::All, Some("kueue.x-k8s.io/multikueue"), false),
        ];
        for (claim, managed_by, ours) in cases {
            assert_eq!(claim.covers(managed_by), ours, "{claim:?} {managed_by:?}");
        }
    }
}
