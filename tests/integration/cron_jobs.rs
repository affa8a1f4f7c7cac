//! CronJobs under `--claim=all`, with the built-in controller off. Most tests move the last scheduled time into the
//! past instead of waiting for a minute.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus};
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

/// A scene for CronJobs, with a controller under `--claim=all`.
pub struct Crons {
    pub scene: Scene,
    pub api: Api<CronJob>,
}

impl Crons {
    /// Creates a scene. Returns `None` on a given cluster, whose built-in controllers can be on.
    pub async fn new(prefix: &str) -> Result<Option<Self>> {
        let mut scene = Scene::without_controller(prefix, &["--claim=all"]).await?;
        if scene.cluster.control.is_none() {
            testbed::skipped!("the built-in controllers of a given cluster can be on");
            return Ok(None);
        }
        scene.start_controller().await?;
        let api = Api::namespaced(scene.client.clone(), &scene.namespace);
        Ok(Some(Self { scene, api }))
    }

    /// Creates a suspended CronJob that is due every minute, with these fields set in its spec.
    pub async fn create(&self, name: &str, more: Value) -> Result<()> {
        let mut manifest = json!({
            "metadata": {"name": name},
            "spec": {
                "schedule": "* * * * *", "timeZone": "Asia/Kolkata", "suspend": true,
                "jobTemplate": {
                    "metadata": {"labels": {"of": name}, "annotations": {"note": "kept"}},
                    "spec": {"template": {"spec": {
                        "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1.36"}],
                    }}},
                },
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        self.api.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
        self.observed(name).await
    }

    /// Waits until the controller has recorded the schedule.
    async fn observed(&self, name: &str) -> Result<()> {
        until("the schedule to be recorded", || async {
            let known = self.api.get(name).await?.annotations().contains_key("jobwright.dev/schedule-observed");
            Ok(if known { Ok(()) } else { Err(String::new()) })
        })
        .await
    }

    async fn change(&self, name: &str, spec: Value) -> Result<()> {
        self.api.patch(name, &Default::default(), &Patch::Merge(json!({"spec": spec}))).await?;
        Ok(())
    }

    /// Sets the last scheduled time to `ago` before now, and resumes the CronJob.
    pub async fn due_since(&self, name: &str, ago: SignedDuration) -> Result<()> {
        let last = (Timestamp::now() - ago).strftime("%Y-%m-%dT%H:%M:00Z").to_string();
        let status = json!({"status": {"lastScheduleTime": last}});
        self.api.patch_status(name, &Default::default(), &Patch::Merge(status)).await?;
        self.change(name, json!({"suspend": false})).await
    }

    /// Suspends the CronJob, so that the next minute starts no further Job.
    pub async fn suspend(&self, name: &str) -> Result<()> {
        self.change(name, json!({"suspend": true})).await
    }

    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&CronJobStatus) -> bool,
    ) -> Result<CronJobStatus> {
        until(what, || async {
            let status = self.api.get(name).await?.status.unwrap_or_default();
            Ok(if wanted(&status) { Ok(status) } else { Err(format!("{status:#?}")) })
        })
        .await
    }

    pub async fn jobs(&self, name: &str) -> Result<Vec<String>> {
        let jobs = self.scene.jobs.list(&Default::default()).await?.items;
        let of = |job: &k8s_openapi::api::batch::v1::Job| job.labels().get("of").is_some_and(|of| of == name);
        let mut names: Vec<_> = jobs.iter().filter(|job| of(job)).map(ResourceExt::name_any).collect();
        names.sort();
        Ok(names)
    }

    pub async fn finish(&self, job: &str, succeeds: bool) -> Result<()> {
        let pod = self.scene.active(job, 1).await?.remove(0);
        if succeeds {
            self.scene.kubelet.succeed(&pod).await?
        } else {
            self.scene.kubelet.fail(&pod, 1).await?
        };
        self.scene.condition(job, if succeeds { "Complete" } else { "Failed" }).await?;
        Ok(())
    }
}

pub fn one_active(status: &CronJobStatus) -> bool {
    status.active.as_ref().is_some_and(|active| active.len() == 1)
}

/// Waits for the next minute in the last 20 s of a minute, so that no minute begins during the assertions of a test.
pub async fn away_from_the_minute() {
    let second = Timestamp::now().as_second().rem_euclid(60);
    if second > 40 {
        tokio::time::sleep(std::time::Duration::from_secs(61 - second.unsigned_abs())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_recent_missed_time_starts_a_job_that_is_tracked_to_completion() -> Result<()> {
    let Some(crons) = Crons::new("cron").await? else { return Ok(()) };
    away_from_the_minute().await;
    crons.create("nightly", json!({})).await?;
    crons.due_since("nightly", SignedDuration::from_mins(5)).await?;
    let status = crons.until("nightly", "one active", one_active).await?;
    crons.suspend("nightly").await?;
    let served = status.last_schedule_time.context("missing time")?.0;
    assert!(Timestamp::now().duration_since(served) < SignedDuration::from_mins(1));
    let name = format!("nightly-{}", served.as_second() / 60);
    assert_eq!(crons.jobs("nightly").await?, std::slice::from_ref(&name));
    let job = crons.scene.jobs.get(&name).await?;
    let zoned = served.in_tz("Asia/Kolkata")?.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    assert_eq!(job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"], zoned);
    assert_eq!(job.annotations()["note"], "kept");
    let owner = &job.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller, owner.block_owner_deletion),
        ("CronJob", Some(true), Some(true))
    );
    let active = &status.active.context("missing active")?[0];
    assert_eq!((active.name.as_deref(), active.uid.clone()), (Some(name.as_str()), job.uid()));

    crons.finish(&name, true).await?;
    let status = crons.until("nightly", "none active", |status| status.active.is_none()).await?;
    let job = crons.scene.jobs.get(&name).await?;
    assert_eq!(status.last_successful_time, job.status.and_then(|status| status.completion_time));
    crons.scene.event("nightly", "SuccessfulCreate", &format!("Created job {name}")).await?;
    crons.scene.event("nightly", "SawCompletedJob", &format!("Saw completed job: {name}, condition: Complete")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_policy_allows_forbids_or_replaces_an_active_job() -> Result<()> {
    let Some(crons) = Crons::new("policies").await? else { return Ok(()) };
    away_from_the_minute().await;
    for policy in ["Allow", "Forbid", "Replace"] {
        let name = policy.to_lowercase();
        crons.create(&name, json!({"concurrencyPolicy": policy})).await?;
        crons.has_active(&name, &format!("{name}-before")).await?;
        crons.due_since(&name, SignedDuration::from_mins(3)).await?;
    }
    crons.scene.event("forbid", "JobAlreadyActive", "Not starting job because prior execution is running").await?;
    let both = |status: &CronJobStatus| status.active.as_ref().is_some_and(|active| active.len() == 2);
    crons.until("allow", "two active", both).await?;
    crons.scene.event("replace", "SuccessfulDelete", "Deleted job replace-").await?;
    crons.until("replace", "one active", one_active).await?;
    for name in ["allow", "forbid", "replace"] {
        crons.suspend(name).await?;
    }
    assert_eq!(crons.jobs("allow").await?.len(), 2);
    assert_eq!(crons.jobs("forbid").await?.len(), 1);
    until("one Job of replace", || async {
        let jobs = crons.jobs("replace").await?;
        Ok(if jobs.len() == 1 { Ok(()) } else { Err(format!("{jobs:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_beyond_the_history_limits_are_deleted() -> Result<()> {
    let Some(crons) = Crons::new("history").await? else { return Ok(()) };
    away_from_the_minute().await;
    crons
        .create("kept", json!({"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 1, "schedule": "0 0 * * *"}))
        .await?;
    crons.due_since("kept", SignedDuration::from_hours(30)).await?;
    crons.until("kept", "one active", one_active).await?;
    let job = crons.jobs("kept").await?.remove(0);
    crons.finish_unseen(&job).await?;
    until("the Job to be gone", || async {
        let jobs = crons.jobs("kept").await?;
        Ok(if jobs.is_empty() { Ok(()) } else { Err(format!("{jobs:?}")) })
    })
    .await?;
    crons.scene.event("kept", "SuccessfulDelete", &format!("Deleted job {job}")).await?;
    let status = crons.until("kept", "none active", |status| status.active.is_none()).await?;
    assert!(status.last_successful_time.is_some(), "the success of the deleted Job is recorded");
    Ok(())
}

impl Crons {
    /// Creates a Job of this name and adds it to the active list of a CronJob.
    async fn has_active(&self, name: &str, active: &str) -> Result<()> {
        let uid = self.api.get(name).await?.uid().context("missing uid")?;
        let mut job = job(active, json!({"managedBy": null, "suspend": true}))?;
        job.metadata.labels = Some([("of".to_owned(), name.to_owned())].into());
        job.metadata.owner_references = Some(serde_json::from_value(json!([{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": uid, "controller": true,
        }]))?);
        let created = self.scene.jobs.create(&PostParams::default(), &job).await?;
        let reference = json!({
            "apiVersion": "batch/v1", "kind": "Job", "namespace": self.scene.namespace, "name": active,
            "uid": created.uid(),
        });
        let status = json!({"status": {"active": [reference]}});
        self.api.patch_status(name, &Default::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Lets a Job succeed without waiting for its condition, since the Job is deleted as soon as it has finished.
    async fn finish_unseen(&self, job: &str) -> Result<()> {
        let pod = self.scene.active(job, 1).await?.remove(0);
        self.scene.kubelet.succeed(&pod).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_job_of_the_name_is_ignored_and_own_job_of_the_name_is_recorded() -> Result<()> {
    let Some(mut crons) = Crons::new("taken").await? else { return Ok(()) };
    crons.create("other", json!({"schedule": "0 0 * * *", "timeZone": "UTC"})).await?;
    crons.create("ours", json!({"schedule": "0 0 * * *", "timeZone": "UTC"})).await?;
    let midnight = Timestamp::now().as_second().div_euclid(86_400) * 1_440;
    crons.scene.create(&format!("other-{midnight}"), json!({"suspend": true})).await?;
    // The Job of a controller that crashed before it recorded the Job in the status.
    let uid = crons.api.get("ours").await?.uid().context("missing uid")?;
    crons.scene.controller = None;
    let mut job = job(&format!("ours-{midnight}"), json!({"managedBy": null, "suspend": true}))?;
    job.metadata.owner_references = Some(serde_json::from_value(json!([{
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "ours", "uid": uid, "controller": true,
    }]))?);
    crons.scene.jobs.create(&PostParams::default(), &job).await?;
    crons.due_since("other", SignedDuration::from_hours(30)).await?;
    crons.due_since("ours", SignedDuration::from_hours(30)).await?;
    crons.scene.start_controller().await?;
    let status = crons.until("ours", "one active", one_active).await?;
    assert_eq!(status.last_schedule_time.context("missing time")?.0.as_second(), midnight * 60);
    let taken = format!("Job other-{midnight} exists and belongs to another owner: skipping the run of ");
    crons.scene.event("other", "NameTaken", &taken).await?;
    for limit in [4, 5] {
        crons.change("other", json!({"successfulJobsHistoryLimit": limit})).await?;
    }
    stays(1.0, || async {
        let status = crons.api.get("other").await?.status.unwrap_or_default();
        assert!(status.active.is_none(), "{status:?}");
        let events: Api<Event> = Api::namespaced(crons.scene.client.clone(), &crons.scene.namespace);
        let taken = ListParams::default().fields("reason=NameTaken");
        let counts: Vec<_> = events.list(&taken).await?.items.into_iter().map(|event| event.count).collect();
        assert!(counts.len() == 1 && counts[0].is_none_or(|count| count == 1), "{counts:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_schedule_starts_no_run_that_was_due_before_the_change() -> Result<()> {
    let Some(mut crons) = Crons::new("moved").await? else { return Ok(()) };
    let yearly = json!({"schedule": "0 0 1 1 *", "timeZone": "UTC"});
    crons.create("live", yearly.clone()).await?;
    crons.create("down", yearly).await?;
    crons.due_since("live", SignedDuration::from_hours(50)).await?;
    crons.due_since("down", SignedDuration::from_hours(50)).await?;
    // The new schedule was due two hours ago, and is due again tomorrow.
    let daily = (Timestamp::now() - SignedDuration::from_hours(2)).strftime("%-M %-H * * *").to_string();
    crons.change("live", json!({"schedule": daily})).await?;
    crons.scene.event("live", "ScheduleChanged", "spec.schedule or spec.timeZone was changed: times up to").await?;
    crons.change("live", json!({"successfulJobsHistoryLimit": 7})).await?;
    crons.scene.controller = None;
    crons.change("down", json!({"schedule": daily})).await?;
    crons.scene.start_controller().await?;
    crons.scene.event("down", "ScheduleChanged", "spec.schedule or spec.timeZone was changed: times up to").await?;
    stays(1.0, || async {
        let jobs = crons.scene.jobs.list(&Default::default()).await?.items;
        assert!(jobs.is_empty(), "{:?}", jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_schedule_time_ahead_of_the_clock_is_reported() -> Result<()> {
    let Some(crons) = Crons::new("ahead").await? else { return Ok(()) };
    crons.create("ahead", json!({})).await?;
    crons.due_since("ahead", SignedDuration::from_hours(-1000)).await?;
    crons.scene.event("ahead", "ScheduleTimeInFuture", "later than the clock of this controller").await?;
    assert!(crons.jobs("ahead").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_job_template_is_reported_and_other_cron_jobs_still_run() -> Result<()> {
    let Some(crons) = Crons::new("refused").await? else { return Ok(()) };
    away_from_the_minute().await;
    // The API server accepts the CronJob and rejects its Jobs, because the template gives a
    // reserved label another value.
    let long = "l".repeat(52);
    let bad = json!({"spec": {"completionMode": "Indexed", "completions": 3, "parallelism": 1, "template": {"metadata": {"labels": {
        "batch.kubernetes.io/job-name": "wrong",
    }}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}}});
    crons.create(&long, json!({"jobTemplate": bad})).await?;
    crons.create("good", json!({})).await?;
    crons.due_since(&long, SignedDuration::from_mins(2)).await?;
    crons.due_since("good", SignedDuration::from_mins(2)).await?;
    crons.scene.event(&long, "FailedCreate", "Error creating job").await?;
    crons.until("good", "one active", one_active).await?;
    crons.suspend("good").await?;
    crons.suspend(&long).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_job_is_removed_from_the_active_list() -> Result<()> {
    let Some(crons) = Crons::new("missing").await? else { return Ok(()) };
    away_from_the_minute().await;
    crons.create("cron", json!({"schedule": "0 0 * * *"})).await?;
    crons.due_since("cron", SignedDuration::from_hours(30)).await?;
    crons.until("cron", "one active", one_active).await?;
    let job = crons.jobs("cron").await?.remove(0);
    crons.scene.jobs.delete(&job, &DeleteParams::background()).await?;
    crons.until("cron", "none active", |status| status.active.is_none()).await?;
    crons.scene.event("cron", "MissingJob", &format!("Active job went missing: {job}")).await
}
