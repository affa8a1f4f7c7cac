//! `spec.parameters`: defaults, values of `trigger --set` and of a backfill, and their record in the history.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::job_schedule_conditions::{api, apply, condition_is};
use crate::user_commands::{expect, run};

/// Returns the environment of the first container of each Job whose name has this beginning.
async fn environments(scene: &Scene, prefix: &str) -> Result<Vec<Value>> {
    let jobs: Api<Job> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let env = |job: &Job| {
        serde_json::to_value(job).map(|job| job["spec"]["template"]["spec"]["containers"][0]["env"].clone())
    };
    Ok(jobs.iter().filter(|job| job.name_any().starts_with(prefix)).map(env).collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_reach_the_containers_and_the_history() -> Result<()> {
    let scene = Scene::new("parameters").await?;
    let parameters = json!([{"name": "REGION", "default": "eu"}, {"name": "NOTE"}]);
    for (spec, message) in [
        (json!({"parameters": [{"name": "9"}]}), "spec.parameters[0].name"),
        (json!({"parameters": [{"name": "A"}, {"name": "A"}]}), "uplicate"),
        (json!({"parameters": [{"name": "JOBWRIGHT_SCHEDULED_TIME"}]}), "must not contain JOBWRIGHT_SCHEDULED_TIME"),
        (
            json!({"parameters": parameters, "backfill": {
                "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "parameters": [{"name": "B", "value": "1"}],
            }}),
            "each of spec.backfill.parameters must have the name of one of spec.parameters",
        ),
    ] {
        let mut spec = spec;
        spec["schedules"] = json!(["0 * * * *"]);
        let refused = apply(&scene, "bad", &spec).await.err().context("accepted")?.to_string();
        assert!(refused.contains(message), "{message}: {refused}");
    }
    let _playing = scene.succeed_all();
    let spec = json!({"schedules": ["0 * * * *"], "parameters": parameters, "successfulJobsHistoryLimit": 50});
    apply(&scene, "etl", &spec).await?;
    condition_is(&scene, "etl", "Ready", "True", "ScheduleValid").await?;

    let (code, _, error) = run(&scene, &["trigger", "jobschedule/etl", "--set=AREA=us"]).await?;
    assert_eq!(code, Some(1));
    assert!(error.contains("--set AREA: it has no such parameter; its parameters are REGION, NOTE"), "{error}");
    let trigger =
        ["trigger", "jobschedule/etl", "--set=REGION=us", "--set=NOTE=$(HOME) costs 5$", "--name=etl-once", "--watch"];
    expect(&scene, 0, &trigger).await?;
    let once = environments(&scene, "etl-once").await?;
    let env = json!([{"name": "NOTE", "value": "$$(HOME) costs 5$$"}, {"name": "REGION", "value": "us"}]);
    assert_eq!(once, [env]);

    let hour = Timestamp::from_second(Timestamp::now().as_second().div_euclid(3600) * 3600)?;
    let range = [format!("--from={}", hour - SignedDuration::from_hours(1)), format!("--to={hour}")];
    expect(&scene, 0, &["backfill", "jobschedule/etl", &range[0], &range[1], "--set=NOTE=again"]).await?;
    let object = condition_is(&scene, "etl", "BackfillComplete", "True", "BackfillCompleted").await?;
    let backfilled = environments(&scene, "etl-s").await?;
    assert_eq!(backfilled.len(), 2, "{backfilled:#?}");
    for env in &backfilled {
        assert_eq!(env[0]["name"], "JOBWRIGHT_SCHEDULED_TIME");
        let (note, region) = (json!({"name": "NOTE", "value": "again"}), json!({"name": "REGION", "value": "eu"}));
        assert_eq!((&env[1], &env[2]), (&note, &region));
    }
    let history = until("the history", || async {
        let history = serde_json::to_value(api(&scene).get("etl").await?)?["status"]["history"].clone();
        Ok(if history.as_array().map(Vec::len) == Some(3) { Ok(history) } else { Err(format!("{history:#}")) })
    })
    .await?;
    assert_eq!(history[0]["parameters"], json!({"NOTE": "again", "REGION": "eu"}), "{:#}", object["status"]);
    assert_eq!(history[2]["parameters"], json!({"NOTE": "$(HOME) costs 5$", "REGION": "us"}));
    Ok(())
}
