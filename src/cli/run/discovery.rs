//! Which of our own resources the cluster has.

use std::time::Duration;

use kube::Client;

use super::ControllerName;
use crate::runtime::errors::message;
use crate::runtime::health::Health;
use crate::schedule::job_schedule::API_VERSION;

/// What of our health this is.
const PART: &str = "resources";
/// How soon it is asked again where there was no answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Which of our own resources the cluster has. A resource that is installed later is seen by the next start.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstalledResources {
    /// `jobschedules.jobwright.dev`.
    pub job_schedules: bool,
    /// `joblimits.jobwright.dev`.
    pub job_limits: bool,
}

impl InstalledResources {
    /// Whether there is what this controller works on.
    pub(super) fn allows(self, name: ControllerName) -> bool {
        name != ControllerName::JobSchedule || self.job_schedules
    }
}

/// Asks the API server, for as long as it takes.
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
                    "there are no JobSchedules and JobLimits here; to have them, apply crds/ and start again"
                );
                return InstalledResources::default();
            }
            Err(error) => {
                let error = message(&error);
                tracing::warn!(%error, "the API server does not say which resources it has");
                health.set(PART, Some(format!("the API server does not say which it has: {error}")));
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}
