//! The health that Argo CD shows for Jobs and CronJobs, at each stage of their lives.
//!
//! The rules are those of Argo CD 3 (`gitops-engine/pkg/health/health_job.go` and
//! `resource_customizations/batch/CronJob/health.lua`), as a table. Argo CD reads the types of the conditions Failed and
//! Complete and ignores their statuses, so a controller must not store one of them before the end.

use anyhow::Result;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{CronJobStatus, JobStatus};
use kube::api::Patch;
use serde_json::json;

use crate::cron_jobs::{Crons, away_from_the_minute, one_active};
use crate::harness::*;

/// Health of a resource in Argo CD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Healthy,
    Progressing,
    Degraded,
    Suspended,
}

use Health::{Degraded, Healthy, Progressing, Suspended};

/// Returns the health of a Job with this status.
fn job_health(status: &JobStatus) -> Health {
    let has = |type_: &str| status.conditions.iter().flatten().any(|condition| condition.type_ == type_);
    let rules = [
        (has("Failed"), Degraded),
        (condition(status, "Suspended").is_some(), Suspended),
        // A Job that was resumed has a condition Suspended with the status False. Argo CD counts it as finished.
        (has("Complete") || has("Suspended"), Healthy),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map_or(Progressing, |(_, health)| health)
}

/// Returns the health of a CronJob.
fn cron_job_health(suspended: bool, status: Option<&CronJobStatus>) -> Health {
    let Some(status) = status else { return if suspended { Suspended } else { Progressing } };
    let is_active = status.active.as_ref().is_some_and(|active| !active.is_empty());
    let last_failed = match (&status.last_schedule_time, &status.last_successful_time) {
        (Some(scheduled), Some(successful)) => successful < scheduled,
        _ => false,
    };
    let rules = [(suspended, Suspended), (is_active, Healthy), (last_failed, Degraded)];
    rules.into_iter().find(|(applies, _)| *applies).map_or(Healthy, |(_, health)| health)
}

async fn health(scene: &Scene, job: &str) -> Result<Health> {
    Ok(job_health(&scene.jobs.get(job).await?.status.unwrap_or_default()))
}

#[test]
fn rules_depend_on_the_types_of_conditions() {
    let status = |conditions: &[(&str, &str)]| -> JobStatus {
        let conditions: Vec<_> =
            conditions.iter().map(|(type_, status)| json!({"type": type_, "status": status})).collect();
        serde_json::from_value(json!({"conditions": conditions})).unwrap()
    };
    let table: &[(&[(&str, &str)], Health)] = &[
        (&[], Progressing),
        (&[("SuccessCriteriaMet", "True")], Progressing),
        (&[("FailureTarget", "True")], Progressing),
        (&[("SuccessCriteriaMet", "True"), ("Complete", "True")], Healthy),
        (&[("FailureTarget", "True"), ("Failed", "True")], Degraded),
        (&[("Suspended", "True")], Suspended),
        (&[("Suspended", "False")], Healthy),
        (&[("Suspended", "False"), ("Failed", "True")], Degraded),
        (&[("Failed", "False")], Degraded),
    ];
    for (conditions, expected) in table {
        assert_eq!(job_health(&status(conditions)), *expected, "{conditions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_shows_a_job_as_progressing_until_its_last_pod_has_ended() -> Result<()> {
    let scene = Scene::new("argo-end").await?;
    scene.create("good", json!({"completions": 2, "parallelism": 2})).await?;
    assert_eq!(health(&scene, "good").await?, Progressing);
    let pods = scene.active("good", 2).await?;
    scene.kubelet.run(&pods[0], true).await?;
    scene.kubelet.succeed(&pods[1]).await?;
    scene.job_until("good", "1 succeeded", |status| status.succeeded == Some(1)).await?;
    assert_eq!(health(&scene, "good").await?, Progressing);
    scene.kubelet.succeed(&pods[0]).await?;
    scene.condition("good", "Complete").await?;
    assert_eq!(health(&scene, "good").await?, Healthy);

    // The Job has failed, and one pod still runs: the node of its pods exists, so a deleted pod stays.
    let spec =
        json!({"completions": 2, "parallelism": 2, "backoffLimit": 0, "template": {"spec": {"nodeName": "nowhere"}}});
    scene.create("bad", spec).await?;
    let pods = scene.active("bad", 2).await?;
    scene.kubelet.run(&pods[0], true).await?;
    scene.kubelet.fail(&pods[1], 1).await?;
    scene.condition("bad", "FailureTarget").await?;
    assert_eq!(health(&scene, "bad").await?, Progressing, "a pod is still terminating");
    scene.kubelet.fail(&pods[0], 143).await?;
    scene.condition("bad", "Failed").await?;
    assert_eq!(health(&scene, "bad").await?, Degraded);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_shows_a_suspended_job_as_suspended() -> Result<()> {
    let scene = Scene::new("argo-suspended").await?;
    scene.create("job", json!({"suspend": true, "backoffLimit": 0})).await?;
    scene.condition("job", "Suspended").await?;
    assert_eq!(health(&scene, "job").await?, Suspended);
    scene.change("job", json!({"suspend": false})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.job_until("job", "1 active", |status| status.active == Some(1)).await?;
    assert_eq!(health(&scene, "job").await?, Healthy, "Argo CD does not show that a resumed Job runs");
    scene.kubelet.fail(&pod, 1).await?;
    scene.condition("job", "Failed").await?;
    assert_eq!(health(&scene, "job").await?, Degraded);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_shows_a_cron_job_as_degraded_after_a_failed_run() -> Result<()> {
    let Some(crons) = Crons::new("argo-cron").await? else { return Ok(()) };
    away_from_the_minute().await;
    for (name, succeeds) in [("good", true), ("bad", false)] {
        let template = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]});
        let job =
            json!({"metadata": {"labels": {"of": name}}, "spec": {"backoffLimit": 0, "template": {"spec": template}}});
        crons.create(name, json!({"jobTemplate": job})).await?;
        let health = || async {
            let cron_job = crons.api.get(name).await?;
            let suspended = cron_job.spec.suspend == Some(true);
            anyhow::Ok(cron_job_health(suspended, cron_job.status.as_ref()))
        };
        assert_eq!(health().await?, Suspended);
        // An earlier run was successful.
        let success = json!({"status": {"lastSuccessfulTime": "2026-01-01T00:00:00Z"}});
        crons.api.patch_status(name, &Default::default(), &Patch::Merge(success)).await?;
        crons.due_since(name, SignedDuration::from_mins(3)).await?;
        crons.until(name, "an active Job", one_active).await?;
        assert_eq!(health().await?, Healthy, "the Job of {name} is running");
        let job = crons.jobs(name).await?.remove(0);
        crons.finish(&job, succeeds).await?;
        crons.until(name, "no active Job", |status| status.active.is_none()).await?;
        assert_eq!(health().await?, if succeeds { Healthy } else { Degraded });
        crons.suspend(name).await?;
        assert_eq!(health().await?, Suspended);
    }
    Ok(())
}
