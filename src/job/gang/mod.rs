//! Groups of pods that the scheduler places together: the Workload and the PodGroup of a Job.
//!
//! `plan` decides which of these objects a Job needs next, `compile` makes them, and `view` is what the caches hold. The
//! objects exist before the first pod of the Job. With the feature gate off, the controller neither reads nor writes
//! them.
//!
//! See [KEP-5547](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/5547-integrate-workload-with-job).

pub mod compile;
pub mod names;
pub mod plan;
pub mod view;

/// Feature gate of the built-in Job controller for these objects.
pub const FEATURE_GATE: &str = "WorkloadWithJob";
/// API version of Workloads and PodGroups.
pub const API_VERSION: &str = "scheduling.k8s.io/v1beta1";
/// Kind of a Workload.
pub const WORKLOAD_KIND: &str = "Workload";
/// Kind of a PodGroup.
pub const POD_GROUP_KIND: &str = "PodGroup";

/// Whether the controller manages Workloads and PodGroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GangScheduling {
    /// The feature gate is off.
    #[default]
    Disabled,
    /// The feature gate is on, and the API server does not serve the resources.
    NotServed,
    /// The feature gate is on, and the API server serves the resources.
    Enabled,
}

impl GangScheduling {
    /// Returns why `spec.scheduling` of a Job has no effect, if it has none.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Disabled => Some(
                "spec.scheduling has no effect: the feature gate WorkloadWithJob of Jobwright is off; start `jobwright run` \
                 with --feature-gates=WorkloadWithJob=true",
            ),
            Self::NotServed => Some(
                "spec.scheduling has no effect: the API server does not serve workloads and podgroups of \
                 scheduling.k8s.io/v1beta1",
            ),
            Self::Enabled => None,
        }
    }
}
