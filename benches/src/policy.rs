//! Measurement of Jobs under a JobPolicy: the processor time of the controller, against the same Jobs without one.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::json;
use testbed::kwok::NODE_NAME;

use crate::crowded::create_all;
use crate::environment::Environment;
use crate::limit::settle;
use crate::report::Figures;
use crate::requests;
use crate::syncs;
use crate::system::{Controller, wait};
use crate::usage;
use crate::work::pod_template;

/// Order of the rounds: whether a policy governs the Jobs of each. A slow change of the machine or the control plane
/// affects both.
const ROUNDS: [bool; 8] = [false, true, true, false, false, true, true, false];

/// What the controller used in the rounds of one kind.
#[derive(Default)]
struct Used {
    cpu_s: f64,
    /// Processor time of each round.
    rounds: Vec<f64>,
    syncs: f64,
    requests: f64,
}

/// Runs this number of Jobs of one pod in each round, and returns the processor time, the syncs and the requests with and
/// without a policy.
pub async fn measure(environment: &Environment, controller: &mut Controller, jobs: usize) -> Result<Figures> {
    let (mut with, mut without) = (Used::default(), Used::default());
    // The first Jobs cost more than later ones.
    let namespace = environment.cluster.namespace("warm-up").await?;
    run(environment, controller, &namespace, jobs / 2).await?;
    for (round, governed) in ROUNDS.into_iter().enumerate() {
        let namespace = environment.cluster.namespace(&format!("round-{round}")).await?;
        if governed {
            policy(environment, &namespace).await?;
        }
        settle(controller).await?;
        let used = if governed { &mut with } else { &mut without };
        let requests = requests::so_far(&environment.client).await?;
        let syncs = syncs::so_far(&controller.metrics).await?.all;
        let begun = usage::of(controller.id())?.cpu_s;
        run(environment, controller, &namespace, jobs).await?;
        settle(controller).await?;
        let cpu_s = usage::of(controller.id())?.cpu_s - begun;
        used.cpu_s += cpu_s;
        used.rounds.push(cpu_s);
        used.syncs += syncs::so_far(&controller.metrics).await?.all - syncs;
        let mut made = requests::of_controllers(&requests, &requests::so_far(&environment.client).await?);
        // The benchmark itself creates the Jobs.
        made.remove("POST jobs");
        used.requests += made.values().sum::<f64>();
    }
    controller.check()?;
    let each = |sum: f64| sum / (ROUNDS.len() / 2 * jobs) as f64;
    // The difference between rounds of one kind shows how exact the ratio is.
    let spread = without.rounds.iter().copied().reduce(f64::max).zip(without.rounds.iter().copied().reduce(f64::min));
    Ok(Figures::from([
        ("controller_cpu_ms_per_job_without_policy", each(without.cpu_s) * 1000.0),
        ("controller_cpu_ms_per_job_with_policy", each(with.cpu_s) * 1000.0),
        ("controller_cpu_ratio", with.cpu_s / without.cpu_s),
        ("controller_cpu_spread_without_policy", spread.map_or(f64::NAN, |(most, least)| most / least)),
        ("syncs_per_job_without_policy", each(without.syncs)),
        ("syncs_per_job_with_policy", each(with.syncs)),
        ("requests_per_job_without_policy", each(without.requests)),
        ("requests_per_job_with_policy", each(with.requests)),
    ]))
}

/// Creates a policy with every rule.
async fn policy(environment: &Environment, namespace: &str) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("jobwright.dev", "v1beta1", "JobPolicy"));
    let kind = ApiResource { plural: "jobpolicies".to_owned(), ..kind };
    let policies: Api<DynamicObject> = Api::namespaced_with(environment.client.clone(), namespace, &kind);
    let deadline = json!({"seconds": 600, "action": "FailJob"});
    let policy = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobPolicy", "metadata": {"name": "every-rule"},
        "spec": {
            "startDeadlines": {
                "image": deadline, "config": deadline, "unschedulable": deadline, "admission": deadline, "other": deadline,
            },
            "progressDeadline": {"seconds": 3600, "action": "FailJob"}, "runningDeadlineSeconds": 3600,
            "retry": {"jitter": true, "perMinute": 600, "memory": [{"factor": "2", "max": "1Gi"}]},
            "retention": {"secondsAfterFailure": 86400},
        },
    });
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    // The controller observes the policy within milliseconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Creates Jobs, whose simulated pods succeed, and waits until all are complete.
async fn run(environment: &Environment, controller: &mut Controller, namespace: &str, count: usize) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), namespace);
    let manifests = (0..count)
        .map(|number| {
            let name = format!("job-{number:05}");
            let manifest = json!({"metadata": {"name": name}, "spec": {"template": pod_template(NODE_NAME)}});
            Ok(serde_json::from_value(manifest)?)
        })
        .collect::<Result<Vec<Job>>>()?;
    create_all(&jobs, manifests).await?;
    wait(controller, "all Jobs to be complete", Duration::from_secs(600), async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The API server filters.
        let unfinished = jobs.list(&ListParams::default().fields("status.successful=0").limit(1)).await?;
        Ok(unfinished.items.is_empty())
    })
    .await
}
