//! Waits for the time of each finished Job and deletes it.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::api::PropagationPolicy;
use kube::{Api, Client};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::decide::{Verdict, decide};
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::Cache;
use crate::runtime::clock::Clock;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::queue::Queue;
use crate::runtime::worker::work;
use crate::runtime::writes::{Writes, delete_params};

/// So many Jobs are deleted at once.
const WORKERS: usize = 8;

/// The TTL controller.
pub struct Controller {
    /// The connection to the API server.
    pub client: Client,
    /// The gate all writes go through.
    pub writes: Arc<Writes>,
    /// All Jobs, fed by the Job controller.
    pub jobs: Arc<Cache<JobView>>,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: TtlMetrics,
}

/// The TTL controller's metrics, under the built-in one's names.
#[derive(Clone)]
pub struct TtlMetrics {
    deletion: Histogram,
}

impl TtlMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let deletion = Histogram::new(exponential_buckets(0.1, 2.0, 14));
        registry.sub_registry_with_prefix("ttl_after_finished_controller").register(
            "job_deletion_duration_seconds",
            "How long after its time was up a Job was deleted",
            deletion.clone(),
        );
        Self { deletion }
    }
}

impl Controller {
    /// Works until it is dropped.
    pub async fn run(&self) {
        let queue = Queue::default();
        let mut changes = self.jobs.subscribe();
        // What came before the subscription.
        self.jobs.all(|_| true).iter().for_each(|job| queue.add(job.identity.uid.clone()));
        let listen = async {
            while let Some(change) = changes.recv().await {
                queue.add(change.uid);
            }
        };
        let workers = futures::future::join_all((0..WORKERS).map(|_| {
            let (queue, controller) = (&queue, self);
            work(queue, "TTL of a Job", move |uid| async move { controller.sync(&uid, queue).await })
        }));
        tokio::join!(listen, workers);
    }

    async fn sync(&self, uid: &Uid, queue: &Queue<Uid>) -> Result<(), WriteError> {
        let Some(job) = self.jobs.get(uid) else { return Ok(()) };
        if self.is_up(&job, queue).is_none() {
            return Ok(());
        }
        // The TTL may have been changed since.
        let (namespace, name) = (&job.identity.namespace, &job.identity.name);
        let wire: Api<WireJob> = Api::namespaced(self.client.clone(), namespace);
        let fresh = wire.get_opt(name).await?.and_then(JobView::parse).filter(|fresh| fresh.identity.uid == *uid);
        let Some(fresh) = fresh else { return Ok(()) };
        let Some(expired) = self.is_up(&fresh, queue) else { return Ok(()) };
        let params = delete_params(uid, Some(PropagationPolicy::Foreground));
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        match self.writes.run(jobs.delete(name, &params)).await {
            Ok(_) => {
                tracing::info!(%namespace, job = %name, %uid, "deleted: its time after the end was up");
                self.metrics.deletion.observe(self.clock.now().duration_since(expired).as_secs_f64());
                Ok(())
            }
            // Gone, or another of its name.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// When the Job's time was up, if it was; if it will be, the queue brings the Job back then.
    fn is_up(&self, job: &JobView, queue: &Queue<Uid>) -> Option<jiff::Timestamp> {
        match decide(job, self.clock.now()) {
            Verdict::Leave => None,
            Verdict::Wait(at) => {
                queue.add_at(job.identity.uid.clone(), self.clock.instant_of(at));
                None
            }
            Verdict::Delete(expired) => Some(expired),
        }
    }
}
