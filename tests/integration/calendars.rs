//! Calendars: JobSchedules exclude their periods or run only in them, and a change applies to later times alone, also
//! when no controller runs meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use jobwright::schedule::calendar::types::Calendar;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::job_schedule_conditions::{apply, condition_is};
use crate::user_commands::expect;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

async fn store(scene: &Scene, name: &str, periods: &Value) -> Result<Calendar> {
    let calendars: Api<Calendar> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let object = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "Calendar", "metadata": {"name": name}, "spec": {"periods": periods},
    });
    Ok(calendars.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?)
}

/// Waits until the status of a Calendar is that of its spec, and returns the times of its changes, the first one first.
async fn changes(scene: &Scene, name: &str) -> Result<Vec<Timestamp>> {
    let calendars: Api<Calendar> = Api::namespaced(scene.client.clone(), &scene.namespace);
    until("the status of the Calendar", || async {
        let calendar = calendars.get(name).await?;
        let status = calendar.status.unwrap_or_default();
        let is_current = status.observed_generation == calendar.metadata.generation;
        let times = status.earlier.iter().rev().map(|earlier| earlier.until.0).collect();
        Ok(if is_current { Ok(times) } else { Err(format!("{status:?}")) })
    })
    .await
}

/// Returns the scheduled times of the Jobs of a JobSchedule.
async fn times(scene: &Scene, schedule: &str) -> Result<BTreeSet<Timestamp>> {
    let jobs: Api<Job> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let of = ListParams::default().labels(&format!("jobwright.dev/jobschedule={schedule}"));
    let time = |job: &Job| Ok(job.annotations().get(SCHEDULED).context("no scheduled time")?.parse()?);
    jobs.list(&of).await?.items.iter().map(time).collect()
}

/// Returns the period of local time around now, for a schedule in UTC.
fn around_now() -> Value {
    let text = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let hour = SignedDuration::from_hours(1);
    json!([{"from": text(Timestamp::now() - hour), "to": text(Timestamp::now() + hour)}])
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_a_calendar_applies_to_later_times_alone() -> Result<()> {
    let mut scene = Scene::new("calendars").await?;
    for (periods, message) in [
        (json!([{"date": "02-30"}]), "each date, from and to of spec.periods must be a day of the calendar"),
        (json!([{}]), "each entry of spec.periods must have either date, or from and to"),
        (json!([{"from": "2026-01-02T00:00", "to": "2026-01-01T00:00"}]), "must have a to after its from"),
    ] {
        let refused = store(&scene, "bad", &periods).await.err().context("accepted")?.to_string();
        assert!(refused.contains(message), "{message}: {refused}");
    }
    let spec = json!({
        "schedules": ["@every 1s"], "catchUp": "All", "maxCatchUp": 1000, "successfulJobsHistoryLimit": 1000,
        "excludeCalendars": ["pauses"],
    });
    apply(&scene, "busy", &spec).await?;
    condition_is(&scene, "busy", "Ready", "False", "CalendarNotFound").await?;
    scene.event("busy", "InvalidSchedule", "spec.excludeCalendars[0]: Calendar \"pauses\" does not exist").await?;
    let _playing = scene.succeed_all();
    store(&scene, "pauses", &json!([])).await?;
    let ready = condition_is(&scene, "busy", "Ready", "True", "ScheduleValid").await?;
    let created: Timestamp = ready["metadata"]["creationTimestamp"].as_str().context("no creation")?.parse()?;
    assert_eq!(changes(&scene, "pauses").await?, []);
    tokio::time::sleep(Duration::from_secs(2)).await;

    // Nothing is due from the change on.
    store(&scene, "pauses", &around_now()).await?;
    let begin = changes(&scene, "pauses").await?[0];
    tokio::time::sleep(Duration::from_secs(3)).await;
    // While no controller runs, what was excluded stays excluded: the change applies once a controller has seen it.
    if let Some(mut controller) = scene.controller.take() {
        controller.process.kill();
    }
    store(&scene, "pauses", &json!([{"date": "1999-01-01"}])).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.start_controller().await?;
    let end = changes(&scene, "pauses").await?[1];
    assert!(end.duration_since(begin) >= SignedDuration::from_secs(4), "{begin} {end}");
    // A change after which a run is still due does not drop the runs that no controller could start.
    if let Some(mut controller) = scene.controller.take() {
        controller.process.kill();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    store(&scene, "pauses", &json!([{"date": "1999-01-02"}])).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.start_controller().await?;
    let last = Timestamp::from_second(Timestamp::now().as_second())?;

    let expected = |last: Timestamp| {
        let seconds = created.as_second() + 1..=last.as_second();
        let times = seconds.filter_map(|second| Timestamp::from_second(second).ok());
        times.filter(|time| *time <= begin || *time > end).collect::<BTreeSet<Timestamp>>()
    };
    until("the runs up to now", || async {
        let found: BTreeSet<Timestamp> = times(&scene, "busy").await?.range(..=last).copied().collect();
        Ok(if found == expected(last) { Ok(()) } else { Err(format!("{begin} {end}: {found:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_apply_the_calendars() -> Result<()> {
    let scene = Scene::new("calendar-commands").await?;
    store(&scene, "closing-days", &json!([{"date": "2031-01-31"}, {"date": "2031-02-28"}])).await?;
    store(&scene, "sundays", &json!([{"date": "2031-02-28"}])).await?;
    let only = json!({"schedules": ["0 6 * * *"], "onlyCalendars": ["closing-days"], "timeZone": "Europe/Paris"});
    apply(&scene, "monthly", &only).await?;
    let stored = condition_is(&scene, "monthly", "Ready", "True", "ScheduleValid").await?;
    assert_eq!(stored["status"]["nextScheduleTime"], "2031-01-31T06:00:00+01:00");
    let next = expect(&scene, 0, &["next", "jobschedule/monthly"]).await?;
    let lines: Vec<&str> = next.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{next}");
    assert!(lines[0].starts_with("Fri 2031-01-31 06:00") && lines[1].starts_with("Fri 2031-02-28 06:00"), "{next}");
    let mut both = only.clone();
    both["excludeCalendars"] = json!(["sundays"]);
    apply(&scene, "monthly", &both).await?;
    let explained = until("the exclusion", || async {
        let next = expect(&scene, 0, &["next", "jobschedule/monthly"]).await?;
        Ok(if next.contains("2031-02-28") {
            Err(next)
        } else {
            Ok(expect(&scene, 0, &["explain", "jobschedule/monthly"]).await?)
        })
    })
    .await?;
    assert!(explained.starts_with("JobSchedule monthly: next run at 2031-01-31T06:00:00+01:00"), "{explained}");
    let kubectl = testbed::Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let listed = kubectl.run(&["get", "jcal", "--no-headers"]).await?;
    assert!(listed.lines().any(|line| line.starts_with("closing-days   2")), "{listed}");
    Ok(())
}
