//! Pods and warnings of single Jobs, read with the permissions of the user and kept for some seconds.
//!
//! Only they show why a Job does not progress that is active according to its status. The number of Jobs of one page that
//! are read is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::cache::JobRow;
use super::identity::User;
use super::recent::Recent;
use crate::client::cluster::ClusterContext;
use crate::client::explain::cause::{Finding, JobFacts, find};
use crate::client::explain::warnings::seen_at;
use crate::client::lists::ListEach;
use crate::runtime::identity::Uid;

/// Maximum number of Jobs that are read concurrently.
const CONCURRENT: usize = 6;
/// Maximum number of warnings of a Job and its pods that are read.
const MAX_WARNINGS: u32 = 50;

/// Findings of the last seconds.
#[derive(Default)]
pub struct PodReads {
    known: Recent<(Arc<str>, Uid), Option<Finding>>,
}

impl PodReads {
    /// Returns the state of each of these Jobs with its pods. A Job that cannot be read is left out.
    pub(crate) async fn findings(
        &self,
        user: &User,
        jobs: &[Arc<JobRow>],
        context: impl Fn(&str) -> ClusterContext,
    ) -> HashMap<Uid, Finding> {
        let mut findings = HashMap::new();
        for some in jobs.chunks(CONCURRENT) {
            let reads = some.iter().map(|job| self.finding(user, job, context(&job.identity.namespace)));
            for (job, finding) in some.iter().zip(join_all(reads).await) {
                findings.extend(finding.map(|finding| (job.identity.uid.clone(), finding)));
            }
        }
        findings
    }

    async fn finding(&self, user: &User, job: &JobRow, context: ClusterContext) -> Option<Finding> {
        let key = (user.key().clone(), job.identity.uid.clone());
        let read = async { read(&context, &job.identity.name, crate::client::now()).await.ok() };
        self.known.get(key, read).await
    }
}

async fn read(context: &ClusterContext, name: &str, now: Timestamp) -> kube::Result<Finding> {
    let job = context.api::<Job>().get(name).await?;
    let pods = context.pods_of(&job).await?;
    let events: Api<Event> = context.api();
    let mut uids = vec![job.uid().unwrap_or_default()];
    // One pod that waits stands for the others, which have the same template.
    uids.extend(pods.iter().find(|pod| crate::client::explain::pod::is_live(pod)).and_then(ResourceExt::uid));
    let mut warnings: Vec<Event> = Vec::new();
    for uid in uids {
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning")).limit(MAX_WARNINGS);
        // Without permission for events, the pods are enough for most causes.
        warnings.extend(events.list_each(&about).await.unwrap_or_default());
    }
    warnings.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
    let pods: Vec<&Pod> = pods.iter().collect();
    Ok(find(&JobFacts { job: &job, pods: &pods, pods_known: true, warnings: &warnings }, now))
}
