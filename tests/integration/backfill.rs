//! `jobwright backfill` and `spec.backfill` on a real API server: each past time of a range is run once, also when the
//! controller is killed meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp, ToSpan, Unit};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::Kubectl;

use crate::harness::*;
use crate::job_schedule_conditions::{api, apply, condition_is};
use crate::user_commands::{expect, run};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Returns the full hours of the last `hours` hours, the first one first, and the flags for their range.
fn past_hours(hours: i64) -> Result<(Vec<Timestamp>, [String; 2])> {
    let now = Timestamp::now().round(Unit::Second)?;
    let last = Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(3600))?;
    let times: Vec<Timestamp> = (0..hours).rev().map(|back| last - SignedDuration::from_hours(back)).collect();
    let flags = [format!("--from={}", times[0] - 5.minutes()), format!("--to={}", last + 1.minute())];
    Ok((times, flags))
}

/// Returns the scheduled times of the Jobs with this owner, which must differ from each other.
async fn times_of(scene: &Scene, owner: &str) -> Result<BTreeSet<Timestamp>> {
    let jobs: Api<Job> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let (mut times, mut count) = (BTreeSet::new(), 0);
    for job in jobs.list(&ListParams::default()).await?.items {
        if job.owner_references().iter().any(|reference| reference.name == owner) {
            times.insert(job.annotations().get(SCHEDULED).context("no scheduled time")?.parse()?);
            count += 1;
        }
    }
    ensure!(times.len() == count, "{count} Jobs for {} times: {times:?}", times.len());
    Ok(times)
}

fn progress(object: &Value) -> [i64; 5] {
    ["total", "started", "skipped", "remaining", "succeeded"]
        .map(|field| object["status"]["backfill"][field].as_i64().unwrap_or(-1))
}

#[tokio::test(flavor = "multi_thread")]
async fn past_times_of_a_job_schedule_are_run_once_and_those_with_a_run_are_skipped() -> Result<()> {
    let mut scene = Scene::new("backfill").await?;
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let spec = json!({"schedules": ["0 * * * *"], "successfulJobsHistoryLimit": 50});
    apply(&scene, "etl", &spec).await?;
    condition_is(&scene, "etl", "Ready", "True", "ScheduleValid").await?;

    let (times, [from, to]) = past_hours(6)?;
    let planned = expect(&scene, 0, &["backfill", "jobschedule/etl", &from, &to, "--dry-run=client"]).await?;
    let lines: Vec<&str> = planned.lines().collect();
    assert_eq!(lines.len(), 7, "{planned}");
    assert_eq!(lines[6], "jobschedule.jobwright.dev/etl backfills 6 runs, skips 0 (dry run)");
    assert_eq!(lines[0].parse::<Timestamp>()?, times[0]);

    let out = expect(&scene, 0, &["backfill", "jobschedule/etl", &from, &to, "--order=newest-first"]).await?;
    assert!(out.starts_with("jobschedule.jobwright.dev/etl backfills 6 runs, skips 0\nTo see the progress: "), "{out}");
    // The first Job has no end yet, so that no second one is started.
    let first = until("the first Job", || async {
        Ok(times_of(&scene, "etl").await?.first().copied().ok_or_else(|| "none".to_owned()))
    })
    .await?;
    assert_eq!(first, times[5]);
    stays(1.0, || async {
        ensure!(times_of(&scene, "etl").await?.len() == 1, "maxActive is 1");
        Ok(())
    })
    .await?;
    let (code, _, error) = run(&scene, &["backfill", "jobschedule/etl", &from, "--to=2027-01-01"]).await?;
    assert!(code == Some(1) && error.contains("another backfill is in progress (5 of 6 times are left)"), "{error}");
    let explained = expect(&scene, 0, &["explain", "jobschedule/etl"]).await?;
    assert!(
        explained.contains("1 of 6 runs started (1 active, 0 succeeded, 0 failed), 0 skipped, 5 left."),
        "{explained}"
    );

    let playing = scene.succeed_all();
    for kill in 0..4 {
        tokio::time::sleep(Duration::from_millis(83 + 61 * kill)).await;
        if let Some(mut controller) = scene.controller.take() {
            controller.process.kill();
        }
        scene.start_controller().await?;
    }
    let object = condition_is(&scene, "etl", "BackfillComplete", "True", "BackfillCompleted").await?;
    assert_eq!(progress(&object), [6, 6, 0, 0, 6], "{:#}", object["status"]);
    assert_eq!(times_of(&scene, "etl").await?, times.iter().copied().collect());
    kubectl.run(&["wait", "--for=condition=BackfillComplete", "jobschedule/etl", "--timeout=5s"]).await?;

    // The same range is complete, and a longer one skips what has run.
    let (code, _, error) = run(&scene, &["backfill", "jobschedule/etl", &from, &to, "--order=newest-first"]).await?;
    assert!(code == Some(1) && error.contains("a backfill of this range is complete"), "{error}");
    let (longer, [from, to]) = past_hours(8)?;
    let out = expect(&scene, 0, &["backfill", "jobschedule/etl", &from, &to, "--max-active=3"]).await?;
    assert!(out.contains("backfills 2 runs, skips 6"), "{out}");
    let object = until("the longer range", || async {
        let object = serde_json::to_value(api(&scene).get("etl").await?)?;
        Ok(if progress(&object) == [8, 2, 6, 0, 2] { Ok(object) } else { Err(format!("{:#}", object["status"])) })
    })
    .await?;
    assert_eq!(object["spec"]["backfill"]["order"], "OldestFirst");
    // A controller that is killed can take the event of the first range with it.
    scene.event("etl", "BackfillCompleted", "2 of 8 runs started").await?;
    assert_eq!(times_of(&scene, "etl").await?, longer.into_iter().collect());
    let labels = kubectl.run(&["get", "jobs", "-l", "jobwright.dev/backfill", "--no-headers"]).await?;
    assert_eq!(labels.lines().count(), 8, "{labels}");

    let out = expect(&scene, 0, &["backfill", "jobschedule/etl", "--cancel"]).await?;
    assert!(out.starts_with("jobschedule.jobwright.dev/etl backfill cancelled: 2 of 8 runs were started"), "{out}");
    until("no progress", || async {
        let object = serde_json::to_value(api(&scene).get("etl").await?)?;
        let gone = object["spec"]["backfill"].is_null() && object["status"]["backfill"].is_null();
        Ok(if gone { Ok(()) } else { Err(format!("{object:#}")) })
    })
    .await?;
    drop(playing);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn past_times_of_a_cron_job_are_run_by_a_job_schedule_of_its_own() -> Result<()> {
    let scene = Scene::new("backfill-cron").await?;
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let jobs: Api<Job> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = serde_json::to_value(job("x", json!({}))?)?["spec"].clone();
    let cron_job = json!({
        "metadata": {"name": "cron"},
        "spec": {"schedule": "0 * * * *", "suspend": true, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": template}},
    });
    let stored = cron_jobs.create(&PostParams::default(), &serde_json::from_value(cron_job)?).await?;
    let (times, [from, to]) = past_hours(3)?;
    // The Job of one time exists.
    let has_run = json!({
        "metadata": {
            "name": "has-run", "annotations": {SCHEDULED: times[1].to_string()},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": "cron", "uid": stored.uid(), "controller": true,
            }],
        },
        "spec": serde_json::to_value(job("x", json!({"suspend": true}))?)?["spec"],
    });
    jobs.create(&PostParams::default(), &serde_json::from_value(has_run)?).await?;
    let _playing = scene.succeed_all();
    let yaml = expect(&scene, 0, &["backfill", "cronjob/cron", &from, &to, "--dry-run=client", "-o=yaml"]).await?;
    assert!(yaml.contains("kind: JobSchedule\n") && yaml.contains("jobwright.dev/backfill-of: cron\n"), "{yaml}");
    let out = expect(&scene, 0, &["backfill", "cronjob/cron", &from, &to, "-o=name"]).await?;
    let name = out.trim().strip_prefix("jobschedule.jobwright.dev/").context("no name")?.to_owned();
    assert!(name.starts_with("cron-backfill-"), "{name}");
    let object = condition_is(&scene, &name, "BackfillComplete", "True", "BackfillCompleted").await?;
    assert_eq!(progress(&object), [3, 2, 1, 0, 2], "{:#}", object["status"]);
    assert!(object["status"]["nextScheduleTime"].is_null(), "{:#}", object["status"]);
    assert_eq!(times_of(&scene, &name).await?, [times[0], times[2]].into());

    let (code, _, error) = run(&scene, &["backfill", "cronjob/cron", &from, &to]).await?;
    assert!(
        code == Some(1) && error.contains(&format!("a backfill of this range exists: jobschedule/{name}")),
        "{error}"
    );
    let out = expect(&scene, 0, &["backfill", "cronjob/cron", "--cancel"]).await?;
    assert!(out.contains("backfill cancelled"), "{out}");
    cron_jobs.delete("cron", &DeleteParams::default()).await?;
    until("the deletion of the copy", || async {
        Ok(match api(&scene).get_opt(&name).await? {
            None => Ok(()),
            Some(_) => Err("it exists".to_owned()),
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_that_cannot_work_is_refused_with_the_reason() -> Result<()> {
    let scene = Scene::without_controller("backfill-refused", &[]).await?;
    apply(&scene, "replace", &json!({"concurrencyPolicy": "Replace"})).await?;
    apply(&scene, "minutes", &json!({"schedules": ["* * * * *"]})).await?;
    let cases: [(&[&str], &str); 6] = [
        (&["jobschedule/replace", "--from=2026-01-01", "--to=2026-01-02"], "concurrencyPolicy Replace"),
        (&["jobschedule/minutes", "--from=2026-01-03", "--to=2026-01-02"], "--to must not be before --from"),
        (
            &["jobschedule/minutes", "--from=yesterday", "--to=2026-01-02"],
            "--from: \"yesterday\" is not a time such as",
        ),
        (&["jobschedule/minutes", "--from=2026-01-01", "--to=2026-02-02"], "more than 10000 scheduled times"),
        (&["jobschedule/minutes", "--from=2999-01-01", "--to=2999-01-02"], "no scheduled time is in the range"),
        (&["jobschedule/minutes", "--cancel"], "has no backfill"),
    ];
    for (args, reason) in cases {
        let args: Vec<&str> = [&["backfill"], args].concat();
        let (code, out, error) = run(&scene, &args).await?;
        assert!(code == Some(1) && error.contains(reason) && error.lines().count() == 1, "{args:?}: {out}{error}");
    }
    let backfill = json!({"concurrencyPolicy": "Replace", "backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}});
    let refused = apply(&scene, "replace", &backfill).await.err().context("accepted")?.to_string();
    assert!(refused.contains("spec.backfill requires spec.concurrencyPolicy: Allow, Forbid or Queue"), "{refused}");
    let reversed = json!({"backfill": {"from": "2026-01-03T00:00:00Z", "to": "2026-01-02T00:00:00Z"}});
    let refused = apply(&scene, "minutes", &reversed).await.err().context("accepted")?.to_string();
    assert!(refused.contains("spec.backfill.to must not be before spec.backfill.from"), "{refused}");
    Ok(())
}
