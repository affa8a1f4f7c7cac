//! Jobs that the controller works on: the rules of `spec.managedBy`.
//!
//! See [KEP-4368](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/4368-support-managed-by-for-batch-jobs).

/// Value of `spec.managedBy` of a Job that this controller works on in every claim mode.
pub const MANAGED_BY: &str = "jobwright.dev/controller";
/// Value of `spec.managedBy` of a Job that belongs to the controller that runs the Jobs of the cluster.
pub const BUILTIN_MANAGED_BY: &str = "kubernetes.io/job-controller";
/// Field manager with which kube-controller-manager writes the status of a Job.
pub const BUILTIN_FIELD_MANAGER: &str = "kube-controller-manager";

/// Jobs that the controller works on (`--claim`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Claim {
    /// Jobs whose spec.managedBy is jobwright.dev/controller; safe next to the built-in controllers
    ManagedBy,
    /// Every Job but those another controller manages; the built-in controllers must be off
    All,
    /// Every Job, whatever its spec.managedBy is: --claim=all with the feature gate JobManagedBy off
    #[value(skip)]
    Every,
}

/// Feature gate of Kubernetes for `spec.managedBy`. It is on by default and cannot be off from 1.35 on.
pub const FEATURE_GATE: &str = "JobManagedBy";

impl Claim {
    /// Returns the claim as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManagedBy => "managed-by",
            Self::All | Self::Every => "all",
        }
    }

    /// Returns whether the controller works on a Job with this `spec.managedBy`.
    pub fn covers(self, managed_by: Option<&str>) -> bool {
        match managed_by {
            _ if self == Self::Every => true,
            Some(MANAGED_BY) => true,
            None | Some(BUILTIN_MANAGED_BY) => self == Self::All,
            Some(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_covers_jobs_by_their_managed_by() {
        let cases = [
            (Claim::ManagedBy, None, false),
            (Claim::ManagedBy, Some(BUILTIN_MANAGED_BY), false),
            (Claim::ManagedBy, Some(MANAGED_BY), true),
            (Claim::ManagedBy, Some("kueue.x-k8s.io/multikueue"), false),
            (Claim::All, None, true),
            (Claim::All, Some(BUILTIN_MANAGED_BY), true),
            (Claim::All, Some(MANAGED_BY), true),
            (Claim::All, Some("kueue.x-k8s.io/multikueue"), false),
            (Claim::Every, None, true),
            (Claim::Every, Some("kueue.x-k8s.io/multikueue"), true),
        ];
        for (claim, managed_by, ours) in cases {
            assert_eq!(claim.covers(managed_by), ours, "{claim:?} {managed_by:?}");
        }
    }
}
