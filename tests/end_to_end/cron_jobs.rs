//! Every manifest in `examples/cronjobs/` starts Jobs as its first line states. The test moves the last run into the
//! past, so that the CronJobs are due.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::harness::*;
use crate::{kubectl, scene_on_any_node};

const EXAMPLES: &[&str] = &["allow", "forbid", "hourly", "replace", "ttl", "zoned"];

#[tokio::test(flavor = "multi_thread")]
async fn every_cron_job_example_starts_its_jobs() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cronjobs");
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name().into_string().ok().context("the file name is not UTF-8")?;
        files.insert(name.trim_end_matches(".yaml").to_owned());
    }
    assert_eq!(files, EXAMPLES.iter().map(|&name| name.to_owned()).collect());
    let Some(scene) = scene_on_any_node("cron-examples", &["--claim=all"]).await? else { return Ok(()) };
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    kubectl(&scene, &["apply", "-f", folder.to_str().context("the path is not UTF-8")?]).await?;
    // The example `zoned` has a starting deadline, so a past run does not make it due.
    for name in EXAMPLES.iter().filter(|name| **name != "zoned") {
        let last = r#"{"status":{"lastScheduleTime":"2026-01-01T00:00:00Z"}}"#;
        kubectl(&scene, &["patch", "cronjob", name, "--subresource=status", "--type=merge", "-p", last]).await?;
    }
    let started = |name: &'static str| {
        let scene = &scene;
        async move {
            until(&format!("a Job of {name}"), || async {
                let jobs = scene.jobs.list(&Default::default()).await?.items;
                let of = |job: &&k8s_openapi::api::batch::v1::Job| {
                    job.metadata.owner_references.iter().flatten().any(|owner| owner.name == name)
                };
                let found = jobs.iter().find(of).and_then(|job| job.metadata.name.clone());
                Ok(found.ok_or_else(|| format!("{} Jobs", jobs.len())))
            })
            .await
        }
    };
    let hourly = started("hourly").await?;
    let expiring = started("ttl").await?;
    for name in ["allow", "forbid", "replace"] {
        started(name).await?;
    }
    kubectl(&scene, &["wait", "--for=condition=complete", &format!("job/{hourly}"), "--timeout=30s"]).await?;
    if scene.cluster.runs_processes() {
        let log = kubectl(&scene, &["logs", &format!("job/{hourly}")]).await?;
        assert!(log.contains("Hello from a CronJob run by Rust"), "{log}");
    } else {
        testbed::report::skipped_part("the logs", "the pods of simulated nodes are no processes");
    }
    let table = kubectl(&scene, &["get", "cronjobs"]).await?;
    assert!(table.lines().any(|line| line.starts_with("zoned ") && line.contains("Europe/Paris")), "{table}");
    until("the Job with a TTL to be gone", || async {
        let there = scene.jobs.get_opt(&expiring).await?.is_some();
        Ok(if there { Err("the Job still exists".to_owned()) } else { Ok(()) })
    })
    .await?;
    kubectl(&scene, &["delete", "cronjobs", "--all", "--cascade=foreground", "--timeout=60s"]).await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}
