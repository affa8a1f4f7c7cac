//! `spec.maxRuns`: the number of runs is exact, also when the controller is killed meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use testbed::Kubectl;

use crate::harness::*;
use crate::job_schedule_conditions::{api, apply, condition_is};
use crate::user_commands::expect;

async fn job_count(scene: &Scene) -> Result<usize> {
    let jobs: Api<Job> = Api::namespaced(scene.client.clone(), &scene.namespace);
    Ok(jobs.list(&ListParams::default()).await?.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedule_starts_exactly_as_many_runs_as_it_may() -> Result<()> {
    let mut scene = Scene::new("max-runs").await?;
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let _playing = scene.succeed_all();
    let spec = json!({
        "schedules": ["@every 1s"], "catchUp": "All", "maxCatchUp": 1000, "maxRuns": 6, "successfulJobsHistoryLimit": 50,
    });
    apply(&scene, "few", &spec).await?;
    for kill in 0..5 {
        tokio::time::sleep(Duration::from_millis(700 + 131 * kill)).await;
        if let Some(mut controller) = scene.controller.take() {
            controller.process.kill();
        }
        scene.start_controller().await?;
    }
    let complete = condition_is(&scene, "few", "Complete", "True", "MaxRunsReached").await?;
    let status = &complete["status"];
    assert_eq!((&status["startedRuns"], &status["nextScheduleTime"]), (&json!(6), &Value::Null), "{status:#}");
    kubectl.run(&["wait", "--for=condition=Complete", "jobschedule/few", "--timeout=5s"]).await?;
    stays(2.5, || async {
        let count = job_count(&scene).await?;
        ensure!(count == 6, "{count} Jobs");
        Ok(())
    })
    .await?;
    let explained = expect(&scene, 0, &["explain", "jobschedule/few"]).await?;
    assert!(explained.starts_with("JobSchedule few is complete: 6 runs started (spec.maxRuns)."), "{explained}");
    let next = expect(&scene, 1, &["next", "jobschedule/few"]).await?;
    assert!(next.contains("note: it is never due again: spec.maxRuns is reached"), "{next}");

    // A run that a user starts is not counted, and a higher number goes on.
    expect(&scene, 0, &["trigger", "jobschedule/few", "--watch"]).await?;
    apply(&scene, "few", &json!({"schedules": spec["schedules"], "maxRuns": 7, "successfulJobsHistoryLimit": 50}))
        .await?;
    until("the seventh run", || async {
        let status = serde_json::to_value(api(&scene).get("few").await?)?["status"].clone();
        let counts = (status["startedRuns"].as_i64(), job_count(&scene).await?);
        Ok(if counts == (Some(7), 8) { Ok(()) } else { Err(format!("{counts:?}: {status:#}")) })
    })
    .await?;
    condition_is(&scene, "few", "Complete", "True", "MaxRunsReached").await?;
    Ok(())
}
