//! Measurement of the time in which a second replica of Jobwright, whose cache is complete, takes over from the leader.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use testbed::kwok::NODE_NAME;

use crate::crowded::Size;
use crate::environment::Environment;
use crate::report::Figures;
use crate::system::{Controller, System, wait};
use crate::work::pod_template;

/// Maximum duration of each step.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Ends the leader with SIGTERM, creates a Job once its process has ended, and measures the time from the signal to the
/// first pod of the Job.
pub async fn measure(environment: &mut Environment, size: Size) -> Result<Figures> {
    let mut leader = environment.begin_warm(System::Jobwright).await?;
    let mut replica = environment.begin(System::Jobwright)?;
    let metrics = replica.metrics.clone();
    wait(&mut replica, "a complete cache", TIMEOUT, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let text = metrics.request_text(http::Request::get("/metrics").body(Vec::new())?).await;
        // Before the process listens, the request fails.
        Ok(text.is_ok_and(|text| is_complete(&text)))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let namespace = environment.cluster.namespace("hand-over").await?;
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(environment.client.clone(), &namespace);
    let spec = json!({"template": pod_template(NODE_NAME)});
    let job = serde_json::from_value(json!({"metadata": {"name": "new"}, "spec": spec}))?;
    let begun = Instant::now();
    leader.terminate();
    until_ended(&mut leader).await?;
    let ended = begun.elapsed().as_secs_f64();
    jobs.create(&PostParams::default(), &job).await?;
    wait(&mut replica, "the first pod", TIMEOUT, async || {
        Ok(!pods.list(&ListParams::default().limit(1)).await?.items.is_empty())
    })
    .await?;
    let hand_over = begun.elapsed().as_secs_f64();
    environment.end(replica).await?;
    Ok(Figures::from([("pods", size.pods() as f64), ("leader_ended_s", ended), ("hand_over_s", hand_over)]))
}

async fn until_ended(controller: &mut Controller) -> Result<()> {
    let begun = Instant::now();
    while controller.check().is_ok() {
        TIMEOUT.checked_sub(begun.elapsed()).context("the leader did not end after SIGTERM")?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Returns whether a metrics page reports that all caches are complete.
fn is_complete(metrics: &str) -> bool {
    let mut caches = metrics.lines().filter(|line| line.starts_with("jobwright_cache_synced")).peekable();
    caches.peek().is_some() && caches.all(|line| line.ends_with(" 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_is_complete_once_all_resources_are() {
        let one = "jobwright_cache_synced{resource=\"jobs\"} 1\n";
        assert!(is_complete(one));
        assert!(!is_complete(&format!("{one}jobwright_cache_synced{{resource=\"pods\"}} 0\n")));
        assert!(!is_complete("jobwright_queue_depth 1\n"), "the caches are not reported yet");
    }
}
