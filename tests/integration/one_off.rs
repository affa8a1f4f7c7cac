//! `@at`: a JobSchedule with a single run.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::harness::*;
use crate::job_schedule_conditions::{api, apply, condition_is};
use crate::user_commands::expect;

#[tokio::test(flavor = "multi_thread")]
async fn one_off_run_starts_at_its_minute_and_is_the_only_one() -> Result<()> {
    let scene = Scene::new("one-off").await?;
    for text in ["@at 2026-02-30T18:00", "@at 2026-12-24T18:00:30", "@at", "@atnoon"] {
        let refused = apply(&scene, "bad", &json!({"schedules": [text]})).await.err().context("accepted")?.to_string();
        assert!(refused.contains("each @at of spec.schedules must have a day that exists"), "{text}: {refused}");
    }
    let _playing = scene.succeed_all();
    let now = Timestamp::now().as_second();
    // The next minute, but not one that passes before the object is stored.
    let time = Timestamp::from_second((now + 5).div_euclid(60) * 60 + 60)?;
    let later = (time + SignedDuration::from_hours(24 * 365)).strftime("@at %Y-%m-%dT%H:%M").to_string();
    let schedules = json!([time.strftime("@at %Y-%m-%dT%H:%M").to_string(), later]);
    apply(&scene, "once", &json!({"schedules": schedules})).await?;
    let before = condition_is(&scene, "once", "Ready", "True", "ScheduleValid").await?;
    assert_eq!(before["status"]["nextScheduleTime"], time.to_string());
    let next = expect(&scene, 0, &["next", "jobschedule/once", "--count=5"]).await?;
    assert!(next.contains(&time.to_string()), "{next}");
    tokio::time::sleep((time.duration_since(Timestamp::now())).unsigned_abs()).await;
    let ran = condition_is(&scene, "once", "Healthy", "True", "LastRunSucceeded").await?;
    assert_eq!(ran["status"]["history"][0]["scheduled"], time.to_string());
    assert!(ran["status"]["nextScheduleTime"].as_str().is_some_and(|next| next.ends_with("Z")), "{ran:#}");
    apply(&scene, "once", &json!({"schedules": schedules.as_array().context("a list")?[..1]})).await?;
    until("no further time", || async {
        let status = serde_json::to_value(api(&scene).get("once").await?)?["status"].clone();
        Ok(if status["nextScheduleTime"].is_null() { Ok(()) } else { Err(format!("{status:#}")) })
    })
    .await?;
    let explained = expect(&scene, 0, &["explain", "jobschedule/once"]).await?;
    assert!(explained.starts_with("JobSchedule once is never due again."), "{explained}");
    Ok(())
}
