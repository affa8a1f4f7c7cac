//! Conditions and columns of JobSchedules, as kubectl and tools that evaluate the status of any resource read them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::Kubectl;
use testbed::manifest::lay_over;

use crate::harness::*;
use crate::policies::Policy;
use crate::user_commands::{expect, run};

pub fn api(scene: &Scene) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("jobwright.dev", "v1beta1", "JobSchedule"));
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

/// Applies a JobSchedule that is due once a year, its spec overlaid with these fields.
pub async fn apply(scene: &Scene, name: &str, spec: &Value) -> Result<()> {
    let job = serde_json::to_value(job("x", json!({"managedBy": "jobwright.dev/controller"}))?)?;
    let mut manifest = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": name},
        "spec": {"schedules": ["0 0 1 1 *"], "jobTemplate": {"spec": job["spec"]}},
    });
    lay_over(&mut manifest["spec"], spec);
    api(scene).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
    Ok(())
}

/// Outcome of an object by the rules of kstatus for resources that it does not know:
/// https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus
fn kstatus(object: &Value) -> &'static str {
    let condition = |type_: &str| {
        let conditions = object["status"]["conditions"].as_array();
        let found = conditions.into_iter().flatten().find(|condition| condition["type"] == type_);
        found.and_then(|found| found["status"].as_str()).unwrap_or_default().to_owned()
    };
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    match (&*condition("Stalled"), &*condition("Reconciling"), &*condition("Ready")) {
        ("True", ..) => "Failed",
        (_, "True", _) | (_, _, "False" | "Unknown") => "InProgress",
        _ => "Current",
    }
}

/// Waits until a condition has this status and reason, and returns the object.
pub async fn condition_is(scene: &Scene, name: &str, type_: &str, status: &str, reason: &str) -> Result<Value> {
    until(&format!("{name}: {type_} {status} {reason}"), || async {
        let object = serde_json::to_value(api(scene).get(name).await?)?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let fits = |one: &Value| one["type"] == type_ && one["status"] == status && one["reason"] == reason;
        // A condition of an earlier generation does not concern the present spec.
        let is_present = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok(if is_present && conditions.iter().any(fits) { Ok(object) } else { Err(format!("{:#}", object["status"])) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_say_whether_a_job_schedule_works() -> Result<()> {
    let scene = Scene::new("sched-conditions").await?;
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    apply(&scene, "good", &json!({})).await?;
    kubectl.run(&["wait", "--for=condition=Ready", "jobschedule/good", "--timeout=30s"]).await?;
    let good = condition_is(&scene, "good", "Healthy", "Unknown", "NoRunEnded").await?;
    assert_eq!(kstatus(&good), "Current");

    apply(&scene, "good", &json!({"suspend": true})).await?;
    let suspended = condition_is(&scene, "good", "Suspended", "True", "SuspendedBySpec").await?;
    assert_eq!(kstatus(&suspended), "Current");
    kubectl.run(&["wait", "--for=condition=Suspended", "jsched/good", "--timeout=30s"]).await?;

    apply(&scene, "zone", &json!({"timeZone": "Mars/Olympus"})).await?;
    let invalid = condition_is(&scene, "zone", "Ready", "False", "InvalidTimeZone").await?;
    assert_eq!(kstatus(&invalid), "InProgress");
    let waited = kubectl.run(&["wait", "--for=condition=Ready", "jobschedule/zone", "--timeout=1s"]).await;
    assert!(waited.is_err_and(|error| error.to_string().contains("timed out")));
    let columns = kubectl.run(&["get", "jobschedule", "zone", "-o", "wide"]).await?;
    let rows: Vec<Vec<&str>> = columns.lines().map(|line| line.split_whitespace().collect()).collect();
    let [header, row] = rows.as_slice() else { panic!("{columns}") };
    for name in ["READY", "REASON", "QUEUED", "OUTCOME", "NEXT"] {
        assert!(header.contains(&name), "{columns}");
    }
    assert!(row.contains(&"False") && row.contains(&"InvalidTimeZone"), "{columns}");
    apply(&scene, "zone", &json!({"timeZone": "Europe/Paris"})).await?;
    condition_is(&scene, "zone", "Ready", "True", "ScheduleValid").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_report_refused_jobs_and_the_last_outcome() -> Result<()> {
    let scene = Scene::new("sched-health").await?;
    let playing = scene.succeed_all();
    let policy = Policy::refuse(&scene, "often", &[("batch", "jobs", "CREATE")], "Forbidden").await?;
    apply(&scene, "often", &json!({"schedules": ["@every 1s"]})).await?;
    let refused = condition_is(&scene, "often", "Ready", "False", "JobRefused").await?;
    let conditions = refused["status"]["conditions"].as_array().context("no conditions")?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready").context("no condition Ready")?;
    assert!(ready["message"].as_str().is_some_and(|text| text.contains("often must not")), "{ready}");
    policy.lift().await?;
    condition_is(&scene, "often", "Ready", "True", "ScheduleValid").await?;
    condition_is(&scene, "often", "Healthy", "True", "LastRunSucceeded").await?;
    drop(playing);
    Ok(())
}

/// Lets every pod fail until the returned value is dropped.
fn fail_all(scene: &Scene) -> Playing {
    let (pods, kubelet) = (scene.pods.clone(), scene.kubelet.clone());
    Playing::new(async move {
        loop {
            for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                if is_active(&pod) {
                    // The pod may be deleted by now.
                    let _ = kubelet.fail(&pod.name_any(), 3).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_runs_in_a_row_suspend_until_a_run_succeeds_or_a_user_resumes() -> Result<()> {
    let scene = Scene::new("sched-failures").await?;
    let spec = json!({
        "schedules": ["@every 1s"], "suspendAfterFailures": 2, "concurrencyPolicy": "Forbid", "failedJobsHistoryLimit": 0,
        "jobTemplate": {"spec": {"backoffLimit": 0}},
    });
    let failing = fail_all(&scene);
    apply(&scene, "bad", &spec).await?;
    let stopped = condition_is(&scene, "bad", "Suspended", "True", "TooManyFailures").await?;
    assert_eq!(stopped["metadata"]["generation"], 1, "the spec is not changed");
    let runs = |object: &Value| object["status"]["history"].as_array().map(Vec::len);
    assert_eq!((&stopped["status"]["failedRunsInARow"], runs(&stopped)), (&json!(2), Some(2)));
    assert!(stopped["status"]["nextScheduleTime"].is_null(), "{stopped:#}");
    scene.event("bad", "TooManyFailures", "the last 2 runs have failed").await?;
    stays(2.5, || async {
        let object = serde_json::to_value(api(&scene).get("bad").await?)?;
        let idle = runs(&object) == Some(2) && object["status"]["activeCount"] == 0;
        ensure!(idle, "{:#}", object["status"]);
        Ok(())
    })
    .await?;
    let (_, explained, _) = run(&scene, &["explain", "jobschedule/bad"]).await?;
    assert!(explained.contains("JobSchedule bad is suspended: the last 2 runs have failed"), "{explained}");
    drop(failing);

    // The success of a run that a user starts ends the suspension.
    let playing = scene.succeed_all();
    expect(&scene, 0, &["trigger", "jobschedule/bad"]).await?;
    let resumed = condition_is(&scene, "bad", "Suspended", "False", "NotSuspended").await?;
    assert_eq!(resumed["status"]["failedRunsInARow"], 0);
    drop(playing);

    let failing = fail_all(&scene);
    condition_is(&scene, "bad", "Suspended", "True", "TooManyFailures").await?;
    drop(failing);
    let out = expect(&scene, 0, &["resume", "jobschedule/bad"]).await?;
    assert_eq!(out, "jobschedule.jobwright.dev/bad resumed\n");
    let resumed = condition_is(&scene, "bad", "Suspended", "False", "NotSuspended").await?;
    assert_eq!(resumed["status"]["lastResume"], resumed["metadata"]["annotations"]["jobwright.dev/resume"]);
    assert_eq!(resumed["metadata"]["generation"], 1);
    assert_eq!(expect(&scene, 0, &["resume", "jobschedule/bad"]).await?, "jobschedule.jobwright.dev/bad unchanged\n");
    Ok(())
}
