//! Discovers which of Jobwright's own resources (JobSchedule, Calendar, JobLimit, JobPolicy) the cluster has, and whether
//! the API server serves Workloads and PodGroups.

use std::time::Duration;

use kube::Client;

use super::ControllerName;
use super::feature_gates::FeatureGates;
use crate::job::gang::{self, GangScheduling};
use crate::runtime::errors::message;
use crate::runtime::health::Health;
use crate::schedule::job_schedule::API_VERSION;

/// Name of this check in `/readyz`.
const PART: &str = "resources";
/// Delay before discovery is repeated after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Jobwright's own resources that the cluster has. A resource that is installed later is discovered by the next start
/// of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstalledResources {
    /// Whether the cluster has `jobschedules.jobwright.dev`.
    pub job_schedules: bool,
    /// Whether the cluster has `calendars.jobwright.dev`.
    pub calendars: bool,
    /// Whether the cluster has `joblimits.jobwright.dev`.
    pub job_limits: bool,
    /// Whether the cluster has `jobpolicies.jobwright.dev`.
    pub job_policies: bool,
    /// Whether the controller manages Workloads and PodGroups.
    pub gang_scheduling: GangScheduling,
}

impl InstalledResources {
    /// Returns whether the cluster has the resource that this controller reconciles.
    pub(super) fn allows(self, name: ControllerName) -> bool {
        name != ControllerName::JobSchedule || self.job_schedules
    }
}

/// Asks the API server for the resources, and repeats each request until the API server answers. Until then, `/readyz`
/// reports the error. Workloads and PodGroups are asked for only if their feature gate is on.
pub async fn discover(client: &Client, gates: FeatureGates, health: &Health) -> InstalledResources {
    let own = served(client, API_VERSION, health).await;
    if own.is_empty() {
        tracing::info!(
            "JobSchedule, Calendar, JobLimit and JobPolicy are not installed; to use them, apply crds/ and restart the process"
        );
    }
    let has = |resources: &[String], name: &str| resources.iter().any(|resource| resource == name);
    if has(&own, "jobschedules") && !has(&own, "calendars") {
        tracing::warn!(
            "Calendars are not installed, and JobSchedules that name one start no Jobs; apply crds/ and restart the process"
        );
    }
    let gang_scheduling = if gates.workload_with_job {
        let scheduling = served(client, gang::API_VERSION, health).await;
        if has(&scheduling, "workloads") && has(&scheduling, "podgroups") {
            GangScheduling::Enabled
        } else {
            tracing::warn!(
                "the API server does not serve Workloads and PodGroups; the feature gate WorkloadWithJob has no effect"
            );
            GangScheduling::NotServed
        }
    } else {
        GangScheduling::Disabled
    };
    InstalledResources {
        job_schedules: has(&own, "jobschedules"),
        calendars: has(&own, "calendars"),
        job_limits: has(&own, "joblimits"),
        job_policies: has(&own, "jobpolicies"),
        gang_scheduling,
    }
}

/// Returns the names of the resources that the API server serves in this version of a group; none if it does not serve
/// the version.
async fn served(client: &Client, api_version: &str, health: &Health) -> Vec<String> {
    loop {
        match client.list_api_group_resources(api_version).await {
            Ok(found) => {
                health.set(PART, None);
                return found.resources.into_iter().map(|resource| resource.name).collect();
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                health.set(PART, None);
                return Vec::new();
            }
            Err(error) => {
                let error = message(&error);
                tracing::warn!(%error, "resource discovery failed");
                health.set(PART, Some(format!("discovery failed: {error}")));
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
