//! The pages of schedules and limits against a real API server.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::ui::{Console, Shared, tenant};

async fn cron_job(scene: &Scene, name: &str, schedule: &str) -> Result<CronJob> {
    let api: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.com/a:1"}]});
    let manifest = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": schedule, "timeZone": "Europe/Paris", "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    let force = PatchParams::apply("test").force();
    let created = api.patch(name, &force, &Patch::Apply(manifest)).await?;
    let last = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(3);
    let status = json!({"status": {"lastScheduleTime": last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(created)
}

/// Creates a Job that the CronJob owns.
async fn run(scene: &Scene, owner: &CronJob, name: &str, image: &str) -> Result<()> {
    let env = json!([{"name": "TOKEN", "value": format!("s3cret-{name}")}]);
    let spec = json!({"template": {"spec": {"containers": [{"name": "main", "image": image, "env": env}]}}});
    let mut job = job(name, spec)?;
    let reference: Value = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": owner.name_any(),
        "uid": owner.uid(), "controller": true}]);
    job.metadata.owner_references = Some(serde_json::from_value(reference)?);
    scene.jobs.create(&Default::default(), &job).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_runs_calendar_and_limits_are_shown() -> Result<()> {
    let scene = Scene::without_controller("ui-schedules", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let hourly = cron_job(&scene, "hourly", "0 * * * *").await?;
    run(&scene, &hourly, "hourly-1", "example.com/a:1").await?;
    run(&scene, &hourly, "hourly-2", "example.com/a:2").await?;
    crate::job_limits::limit(&scene, "lim", json!({"maxActiveJobs": 1})).await?;
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    let table = console.page_with("/schedules?zone=Asia%2FTokyo", "hourly</a>").await?;
    for text in ["Late", "Europe/Paris", "0 * * * *", "1 schedules", "Show UTC"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    console.page_with("/", "Late schedules").await?;
    let path = format!("/schedules/cronjob/{}/hourly", scene.namespace);
    let page = console.page_with(&path, "hourly-2</a>").await?;
    for text in ["What it is doing", "Next times", "Outcomes", "Late since", "kubectl describe cronjob hourly"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let compared = console.get(&format!("{path}?compare=hourly-1,hourly-2")).await?.body;
    for text in ["Two runs side by side", "example.com/a:2", "Environment of main", "(hidden)"] {
        assert!(compared.contains(text), "{text}: {compared}");
    }
    assert!(!compared.contains("s3cret"), "{compared}");
    let foreign = console.get(&format!("{path}?compare=hourly-1,none")).await?.body;
    assert!(foreign.contains("no such Jobs"), "{foreign}");
    let calendar = console.get("/calendar?view=day").await?.body;
    assert!(calendar.contains("hourly") && calendar.contains("Times are in the zone"), "{calendar}");
    let limits = console.page_with("/limits", "/lim</h2>").await?;
    assert!(limits.contains("0 of 1</b> Jobs in use"), "{limits}");
    assert_eq!(console.get(&format!("{path}-none")).await?.status, 404);
    let mut live = console.live("/schedules").await?;
    live.until("</main>", Duration::from_secs(5)).await?;
    cron_job(&scene, "second", "30 2 * * *").await?;
    live.until("second</a>", Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn user_sees_no_schedule_of_another_namespace() -> Result<()> {
    let scene = Scene::without_controller("ui-own", &[]).await?;
    let other = Scene::without_controller("ui-foreign", &[]).await?;
    let dir = tempfile::tempdir()?;
    let Some(kubeconfig) = tenant(&scene, dir.path()).await? else { return Ok(()) };
    cron_job(&scene, "own", "0 * * * *").await?;
    cron_job(&other, "concealed", "0 * * * *").await?;
    let console = Shared::start(&kubeconfig, scene.client.clone()).await?;
    let browser = &console.browser;
    browser.page_with("/schedules", "own</a>").await?;
    let path = format!("/schedules/cronjob/{}/own", scene.namespace);
    for page in ["/", "/schedules", "/schedules?state=late", "/calendar", "/calendar?view=month", "/limits", &path] {
        let body = browser.get(page).await?.body;
        assert!(!body.contains("concealed") && !body.contains(&other.namespace), "{page}: {body}");
    }
    let foreign = format!("/schedules/cronjob/{}", other.namespace);
    let (with, without) =
        (browser.get(&format!("{foreign}/concealed")).await?, browser.get(&format!("{foreign}/x")).await?);
    assert_eq!((with.status, without.status), (403, 403));
    Ok(())
}
