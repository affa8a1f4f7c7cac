//! Discovers which of Jobwright's own resources (JobSchedule, JobLimit) the cluster has.

use std::time::Duration;

use kube::Client;

use super::ControllerName;
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
    /// Whether the cluster has `joblimits.jobwright.dev`.
    pub job_limits: bool,
}

impl InstalledResources {
    /// Returns whether the cluster has the resource that this controller reconciles.
    pub(super) fn allows(self, name: ControllerName) -> bool {
        name != ControllerName::JobSchedule || self.job_schedules
    }
}

/// Asks the API server for the resources, and repeats the request until the API server answers. Until then, `/readyz`
/// reports the error.
pub async fn discover(client: &Client, health: &Health) -> InstalledResources {
    loop {
        match client.list_api_group_resources(API_VERSION).await {
            Ok(found) => {
                health.set(PART, None);
                let has = |name: &str| found.resources.iter().any(|resource| resource.name == name);
                return InstalledResources { job_schedules: has("jobschedules"), job_limits: has("joblimits") };
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                health.set(PART, None);
                tracing::info!(
                    "JobSchedule and JobLimit are not installed; to use them, apply crds/ and restart the process"
                );
                return InstalledResources::default();
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
