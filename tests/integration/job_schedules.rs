//! JobSchedules on a real API server, beside the Jobs and CronJobs of the same cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::Kubectl;
use testbed::manifest::lay_over;

use crate::harness::*;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

fn api(scene: &Scene) -> Api<JobSchedule> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

/// Returns a JobSchedule that is due every minute, its spec overlaid with these fields.
fn schedule(name: &str, spec: &Value) -> Value {
    let job = serde_json::to_value(job("x", json!({"managedBy": "jobwright.dev/controller"})).unwrap()).unwrap();
    let mut manifest = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": name},
        "spec": {"schedules": ["* * * * *"], "jobTemplate": {"spec": job["spec"]}},
    });
    lay_over(&mut manifest["spec"], spec);
    manifest
}

/// Applies a JobSchedule as `kubectl apply` does. The API server checks the manifest itself, and not its round trip
/// through the Rust types.
async fn create(scene: &Scene, name: &str, spec: Value) -> kube::Result<JobSchedule> {
    let apply = Patch::Apply(schedule(name, &spec));
    api(scene).patch(name, &PatchParams::apply("test").force(), &apply).await
}

/// Sets the status so that the last scheduled time was `last`.
async fn set_last_time(scene: &Scene, name: &str, last: Timestamp) -> Result<()> {
    until("the hash of its times in the status", || async {
        Ok(if status(scene, name).await?["timesHash"].is_string() { Ok(()) } else { Err(String::new()) })
    })
    .await?;
    let status = json!({"lastScheduleTime": last.to_string(), "timesSince": last.to_string()});
    api(scene).patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    Ok(())
}

async fn jobs(scene: &Scene) -> Result<Vec<Job>> {
    let mut jobs = scene.jobs.list(&ListParams::default()).await?.items;
    jobs.sort_by_key(|job| job.annotations().get(SCHEDULED).cloned());
    Ok(jobs)
}

async fn jobs_are(scene: &Scene, count: usize) -> Result<Vec<Job>> {
    until(&format!("{count} Jobs"), || async {
        let jobs = jobs(scene).await?;
        let names: Vec<String> = jobs.iter().map(ResourceExt::name_any).collect();
        Ok(if jobs.len() == count { Ok(jobs) } else { Err(format!("{names:?}")) })
    })
    .await
}

async fn status(scene: &Scene, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(api(scene).get(name).await?.status)?)
}

/// Returns the start of the current minute, minus this number of minutes.
fn minutes_ago(minutes: i64) -> Timestamp {
    let now = Timestamp::now().as_second().div_euclid(60) * 60;
    Timestamp::from_second(now - minutes * 60).unwrap()
}

/// Waits for the next minute in the second half of a minute, so that no further run comes due during a test.
async fn early_in_the_minute() {
    let left = 60 - Timestamp::now().as_second().rem_euclid(60);
    if left < 30 {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs() + 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_times_are_caught_up_in_order_and_each_job_carries_its_time() -> Result<()> {
    early_in_the_minute().await;
    let scene = Scene::new("sched-all").await?;
    create(&scene, "all", json!({"catchUp": "All", "maxCatchUp": 3, "timeZone": "Asia/Kolkata"})).await?;
    set_last_time(&scene, "all", minutes_ago(600)).await?;
    let jobs = jobs_are(&scene, 3).await?;
    for (job, ago) in jobs.iter().zip([2, 1, 0]) {
        let scheduled = minutes_ago(ago);
        let scheduled_time = job.annotations().get(SCHEDULED).context("the Job has no scheduled time")?;
        assert_eq!(scheduled_time.parse::<Timestamp>()?, scheduled, "{scheduled_time}");
        assert!(scheduled_time.ends_with("+05:30"), "{scheduled_time}");
        assert_eq!(job.name_any(), format!("all-s{}", scheduled.as_second() / 60));
        let containers =
            &job.spec.as_ref().context("missing spec")?.template.spec.as_ref().context("missing pod")?.containers;
        let variable = containers[0].env.iter().flatten().find(|variable| variable.name == "JOBWRIGHT_SCHEDULED_TIME");
        assert_eq!(variable.and_then(|variable| variable.value.as_ref()), Some(scheduled_time));
        assert_eq!(job.labels().get("jobwright.dev/jobschedule").map(String::as_str), Some("all"));
        let owner = &job.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.api_version.as_str()), ("JobSchedule", "jobwright.dev/v1beta1"));
    }
    let next =
        minutes_ago(-1).to_zoned(jiff::tz::TimeZone::get("Asia/Kolkata")?).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    until("the status of three active Jobs", || async {
        let status = status(&scene, "all").await?;
        let fits = status["activeCount"] == 3 && status["nextScheduleTime"] == next;
        Ok(if fits { Ok(()) } else { Err(format!("{status:#} instead of {next}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_runs_start_one_after_another_and_their_history_outlives_their_jobs() -> Result<()> {
    early_in_the_minute().await;
    let scene = Scene::new("sched-queue").await?;
    // The schedule is due at two past times only.
    let spec = json!({
        "concurrencyPolicy": "Queue", "historyLimit": 5, "failedJobsHistoryLimit": 0, "successfulJobsHistoryLimit": 0,
        "notAfter": minutes_ago(0).to_string(),
        "jobTemplate": {"spec": {"backoffLimit": 0}},
    });
    create(&scene, "queue", spec).await?;
    set_last_time(&scene, "queue", minutes_ago(2)).await?;
    let first = jobs_are(&scene, 1).await?.remove(0).name_any();
    scene.event("queue", "Waiting", "1 due, 1 active, at most 1 allowed").await?;
    let pod = scene.active(&first, 1).await?.remove(0);
    scene.kubelet.fail(&pod, 3).await?;
    let second = until("the second Job", || async {
        let jobs = jobs(&scene).await?;
        let other = jobs.iter().map(ResourceExt::name_any).find(|name| *name != first);
        Ok(other.ok_or_else(|| format!("{} Jobs", jobs.len())))
    })
    .await?;
    let pod = scene.active(&second, 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    jobs_are(&scene, 0).await?;
    let status = until("both runs in the history", || async {
        let status = status(&scene, "queue").await?;
        let recorded = status["history"].as_array().map_or(0, Vec::len);
        Ok(if recorded == 2 { Ok(status) } else { Err(format!("{status:#}")) })
    })
    .await?;
    let (newest, oldest) = (&status["history"][0], &status["history"][1]);
    assert_eq!((&newest["job"], &newest["outcome"]), (&json!(second), &json!("Succeeded")), "{status:#}");
    assert_eq!(
        (&oldest["job"], &oldest["outcome"], &oldest["exitCode"]),
        (&json!(first), &json!("Failed"), &json!(3)),
        "{status:#}"
    );
    assert!(
        oldest["message"].as_str().is_some_and(|message| message.contains("container main: exit code 3")),
        "{status:#}"
    );
    assert_eq!(oldest["scheduled"], json!(minutes_ago(1).to_string()));
    assert_eq!(
        (&status["lastOutcome"], &status["nextScheduleTime"], &status["activeCount"]),
        (&json!("Succeeded"), &Value::Null, &json!(0))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_or_suspending_a_schedule_starts_no_job() -> Result<()> {
    early_in_the_minute().await;
    let scene = Scene::new("sched-change").await?;
    create(&scene, "yearly", json!({"schedules": ["0 0 1 1 *"]})).await?;
    let next_is = async |wanted: Value| {
        until("the next time", || async {
            let status = status(&scene, "yearly").await?;
            Ok(if status["nextScheduleTime"] == wanted { Ok(()) } else { Err(format!("{status:#}")) })
        })
        .await
    };
    let year = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year() + 1;
    next_is(json!(format!("{year}-01-01T00:00:00Z"))).await?;
    set_last_time(&scene, "yearly", Timestamp::now() - SignedDuration::from_hours(24)).await?;
    create(&scene, "yearly", json!({"schedules": ["* * * * *"]})).await?;
    next_is(json!(minutes_ago(-1).to_string())).await?;
    create(&scene, "yearly", json!({"schedules": ["* * * * *"], "suspend": true})).await?;
    next_is(Value::Null).await?;
    assert!(jobs(&scene).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn due_run_starts_at_its_time_and_a_manual_job_enters_the_history() -> Result<()> {
    let scene = Scene::new("sched-due").await?;
    create(&scene, "minutely", json!({})).await?;
    let due = minutes_ago(-1);
    until("the next time in the status", || async {
        Ok(if status(&scene, "minutely").await?["nextScheduleTime"].is_null() { Err(String::new()) } else { Ok(()) })
    })
    .await?;
    let left = due.duration_since(Timestamp::now()).as_secs().max(0);
    tokio::time::sleep(Duration::from_secs(left.unsigned_abs())).await;
    let job = jobs_are(&scene, 1).await?.remove(0);
    let created = job.creation_timestamp().context("missing time")?.0;
    assert!(created >= due && created.duration_since(due) < SignedDuration::from_secs(20), "{created} for {due}");
    // A user creates another Job by hand. The history records it like the others.
    let mut manual = serde_json::to_value(&job)?;
    manual["metadata"] = json!({"name": "by-hand", "ownerReferences": job.owner_references()});
    for generated in ["selector", "template/metadata/labels"] {
        let (parent, key) = generated.rsplit_once('/').map_or(("", generated), |(parent, key)| (parent, key));
        let pointer = if parent.is_empty() { "/spec".to_owned() } else { format!("/spec/{parent}") };
        manual.pointer_mut(&pointer).and_then(Value::as_object_mut).context("missing object")?.remove(key);
    }
    manual["status"] = Value::Null;
    scene.jobs.create(&PostParams::default(), &serde_json::from_value(manual)?).await?;
    let pod = scene.active("by-hand", 1).await?.remove(0);
    until("the manual Job to be active", || async {
        let count = status(&scene, "minutely").await?["activeCount"].clone();
        Ok(if count == 2 { Ok(()) } else { Err(count.to_string()) })
    })
    .await?;
    scene.kubelet.succeed(&pod).await?;
    until("the manual Job in the history", || async {
        let status = status(&scene, "minutely").await?;
        Ok(if status["history"][0]["job"] == "by-hand" { Ok(()) } else { Err(format!("{status:#}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_job_schedule_is_rejected_by_the_api_server_with_an_explanation() -> Result<()> {
    let scene = Scene::without_controller("sched-wrong", &[]).await?;
    let cases = [
        (json!({"schedules": []}), "spec.schedules"),
        (json!({"schedules": ["* * * *"]}), "five fields (minute hour day-of-month month day-of-week)"),
        (json!({"schedules": ["TZ=UTC * * * * *"]}), "set spec.timeZone instead"),
        (json!({"timeZone": "Local"}), "spec.timeZone must be an IANA name"),
        (json!({"jitter": "soon"}), "spec.jitter"),
        (json!({"jitter": "48h"}), "of at most 24h"),
        (
            json!({"notBefore": "2027-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z"}),
            "spec.notAfter must not be before spec.notBefore",
        ),
        (json!({"maxCatchUp": 5}), "spec.maxCatchUp requires spec.catchUp: All"),
        (
            json!({"maxActive": 5, "concurrencyPolicy": "Forbid"}),
            "spec.maxActive requires spec.concurrencyPolicy: Allow or Queue",
        ),
        (json!({"concurrencyPolicy": "Sometimes"}), "supported values: \"Allow\", \"Forbid\", \"Replace\", \"Queue\""),
        (json!({"dst": "Never"}), "spec.dst"),
        (json!({"exclude": [{"date": "Christmas"}]}), "spec.exclude[0].date"),
        (
            json!({"exclude": [{"date": "12-25", "from": "2026-12-24T00:00"}]}),
            "each entry of spec.exclude must have either date, or from and to",
        ),
        (json!({"schedules": ["@daily", "61 * * * *"]}), "each of spec.schedules must have a minute from 0 to 59"),
        (json!({"schedules": ["0 24 * * *"]}), "an hour from 0 to 23"),
        (json!({"schedules": ["0 0 0 * *"]}), "a day of month from 1 to 31"),
        (json!({"schedules": ["0 0 1 1-13 *"]}), "a month from 1 to 12"),
        (json!({"schedules": ["0 0 * * 1,7"]}), "a day of week from 0 to 6"),
        (json!({"schedules": ["H(0-60) 0 * * *"]}), "a minute from 0 to 59"),
        (json!({"exclude": [{"date": "12-25"}, {"date": "02-30"}]}), "must be a day of the calendar; 02-30 is none"),
        (json!({"exclude": [{"date": "2026-02-29"}]}), "must be a day of the calendar"),
        (
            json!({"exclude": [{"from": "2026-11-31T00:00", "to": "2026-12-01T00:00"}]}),
            "each date, from and to of spec.exclude must be a day of the calendar",
        ),
        (
            json!({"exclude": [{"from": "2026-12-01T00:00", "to": "2026-11-01T00:00"}]}),
            "each entry of spec.exclude must have a to after its from",
        ),
        (
            json!({"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}}),
            "spec.jobTemplate.spec.template.spec.restartPolicy must be Never or OnFailure",
        ),
        (
            json!({"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": null}}}}}),
            "spec.jobTemplate.spec.template.spec.restartPolicy in body must be of type string",
        ),
        (json!({"historyLimit": 1000}), "spec.historyLimit"),
        (
            json!({"jobTemplate": {"spec": {"selector": {"matchLabels": {"a": "b"}}}}}),
            "spec.jobTemplate.spec.selector must be left out",
        ),
    ];
    for (spec, message) in cases {
        let refused = create(&scene, "wrong", spec.clone()).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(message), "{spec}: {text:?}");
    }
    for (template, message) in [
        (json!({"parallelism": 1}), "spec.jobTemplate.spec.template is required"),
        (json!({"template": {"spec": {"containers": []}}}), "restartPolicy must be Never or OnFailure"),
        (json!({"template": {"metadata": {}}}), "restartPolicy must be Never or OnFailure"),
    ] {
        let mut wrong = schedule("wrong", &json!({}));
        wrong["spec"]["jobTemplate"]["spec"] = template;
        let refused = api(&scene).patch("wrong", &PatchParams::apply("test").force(), &Patch::Apply(wrong)).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(message), "{text}");
    }
    let long =
        create(&scene, &"n".repeat(53), json!({})).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(long.contains("metadata.name must have at most 52 characters"), "{long}");
    create(
        &scene,
        "valid",
        json!({
            "schedules": ["H H(1-5) * * MON", "@daily", "*/90 0-23/61 1,31 12,01 0-6", "059 023 ? 1 SUN", "0-59 * ? jan-dec *"],
            "jitter": "1m30s",
            "exclude": [
                {"date": "12-25"}, {"date": "02-29"}, {"date": "2028-02-29"}, {"date": "2000-02-29"},
                {"from": "2028-02-29T00:00", "to": "2028-02-29T00:00:30"},
            ],
        }),
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_job_schedule_that_the_api_server_accepts_is_reported_by_an_event() -> Result<()> {
    let scene = Scene::new("sched-event").await?;
    create(&scene, "zone", json!({"timeZone": "Mars/Olympus"})).await?;
    create(&scene, "minute", json!({"schedules": ["5-1 * * * *"]})).await?;
    scene.event("zone", "InvalidSchedule", "spec.timeZone: \"Mars/Olympus\" is not an IANA time zone").await?;
    scene
        .event("minute", "InvalidSchedule", "spec.schedules[0]: minute: the range \"5-1\" ends before it begins")
        .await?;
    create(&scene, "ahead", json!({})).await?;
    set_last_time(&scene, "ahead", minutes_ago(-100_000)).await?;
    scene.event("ahead", "ScheduleTimeInFuture", "later than the clock of this controller").await?;
    until("the time after it to be the next", || async {
        let next = status(&scene, "ahead").await?["nextScheduleTime"].clone();
        Ok(if next == minutes_ago(-100_001).to_string() { Ok(()) } else { Err(next.to_string()) })
    })
    .await?;
    // The API server rejects the Jobs of an invalid template. An event gives the reason.
    create(&scene, "template", json!({"jobTemplate": {"spec": {"completionMode": "Sorted"}}})).await?;
    set_last_time(&scene, "template", minutes_ago(2)).await?;
    scene.event("template", "FailedCreate", "completionMode").await
}

/// Creates a suspended Job of this name, owned by this JobSchedule if one is given.
async fn create_job(scene: &Scene, name: &str, owner: Option<&JobSchedule>) -> Result<()> {
    let mut job = job(name, json!({"suspend": true}))?;
    if let Some(owner) = owner {
        job.metadata.owner_references = Some(serde_json::from_value(json!([{
            "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "name": owner.name_any(), "uid": owner.uid(),
            "controller": true,
        }]))?);
    }
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_job_of_the_name_blocks_no_run_and_a_run_under_an_earlier_name_is_not_repeated() -> Result<()> {
    early_in_the_minute().await;
    let scene = Scene::new("sched-taken").await?;
    let spec = json!({"catchUp": "All", "maxCatchUp": 3, "suspend": true});
    let owner = create(&scene, "all", spec).await?;
    let [first, second, third] = [2, 1, 0].map(|ago| minutes_ago(ago).as_second() / 60);
    // Version 0.1.0 had created the Job of the first time and not stored it in the status.
    create_job(&scene, &format!("all-{first}"), Some(&owner)).await?;
    create_job(&scene, &format!("all-s{second}"), None).await?;
    set_last_time(&scene, "all", minutes_ago(600)).await?;
    create(&scene, "all", json!({"catchUp": "All", "maxCatchUp": 3})).await?;
    until("the Jobs of all three times", || async {
        let mut names: Vec<String> = jobs(&scene).await?.iter().map(ResourceExt::name_any).collect();
        names.sort();
        let fits = names.len() == 4
            && names[0] == format!("all-{first}")
            && names[1] == format!("all-s{second}")
            && names[2].starts_with(&format!("all-s{second}x"))
            && names[3] == format!("all-s{third}");
        Ok(if fits { Ok(()) } else { Err(format!("{names:?}")) })
    })
    .await?;
    let taken = format!("Job all-s{second} exists and belongs to another owner: creating job all-s{second}x");
    scene.event("all", "NameTaken", &taken).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_job_and_job_schedule_of_one_name_both_start_their_jobs() -> Result<()> {
    early_in_the_minute().await;
    let mut scene = Scene::without_controller("sched-twin", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    scene.start_controller().await?;
    create(&scene, "twin", json!({"notAfter": minutes_ago(0).to_string()})).await?;
    set_last_time(&scene, "twin", minutes_ago(5)).await?;
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = schedule("twin", &json!({}))["spec"]["jobTemplate"].clone();
    let cron_job = json!({
        "metadata": {"name": "twin"},
        "spec": {"schedule": "* * * * *", "suspend": true, "jobTemplate": template},
    });
    cron_jobs.create(&PostParams::default(), &serde_json::from_value(cron_job)?).await?;
    until("the schedule to be recorded", || async {
        let known = cron_jobs.get("twin").await?.annotations().contains_key("jobwright.dev/schedule-observed");
        Ok(if known { Ok(()) } else { Err(String::new()) })
    })
    .await?;
    let last = json!({"status": {"lastScheduleTime": minutes_ago(5).to_string()}});
    cron_jobs.patch_status("twin", &PatchParams::default(), &Patch::Merge(last)).await?;
    cron_jobs.patch("twin", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": false}}))).await?;
    let jobs = jobs_are(&scene, 2).await?;
    cron_jobs.patch("twin", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": true}}))).await?;
    let mut owners: Vec<String> = jobs.iter().map(|job| job.owner_references()[0].kind.clone()).collect();
    owners.sort();
    assert_eq!(owners, ["CronJob", "JobSchedule"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_schedule_stored_as_v1alpha1_continues_after_the_upgrade() -> Result<()> {
    // A cluster of its own, in which the older version of the resource is installed first.
    let cluster: &'static testbed::Cluster =
        Box::leak(Box::new(testbed::Cluster::start(&testbed::Options::default()).await?));
    let mut scene = Scene::on(cluster, "sched-upgrade", &[]).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    crds.delete("jobschedules.jobwright.dev", &Default::default()).await?;
    until("the resource to be gone", || async {
        let there = crds.get_opt("jobschedules.jobwright.dev").await?.is_some();
        Ok(if there { Err("the resource still exists".to_owned()) } else { Ok(()) })
    })
    .await?;
    testbed::crds::apply(&scene.client, include_str!("job_schedules_v1alpha1.yaml")).await?;
    let mut old = schedule("old", &json!({"schedules": ["* * * * *"], "suspend": true}));
    old["apiVersion"] = json!("jobwright.dev/v1alpha1");
    let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
        "jobwright.dev",
        "v1alpha1",
        "JobSchedule",
    ));
    let before: Api<kube::core::DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    for name in ["old", "rewritten"] {
        old["metadata"]["name"] = json!(name);
        until("the older version to be served", || async {
            let created = before.create(&PostParams::default(), &serde_json::from_value(old.clone())?).await;
            Ok(created.map(drop).map_err(|error| error.to_string()))
        })
        .await?;
    }
    testbed::crds::install(&scene.client).await?;
    let stored = crds.get("jobschedules.jobwright.dev").await?.status.context("missing status")?.stored_versions;
    assert_eq!(stored, Some(vec!["v1alpha1".to_owned(), "v1beta1".to_owned()]));
    rewrite(&scene).await?;
    scene.start_controller().await?;
    let resumed = json!({"spec": {"suspend": false}});
    api(&scene).patch("old", &PatchParams::default(), &Patch::Merge(resumed)).await?;
    until("the JobSchedule to continue", || async {
        let status = status(&scene, "old").await?;
        Ok(if status["nextScheduleTime"].is_string() { Ok(()) } else { Err(format!("{status:#}")) })
    })
    .await?;
    remove_older_version(&scene, &crds).await
}

/// Stores an object in the present version by an empty patch, as docs/jobschedule.md describes.
async fn rewrite(scene: &Scene) -> Result<()> {
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let patch = ["patch", "jobschedule", "rewritten", "--type=merge", "-p", "{}"];
    let before = api(scene).get("rewritten").await?;
    kubectl.run(&patch).await?;
    let after = api(scene).get("rewritten").await?;
    assert_ne!(after.metadata.resource_version, before.metadata.resource_version, "the object is stored again");
    assert_eq!((json!(after.spec), after.metadata.generation), (json!(before.spec), before.metadata.generation));
    kubectl.run(&patch).await?;
    let again = api(scene).get("rewritten").await?;
    assert_eq!(again.metadata.resource_version, after.metadata.resource_version, "it has the present version already");
    Ok(())
}

/// Removes the older version once no object is stored in it. The JobSchedules keep their status and continue.
async fn remove_older_version(scene: &Scene, crds: &Api<CustomResourceDefinition>) -> Result<()> {
    const CRD: &str = "jobschedules.jobwright.dev";
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let before = api(scene).get("old").await?;
    kubectl.run(&["patch", "jobschedule", "old", "--type=merge", "-p", "{}"]).await?;
    let stored = "{\"status\":{\"storedVersions\":[\"v1beta1\"]}}";
    kubectl.run(&["patch", "crd", CRD, "--subresource=status", "--type=merge", "-p", stored]).await?;
    let mut crd = crds.get(CRD).await?;
    crd.spec.versions.retain(|version| version.name != "v1alpha1");
    crds.replace(CRD, &PostParams::default(), &crd).await?;
    until("the older version to be gone", || async {
        let found = kubectl.run(&["get", "jobschedules.v1alpha1.jobwright.dev"]).await;
        Ok(if found.is_err() { Ok(()) } else { Err("it is served".to_owned()) })
    })
    .await?;
    let changed = json!({"spec": {"suspend": false, "schedules": ["0 0 1 1 *"]}});
    let kept = api(scene).patch("old", &PatchParams::default(), &Patch::Merge(changed)).await?;
    assert_eq!(kept.metadata.uid, before.metadata.uid);
    until("the JobSchedule to continue", || async {
        let status = status(scene, "old").await?;
        let is_new = status["nextScheduleTime"].as_str().is_some_and(|next| next.contains("-01-01T00:00:00"));
        Ok(if is_new { Ok(()) } else { Err(format!("{status:#}")) })
    })
    .await
}
